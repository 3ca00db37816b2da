//! The durable queue: what was pushed and never deployed is deployed when the builder starts, and soon after it was
//! pushed if no hook asks for it. What a builder that was killed had begun is ended first.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use func_model::{AppName, Release, ReleaseId, Revision, Route};
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::builder::{Builder, patiently};
use crate::failure::Failure;
use crate::limits::{ATTEMPTS_MAX, CALL_LOCK, LOOK_EVERY, ROOM_EVERY};
use crate::repository::Repository;
use crate::text::chain;

/// The state of the files that a branch is in: git replaces one of them when the branch changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp([Option<(i64, i64, u64)>; 2]);

/// What the last look found of each app: its branch, and the revision that was begun.
type Seen = BTreeMap<AppName, (Stamp, Option<Revision>)>;

impl Stamp {
    fn of(repository: &Path, branch: &str) -> Self {
        let stamp =
            |file: PathBuf| std::fs::metadata(file).ok().map(|m| (m.mtime(), m.mtime_nsec(), m.ino()));
        Self([stamp(repository.join("refs/heads").join(branch)), stamp(repository.join("packed-refs"))])
    }
}

impl Builder {
    /// Looks after the durable queue for ever: the hook that should tell of a push may be killed as well.
    pub async fn catch_up(self: Arc<Self>) {
        let mut seen = Seen::new();
        loop {
            self.look(&mut seen).await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Queues every repository whose head has no live release and was not deployed by this builder, unless its deploy
    /// failed, or killed the builder again and again. Waits while the queue is full. Repositories whose branch is as it
    /// was `seen` before are passed over, so that a look at those that rest costs next to nothing.
    async fn look(&self, seen: &mut Seen) {
        let apps = match self.config.data.repositories() {
            Ok(apps) => apps,
            Err(e) => return warn!(error = %chain(&e), "the repositories cannot be listed"),
        };
        let before = std::mem::take(seen);
        for app in apps {
            let stamp = Stamp::of(&self.config.data.repository(&app), &self.config.branch);
            // Another revision may have been begun since: a late hook asked for one that is not the head any more.
            if before.get(&app).is_some_and(|(s, begun)| *s == stamp && *begun == self.last_begun(&app)) {
                seen.insert(app.clone(), (stamp, self.last_begun(&app)));
                continue;
            }
            let pending = match self.pending(&app).await {
                Ok(pending) => {
                    seen.insert(app.clone(), (stamp, self.last_begun(&app)));
                    pending
                }
                // It is being deployed, rolled back or removed: looked at next time.
                Err(Failure::Busy { .. }) => None,
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

    /// Gives the head that should be deployed, once: from then on this builder knows of it.
    async fn pending(&self, app: &AppName) -> Result<Option<Revision>, Failure> {
        let Some(head) = self.head(app).await? else { return Ok(None) };
        if self.has_begun(app, &head) {
            return Ok(None);
        }
        let _lock = self.lock(app, CALL_LOCK).await?;
        let wanted = self.is_wanted(app, &head).await?;
        self.begins(app, &head);
        Ok(wanted.then_some(head))
    }

    /// Whether a head should be deployed. What an interrupted deploy of it left is removed, and one that was interrupted
    /// behind its commit point is ended.
    async fn is_wanted(&self, app: &AppName, head: &Revision) -> Result<bool, Failure> {
        let manifests = &self.config.manifests;
        let live = manifests.live(app)?;
        if let Some(live) = &live
            && manifests.attempts(app, &live.revision)? > 0
        {
            self.end_promotion(live).await;
        }
        let live = live.map(|live| live.revision);
        if live.as_ref() == Some(head) || manifests.failed(app)?.as_ref() == Some(head) {
            return Ok(false);
        }
        let attempts = manifests.attempts(app, head)?;
        if attempts >= ATTEMPTS_MAX {
            let short = head.short();
            error!(app.name = %app, attempts, "the builder was killed {attempts} times while it deployed {short} of {app}; it is left alone until the next push");
            return Ok(false);
        }
        let current = manifests.current(app)?;
        for number in manifests.numbers(app)?.into_iter().filter(|number| Some(*number) > current) {
            let id = ReleaseId { app: app.clone(), number };
            if manifests.release(&id)?.is_some_and(|release| release.revision == *head) {
                self.retire(&id).await;
                manifests.remove(&id)?;
            }
        }
        Ok(true)
    }

    /// Leads an app's requests to a release that is current: its builder may have been killed before it could.
    async fn end_promotion(&self, live: &Release) {
        let (id, route) = (&live.id, Route::of(live));
        if let Err(e) = patiently(|| self.config.promote.promote(id, &route)).await {
            return warn!(release = %id, error = %chain(&e), "{id} is routed later, by the cleaner");
        }
        if let Err(e) = self.config.manifests.forget_attempts(&id.app) {
            warn!(release = %id, error = %chain(&e), "{id} is routed again at the next boot");
        }
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
