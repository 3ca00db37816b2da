//! The words and the rules of func: names, states, decisions. No IO, no clock, no async.
//!
//! Everything here can be tested without a machine: `Record::apply` says what may happen to an instance,
//! `plan` says what has to be done when what is known and what is seen differ.

mod address_block;
mod allowance;
mod audit;
mod budget;
mod build_engine;
pub mod call;
mod capability;
mod chain;
pub mod config;
mod disk_report;
mod dockerfile;
mod egress;
pub mod event;
#[cfg(test)]
mod fuzz_tests;
mod gate;
pub mod limits;
mod name;
mod phase;
mod plan;
mod record;
mod redact;
mod refs;
mod refusal;
mod release;
mod route;
mod terminal;
mod utc;

pub use address_block::AddressBlock;
pub use allowance::{Allowance, LEAST, LIMIT_KEYS, LimitsTable, RESOURCES};
pub use audit::{AuditAct, AuditEnd, AuditRecord, Principal};
pub use budget::{
    CacheUsage, DiskBudget, DiskLimit, DiskPart, DiskUsage, Eviction, ImageUsage, Layers, LogUsage, ROTATED,
    Volume, evictions, in_use, protected,
};
pub use build_engine::{BuildEngine, BuildEngineError};
pub use capability::{Capability, NotCapability};
pub use chain::chain;
pub use disk_report::{AppDisk, DiskReport, PartReport, size};
pub use dockerfile::Asks;
pub use egress::{Block, Destination, DestinationError, Egress, EgressError};
pub use gate::GateName;
pub use name::{AppName, HostName, ImageDigest, NameError, Revision};
pub use phase::{Claim, CoolPermit, Endpoint, Entry, FreezePermit, LeaseId, NotYet, Phase, Poised};
pub use plan::{Known, Seen, SeenContainer, SeenImage, SeenState, Step, plan};
pub use record::{Act, Outcome, Record, Stale, backoff_ms};
pub use redact::{SecretUrl, redacted, redacted_url};
pub use refs::{LineError, RefUpdate};
pub use refusal::Refusal;
pub use release::{Freeze, InstanceId, Release, ReleaseId, ReleaseNumber, Resources, previous};
pub use route::{Route, RouteTable, host_of};
pub use terminal::{plain_line, plain_text};
pub use utc::utc;
