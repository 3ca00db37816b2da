//! A removal: an app, its releases, its repository and its logs go. Its containers and images go by the cleaner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use func_model::AppName;
use func_model::event::BuildEvent;
use func_store::DataDir;
use tracing::warn;

use crate::builder::Builder;
use crate::clock::unix_ms;
use crate::failure::Failure;
use crate::limits::CALL_LOCK;
use crate::text::chain;

/// How the name of a repository begins that is on its way out. No app has such a name.
const ASIDE: &str = ".removed-";

impl Builder {
    /// Removes an app. Each step can be repeated: after a crash the same call goes on.
    ///
    /// The repository goes aside first: with it there and no release, the next boot would deploy it again.
    ///
    /// # Errors
    /// [`Failure::NoApp`], [`Failure::Busy`] while it is deployed, [`Failure::Remove`], [`Failure::Store`].
    pub async fn remove(&self, app: &AppName) -> Result<BuildEvent, Failure> {
        let _lock = self.lock(app, CALL_LOCK).await?;
        let data = &self.config.data;
        let repository = data.repository(app);
        let known = repository.exists()
            || self.config.manifests.current(app)?.is_some()
            || !self.config.manifests.numbers(app)?.is_empty();
        if !known {
            return Err(Failure::NoApp { app: app.clone() });
        }
        if let Some(waiting) = self.queue.remove(app) {
            waiting.feed.tell(BuildEvent::Failed {
                reason: format!("{app} is removed"),
                hint: None,
                tail: Vec::new(),
                stays: None,
            });
        }
        let failed = |source| Failure::Remove { app: app.clone(), source };
        let aside = move_aside(data, app, &repository).map_err(failed)?;
        self.config.manifests.remove_app(app)?;
        if let Err(e) = self.config.promote.drop_route(app).await {
            warn!(app.name = %app, error = %chain(&e), "the route of {app} is dropped later, by the cleaner");
        }
        let (logs, name) = (data.logs(app), app.clone());
        self.blocking(app, move || {
            aside
                .map_or(Ok(()), |path| remove_folder(&path))
                .and_then(|()| remove_folder(&logs))
                .map_err(|source| Failure::Remove { app: name, source })
        })
        .await?;
        Ok(BuildEvent::Done {
            text: format!("{app} is removed, its releases, its repository and its logs too"),
        })
    }
}

fn move_aside(data: &DataDir, app: &AppName, repository: &Path) -> io::Result<Option<PathBuf>> {
    let aside = data.projects().join(format!("{ASIDE}{app}-{}", unix_ms()));
    match fs::rename(repository, &aside) {
        Ok(()) => Ok(Some(aside)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes the repositories that a crash left aside.
///
/// # Errors
/// If the folder cannot be read, or one of them not removed.
pub fn finish_removals(data: &DataDir) -> io::Result<()> {
    for entry in fs::read_dir(data.projects())? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ASIDE) {
            remove_folder(&entry.path())?;
        }
    }
    Ok(())
}
