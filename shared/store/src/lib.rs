//! What is kept on disk, under /var/func or `--data DIR`: the truth that outlives every process.
//!
//! ```text
//! projects/<app>.git            bare repositories
//! manifest/<app>/v8.json        one file per release, never changed afterwards
//! manifest/<app>/v8.pin         this release stays until it is unpinned
//! manifest/<app>/current        the number of the live release: the durable commit point of a deploy
//! manifest/<app>/last           the highest number ever given to a release
//! manifest/<app>/failed         the revision whose deploy failed last: not tried again at boot
//! keys/                         SSH host key, authorized_keys, the token and its hash
//! audit/audit.log               who did what; audit-refused.log beside it
//! logs/<app>/                   build.log and instance.log, rotated, byte-capped
//! run/                          sockets, locks and gates, in a folder of each part's that others reach
//! ```

mod audit;
mod disk;
mod folders;
mod handing;
mod layout;
mod lock;
mod log_file;
mod manifests;
mod occupancy;
mod pins;
mod token;
mod usage;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use audit::{Audit, audited, local};
pub use disk::{DataDir, replace};
pub use layout::{Part, Users};
pub use lock::Lock;
pub use log_file::{LogFile, remove_log, tail};
pub use manifests::Manifests;
pub use occupancy::{Occupancy, Occupied, Vacant};
pub use token::Token;
pub use usage::{FolderUsage, disk_report, remove_rotated, volume, write_disk_report};

/// Why the disk could not be read or written.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("{verb} {path}")]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not what func wrote: move it away, or restore it from a backup")]
    Corrupt { path: PathBuf, source: serde_json::Error },
    #[error("{path} is not what func wrote: move it away, or restore it from a backup")]
    CorruptText { path: PathBuf },
    #[error("{path} exists already: a manifest is never changed")]
    Exists { path: PathBuf },
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

pub(crate) fn io_error(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.into();
    move |source| StoreError::Io { verb, path, source }
}
