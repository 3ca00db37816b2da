//! What goes wrong at the developers' door.

use std::io;
use std::path::PathBuf;

use func_model::{AppName, NameError};
use func_store::StoreError;
use thiserror::Error;

const MIB: u64 = 1024 * 1024;

/// Why a git command is not served.
#[derive(Debug, Error)]
pub enum HostError {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("`{0}` is not served here: this is a git host, without a shell")]
    NotGit(String),
    #[error("there is no app `{0}` yet: the first push makes it")]
    NoSuchApp(AppName),
    #[error("too many git commands run at once: please try again")]
    Crowded,
    #[error("the server's disk is nearly full ({} MiB free, {} MiB are kept): nothing was stored; whoever runs it can make room (func df, func rm <app>), or lower `free-disk`", free / MIB, kept / MIB)]
    LowDisk { free: u64, kept: u64 },
    /// `why` is the sentence for the pusher.
    #[error("{why}")]
    OverBudget { why: String },
    #[error("make the repository of {app}")]
    Make { app: AppName, source: git2::Error },
    #[error("{verb} {path}")]
    Io { verb: &'static str, path: PathBuf, source: io::Error },
    #[error("start git")]
    Spawn(#[source] io::Error),
    #[error("wait for git")]
    Wait(#[source] io::Error),
    #[error("the host key {path} cannot be used: {reason}")]
    HostKey { path: PathBuf, reason: String },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a task of the git host panicked")]
    Panic,
}

impl HostError {
    /// Gives the sentence for the client: what happened and what to do, no path, no chain of causes.
    pub fn text(&self) -> String {
        match self {
            Self::Name(_)
            | Self::NotGit(_)
            | Self::NoSuchApp(_)
            | Self::Crowded
            | Self::LowDisk { .. }
            | Self::OverBudget { .. } => self.to_string(),
            Self::Make { .. }
            | Self::Io { .. }
            | Self::Spawn(_)
            | Self::Wait(_)
            | Self::HostKey { .. }
            | Self::Store(_)
            | Self::Panic => "the git host failed; its log says why".to_owned(),
        }
    }

    /// Whether the client asked for what it cannot have; the rest is the host's own failure.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Name(_) | Self::NotGit(_) | Self::NoSuchApp(_) | Self::Crowded)
    }
}

pub(crate) fn io_error(verb: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> HostError {
    let path = path.into();
    move |source| HostError::Io { verb, path, source }
}
