//! The gates of poised containers: made, opened once, looked at, removed.
//!
//! A gate is a folder, `run/poised/<gate>/`: `go` is the pipe that the container's process waits at, `opened` is there
//! from just before the byte that lets it go, `passed` from just after it. Whoever makes `opened` is the only one who writes.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use func_crash::point;
use func_model::GateName;
use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::io::Errno;
use rustix::process::getegid;
use thiserror::Error;
use tokio::time::{Instant, sleep};

/// How long a gate that nobody reads is tried again: its process always reads, so this is room for what is not foreseen.
const READER: Duration = Duration::from_millis(5);
const READER_EVERY: Duration = Duration::from_millis(1);
/// Nobody but the owner and the group looks into a gate.
const FOLDER_MODE: u32 = 0o750;
/// The process of a container may have any user.
const PIPE_MODE: u32 = 0o644;
/// An edge of another user marks the gate, and writes to its pipe.
const SHARED_FOLDER_MODE: u32 = 0o770;
const SHARED_PIPE_MODE: u32 = 0o664;

/// Why a gate was not opened.
#[derive(Debug, Error)]
pub enum GateError {
    /// Somebody has opened it, or has died while doing so.
    #[error("the gate is open already")]
    Opened,
    /// It is marked as opened now, and its process is gone.
    #[error("nobody waits at the gate")]
    Closed,
    #[error("the gate is gone")]
    Gone,
    #[error("open the gate")]
    Io(#[source] io::Error),
}

/// Opens a gate: the process that waits there becomes the app. `gates` is `run/poised/`. Can be done once, by one
/// caller; the mark is made before the byte is written, so that after a crash, or if this future is dropped, everybody
/// can see that the gate must not be opened again. Takes microseconds, or a few milliseconds if nobody reads.
///
/// # Errors
/// [`GateError`]; the instance has to be started in another way then.
pub async fn open_gate(gates: &Path, gate: GateName) -> Result<(), GateError> {
    let folder = folder(gates, gate);
    mark(&folder)?;
    point("after_opened");
    let deadline = Instant::now() + READER;
    loop {
        match writer(&folder).and_then(|mut pipe| pipe.write_all(b"!")) {
            Ok(()) => {
                point("after_gate");
                // Without it a crash of the app is not told, and it is started once more: nothing worse.
                let _ = File::create(folder.join("passed"));
                point("after_passed");
                return Ok(());
            }
            Err(e) if !is_unread(&e) => return Err(absent_or(e)),
            Err(_) if Instant::now() >= deadline => return Err(GateError::Closed),
            Err(_) => sleep(READER_EVERY).await,
        }
    }
}

/// What is known of a gate without asking its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GateState {
    /// Nobody has opened it. It is so old.
    Shut {
        age: Duration,
    },
    Opened,
    /// It is marked as opened, and its process still waits: its opener is between the two, or has died there.
    Spent,
    Gone,
}

pub(crate) fn state(gates: &Path, gate: GateName) -> GateState {
    let folder = folder(gates, gate);
    if folder.join("opened").exists() {
        // An app may read its own pipe when it was let go: that says nothing.
        let waits = !folder.join("passed").exists() && writer(&folder).is_ok();
        return if waits { GateState::Spent } else { GateState::Opened };
    }
    // Nobody has written to the pipe: its time is that of its making.
    match fs::metadata(folder.join("go")).and_then(|pipe| pipe.modified()) {
        Ok(made) => GateState::Shut { age: made.elapsed().unwrap_or_default() },
        Err(_) => GateState::Gone,
    }
}

/// Whether the process that waited at a gate was let go: what ended since then was the app.
pub(crate) fn is_passed(gates: &Path, gate: GateName) -> bool {
    folder(gates, gate).join("passed").exists()
}

/// Whether a process waits at a gate, opened or not.
pub(crate) fn is_read(gates: &Path, gate: GateName) -> bool {
    writer(&folder(gates, gate)).is_ok()
}

/// Waits until a process waits at a gate; `false` if none does before the deadline.
pub(crate) async fn until_read(gates: &Path, gate: GateName, deadline: Instant) -> bool {
    while !is_read(gates, gate) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(READER_EVERY).await;
    }
    true
}

/// Waits until no process waits at a gate any more; `false` if one still does at the deadline.
pub(crate) async fn until_left(gates: &Path, gate: GateName, deadline: Instant) -> bool {
    while is_read(gates, gate) {
        if Instant::now() >= deadline {
            return false;
        }
        sleep(READER_EVERY).await;
    }
    true
}

