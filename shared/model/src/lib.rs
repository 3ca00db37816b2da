//! The words and the rules of func: names, states, decisions. No IO, no clock, no async.
//!
//! Everything here can be tested without a machine: `Record::apply` says what may happen to an instance,
//! `plan` says what has to be done when what is known and what is seen differ.

pub mod call;
pub mod config;
pub mod event;
pub mod limits;
mod name;
mod plan;
mod record;
mod refs;
mod refusal;
mod release;
mod route;

pub use name::{AppName, HostName, ImageDigest, NameError, Revision};
pub use plan::{Known, Seen, SeenContainer, SeenImage, SeenState, Step, plan};
pub use record::{
    Act, Claim, CoolPermit, Endpoint, Entry, LeaseId, NotYet, Outcome, Phase, Record, Stale, backoff_ms,
};
pub use refs::{LineError, RefUpdate};
pub use refusal::Refusal;
pub use release::{InstanceId, Release, ReleaseId, ReleaseNumber, Resources};
pub use route::{Route, RouteTable, host_of};
