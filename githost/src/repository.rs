//! Bare repositories under `projects/`: made whole, or not at all.

use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use func_crash::point;
use func_model::AppName;
use func_store::DataDir;
use git2::{Repository, RepositoryInitOptions};

use crate::HostError;
use crate::error::io_error;

/// Gives the app's repository.
///
/// # Errors
/// [`HostError::NoSuchApp`] if nothing was pushed yet.
pub(crate) fn existing(data: &DataDir, app: &AppName) -> Result<PathBuf, HostError> {
    let place = data.repository(app);
    if is_there(&place) { Ok(place) } else { Err(HostError::NoSuchApp(app.clone())) }
}

/// Gives the app's repository, and makes it if nothing was pushed yet. Whoever comes second at the same time uses the
/// first one's.
///
/// # Errors
/// [`HostError::Make`], [`HostError::Io`].
pub(crate) fn made(data: &DataDir, app: &AppName) -> Result<PathBuf, HostError> {
    let place = data.repository(app);
    if is_there(&place) {
        return Ok(place);
    }
    let projects = data.projects();
    let temporary = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(&projects)
        .map_err(io_error("make a folder in", &projects))?;
    let mut options = RepositoryInitOptions::new();
    options.bare(true).initial_head("main").external_template(false);
    Repository::init_opts(temporary.path(), &options)
        .map_err(|source| HostError::Make { app: app.clone(), source })?;
    match fs::rename(temporary.path(), &place) {
        // Its name is gone: nothing is left to remove.
        Ok(()) => drop(temporary.keep()),
        Err(e) if matches!(e.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) => {
            if !is_there(&place) {
                return Err(io_error("use", place)(e));
            }
        }
        Err(e) => return Err(io_error("make", place)(e)),
    }
    File::open(&projects).and_then(|dir| dir.sync_all()).map_err(io_error("sync", &projects))?;
    point("after_repository");
    tracing::info!(app.name = %app, "made the repository of {app}");
    Ok(place)
}

fn is_there(place: &Path) -> bool {
    place.join("HEAD").is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> (tempfile::TempDir, DataDir, AppName) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        (dir, data, "blog".parse().expect("a name"))
    }

    #[test]
    fn a_new_repository_is_bare_and_its_head_is_main() {
        let (_dir, data, app) = world();
        assert!(matches!(existing(&data, &app), Err(HostError::NoSuchApp(_))));
        let place = made(&data, &app).expect("made");
        assert_eq!(existing(&data, &app).expect("there"), place);
        assert_eq!(fs::read_to_string(place.join("HEAD")).expect("HEAD"), "ref: refs/heads/main\n");
        assert!(Repository::open(&place).expect("open").is_bare());
        assert!(crate::settle::is_ours(&place.join("config")), "it is as func writes it");
        let names = fs::read_dir(data.projects()).expect("read").count();
        assert_eq!(names, 1, "no temporary folder is left");
    }

    #[test]
    fn making_it_many_times_at_once_makes_one() {
        let (_dir, data, app) = world();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| made(&data, &app).map(drop))).collect();
            for thread in threads {
                thread.join().expect("no panic").expect("made");
            }
        });
        assert_eq!(data.repositories().expect("read"), vec![app]);
        assert_eq!(fs::read_dir(data.projects()).expect("read").count(), 1, "no temporary folder is left");
    }
}
