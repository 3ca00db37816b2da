//! The host's own SSH key: made once, then always the same.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use func_store::DataDir;

use crate::HostError;
use crate::error::io_error;

/// Gives the text of `keys/ssh_host_ed25519`, and makes the file first if there is none. Of two processes at once one
/// makes it and both use it.
///
/// # Errors
/// [`HostError::Io`], and what `generate` fails with.
pub(crate) fn text(
    data: &DataDir,
    generate: impl FnOnce() -> Result<String, HostError>,
) -> Result<String, HostError> {
    let path = data.keys().join("ssh_host_ed25519");
    match fs::read_to_string(&path) {
        Ok(text) => return Ok(text),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(io_error("read", path)(e)),
    }
    write_once(&path, &generate()?)?;
    fs::read_to_string(&path).map_err(io_error("read", path))
}

fn write_once(path: &Path, text: &str) -> Result<(), HostError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let write = || {
        // tempfile makes it 0600.
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        match file.persist_noclobber(path) {
            Ok(_) => fs::File::open(dir)?.sync_all(),
            Err(e) if e.error.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(e) => Err(e.error),
        }
    };
    write().map_err(io_error("write", path))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn many_at_once_get_the_same_key_and_only_the_owner_reads_it() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        let made = AtomicUsize::new(0);
        let make = || Ok(made.fetch_add(1, Ordering::SeqCst).to_string());
        let texts: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| text(&data, make))).collect();
            threads.into_iter().map(|t| t.join().expect("no panic").expect("a key")).collect()
        });
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
        let mode = fs::metadata(data.keys().join("ssh_host_ed25519")).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(data.keys()).expect("read").count(), 1, "no temporary file is left");
    }
}
