//! The program that waits at a gate: a part of this library, and a file of the data folder.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// Every user may run it.
const MODE: u32 = 0o555;
const PREFIX: &str = "gate-";
/// How many digits of its digest are in its name.
const NAME_DIGITS: usize = 16;

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/func-gate"));
static DIGEST: LazyLock<String> = LazyLock::new(|| hex(PROGRAM));

/// Gives the digest of the program, in hex.
pub(crate) fn digest() -> &'static str {
    &DIGEST
}

/// Gives the SHA-256 of bytes, in hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Gives the path of the program in a folder, where it is put if it is not there. Repeatable.
pub(crate) fn put(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(name());
    if fs::metadata(&path).is_ok_and(|file| file.len() == PROGRAM.len() as u64) {
        return Ok(path);
    }
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(dir)?;
    file.write_all(PROGRAM)?;
    file.as_file().set_permissions(Permissions::from_mode(MODE))?;
    // Closed before it gets its name: what is open for writing cannot be run.
    file.into_temp_path().persist(&path).map_err(|e| e.error)?;
    Ok(path)
}

/// Gives the names of the programs in a folder that other versions of this library have put there.
pub(crate) fn others(dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut others = Vec::new();
    for entry in entries {
        let name = entry?.file_name().into_string();
        others.extend(name.ok().filter(|name| is_name(name) && *name != self::name()));
    }
    Ok(others)
}

fn is_name(name: &str) -> bool {
    let digits = name.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == NAME_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn name() -> String {
    format!("{PREFIX}{}", &digest()[..NAME_DIGITS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_small_and_is_put_once() {
        assert!(PROGRAM.len() < 64 * 1024, "{} bytes", PROGRAM.len());
        let dir = tempfile::tempdir().expect("a folder");
        let path = put(dir.path()).expect("it is put");
        assert_eq!(put(dir.path()).expect("it is there"), path);
        assert_eq!(fs::read(&path).expect("it is read"), PROGRAM);
        assert_eq!(fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, MODE);
        fs::remove_file(&path).expect("it was there");
        assert_eq!(put(dir.path()).expect("it is put again"), path);
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1);
    }

    #[test]
    fn only_programs_of_other_versions_are_others() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(others(&dir.path().join("absent")).expect("none"), [""; 0]);
        put(dir.path()).expect("it is put");
        for name in ["gate-0123456789abcdef", "gate-0123456789abcde", "gate-keeper.sock.lock", "start.sock"] {
            fs::write(dir.path().join(name), b"").expect("a file");
        }
        assert_eq!(others(dir.path()).expect("a list"), ["gate-0123456789abcdef"]);
    }
}
