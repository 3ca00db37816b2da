//! A repository's configuration: what func writes, and nothing else. Git would run the programs that it names.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::HostError;
use crate::error::io_error;

/// As libgit2 writes it for a bare repository.
const CONFIG: &str = "[core]\n\tbare = true\n\trepositoryformatversion = 0\n\tfilemode = true\n";

/// Puts the configuration of a repository right, if it is not as func writes it, before git reads it: git has no switch
/// that leaves it out. So is what leads git to a configuration elsewhere.
///
/// # Errors
/// [`HostError::Io`].
pub(crate) fn settle(place: &Path) -> Result<(), HostError> {
    let config = place.join("config");
    if !is_ours(&config) {
        let mut file = tempfile::Builder::new()
            .prefix(".config-")
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(place)
            .map_err(io_error("make a file in", place))?;
        file.write_all(CONFIG.as_bytes()).map_err(io_error("write", &config))?;
        if fs::symlink_metadata(&config).is_ok_and(|found| found.is_dir()) {
            fs::remove_dir_all(&config).map_err(io_error("remove", &config))?;
        }
        file.persist(&config).map_err(|e| io_error("write", &config)(e.error))?;
        tracing::warn!("the configuration of {} was not func's own, and is again", place.display());
    }
    for name in ["commondir", "config.worktree"] {
        let other = place.join(name);
        match fs::remove_file(&other) {
            Ok(()) => tracing::warn!("{} was not func's own, and is removed", other.display()),
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("remove", other)(e)),
        }
    }
    Ok(())
}

/// Whether a configuration is as func writes it.
pub(crate) fn is_ours(config: &Path) -> bool {
    let is_small = |found: fs::Metadata| found.is_file() && found.len() == CONFIG.len() as u64;
    fs::symlink_metadata(config).is_ok_and(is_small)
        && fs::read(config).is_ok_and(|text| text == CONFIG.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_configuration_says_and_is_it_is_funcs_own_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (place, config) = (folder.path(), folder.path().join("config"));
        let elsewhere = place.join("elsewhere");
        fs::write(&elsewhere, CONFIG).expect("written");
        let again = || {
            settle(place).expect("settled");
            assert!(is_ours(&config));
            let _ = fs::remove_file(&config);
        };
        again();
        fs::write(&config, format!("{CONFIG}[core]\n\tfsmonitor = touch /tmp/x\n")).expect("written");
        again();
        fs::write(&config, CONFIG.replace("bare = true", "x = \"y\"")).expect("written");
        again();
        std::os::unix::fs::symlink(&elsewhere, &config).expect("linked");
        again();
        fs::create_dir(&config).expect("made");
        fs::write(place.join("commondir"), "elsewhere").expect("written");
        again();
        assert!(!place.join("commondir").exists());
        assert_eq!(fs::read_dir(place).expect("read").count(), 1, "no temporary file is left");
    }
}
