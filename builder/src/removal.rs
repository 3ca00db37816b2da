//! A removal: an app, its releases, its repository and its logs go. Its containers and images go by the cleaner.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use func_crash::point;
use func_model::AppName;
use func_model::event::BuildEvent;
use func_store::DataDir;
use tracing::warn;

use crate::builder::Builder;
use crate::clock::unix_ms;
use crate::failure::Failure;
use crate::limits::CALL_LOCK;
use crate::text::chain;

/// How the name of a repository begins whose app is on its way out, and of one whose app is gone. No app has such a name.
const LEAVING: &str = ".removing-";
const GONE: &str = ".removed-";

impl Builder {
    /// Removes an app. Each step can be repeated: after a crash the same call goes on, and so does the next builder.
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
        point("after_aside");
        self.end_app(app, aside).await?;
        Ok(BuildEvent::Done {
            text: format!("{app} is removed, its releases, its repository and its logs too"),
        })
    }

    /// Removes all of an app but its repository, then that: it is `aside`, if there was one.
    async fn end_app(&self, app: &AppName, aside: Option<PathBuf>) -> Result<(), Failure> {
        self.config.manifests.remove_app(app)?;
        point("after_app_removed");
        if let Err(e) = self.config.promote.drop_route(app).await {
            warn!(app.name = %app, error = %chain(&e), "the route of {app} is dropped later, by the cleaner");
        }
        point("after_dropped");
        let (logs, name) = (self.config.data.logs(app), app.clone());
        self.blocking(app, move || {
            remove_folder(&logs)
                .and_then(|()| aside.map_or(Ok(()), |path| remove_leaving(&path)))
                .map_err(|source| Failure::Remove { app: name, source })
        })
        .await?;
        point("after_cleared");
        Ok(())
    }

    /// Ends the removals that a builder was killed in. Before anything is deployed: what there is of such an app is
    /// what was to be removed, but for a repository that was pushed since.
    pub async fn finish_removals(&self) {
        let entries = match fs::read_dir(self.config.data.projects()) {
            Ok(entries) => entries,
            Err(e) => return warn!(error = %chain(&e), "the repositories cannot be listed"),
        };
        for path in entries.filter_map(|entry| entry.ok().map(|entry| entry.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let ended = match leaving(&name) {
                Some(app) => self.end_app(&app, Some(path)).await,
                None if name.starts_with(GONE) => {
                    remove_folder(&path)
                        .unwrap_or_else(|e| warn!(error = %chain(&e), "{name} is still there"));
                    Ok(())
                }
                None => Ok(()),
            };
            if let Err(e) = ended {
                warn!(error = %chain(&e), "{name} is still there: its removal goes on at the next start");
            }
        }
    }
}

/// Gives the app whose removal was begun, of the name of its repository.
fn leaving(name: &str) -> Option<AppName> {
    let (app, _) = name.strip_prefix(LEAVING)?.rsplit_once('-')?;
    app.parse().ok()
}

/// Removes a repository whose app is gone. Renamed first: it must not end the next app of this name, should it stay.
fn remove_leaving(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gone = path.with_file_name(name.replacen(LEAVING, GONE, 1));
    fs::rename(path, &gone)?;
    remove_folder(&gone)
}

fn move_aside(data: &DataDir, app: &AppName, repository: &Path) -> io::Result<Option<PathBuf>> {
    let aside = data.projects().join(format!("{LEAVING}{app}-{}", unix_ms()));
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
