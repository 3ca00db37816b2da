//! Who did what: the lines of the audit log, and the principal that goes from a door to them.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::AppName;

/// Who asks for something, as func knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Principal {
    /// A client with this SSH key, `SHA256:...`.
    Key { fingerprint: String, address: IpAddr },
    /// A client with the token, over HTTP.
    Token { address: IpAddr },
    /// A user of the machine, by the kernel's word.
    Local { uid: u32, name: Option<String> },
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { fingerprint, address } => write!(f, "key {fingerprint} from {address}"),
            Self::Token { address } => write!(f, "token from {address}"),
            Self::Local { uid, name: Some(name) } => write!(f, "local user {name} ({uid})"),
            Self::Local { uid, name: None } => write!(f, "local user {uid}"),
        }
    }
}

/// What was done, or tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditAct {
    Push,
    Rollback,
    Remove,
    /// A release is kept, whatever goes for its age or for space.
    Pin,
    Unpin,
    /// A new token for git over HTTP.
    Token,
    /// The public keys that are let in are others than before.
    Keys,
    /// A client showed a key or a token.
    Login,
}

impl fmt::Display for AuditAct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Push => "push",
            Self::Rollback => "rollback",
            Self::Remove => "remove",
            Self::Pin => "pin",
            Self::Unpin => "unpin",
            Self::Token => "token",
            Self::Keys => "keys",
            Self::Login => "login",
        })
    }
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditEnd {
    Done,
    Failed,
    /// The principal may not.
    Refused,
}

/// One line of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditRecord {
    pub at_ms: u64,
    pub act: AuditAct,
    pub app: Option<AppName>,
    pub by: Principal,
    pub end: AuditEnd,
    /// Refs, a release, keys; plain text.
    pub detail: String,
    /// How many refusals before this one were not written, since there were too many.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unlisted: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
