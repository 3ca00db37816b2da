//! The folders of a data folder, closed to other users: made where they are missing, put right where they were there before
//! (made by Docker for a mount, by an older version, or by hand).

use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::geteuid;

use crate::layout::{FOLDERS, Folder, Owner, Part, RUN};
use crate::{StoreError, io_error};

/// Others may go through it to what they know the name of.
pub(crate) const THROUGH_MODE: u32 = 0o711;
pub(crate) const FOLDER_MODE: u32 = 0o700;
/// The most that a part leaves of a folder's mode: a group that looks in may.
const GROUP_MODE: u32 = 0o2750;
pub(crate) const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;

/// Makes what `parts` write into and is missing in a data folder, and closes what is open to other users. Returns a line for
/// each thing that was put right, or could not be. Repeatable.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn prepare(root: &Path, parts: &[Part]) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    make(root, THROUGH_MODE)?;
    let found = fs::metadata(root).map_err(io_error("read", root))?;
    close(root, &found, found.mode() & !0o022, &mut lines)?;
    let is_all = Part::ALL.iter().all(|part| parts.contains(part));
    for folder in FOLDERS.iter().filter(|folder| folder.writers.iter().any(|part| parts.contains(part))) {
        let path = root.join(folder.name);
        if folder.name.starts_with(RUN) {
            make(&root.join(RUN), FOLDER_MODE)?;
        }
        make(&path, FOLDER_MODE)?;
        let found = fs::metadata(&path).map_err(io_error("read", &path))?;
        // The folders of a user of their own stay that user's.
        if is_all || folder.owner == Owner::Root {
            take(&path, &found, &mut lines)?;
        }
        close(&path, &found, most(folder, is_all), &mut lines)?;
    }
    if parts.contains(&Part::Githost) {
        each_file(&root.join("keys"), |path, found| close(path, found, FILE_MODE, &mut lines))?;
        move_audit(root)?;
    }
    if parts.contains(&Part::Builder) || parts.contains(&Part::Cleaner) {
        close_locks(root, &mut lines)?;
    }
    Ok(lines)
}

/// Returns the most that others may in a folder.
fn most(folder: &Folder, is_all: bool) -> u32 {
    match folder.owner {
        Owner::Root if folder.name == RUN && !is_all => THROUGH_MODE,
        Owner::Root | Owner::Edge | Owner::Githost => FOLDER_MODE,
        Owner::RootForEdge | Owner::RootForGithost => GROUP_MODE,
    }
}

/// Closes the locks that others may hold.
pub(crate) fn close_locks(root: &Path, lines: &mut Vec<String>) -> Result<(), StoreError> {
    each_file(&root.join(RUN), |path, found| match path.extension() {
        Some(extension) if extension == "lock" => close_lock(path, found, lines),
        // Instances see some of these, and nobody else can pass the folder.
        Some(_) | None => Ok(()),
    })?;
    each_file(&root.join("run/occupied"), |path, found| close_lock(path, found, lines))
}

/// Moves the audit log to where it is kept now: older versions kept it among the logs.
pub(crate) fn move_audit(root: &Path) -> Result<(), StoreError> {
    for name in ["audit.log.1", "audit.log", "audit-refused.log.1", "audit-refused.log"] {
        let (old, new) = (root.join("logs").join(name), root.join("audit").join(name));
        if old.is_file() && !new.exists() {
            fs::rename(&old, &new).map_err(io_error("move", old))?;
        }
    }
    Ok(())
}

pub(crate) fn make(path: &Path, mode: u32) -> Result<(), StoreError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        // The umask takes from what is asked for.
        Ok(()) => fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io_error("make", path)),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let parent = path.parent().unwrap_or(Path::new("/"));
            DirBuilder::new().recursive(true).mode(0o755).create(parent).map_err(io_error("make", parent))?;
            DirBuilder::new().mode(mode).create(path).map_err(io_error("make", path))
        }
        Err(e) => Err(io_error("make", path)(e)),
    }
}

/// Root takes a folder that is another's. Anybody else cannot, and need not while it can be used.
fn take(path: &Path, found: &Metadata, lines: &mut Vec<String>) -> Result<(), StoreError> {
    if !geteuid().is_root() || found.uid() == 0 {
        return Ok(());
    }
    lchown(path, Some(0), Some(0)).map_err(io_error("take", path))?;
    lines.push(format!("{} belonged to the user {}, and is root's now", path.display(), found.uid()));
    Ok(())
}

pub(crate) fn close(
    path: &Path,
    found: &Metadata,
    mode: u32,
    lines: &mut Vec<String>,
) -> Result<(), StoreError> {
    let (found, mode) = (found.mode() & 0o7777, mode & 0o7777);
    // What is closed further than asked stays so.
    if found & OTHERS & !mode == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, Permissions::from_mode(found & mode)) {
        Ok(()) => lines.push(format!("{} was open as {found:04o}, and is closed now", path.display())),
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => lines.push(format!(
            "{} is open to others as {found:04o} and belongs to somebody else: chown it to the user who runs func",
            path.display()
        )),
        Err(e) => return Err(io_error("close", path)(e)),
    }
    Ok(())
}

