//! Building an image with a Dockerfile, by BuildKit where the engine has it, and ending a build that nobody waits for.

use std::collections::HashMap;

use async_trait::async_trait;
use bollard::body_try_stream;
use bollard::errors::Error;
use bollard::models::{BuildInfo, BuildInfoAux, SystemVersion};
use bollard::query_parameters::{BuildImageOptions, BuilderVersion};
use func_model::{AppName, ImageDigest, ReleaseId};
use futures_util::StreamExt;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::asked::Rules;
use crate::buildkit_lines::{BuildkitLines, readable};
use crate::builds::{Open, Place};
use crate::call::{ASK, CallError, call, failed};
use crate::context::{Broken, Watched};
use crate::docker::APP;
use crate::lines::Splitter;
use crate::{BuildFailed, BuildJob, BuildLines, ByteStream, Docker, ImageFacts, Make, RunnerError};

/// The first version of the engine's API with BuildKit.
const BUILDKIT_API: (u32, u32) = (1, 39);

/// Goes before the name of each cache that a build mounts.
///
/// Source: BuildKit, frontend/dockerfile, `keyCacheNS`.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

#[async_trait]
impl Make for Docker {
    async fn build(
        &self,
        job: &BuildJob,
        context: ByteStream,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed> {
        let cancelled = CancellationToken::new();
        let _cancel = cancelled.clone().drop_guard();
        let (docker, job) = (self.clone(), job.clone());
        let (tx, rx) = oneshot::channel();
        // A build has a runtime of its own, on a thread of its own. bollard serves BuildKit's session from a task that
        // it spawns and never ends; with the runtime it ends, and so do the build's connections, which is what makes
        // the engine end the build.
        let thread = std::thread::Builder::new().name("build".to_owned()).spawn(move || {
            let built = build_on_this_thread(&docker, &job, context, lines, cancelled);
            if tx.send(built).is_err() {
                debug!(release = %job.release, "the build of {} was dropped", job.release);
            }
        });
        thread.map_err(unfinished)?;
        rx.await.map_err(unfinished)?
    }

    async fn rest(&self, now: bool) -> Result<(), RunnerError> {
        self.rest_builds(now).await
    }

    async fn load(&self, archive: ByteStream) -> Result<(), RunnerError> {
        self.load_archive(archive).await
    }

    async fn facts(&self, digest: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError> {
        self.image_facts(digest).await
    }

    async fn tag(&self, digest: &ImageDigest, release: &ReleaseId) -> Result<(), RunnerError> {
        self.tag_image(digest, release).await
    }
}

fn unfinished(error: impl ToString) -> RunnerError {
    RunnerError::Refused { verb: "build an image", said: error.to_string() }
}

fn build_on_this_thread(
    docker: &Docker,
    job: &BuildJob,
    context: ByteStream,
    lines: BuildLines,
    cancelled: CancellationToken,
) -> Result<ImageDigest, BuildFailed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(unfinished)?;
    runtime.block_on(async {
        let (context, broken) = Watched::new(context);
        tokio::select! {
            built = tokio::time::timeout(job.within, docker.build_anywhere(job, context, lines)) => {
                let built = built.map_err(|_| BuildFailed::Slow { within: job.within });
                told_by_context(built.and_then(|built| built), &broken)
            }
            () = cancelled.cancelled() => Err(unfinished("nobody waits for it").into()),
        }
    })
}

/// A context that broke off explains whatever the engine made of it.
fn told_by_context(
    built: Result<ImageDigest, BuildFailed>,
    broken: &Broken,
) -> Result<ImageDigest, BuildFailed> {
    match broken.take() {
        Some(error) => Err(BuildFailed::Context(error)),
        None => built,
    }
}

impl Docker {
    async fn build_anywhere(
        &self,
        job: &BuildJob,
        context: Watched,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed> {
        Rules { installation: self.installation(), from_apps: self.config().from_apps }.check(&job.asks)?;
        match self.build_place().await? {
            Place::Shared => self.build_image(self.engine().await?, job, context, lines).await,
            Place::Apart(open) => {
                self.hand_images(&job.asks, &open).await?;
                let built = self.build_within_disk(&open, job, context, lines).await?;
                self.take_image(&built, job, &open).await
            }
        }
    }

    async fn build_within_disk(
        &self,
        open: &Open,
        job: &BuildJob,
        context: Watched,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed> {
        let (room, bytes) = (self.build_room(), self.config().builds.disk_bytes);
        tokio::select! {
            built = self.build_image(&open.engine, job, context, lines) => built,
            () = room.used_up(bytes) => Err(BuildFailed::Disk { bytes }),
        }
    }

    async fn build_image(
        &self,
        engine: &bollard::Docker,
        job: &BuildJob,
        context: Watched,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed> {
        let version = call("tell its version", ASK, engine.version()).await.map_err(RunnerError::from)?;
        let builder = builder_of(&version);
        info!(app.name = %job.release.app, release = %job.release, ?builder, "building {}", job.release);
        let mut told = Box::pin(engine.build_image(
            self.build_options(job, builder),
            None,
            Some(body_try_stream(context)),
        ));
        let mut progress = Progress::default();
        while let Some(message) = told.next().await {
            match message {
                Ok(message) => {
                    for line in progress.push(message) {
                        // A pusher who left does not end the build.
                        let _ = lines.send(line).await;
                    }
                }
                Err(error) => return Err(progress.failed(error)),
            }
        }
        let digest = progress.image.ok_or_else(|| unfinished("the engine named no image"))?;
        Ok(digest.parse().map_err(unfinished)?)
    }

    fn build_options(&self, job: &BuildJob, builder: BuilderVersion) -> BuildImageOptions {
        let mut labels = self.labels();
        labels.insert(APP.to_owned(), job.release.app.to_string());
        let options = match builder {
            BuilderVersion::BuilderBuildKit => self.own_caches(&job.release.app),
            BuilderVersion::BuilderV1 => BuildImageOptions::default(),
        };
        BuildImageOptions {
            dockerfile: job.dockerfile.clone(),
            rm: true,
            forcerm: true,
            labels: Some(labels),
            version: builder,
            ..options
        }
    }

    /// Keeps the caches of an app apart from those of others: what its `RUN --mount=type=cache` keeps by the name, which
    /// no Dockerfile can set, and the results of its steps by a host that only its steps know.
    fn own_caches(&self, app: &AppName) -> BuildImageOptions {
        let namespace = format!("{}/{app}", self.installation());
        BuildImageOptions {
            session: Some(session_id()),
            buildargs: Some(HashMap::from([(CACHE_NAMESPACE.to_owned(), namespace)])),
            extrahosts: Some(format!("{app}.{}.invalid:127.0.0.1", self.installation())),
            ..Default::default()
        }
    }
}

/// Says which builder an engine has.
fn builder_of(version: &SystemVersion) -> BuilderVersion {
    let api = version.api_version.as_deref().and_then(|v| v.split_once('.'));
    let api = api.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let linux = version.os.as_deref() == Some("linux");
    match api {
        Some(api) if linux && api >= BUILDKIT_API => BuilderVersion::BuilderBuildKit,
        Some(_) | None => BuilderVersion::BuilderV1,
    }
}

/// Gives a name that no other build's session has.
fn session_id() -> String {
    bollard::grpc::BuildRef::random().into()
}

/// What a build told so far, by either builder.
#[derive(Default)]
struct Progress {
    buildkit: BuildkitLines,
    classic: Splitter,
    image: Option<String>,
}

impl Progress {
    fn push(&mut self, message: BuildInfo) -> Vec<String> {
        let mut lines = match message.aux {
            Some(BuildInfoAux::BuildKit(report)) => self.buildkit.push(report),
            Some(BuildInfoAux::Default(image)) => {
                self.image = image.id.or(self.image.take());
                Vec::new()
            }
            None => Vec::new(),
        };
        lines.extend(message.stream.iter().flat_map(|text| self.classic.push(text.as_bytes())));
        lines
    }

    /// Says whether the pusher's files or the engine made the build fail.
    fn failed(&self, error: Error) -> BuildFailed {
        match error {
            Error::DockerStreamError { error } => BuildFailed::Step { said: self.buildkit.said(&error) },
            // The old builder refuses a Dockerfile that it cannot read before it builds; not found is 500 there.
            Error::DockerResponseServerError { status_code: 400 | 500, message } => {
                BuildFailed::Step { said: readable(&message) }
            }
            error => match failed("build an image", error) {
                CallError::Runner(error) => error.into(),
                denied @ CallError::Denied { .. } => RunnerError::from(denied).into(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(api: &str, os: &str) -> SystemVersion {
        SystemVersion { api_version: Some(api.into()), os: Some(os.into()), ..Default::default() }
    }

    #[test]
    fn buildkit_is_used_where_the_engine_has_it() {
        for (api, os) in [("1.39", "linux"), ("1.41", "linux"), ("1.52", "linux"), ("2.0", "linux")] {
            assert_eq!(builder_of(&engine(api, os)), BuilderVersion::BuilderBuildKit, "{api} {os}");
        }
        for (api, os) in [("1.38", "linux"), ("1.41", "windows"), ("", "linux"), ("1.x", "linux")] {
            assert_eq!(builder_of(&engine(api, os)), BuilderVersion::BuilderV1, "{api} {os}");
        }
        assert_eq!(builder_of(&SystemVersion::default()), BuilderVersion::BuilderV1);
    }

    #[test]
    fn the_old_builders_lines_are_passed_on() {
        let mut progress = Progress::default();
        let said = |text: &str| BuildInfo { stream: Some(text.into()), ..Default::default() };
        assert_eq!(progress.push(said("Step 1/2 : FROM scratch\n")), ["Step 1/2 : FROM scratch"]);
        assert!(progress.push(said(" ---> ")).is_empty());
        assert_eq!(progress.push(said("1234\n")), [" ---> 1234"]);
    }

    #[test]
    fn a_failing_command_of_the_old_builder_is_named() {
        let said = "The command '/bin/sh -c false' returned a non-zero code: 1";
        let failed = Progress::default().failed(Error::DockerStreamError { error: said.into() });
        assert!(matches!(failed, BuildFailed::Step { said: text } if text == said));
    }
}
