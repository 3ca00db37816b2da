//! Who is in an instance, told without the ledger: `flock` on a file for each instance, in `run/occupied/`.
//!
//! An edge that cannot reach the ledger cannot renew its leases, and a cleaner that does reach it sees none. So an edge
//! also occupies what it has a lease on, and the cleaner stops and pauses only what is vacant, and stays so meanwhile.
//! The kernel ends what a process held when the process ends: a crash leaves nothing to be cleared away.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use func_model::InstanceId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::handing::{hand_over, open_plain};
use crate::{DataDir, StoreError, io_error};

/// How often a file that was removed between opening and locking it is opened anew.
const TRIES: usize = 10;

/// The files by which edges and the cleaner tell each other who is in an instance.
#[derive(Debug, Clone)]
pub struct Occupancy {
    folder: PathBuf,
}

/// An edge's: while it lives the instance is not vacant. Several edges may have one of the same instance.
#[derive(Debug)]
pub struct Occupied {
    _file: File,
}

/// The cleaner's: while it lives no edge occupies the instance.
#[derive(Debug)]
pub struct Vacant {
    _file: File,
    path: PathBuf,
}

impl Drop for Vacant {
    fn drop(&mut self) {
        // Still locked: who has opened it already finds out that it is not there any more.
        let _ = fs::remove_file(&self.path);
    }
}

impl Occupancy {
    /// Gives those of a data folder. Makes nothing yet.
    pub fn new(data: &DataDir) -> Self {
        Self { folder: data.run("occupied") }
    }

    /// Occupies an instance; `None` while it is kept vacant. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be made or locked.
    pub fn occupy(&self, id: &InstanceId) -> Result<Option<Occupied>, StoreError> {
        let path = self.path(id);
        match lock(&path, FlockOperation::NonBlockingLockShared) {
            Ok(locked) => Ok(locked.map(|file| Occupied { _file: file })),
            // The cleaner makes it just now, and gives it to the edge's user next.
            Err(StoreError::Io { source, .. })
                if source.kind() == ErrorKind::PermissionDenied && path.exists() =>
            {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Keeps an instance vacant; `None` if somebody occupies it, or keeps it vacant already. Does not wait.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be made or locked.
    pub fn vacate(&self, id: &InstanceId) -> Result<Option<Vacant>, StoreError> {
        let path = self.path(id);
        let locked = lock(&path, FlockOperation::NonBlockingLockExclusive)?;
        Ok(locked.map(|file| Vacant { _file: file, path }))
    }

    fn path(&self, id: &InstanceId) -> PathBuf {
        self.folder.join(id.to_string())
    }
}

fn lock(path: &Path, how: FlockOperation) -> Result<Option<File>, StoreError> {
    for _ in 0..TRIES {
        let file = open(path).map_err(io_error("make", path))?;
        hand_over(&file, path.parent().unwrap_or(path)).map_err(io_error("give away", path))?;
        match flock(&file, how) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(e) => return Err(io_error("lock", path)(e.into())),
        }
        if is_there(&file, path).map_err(io_error("read", path))? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn open(path: &Path) -> io::Result<File> {
    let open = || open_plain(File::options().create(true).truncate(false).write(true).mode(0o600), path);
    match open() {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(Path::new("."));
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
            open()
        }
        opened => opened,
    }
}

/// Whether it is this file that is found under its name: a lock on one that was removed keeps nobody out.
fn is_there(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (ours.dev(), ours.ino())),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupancy() -> (tempfile::TempDir, Occupancy) {
        let folder = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(folder.path()).expect("opened");
        let occupancy = Occupancy::new(&data);
        (folder, occupancy)
    }

    fn blog() -> InstanceId {
        "blog-v1.1".parse().expect("an instance")
    }

    #[test]
    fn what_an_edge_occupies_is_not_vacant_until_the_last_has_left() {
        let (_folder, occupancy) = occupancy();
        let one = occupancy.occupy(&blog()).expect("locked").expect("free");
        let other = occupancy.occupy(&blog()).expect("locked").expect("free for several");
        assert!(occupancy.vacate(&blog()).expect("asked").is_none());
        drop(one);
        assert!(occupancy.vacate(&blog()).expect("asked").is_none());
        drop(other);
        assert!(occupancy.vacate(&blog()).expect("asked").is_some());
    }

    #[test]
    fn what_is_kept_vacant_is_occupied_by_nobody_and_only_it() {
        let (_folder, occupancy) = occupancy();
        let vacant = occupancy.vacate(&blog()).expect("asked").expect("vacant");
        assert!(occupancy.occupy(&blog()).expect("asked").is_none());
        assert!(occupancy.vacate(&blog()).expect("asked").is_none());
        let shop: InstanceId = "shop-v1.1".parse().expect("an instance");
        assert!(occupancy.occupy(&shop).expect("asked").is_some());
        drop(vacant);
        assert!(occupancy.occupy(&blog()).expect("asked").is_some());
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_is_none() {
        let (_folder, occupancy) = occupancy();
        let path = occupancy.path(&blog());
        let late = open(&path).expect("made");
        drop(occupancy.vacate(&blog()).expect("asked").expect("vacant"));
        assert!(!path.exists(), "it leaves no file");
        flock(&late, FlockOperation::NonBlockingLockShared).expect("nobody has it");
        assert!(!is_there(&late, &path).expect("read"));
        assert!(occupancy.vacate(&blog()).expect("asked").is_some(), "that lock keeps nobody out");
    }
}
