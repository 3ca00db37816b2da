//! The power to make images, and why a build gave none.

use std::time::Duration;

use async_trait::async_trait;
use func_model::{Asks, ImageDigest, ReleaseId};
use thiserror::Error;

use crate::{BuildLines, ByteStream, RunnerError};

/// A build with a Dockerfile.
#[derive(Debug, Clone)]
pub struct BuildJob {
    pub release: ReleaseId,
    /// The Dockerfile's path inside the context.
    pub dockerfile: String,
    /// Images and syntax that the Dockerfile refers to.
    pub asks: Asks,
    pub within: Duration,
}

/// Why a build gave no image. `said` is for the pusher.
#[derive(Debug, Error)]
pub enum BuildFailed {
    #[error("the build failed: {said}")]
    Step { said: String },
    /// It asks for what it may not have.
    #[error("the build is refused: {said}")]
    Refused { said: String, hint: &'static str },
    #[error("the build took longer than {} s", .within.as_secs())]
    Slow { within: Duration },
    #[error("the build used more than {} MiB of disk", .bytes >> 20)]
    Disk { bytes: u64 },
    #[error("read the build context")]
    Context(#[source] std::io::Error),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// Properties of an image that a release needs.
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
    /// Builds an image from a tar stream with a Dockerfile; BuildKit where the engine has it, on
    /// the build engine if there is one. Every line of the build's output goes to `lines`. Dropping the future ends the
    /// build.
    ///
    /// # Errors
    /// [`BuildFailed`]; nothing is left but the engine's build cache.
    async fn build(
        &self,
        job: &BuildJob,
        context: ByteStream,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed>;

    /// Ends what runs only for builds, unless something is being built: if nothing was for some minutes, or at once
    /// with `now`. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError`]; it may still run.
    async fn rest(&self, now: bool) -> Result<(), RunnerError>;

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
