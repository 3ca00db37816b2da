//! What an instance is doing, and the rights that its record gives: claims, permits, leases.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{GateName, InstanceId};

/// Where an instance answers, in one generation of its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    pub addr: SocketAddr,
    pub generation: u64,
}

/// An edge's standing claim that keeps an instance alive. A new serial for every lease taken:
/// a late `leave` then cannot drop a newer lease of the same edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId {
    pub holder: String,
    pub serial: u64,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.holder, self.serial)
    }
}

/// The right, and the duty, to start an instance. Ends with `woken`, `failed`, or by its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: InstanceId,
    pub generation: u64,
    /// What was made ahead for it: its gate is to be opened. `None`: the cleaner is to be asked.
    pub poised: Option<Poised>,
}

/// An instance made ahead: its container runs, and its process is held at a gate before the app's own program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poised {
    pub gate: GateName,
    /// Where it will answer.
    pub addr: SocketAddr,
    /// The path that it answers when it is ready; without one an accepted connection is enough.
    pub health: Option<String>,
}

/// The right, and the duty, to stop an instance. Ends with `cooled`, or by its deadline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoolPermit {
    pub id: InstanceId,
    pub generation: u64,
}

/// The right, and the duty, to pause an instance. Ends with `frozen`, or as a [`CoolPermit`] does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreezePermit {
    pub id: InstanceId,
    pub generation: u64,
}

/// What an instance is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Nothing runs.
    Cold,
    /// `owner` holds the claim and starts it. The lease that it will take names it, so that a call whose answer was
    /// lost can be made again.
    Waking { owner: LeaseId, until_ms: u64 },
    /// It answers at `addr`.
    Warm { addr: SocketAddr },
    /// Its process is paused, its memory kept; it will answer at `addr` again.
    Frozen { addr: SocketAddr },
    /// The cleaner stops it, pauses it, or removes what was made ahead for it.
    Cooling { until_ms: u64 },
    /// The last start failed; the next one is due at `until_ms`.
    Broken { until_ms: u64 },
}

impl Phase {
    /// Gives the phase's name in lower case, as it is shown and stored.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Waking { .. } => "waking",
            Self::Warm { .. } => "warm",
            Self::Frozen { .. } => "frozen",
            Self::Cooling { .. } => "cooling",
            Self::Broken { .. } => "broken",
        }
    }
}

/// What an edge is told when it wants to enter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It runs, and the caller's lease stands.
    Warm(Endpoint),
    /// Somebody else starts or stops it: wait for a change, ask again.
    Wait,
    /// The caller has to start it.
    Claimed(Claim),
    /// Another release is live: look the route up again.
    Retired,
    /// The last start failed; the next try is due in `retry_ms`.
    Broken { retry_ms: u64 },
}

/// Why an instance may not be stopped yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotYet {
    /// It is not warm.
    NotWarm,
    /// A lease lives.
    Leased,
    /// It was used less than `idle` ago.
    Used,
    /// The ledger was restored less than a lease time ago: edges may hold leases that it does not know.
    Quarantine,
}
