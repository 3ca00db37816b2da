//! The powers over what runs, each a trait of its own; the one to make images is in `make`.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use func_model::{Claim, InstanceId, Poised, Release, ReleaseId, Seen};
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::mpsc;

/// Bytes as they come: a build context, an image.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;
/// Log lines as they come, without line ends, each cut at `limits::LOG_LINE_BYTES`.
pub type LineStream = Pin<Box<dyn Stream<Item = String> + Send>>;
/// Where a build's lines go; bounded, so that a slow pusher slows the build and fills no memory.
pub type BuildLines = mpsc::Sender<String>;

/// Why the engine did not do what it was asked.
#[derive(Debug, Error)]
pub enum RunnerError {
    #[error("the Docker engine does not answer")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the Docker engine refused to {verb}: {said}")]
    Refused { verb: &'static str, said: String },
    #[error("the Docker engine did not {verb} within {} s", .within.as_secs())]
    Slow { verb: &'static str, within: Duration },
    #[error("{release} has no manifest")]
    NoManifest { release: ReleaseId },
    #[error("read the manifest")]
    Store(#[from] func_store::StoreError),
    /// It starts instances for those who have no engine of their own.
    #[error("the cleaner cannot be asked")]
    Cleaner(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Why an instance did not start. Whatever had been started is gone again.
#[derive(Debug, Error)]
pub enum StartError {
    /// `status` is the exit status; 137 when it was killed, for its memory or by somebody.
    #[error("{id} stopped at once with exit status {status}{}", memory.text())]
    Exited { id: InstanceId, status: i64, memory: OverMemory, tail: Vec<String> },
    #[error("{release} did not answer on port {port} within {} s", seconds(*.within), release = .id.release)]
    Silent { id: InstanceId, port: u16, within: Duration, tail: Vec<String> },
    #[error("{release} answered {path} with {said} for {} s", seconds(*.within), release = .id.release)]
    Unhealthy { id: InstanceId, path: String, said: String, within: Duration, tail: Vec<String> },
    #[error("the image of {release} is gone", release = .id.release)]
    NoImage { id: InstanceId },
    #[error("the command of {release} cannot be run: {said}", release = .id.release)]
    NoCommand { id: InstanceId, said: String },
    #[error("the claim on {id} is over")]
    Stale { id: InstanceId },
    /// More starts are asked for than the machine can bear within the caller's time.
    #[error("{id} found no free place to start within {} s", seconds(*.within))]
    Busy { id: InstanceId, within: Duration },
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

impl StartError {
    /// Says whether the app itself, or what was pushed, is why it did not start: `true` for what it did (exit, stay
    /// silent, answer its health path badly) and for an image or a command that is not there.
    ///
    /// Such a start fails again until something is pushed: the claim has `failed`, and the next start waits longer.
    /// What is not the app's fault says nothing about it: the claim was over, the machine was full, the engine or the
    /// cleaner was away. Such a claim is given back, and may be made anew at once.
    pub fn is_apps_fault(&self) -> bool {
        match self {
            Self::Exited { .. }
            | Self::Silent { .. }
            | Self::Unhealthy { .. }
            | Self::NoImage { .. }
            | Self::NoCommand { .. } => true,
            Self::Stale { .. } | Self::Busy { .. } | Self::Runner(_) => false,
        }
    }
}

/// What the limit of its memory has to do with an instance's end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OverMemory {
    /// Nothing.
    #[default]
    No,
    /// It was killed, and the engine does not say what for.
    Likely { limit_bytes: u64 },
    /// The kernel ended it because it used more.
    Certain { limit_bytes: u64 },
}

impl OverMemory {
    fn text(self) -> String {
        let over = |bytes| format!("it used more than its {} MiB of memory", bytes / (1024 * 1024));
        match self {
            Self::No => String::new(),
            Self::Likely { limit_bytes } => {
                format!(": it was killed, most likely because {}", over(limit_bytes))
            }
            Self::Certain { limit_bytes } => format!(": {}", over(limit_bytes)),
        }
    }
}

/// Whole seconds, rounded up: a little of the caller's time goes on the way.
fn seconds(within: Duration) -> u64 {
    within.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX)
}

/// An instance that is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub addr: SocketAddr,
    pub how: How,
    pub took: StartTimes,
}

impl Started {
    /// Gives how long the app itself took to be ready, in ms, if its process was started anew. At least 1: the ledger's
    /// 0 means that it is not known.
    pub fn start_ms(&self) -> Option<u64> {
        match self.how {
            How::Opened | How::Made => Some(self.took.ready_us.div_ceil(1_000).max(1)),
            How::Found | How::Resumed => None,
        }
    }
}

/// What it took to make an instance ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It ran, or was being started, already.
    Found,
    /// It was paused.
    Resumed,
    /// It was made ahead: its gate was opened.
    Opened,
    /// Its container was made and started.
    Made,
}

/// Where the time of a start went, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartTimes {
    /// Waiting for its turn, and for a free place.
    pub queue_us: u64,
    /// Making the container.
    pub create_us: u64,
    /// Starting it, opening its gate, or resuming it.
    pub start_us: u64,
    /// The app's own time until it was ready.
    pub ready_us: u64,
}

/// What the engine says of one instance now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its process has been started and has not ended: it may not be ready yet.
    Running { addr: SocketAddr },
    /// As `Running`, and it is paused.
    Paused { addr: SocketAddr },
    /// It has exited, there is none, or it is only made ahead and waits at its gate.
    Stopped,
}