/// Makes a gate, and gives the path of its pipe.
pub(crate) fn make(gates: &Path, gate: GateName) -> io::Result<PathBuf> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(gates)?;
    let folder = folder(gates, gate);
    DirBuilder::new().mode(FOLDER_MODE).create(&folder)?;
    let pipe = folder.join("go");
    mkfifoat(CWD, &pipe, Mode::from_raw_mode(PIPE_MODE))?;
    // The umask has taken from it.
    fs::set_permissions(&pipe, fs::Permissions::from_mode(PIPE_MODE))?;
    share(gates, &folder, &pipe)?;
    point("after_gate_made");
    Ok(pipe)
}

/// Lets the group of the gates' folder open a gate, if that is another one than the own: edges are another user then.
fn share(gates: &Path, folder: &Path, pipe: &Path) -> io::Result<()> {
    let group = fs::metadata(gates)?.gid();
    if group == getegid().as_raw() {
        return Ok(());
    }
    for (path, mode) in [(pipe, SHARED_PIPE_MODE), (folder, SHARED_FOLDER_MODE)] {
        chown(path, None, Some(group))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// Removes a gate. Absent is done.
pub(crate) fn remove(gates: &Path, gate: GateName) -> io::Result<()> {
    match fs::remove_dir_all(folder(gates, gate)) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Gives the gates whose folders are older than `age`.
pub(crate) fn older_than(gates: &Path, age: Duration) -> io::Result<Vec<GateName>> {
    let entries = match fs::read_dir(gates) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut old = Vec::new();
    for entry in entries {
        let entry = entry?;
        let made = entry.metadata().and_then(|folder| folder.modified());
        let gate: Option<GateName> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if made.is_ok_and(|made| made.elapsed().unwrap_or_default() > age) {
            old.extend(gate);
        }
    }
    Ok(old)
}

fn folder(gates: &Path, gate: GateName) -> PathBuf {
    gates.join(gate.to_string())
}

fn mark(folder: &Path) -> Result<(), GateError> {
    match OpenOptions::new().write(true).create_new(true).open(folder.join("opened")) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(GateError::Opened),
        Err(e) => Err(absent_or(e)),
    }
}

fn writer(folder: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    OpenOptions::new().write(true).custom_flags(flags).open(folder.join("go"))
}

/// Whether nobody reads a pipe: not when it was opened, or no more when it was written to.
fn is_unread(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NXIO | Errno::PIPE))
}

fn absent_or(error: io::Error) -> GateError {
    match error.kind() {
        ErrorKind::NotFound => GateError::Gone,
        _ => GateError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn gate() -> GateName {
        GateName::new(7)
    }

    /// Waits at a gate as its process does.
    fn reader(gates: &Path) -> File {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(folder(gates, gate()).join("go"))
            .expect("a pipe")
    }

    #[tokio::test]
    async fn a_gate_is_opened_once() {
        let gates = tempfile::tempdir().expect("a folder");
        make(gates.path(), gate()).expect("a gate");
        let mut reader = reader(gates.path());
        assert!(matches!(state(gates.path(), gate()), GateState::Shut { .. }));
        open_gate(gates.path(), gate()).await.expect("it was shut");
        assert_eq!(state(gates.path(), gate()), GateState::Opened);
        assert!(matches!(open_gate(gates.path(), gate()).await, Err(GateError::Opened)));
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).expect("a byte");
        assert_eq!(bytes.len(), 1);
    }

    #[tokio::test]
    async fn a_gate_that_nobody_waits_at_stays_marked() {
        let gates = tempfile::tempdir().expect("a folder");
        make(gates.path(), gate()).expect("a gate");
        assert!(matches!(open_gate(gates.path(), gate()).await, Err(GateError::Closed)));
        assert_eq!(state(gates.path(), gate()), GateState::Opened);
    }

    #[tokio::test]
    async fn a_gate_that_is_gone_is_told() {
        let gates = tempfile::tempdir().expect("a folder");
        make(gates.path(), gate()).expect("a gate");
        for _ in 0..2 {
            remove(gates.path(), gate()).expect("it is gone");
        }
        assert!(matches!(open_gate(gates.path(), gate()).await, Err(GateError::Gone)));
        assert_eq!(state(gates.path(), gate()), GateState::Gone);
    }

    #[test]
    fn only_old_gates_are_old() {
        let gates = tempfile::tempdir().expect("a folder");
        assert_eq!(older_than(&gates.path().join("absent"), Duration::ZERO).expect("none").len(), 0);
        make(gates.path(), gate()).expect("a gate");
        assert_eq!(older_than(gates.path(), Duration::ZERO).expect("a list"), [gate()]);
        assert_eq!(older_than(gates.path(), Duration::from_secs(60)).expect("a list"), []);
    }
}
