//! The four powers over what runs, each a trait of its own.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use func_model::{ImageDigest, InstanceId, Release, ReleaseId, Seen};
use futures_util::Stream;
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
}

/// Why an instance did not start. Whatever had been started is gone again.
#[derive(Debug, Error)]
pub enum StartError {
    /// `status` is the exit status; 137 with `memory_bytes` when the kernel ended it for its memory.
    #[error("{id} stopped at once with exit status {status}{}", memory_text(*.memory_bytes))]
    Exited { id: InstanceId, status: i64, memory_bytes: Option<u64>, tail: Vec<String> },
    #[error("{release} did not answer on port {port} within {} s", .within.as_secs(), release = .id.release)]
    Silent { id: InstanceId, port: u16, within: Duration, tail: Vec<String> },
    #[error("{release} answered {path} with {said} for {} s", .within.as_secs(), release = .id.release)]
    Unhealthy { id: InstanceId, path: String, said: String, within: Duration, tail: Vec<String> },
    #[error("the image of {release} is gone", release = .id.release)]
    NoImage { id: InstanceId },
    #[error("the command of {release} cannot be run: {said}", release = .id.release)]
    NoCommand { id: InstanceId, said: String },
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

fn memory_text(memory_bytes: Option<u64>) -> String {
    memory_bytes
        .map(|b| format!(": it used more than its {} MiB of memory", b / (1024 * 1024)))
        .unwrap_or_default()
}

/// What the engine says of one instance now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running {
        addr: SocketAddr,
    },
    /// It has exited, or there is none.
    Stopped,
}

/// The power to start.
#[async_trait]
pub trait Start: Send + Sync {
    /// Starts an instance of a release that has a manifest, and gives its address when it is ready: when it accepts a
    /// connection, or answers its health path with 2xx or 3xx. Repeatable: one that runs already is only waited for.
    /// Only the holder of the claim may call it. Dropping the future may leave the instance running.
    ///
    /// # Errors
    /// [`StartError`]; nothing of this instance runs then. Its last output is in the error and in its log.
    async fn start(&self, id: &InstanceId, within: Duration) -> Result<SocketAddr, StartError>;

    /// Says whether the instance runs. Changes nothing.
    ///
    /// # Errors
    /// [`RunnerError`] if the engine cannot be asked.
    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError>;
}

/// What is to be built with a Dockerfile.
#[derive(Debug, Clone)]
pub struct BuildJob {
    pub release: ReleaseId,
    /// The Dockerfile's path inside the context.
    pub dockerfile: String,
    pub within: Duration,
}

/// Why a build gave no image. `said` is for the pusher.
#[derive(Debug, Error)]
pub enum BuildFailed {
    #[error("the build failed: {said}")]
    Step { said: String },
    #[error("the build took longer than {} s", .within.as_secs())]
    Slow { within: Duration },
    #[error("read the build context")]
    Context(#[source] std::io::Error),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// What an image says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFacts {
    pub digest: ImageDigest,
    /// TCP ports of `EXPOSE`, in ascending order.
    pub ports: Vec<u16>,
    /// Whether it has an entry point or a command.
    pub has_command: bool,
    pub size_bytes: u64,
}

/// The power to make images.
#[async_trait]
pub trait Make: Send + Sync {
    /// Builds an image from a tar stream with a Dockerfile; BuildKit where the engine has it. Every line of the
    /// build's output goes to `lines`. Dropping the future ends the build.
    ///
    /// # Errors
    /// [`BuildFailed`]; nothing is left but the engine's build cache.
    async fn build(
        &self,
        job: &BuildJob,
        context: ByteStream,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed>;

    /// Loads an image that was made elsewhere, as a docker-archive (tar). Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn load(&self, archive: ByteStream) -> Result<(), RunnerError>;

    /// Says what an image is; `None` if there is none of this digest.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn facts(&self, digest: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError>;

    /// Gives an image its release's tag, `<installation>/<app>:v7`, which keeps it. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`].
    async fn tag(&self, digest: &ImageDigest, release: &ReleaseId) -> Result<(), RunnerError>;
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
