//! Locks between processes: `flock` on a file, released by the kernel when the holder ends.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use func_model::AppName;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::{DataDir, StoreError, io_error};

/// A held lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock if nobody has it; `None` if somebody does.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be made.
    pub fn try_take(path: &Path) -> Result<Option<Self>, StoreError> {
        loop {
            // Whoever may open it could hold it.
            let mut options = File::options();
            let file = options.create(true).truncate(false).write(true).mode(0o600).open(path);
            let file = file.map_err(io_error("make", path))?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, path) => return Ok(Some(Self { _file: file, path: path.to_owned() })),
                // It was made anew meanwhile.
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(e) => return Err(io_error("lock", path)(e.into())),
            }
        }
    }

    /// Takes the lock of an app's deploy, if nobody has it: the builder while it deploys or removes the app,
    /// the cleaner while it removes what belongs to no release.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file cannot be made.
    pub fn try_deploy(data: &DataDir, app: &AppName) -> Result<Option<Self>, StoreError> {
        Self::try_take(&data.run(&format!("deploy-{app}.lock")))
    }

    /// Gives the file's place.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether an open file is the one that has this name now.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let place = |found: &Metadata| (found.dev(), found.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(held), Ok(named)) if place(&held) == place(&named))
}
