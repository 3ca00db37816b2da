//! Calls between func's own processes: HTTP/1.1 over unix sockets in `run/`, one call a connection.
//!
//! A socket is open to its owner, to root, and to the one user that it may be for, checked by the kernel's word about the peer, so no call carries a
//! password. Answers are one JSON value, or lines that come as things happen (`BuildEvent`s, log lines).

mod address;
mod client;
pub mod descriptors;
mod limits;
mod lines;
mod server;

use std::io;
use std::path::PathBuf;

use http::StatusCode;
use thiserror::Error;

pub use address::Address;
pub use client::{call, call_json, call_json_within};
pub use lines::{Lines, line_stream};
pub use server::{Caller, serve, serve_also};

/// Why a call gave no answer. The texts are for people.
#[derive(Debug, Error)]
pub enum CallError {
    #[error("the {service} does not run: start it with `func serve all`")]
    NotRunning { service: String, source: io::Error },
    #[error("the {service} belongs to another user: call it as that user, or as root")]
    Forbidden { service: String, source: io::Error },
    #[error("the {service} cannot be called")]
    Connect { service: String, source: io::Error },
    #[error("the {service} did not answer within {within_s} s")]
    Slow { service: String, within_s: u64 },
    #[error("the {service} broke off the answer")]
    Broken { service: String, source: hyper::Error },
    /// It answered, with an error; `said` is its text.
    #[error("{said}")]
    Refused { status: StatusCode, said: String },
    #[error("the {service} answered a line of more than {max} bytes")]
    Long { service: String, max: usize },
    #[error("the {service} answered something else than expected: are both of the same version?")]
    Json { service: String, source: serde_json::Error },
    #[error("write the call to the {service}")]
    Request { service: String, source: Box<dyn std::error::Error + Send + Sync> },
}

/// Why a socket could not be served.
#[derive(Debug, Error)]
pub enum ServeError {
    #[error("somebody listens on {path} already: does func run twice with the same data folder?")]
    Taken { path: PathBuf },
    #[error("listen on {path}")]
    Listen { path: PathBuf, source: io::Error },
}
