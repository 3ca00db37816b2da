//! Locks between processes: `flock` on a file, released by the kernel when the holder ends.

use std::fs::File;
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
        let file = File::create(path).map_err(io_error("make", path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file, path: path.to_owned() })),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(e) => Err(io_error("lock", path)(e.into())),
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
