//! How much of a disk is free, and how much stays free: with less, pushes are refused.

use std::io;
use std::path::Path;

use crate::limits::{DISK_SHARE_KEPT, FREE_BYTES_MIN};

/// A disk as pushes see it, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FreeDisk {
    pub free: u64,
    pub kept: u64,
}

impl FreeDisk {
    /// Looks at the disk of a path. `kept` is the setting `free-disk`; where nobody says how much, a share of a small disk
    /// is kept.
    ///
    /// # Errors
    /// If there is no such path.
    pub fn of(path: &Path, kept: Option<u64>) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(path)?;
        let share = stat.f_blocks.saturating_mul(stat.f_frsize) / DISK_SHARE_KEPT;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        Ok(Self { free, kept: kept.unwrap_or(FREE_BYTES_MIN.min(share)) })
    }

    /// Whether pushes are refused.
    pub fn is_low(self) -> bool {
        self.free < self.kept
    }
}
