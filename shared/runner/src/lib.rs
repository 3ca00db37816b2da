//! What runs instances: one Docker Engine, through its API.
//!
//! A service is handed the one trait that its work needs: the edge `Start`, the builder `Make` (and `Start`, for the
//! smoke test of a deploy), the cleaner `Stop` and `Look`. `Docker` is all four.

mod build;
mod buildkit_lines;
mod call;
mod container;
mod context;
mod docker;
mod image;
mod lines;
mod look;
mod network;
mod output;
mod power;
mod prune;
mod readiness;
mod remove;
mod start;
mod stop;

pub use docker::{Config, DEFAULT_SOCKET, Docker};
pub use power::{
    BuildFailed, BuildJob, BuildLines, ByteStream, ImageFacts, LineStream, Look, Make, RunnerError, Start,
    StartError, State, Stop,
};
