//! What runs instances: one Docker Engine, through its API.
//!
//! A service is handed the one trait that its work needs: the edge `Start`, the builder `Make` (and `Start`, for the
//! smoke test of a deploy), the cleaner `Start`, `Hold`, `Stop`, `Look` and `Measure`. `Docker` is all six; `Remote` is the
//! cleaner's `Start` for those who have no Docker.

mod addresses;
mod asked;
mod build;
mod buildkit_lines;
mod builds;
mod call;
mod confinement;
mod container;
mod context;
mod disk;
mod docker;
mod failure;
mod firewall;
mod gate;
mod gate_program;
mod guard;
mod hold;
mod image;
mod lines;
mod look;
mod make;
mod measure;
mod memory;
mod network;
mod output;
mod parent;
mod poise;
mod power;
mod prune;
mod readiness;
mod remote;
mod remove;
mod resolver;
mod start;
mod start_failure;
mod stop;

pub use builds::{BUILD_ENGINE_IMAGE, Builds};
pub use docker::{Config, DEFAULT_SOCKET, Docker};
pub use firewall::{Firewall, FirewallError, Guarded, Kept, Policy};
pub use gate::{GateError, open_gate};
pub use guard::{Guard, GuardError, Outbound};
pub use make::{BuildFailed, BuildJob, ImageFacts, Make};
pub use measure::Measure;
pub use parent::{BoundError, memory_bound, remove_group};
pub use power::{
    BuildLines, ByteStream, Hold, How, LineStream, Look, OverMemory, RunnerError, Start, StartError,
    StartTimes, Started, State, Stop,
};
pub use readiness::{NotReady, until_ready};
pub use remote::{LookCall, Remote, START_SOCKET, StartAnswer, StartCall};
pub use resolver::name_servers;
pub use start_failure::{RunnerFailure, StartFailure};