/// The power to start.
#[async_trait]
pub trait Start: Send + Sync {
    /// Makes a claimed instance of a release that has a manifest ready, and gives its address: ready is what accepts a
    /// connection, or answers its health path with 2xx or 3xx. Repeatable: one that runs already is only waited for,
    /// one that was made ahead is let go, one that is paused is resumed. Dropping the future may leave it running.
    ///
    /// # Errors
    /// [`StartError`]; nothing of this instance runs then, or soon, but what ran before and did not get ready. Its last
    /// output is in the error and in its log.
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError>;

    /// Says whether the instance runs. Changes nothing.
    ///
    /// # Errors
    /// [`RunnerError`] if the engine cannot be asked.
    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError>;
}

/// The power to stop and to remove.
#[async_trait]
pub trait Stop: Send + Sync {
    /// Stops an instance (SIGTERM, `grace`, SIGKILL), keeps the end of its output in its log, removes the container.
    /// Repeatable; absent is done.
    ///
    /// # Errors
    /// [`RunnerError`]; the instance may still run.
    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), RunnerError>;

    /// Removes one container by the engine's id, its output kept in the app's log when it is an instance's.
    /// One that runs is stopped only if `running`; otherwise it stays, and that is no error. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn remove_container(&self, container: &str, running: bool) -> Result<(), RunnerError>;

    /// Removes one tag; the image goes when it was the last. In use, or absent: is done.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn remove_image(&self, tag: &str) -> Result<(), RunnerError>;

    /// Removes what builds left behind, and gives the bytes that became free: this installation's built images that
    /// have neither a tag nor a container (those of an app that is being deployed are left alone), and what the
    /// engine's build cache has above `cache_bytes_max`. The cache is the engine's, shared with everybody who builds
    /// there: what was used last stays, up to that size, and what a build is using. Repeatable; may take minutes.
    ///
    /// # Errors
    /// [`RunnerError`]; some of it may be removed.
    async fn prune(&self, cache_bytes_max: u64) -> Result<u64, RunnerError>;
}

/// The power to hold an instance still: before its first instruction, or between two.
#[async_trait]
pub trait Hold: Send + Sync {
    /// Makes an instance ahead: its container runs, and its process waits at a gate. Repeatable: one that is there and
    /// still what would be made now is given again; an older one is replaced.
    ///
    /// # Errors
    /// [`StartError`]; nothing of this instance runs then.
    async fn poise(&self, id: &InstanceId) -> Result<Poised, StartError>;

    /// Pauses a running instance, and gives where it will answer; `None` if it does not run. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`]; it may be paused or not.
    async fn pause(&self, id: &InstanceId) -> Result<Option<SocketAddr>, RunnerError>;

    /// Lets a paused instance go on. Repeatable; absent is done.
    ///
    /// # Errors
    /// [`RunnerError`]; it may be paused or not.
    async fn resume(&self, id: &InstanceId) -> Result<(), RunnerError>;

    /// Gives what memory an instance uses, in bytes; 0 if it does not run.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn memory_bytes(&self, id: &InstanceId) -> Result<u64, RunnerError>;

    /// Removes what is left of gates whose containers are gone, and the gates' programs of other versions that no
    /// container has. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn tidy(&self) -> Result<(), RunnerError>;
}

/// The power to look.
#[async_trait]
pub trait Look: Send + Sync {
    /// Gives every container and image of this installation.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn seen(&self) -> Result<Seen, RunnerError>;

    /// Whether a running instance is ready, asked once, the same way as `Start::start` asks.
    async fn ready(&self, release: &Release, addr: SocketAddr) -> bool;

    /// Gives the last `lines` lines of a running instance's output, and what follows if `follow`.
    /// Ends when the instance ends. Empty if it does not run.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn logs(&self, id: &InstanceId, lines: usize, follow: bool) -> Result<LineStream, RunnerError>;

    /// Gives each instance that ends, from now on. Ends when the engine goes away; ask again then.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn exits(&self) -> Result<Pin<Box<dyn Stream<Item = InstanceId> + Send>>, RunnerError>;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_of_which_a_little_went_on_the_way_is_told_whole() {
        let id: func_model::InstanceId = "blog-v1.1".parse().expect("an instance");
        let within = std::time::Duration::from_millis(29_990);
        let error = super::StartError::Silent { id, port: 80, within, tail: Vec::new() };
        assert_eq!(error.to_string(), "blog-v1 did not answer on port 80 within 30 s");
    }

    use super::*;

    #[test]
    fn an_app_that_is_ready_at_once_has_a_time_that_is_known() {
        let addr = "172.18.0.2:8080".parse().expect("an address");
        let started =
            |how, ready_us| Started { addr, how, took: StartTimes { ready_us, ..Default::default() } };
        assert_eq!(started(How::Opened, 0).start_ms(), Some(1));
        assert_eq!(started(How::Made, 1_001).start_ms(), Some(2));
        assert_eq!(started(How::Resumed, 1_001).start_ms(), None);
    }

    #[test]
    fn what_the_app_did_is_its_fault_and_what_the_machine_did_is_not() {
        let id: InstanceId = "blog-v7.1".parse().expect("an instance");
        let within = Duration::from_secs(1);
        let exited =
            StartError::Exited { id: id.clone(), status: 1, memory: OverMemory::No, tail: Vec::new() };
        for fault in [exited, StartError::NoImage { id: id.clone() }] {
            assert!(fault.is_apps_fault(), "{fault}");
        }
        let slow = RunnerError::Slow { verb: "start a container", within };
        for other in [StartError::Stale { id: id.clone() }, StartError::Busy { id, within }, slow.into()] {
            assert!(!other.is_apps_fault(), "{other}");
        }
    }
}
