//! The start of the builder: what was pushed and never deployed is deployed now.

use std::sync::Arc;

use func_model::{AppName, ReleaseId, Revision};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::builder::Builder;
use crate::failure::Failure;
use crate::limits::{ATTEMPTS_MAX, ROOM_EVERY};
use crate::removal::finish_removals;
use crate::repository::Repository;
use crate::text::chain;

impl Builder {
    /// Queues every repository whose head has no live release, unless its deploy failed, or killed the builder
    /// again and again: that is the durable queue.
    /// Waits while the queue is full.
    pub async fn catch_up(self: Arc<Self>) {
        if let Err(e) = finish_removals(&self.config.data) {
            warn!(error = %chain(&e), "a removed repository is still there");
        }
        let apps = match self.config.data.repositories() {
            Ok(apps) => apps,
            Err(e) => return warn!(error = %chain(&e), "the repositories cannot be listed"),
        };
        for app in apps {
            let pending = match self.pending(&app).await {
                Ok(pending) => pending,
                Err(e) => {
                    warn!(app.name = %app, error = %chain(&e), "the repository of {app} is left alone");
                    None
                }
            };
            let Some(revision) = pending else { continue };
            info!(app.name = %app, "{app} has a commit that is not deployed yet: {}", revision.short());
            while self.queue.push(&app, &revision).is_err() {
                sleep(ROOM_EVERY).await;
            }
        }
    }

    /// Gives the head that should be deployed. What an interrupted deploy of it left is removed.
    async fn pending(&self, app: &AppName) -> Result<Option<Revision>, Failure> {
        let Some(head) = self.head(app).await? else { return Ok(None) };
        let manifests = &self.config.manifests;
        let live = manifests.live(app)?.map(|live| live.revision);
        if live.as_ref() == Some(&head) || manifests.failed(app)?.as_ref() == Some(&head) {
            return Ok(None);
        }
        let attempts = manifests.attempts(app, &head)?;
        if attempts >= ATTEMPTS_MAX {
            let short = head.short();
            error!(app.name = %app, attempts, "the builder was killed {attempts} times while it deployed {short} of {app}; it is left alone until the next push");
            return Ok(None);
        }
        let current = manifests.current(app)?;
        for number in manifests.numbers(app)?.into_iter().filter(|number| Some(*number) > current) {
            let id = ReleaseId { app: app.clone(), number };
            if manifests.release(&id)?.is_some_and(|release| release.revision == head) {
                self.retire(&id).await;
                manifests.remove(&id)?;
            }
        }
        Ok(Some(head))
    }

    /// Gives the head of an app's deploy branch.
    ///
    /// # Errors
    /// [`Failure::Project`] if the repository cannot be read.
    pub async fn head(&self, app: &AppName) -> Result<Option<Revision>, Failure> {
        let (path, branch) = (self.config.data.repository(app), self.config.branch.clone());
        self.blocking(app, move || Repository::open(&path)?.head(&branch)).await
    }
}
