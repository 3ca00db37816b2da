//! Where a socket is: its path, or a shorter way to it when the path is too long for the kernel.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::limits::SOCKET_PATH_BYTES;

/// A path that fits; it is good as long as this lives.
#[derive(Debug)]
pub struct Address {
    path: PathBuf,
    /// Keeps the folder's number valid.
    _dir: Option<File>,
}

impl Address {
    /// Gives the path itself, or one through /proc/self/fd where it has more bytes than a socket's path may have.
    pub fn of(path: &Path) -> io::Result<Self> {
        if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES {
            return Ok(Self { path: path.to_owned(), _dir: None });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        };
        let dir = File::open(parent)?;
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }

    /// Gives the path to use.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
