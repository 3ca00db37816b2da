//! What func's processes ask of each other over the unix sockets in `run/`.

use serde::{Deserialize, Serialize};

use crate::{AppName, HostName, Principal, ReleaseId, ReleaseNumber, Revision};

/// `POST /builds` of the builder: build this revision and make it live. Answered by `BuildEvent` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildCall {
    pub app: AppName,
    pub revision: Revision,
    /// Who pushed it.
    #[serde(default)]
    pub by: Option<Principal>,
}

/// `POST /rollbacks` of the builder: make an older release live again. Answered by `BuildEvent` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackCall {
    pub app: AppName,
    /// `None`: the newest that is older than the live one.
    pub to: Option<ReleaseNumber>,
}

/// `POST /pins` of the builder: keep a release, or let it go. Answered by `BuildEvent` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinCall {
    pub release: ReleaseId,
    pub pin: Pin,
}

/// A change of a release's pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pin {
    Keep,
    Lift,
}

/// `POST /removals` of the builder: remove the app, its releases and its repository. Answered by `BuildEvent` lines.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveCall {
    pub app: AppName,
}

/// One line of `GET /apps` of the cleaner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    pub app: AppName,
    pub release: Option<ReleaseId>,
    pub phase: String,
    /// Unix ms; `None` if it has never been used since the ledger knows it.
    pub used_ms: Option<u64>,
    pub hosts: Vec<HostName>,
}