pub(crate) fn each_file(
    folder: &Path,
    mut act: impl FnMut(&Path, &Metadata) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let entries = match fs::read_dir(folder) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(()),
        entries => entries.map_err(io_error("read", folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(io_error("read", folder))?;
        match entry.metadata() {
            Ok(found) if found.is_file() => act(&entry.path(), &found)?,
            // Another part of func has removed it.
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io_error("read", entry.path())(e)),
            Ok(_) => {}
        }
    }
    Ok(())
}

/// Closes a lock that others may hold. Somebody who opened it before could hold it later as well, so it makes place for a
/// new one, unless a part of func holds it now.
fn close_lock(path: &Path, found: &Metadata, lines: &mut Vec<String>) -> Result<(), StoreError> {
    if found.mode() & OTHERS == 0 {
        return Ok(());
    }
    let Ok(file) = File::open(path) else { return close(path, found, FILE_MODE, lines) };
    let is_free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if is_free || is_strangers(found.ino()) {
        lines.push(format!("{} was a lock that others could hold, and is made anew", path.display()));
        return crate::disk::remove(path);
    }
    close(path, found, FILE_MODE, lines)
}

/// Whether every holder of a lock that is known is neither root nor the own user. Holders in other containers are not
/// known.
///
/// Source: proc(5), /proc/locks.
fn is_strangers(inode: u64) -> bool {
    let held = fs::read_to_string("/proc/locks").unwrap_or_default();
    let file = format!(":{inode}");
    let holders = held.lines().filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        (fields.next() == Some("FLOCK")).then_some(())?;
        let (pid, place) = (fields.nth(2)?, fields.next()?);
        place.ends_with(&file).then(|| uid_of(pid)).and_then(Result::ok)
    });
    let holders: Vec<u32> = holders.collect();
    !holders.is_empty() && holders.iter().all(|uid| *uid != 0 && *uid != geteuid().as_raw())
}

fn uid_of(pid: &str) -> io::Result<u32> {
    fs::metadata(Path::new("/proc").join(pid)).map(|found| found.uid())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn what_was_there_before_is_put_right() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("data");
        for name in ["", "run", "run/redis", "keys", "projects"] {
            fs::create_dir_all(root.join(name)).expect("made");
            fs::set_permissions(root.join(name), Permissions::from_mode(0o777)).expect("opened");
        }
        for name in ["run/deploy-blog.lock", "keys/token", "run/resolv.conf"] {
            fs::write(root.join(name), "").expect("written");
            fs::set_permissions(root.join(name), Permissions::from_mode(0o666)).expect("opened");
        }
        let lines = prepare(&root, &Part::ALL).expect("put right");
        assert!(lines.iter().any(|line| line.contains("run was open as 0777")), "{lines:?}");
        assert_eq!(mode(&root), 0o755, "others cannot write, and can pass");
        for folder in FOLDERS.iter().filter(|folder| folder.owner == Owner::Root) {
            assert_eq!(mode(&root.join(folder.name)), 0o700, "{}", folder.name);
        }
        assert_eq!(mode(&root.join("keys/token")), 0o600);
        assert_eq!(mode(&root.join("run/resolv.conf")), 0o666, "instances read it");
        assert!(!root.join("run/deploy-blog.lock").exists(), "it is made anew");
        assert_eq!(prepare(&root, &Part::ALL).expect("twice"), [""; 0], "nothing is left to do");
    }

    #[test]
    fn a_lock_that_a_part_of_an_older_version_holds_stays_and_is_closed() {
        let dir = tempfile::tempdir().expect("a folder");
        prepare(dir.path(), &Part::ALL).expect("made");
        let path = dir.path().join("run/cleaner.lock");
        let held = File::create(&path).expect("made");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("opened");
        flock(&held, FlockOperation::NonBlockingLockExclusive).expect("held");
        prepare(dir.path(), &Part::ALL).expect("put right");
        assert_eq!(mode(&path), 0o600);
        assert!(crate::Lock::try_take(&path).expect("tried").is_none(), "it is held still");
    }

    #[test]
    fn a_folder_that_is_closed_further_stays_so() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("closed");
        prepare(dir.path(), &Part::ALL).expect("made");
        assert_eq!(mode(dir.path()), 0o700);
    }

    #[test]
    fn a_part_makes_and_closes_what_it_writes_and_leaves_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("keys")).expect("made");
        fs::set_permissions(dir.path().join("keys"), Permissions::from_mode(0o755)).expect("opened");
        prepare(dir.path(), &[Part::Edge]).expect("made");
        for folder in &FOLDERS[..5] {
            assert_eq!(dir.path().join(folder.name).exists(), folder.name == "keys", "{}", folder.name);
        }
        assert_eq!(mode(&dir.path().join("keys")), 0o755, "it is the git host's to close");
        assert!(dir.path().join("run/edge").is_dir() && !dir.path().join("run/start").exists());
        prepare(dir.path(), &[Part::Githost]).expect("made");
        assert_eq!(mode(&dir.path().join("keys")), 0o700);
    }

    #[test]
    fn the_audit_log_of_an_older_version_is_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("logs")).expect("made");
        fs::write(dir.path().join("logs/audit.log"), "a line\n").expect("written");
        for _ in 0..2 {
            prepare(dir.path(), &Part::ALL).expect("made");
            assert_eq!(fs::read_to_string(dir.path().join("audit/audit.log")).expect("read"), "a line\n");
            assert!(!dir.path().join("logs/audit.log").exists());
        }
    }
}
