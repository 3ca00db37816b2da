//! A deploy: from a revision to a live release.

use std::time::Duration;

use func_crash::point;
use func_model::event::BuildEvent;
use func_model::{AppName, Asks, ImageDigest, Release, ReleaseId};
use func_runner::{BuildFailed, BuildJob};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::attempt::Attempt;
use crate::builder::Builder;
use crate::clock::unix_ms;
use crate::context::context;
use crate::deadline::Deadline;
use crate::extent::Extent;
use crate::failure::Failure;
use crate::ignore::{self, Ignore};
use crate::image::Image;
use crate::limits::{DEPLOY_LOCK, DOCKERFILE_BYTES, IGNORE_BYTES, LINES_WAITING, PORT};
use crate::project::{DOCKERFILE, Project, Recipe};
use crate::queue::Job;
use crate::report::Report;
use crate::repository::{Repository, RepositoryError};
use crate::site::SiteError;
use crate::text::chain;

impl Builder {
    /// Deploys a job, and tells how it ended. Dropping the future leaves the job in the durable queue.
    pub async fn deploy(&self, job: &Job) {
        self.begins(&job.app, &job.revision);
        let what = format!("deploy of {}", job.revision.short());
        let report = Report::open(&self.config.data, &job.app, job.feed.clone(), &what);
        let ended = self.deployed(job, &report).await;
        if let Err(failure) = &ended
            && !failure.is_passing()
            && let Err(e) = self.config.manifests.set_failed(&job.app, &job.revision)
        {
            warn!(app.name = %job.app, error = %chain(&e), "this deploy is tried again at the next boot");
        }
        if ended.is_err() {
            point("after_note");
        }
        self.end(&job.app, &report, ended);
        point("after_told");
    }

    async fn deployed(&self, job: &Job, report: &Report) -> Result<BuildEvent, Failure> {
        let began = Instant::now();
        let app = &job.app;
        let _lock = self.lock(app, DEPLOY_LOCK).await?;
        if let Some(live) = self.config.manifests.live(app)?.filter(|live| live.revision == job.revision) {
            report.step(format!("{} is this commit already", live.id));
            let urls = self.config.urls(app, &live.hosts);
            return Ok(BuildEvent::Live { release: live.id, urls, took_ms: elapsed_ms(began) });
        }
        let _attempt = Attempt::begin(&self.config.manifests, app, &job.revision)?;
        point("after_attempt");
        let project = self.project(job).await?;
        for warning in &project.warnings {
            report.warn(warning);
        }
        let hosts = self.other_hosts(app, &project);
        self.check_hosts(app, &hosts)?;
        let id = ReleaseId { app: app.clone(), number: self.config.manifests.take_number(app)? };
        point("after_number");
        let image = self.image(job, &id, project.recipe, report).await?;
        point("after_image");
        let facts = self.config.make.facts(&image).await?;
        let facts = facts.ok_or_else(|| Failure::NoImage { release: id.clone() })?;
        if !facts.has_command {
            return Err(Failure::NoCommand { app: app.clone() });
        }
        let exposed = match facts.ports[..] {
            [port] => port,
            [] | [..] => PORT,
        };
        let release = Release {
            id,
            revision: job.revision.clone(),
            image,
            recipe: project.recipe.to_string(),
            port: project.config.port.unwrap_or(exposed),
            hosts,
            env: project.config.env,
            limits: project.config.limits,
            capabilities: project.config.capabilities,
            read_only: project.config.read_only,
            idle_ms: project.config.idle_ms.unwrap_or(self.config.idle_ms),
            drain_ms: project.config.drain_ms,
            health: project.config.health,
            freeze: project.config.freeze,
            min: project.config.min,
            warm_at: project.config.warm_at,
            waiting_page: project.config.waiting_page,
            created_ms: unix_ms(),
        };
        self.release(&release, report, began).await
    }

    async fn project(&self, job: &Job) -> Result<Project, Failure> {
        let (path, revision) = (self.config.data.repository(&job.app), job.revision.clone());
        let (allowance, bytes_max) = (self.config.allowance, self.config.context_bytes_max);
        let left = CancellationToken::new();
        let _leave = left.clone().drop_guard();
        let deadline = Deadline::new(Duration::from_millis(self.config.build_ms), left);
        let read = move || {
            let repository = Repository::open(&path)?;
            Extent::of(&repository, &revision, bytes_max, &deadline)?;
            Project::read(&repository, &revision, &allowance)
        };
        self.blocking(&job.app, read).await
    }

    /// Gives the hosts of func.toml, less the app's own name, which it has anyway.
    fn other_hosts(&self, app: &AppName, project: &Project) -> Vec<func_model::HostName> {
        let own = self.config.own_host(app);
        project.config.hosts.iter().filter(|host| host.as_str() != own).cloned().collect()
    }

    async fn image(
        &self,
        job: &Job,
        id: &ReleaseId,
        recipe: Recipe,
        report: &Report,
    ) -> Result<ImageDigest, Failure> {
        match recipe {
            Recipe::Dockerfile => {
                report.step(format!("building {id} from {} with its Dockerfile", job.revision.short()));
                self.build(job, id, report).await
            }
            Recipe::Static => {
                report.step(format!("packing {id} from {} as a static site", job.revision.short()));
                self.pack(job, id, report).await
            }
        }
    }

