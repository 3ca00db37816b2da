//! What runs instances: one Docker Engine, through its API.
//!
//! A service is handed the one trait that its work needs: the edge `Start`, the builder `Make` (and `Start`, for the
//! smoke test of a deploy), the cleaner `Stop` and `Look`. `Docker` is all four.

mod power;

pub use power::{
    BuildFailed, BuildJob, BuildLines, ByteStream, ImageFacts, LineStream, Look, Make, RunnerError, Start, StartError,
    State, Stop,
};