    /// Builds with the Dockerfile; the build's lines are told as they come, and its pusher never slows it.
    async fn build(&self, job: &Job, id: &ReleaseId, report: &Report) -> Result<ImageDigest, Failure> {
        let path = self.config.data.repository(&job.app);
        let (at, revision) = (path.clone(), job.revision.clone());
        let (ignore, asks) = self.blocking(&job.app, move || read_build(&at, &revision)).await?;
        let context = context(path, job.revision.clone(), ignore, self.config.context_bytes_max);
        let task = BuildJob {
            release: id.clone(),
            dockerfile: DOCKERFILE.to_owned(),
            asks,
            within: Duration::from_millis(self.config.build_ms),
        };
        let (tx, mut rx) = mpsc::channel::<String>(LINES_WAITING);
        let lines = async {
            while let Some(line) = rx.recv().await {
                report.line(&line);
            }
        };
        let (built, ()) = tokio::join!(self.config.make.build(&task, context, tx), lines);
        built.map_err(|e| match e {
            BuildFailed::Context(source) => Failure::Context { app: job.app.clone(), source },
            e @ (BuildFailed::Step { .. }
            | BuildFailed::Refused { .. }
            | BuildFailed::Slow { .. }
            | BuildFailed::Disk { .. }
            | BuildFailed::Runner(_)) => Failure::Build(e),
        })
    }

    /// Writes a static site's image, and loads it unless the engine has it.
    async fn pack(&self, job: &Job, id: &ReleaseId, report: &Report) -> Result<ImageDigest, Failure> {
        let (path, revision) = (self.config.data.repository(&job.app), job.revision.clone());
        let scratch = self.config.data.run("");
        let left = CancellationToken::new();
        let _leave = left.clone().drop_guard();
        let deadline = Deadline::new(Duration::from_millis(self.config.build_ms), left);
        let packed = move || {
            let repository = Repository::open(&path).map_err(SiteError::from)?;
            Image::of_site(&repository, &revision, &scratch, &deadline)
        };
        let image = self.blocking(&job.app, packed).await?;
        let ids = [image.digest.clone(), image.manifest_digest.clone()];
        let files = if image.files == 1 { "1 file".to_owned() } else { format!("{} files", image.files) };
        report.step(format!("{files}, {} with the file server", size(image.bytes())));
        if let Some(known) = self.known(&ids).await? {
            return Ok(known);
        }
        self.config.make.load(image.into_archive()).await?;
        self.known(&ids).await?.ok_or_else(|| Failure::NoImage { release: id.clone() })
    }

    /// Gives the one of an image's ids by which the engine knows it.
    async fn known(&self, ids: &[ImageDigest]) -> Result<Option<ImageDigest>, Failure> {
        for id in ids {
            if self.config.make.facts(id).await?.is_some() {
                return Ok(Some(id.clone()));
            }
        }
        Ok(None)
    }

    /// Stores the release, starts it once, and makes it live. What fails leaves nothing behind but the image.
    async fn release(
        &self,
        release: &Release,
        report: &Report,
        began: Instant,
    ) -> Result<BuildEvent, Failure> {
        let id = &release.id;
        self.config.make.tag(&release.image, id).await?;
        point("after_tag");
        self.config.manifests.add(release)?;
        point("after_manifest");
        report.step(format!("starting {id} on port {}", release.port));
        let ended = self.start_and_commit(release, report, began).await;
        if ended.is_err() {
            self.retire(id).await;
            point("after_retire");
            self.config.manifests.remove(id)?;
            point("after_unmade");
        }
        ended
    }

    /// Starts a release and makes it live, holding it meanwhile.
    ///
    /// # Errors
    /// As [`Builder::first_start`] and [`Builder::commit`]; it is not live then.
    pub async fn start_and_commit(
        &self,
        release: &Release,
        report: &Report,
        began: Instant,
    ) -> Result<BuildEvent, Failure> {
        let held = self.first_start(&release.id).await?;
        point("after_start");
        let ended = self.commit(release, report, began).await;
        held.leave().await;
        point("after_left");
        ended
    }
}

/// Reads what is left out of a build's files, and what its Dockerfile asks for beyond them.
fn read_build(
    repository: &std::path::Path,
    revision: &func_model::Revision,
) -> Result<(Option<Ignore>, Asks), RepositoryError> {
    let repository = Repository::open(repository)?;
    let tree = repository.tree(revision)?;
    let ignore = repository.text(&tree, ignore::NAME, IGNORE_BYTES)?;
    let dockerfile = repository.text(&tree, DOCKERFILE, DOCKERFILE_BYTES)?;
    Ok((ignore.map(|text| Ignore::parse(&text)), Asks::read(&dockerfile.unwrap_or_default())))
}

fn elapsed_ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{}.{} MiB", bytes / 1_048_576, bytes % 1_048_576 * 10 / 1_048_576),
    }
}
