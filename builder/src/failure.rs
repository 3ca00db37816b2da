//! Why a deploy, a rollback or a removal failed, and what its pusher is told.

use func_ledger::LedgerError;
use func_model::limits::PINS_MAX;
use func_model::{AppName, Capability, HostName, ReleaseId, ReleaseNumber};
use func_runner::{BuildFailed, OverMemory, RunnerError, StartError};
use func_store::StoreError;
use thiserror::Error;

use crate::extent::ExtentError;
use crate::layer::LayerError;
use crate::project::ProjectError;
use crate::repository::RepositoryError;
use crate::site::SiteError;

/// What went wrong. `Display` is for the pusher: no paths, no addresses; the causes are for the log.
#[derive(Debug, Error)]
pub enum Failure {
    #[error(transparent)]
    Project(#[from] ProjectError),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("the image could not be written")]
    Image(#[source] LayerError),
    #[error("the files of {app} could not be handed to the build")]
    Context { app: AppName, source: std::io::Error },
    #[error(transparent)]
    Build(BuildFailed),
    #[error("the image of {app} has no command to run")]
    NoCommand { app: AppName },
    #[error("the image of {release} is gone")]
    NoImage { release: ReleaseId },
    #[error("the host {host} is not {app}'s: under this server's domain it has {own}")]
    HostOfServer { app: AppName, host: HostName, own: String },
    #[error("the host {host} belongs to {owner} already")]
    HostTaken { host: HostName, owner: AppName },
    #[error(transparent)]
    Start(Box<StartError>),
    #[error("{release} was not ready to start in time")]
    NotReady { release: ReleaseId },
    #[error("the ledger is away: nothing can be made live")]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Runner(#[from] RunnerError),
    #[error("the server cannot store it")]
    Store(#[from] StoreError),
    #[error("the server cannot remove the repository of {app}")]
    Remove { app: AppName, source: std::io::Error },
    #[error("{app} is being deployed")]
    Busy { app: AppName },
    #[error("something in func broke while it worked on {app}")]
    Broken { app: AppName, source: tokio::task::JoinError },
    #[error("there is no app {app}")]
    NoApp { app: AppName },
    #[error("{app} has never been live")]
    NeverLive { app: AppName },
    #[error("{release} is live already")]
    LiveAlready { release: ReleaseId },
    #[error("there is no release {release}")]
    NoRelease { release: ReleaseId, kept: Vec<ReleaseNumber> },
    #[error("{app} has {} pinned releases, and may have no more", PINS_MAX)]
    Pins { app: AppName },
    #[error("{app} has no release older than {live}")]
    NoOlder { app: AppName, live: ReleaseNumber },
}

impl From<LayerError> for Failure {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Site(error) => Self::Site(error),
            error @ LayerError::Io(_) => Self::Image(error),
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(Box::new(error))
    }
}

impl From<RepositoryError> for Failure {
    fn from(error: RepositoryError) -> Self {
        Self::Project(error.into())
    }
}

impl Failure {
    /// Whether the same revision may succeed by itself later: it stays in the queue for the next boot.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Ledger(_) | Self::Store(_) | Self::Busy { .. } | Self::Image(_) => true,
            Self::Runner(e) | Self::Build(BuildFailed::Runner(e)) => passing(e),
            Self::Start(e) => match &**e {
                StartError::Runner(e) => passing(e),
                StartError::Busy { .. } | StartError::Stale { .. } => true,
                StartError::Exited { .. }
                | StartError::Silent { .. }
                | StartError::Unhealthy { .. }
                | StartError::NoImage { .. }
                | StartError::NoCommand { .. } => false,
            },
            Self::Project(_)
            | Self::Site(_)
            | Self::Build(_)
            | Self::NoCommand { .. }
            | Self::NoImage { .. }
            | Self::HostOfServer { .. }
            | Self::HostTaken { .. }
            | Self::Context { .. }
            | Self::NotReady { .. }
            | Self::Remove { .. }
            | Self::Broken { .. }
            | Self::NoApp { .. }
            | Self::NeverLive { .. }
            | Self::LiveAlready { .. }
            | Self::NoRelease { .. }
            | Self::Pins { .. }
            | Self::NoOlder { .. } => false,
        }
    }

    /// Gives what the pusher can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Project(e) => project_hint(e),
            Self::Site(e) => site_hint(e),
            Self::Build(e) => build_hint(e),
            Self::Start(e) => start_hint(e),
            Self::NoCommand { .. } => some("name one with CMD or ENTRYPOINT in the Dockerfile"),
            Self::NoImage { .. } => some("push its commit again: git push func <commit>:main --force"),
            Self::HostOfServer { .. } => some("take it out of `hosts` in func.toml"),
            Self::HostTaken { owner, .. } => Some(format!(
                "take it out of `hosts` of one of the two; to remove the other app: func rm {owner}"
            )),
            Self::Ledger(_) | Self::Runner(_) | Self::Image(_) | Self::Store(_) => some(AGAIN),
            Self::NotReady { .. } | Self::Busy { .. } => some("try again when what runs now is over"),
            Self::Context { .. } | Self::Remove { .. } | Self::Broken { .. } => some(IN_THE_LOG),
            Self::NoApp { .. } => some("`func apps` shows what there is"),
            Self::NeverLive { app } => {
                Some(format!("deploy it with git push; func logs {app} shows what went wrong"))
            }
            Self::LiveAlready { .. } => None,
            Self::Pins { app } => {
                Some(format!("unpin one: func releases {app} shows them, func unpin {app} v7"))
            }
            Self::NoRelease { kept, .. } => Some(kept_hint(kept)),
            Self::NoOlder { .. } => {
                some("there is no older release to go back to; push an older commit instead")
            }
        }
    }

    /// Gives the last lines of the app's own output, where they say more than the reason.
    pub fn tail(&self) -> &[String] {
        let Self::Start(error) = self else { return &[] };
        match &**error {
            StartError::Exited { tail, .. }
            | StartError::Silent { tail, .. }
            | StartError::Unhealthy { tail, .. } => tail,
            StartError::NoImage { .. }
            | StartError::NoCommand { .. }
            | StartError::Stale { .. }
            | StartError::Busy { .. }
            | StartError::Runner(_) => &[],
        }
    }
}

fn passing(error: &RunnerError) -> bool {
    match error {
        RunnerError::Away(_) | RunnerError::Cleaner(_) | RunnerError::Slow { .. } | RunnerError::Store(_) => {
            true
        }
        RunnerError::Refused { .. } | RunnerError::NoManifest { .. } => false,
    }
}

const IN_THE_LOG: &str = "whoever runs this server finds the reason in its log";
const AGAIN: &str = "it is stored; push again later (git commit --allow-empty makes something to push)";

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn project_hint(error: &ProjectError) -> Option<String> {
    match error {
        ProjectError::NoRecipe => some(
            "add a Dockerfile, or an index.html (at the root, or with all of the site's files in public/)",
        ),
        ProjectError::AppFile(_) => some("mend func.toml and push again"),
        ProjectError::Extent(e) => extent_hint(e),
        ProjectError::Repository(e) => repository_hint(e),
    }
}

fn extent_hint(error: &ExtentError) -> Option<String> {
    match error {
        ExtentError::Bytes { .. } => some(
            "take files out of the commit, also those in .dockerignore; whoever runs this server can raise `context-size`",
        ),
        ExtentError::Entries { .. } | ExtentError::LargeFolder => {
            some("take files out of the commit, also those in .dockerignore, or put them into an archive")
        }
        ExtentError::Deep | ExtentError::LongPath => some("use fewer folders or shorter names"),
        ExtentError::Overdue(_) => some("take files out of the commit"),
        ExtentError::Repository(e) => repository_hint(e),
    }
}

fn repository_hint(error: &RepositoryError) -> Option<String> {
    match error {
        RepositoryError::LargeCommit { .. } => some("shorten its message: git commit --amend"),
        RepositoryError::Empty { .. } => some("commit some files and push again"),
        RepositoryError::LargeRoot { .. } => some("put its files into folders"),
        RepositoryError::Git(_)
        | RepositoryError::NoRevision { .. }
        | RepositoryError::Large { .. }
        | RepositoryError::NoText { .. } => None,
    }
}

fn site_hint(error: &SiteError) -> Option<String> {
    match error {
        SiteError::Link { .. } => some("put the file itself there, or link to a file inside the site"),
        SiteError::Empty => some("add an index.html"),
        SiteError::Many | SiteError::Large | SiteError::LargeFile { .. } | SiteError::Deep { .. } => {
            some("serve it with a Dockerfile of your own, or leave files out")
        }
        SiteError::Overdue(_) => {
            some("leave files out, or push again; whoever runs this server can allow more time")
        }
        SiteError::Name { .. } | SiteError::Repository(_) => None,
    }
}

fn build_hint(error: &BuildFailed) -> Option<String> {
    match error {
        BuildFailed::Step { .. } => {
            some("look at the lines above; docker build . does the same on your machine")
        }
        BuildFailed::Refused { hint, .. } => some(hint),
        BuildFailed::Slow { .. } => {
            some("does a step wait for something? Whoever runs this server can allow more time")
        }
        BuildFailed::Disk { .. } => some(
            "remove files in the step that makes them; whoever runs this server can allow more (`build-disk`)",
        ),
        BuildFailed::Context(_) => some(IN_THE_LOG),
        BuildFailed::Runner(_) => some(AGAIN),
    }
}

fn start_hint(error: &StartError) -> Option<String> {
    match error {
        StartError::Exited { memory: OverMemory::Likely { .. } | OverMemory::Certain { .. }, .. } => {
            some("raise limits.memory in func.toml")
        }
        StartError::Exited { memory: OverMemory::No, tail, .. } => {
            refused_hint(tail).or_else(|| some("look at the lines above"))
        }
        StartError::Silent { tail, .. } => {
            refused_hint(tail).or_else(|| some("listen on $PORT, or set `port` in func.toml"))
        }
        StartError::Unhealthy { .. } => {
            some("let `health` in func.toml answer 2xx or 3xx when the app is ready")
        }
        StartError::NoImage { .. }
        | StartError::Stale { .. }
        | StartError::Busy { .. }
        | StartError::Runner(_) => some(AGAIN),
        StartError::NoCommand { .. } => some("mend ENTRYPOINT and CMD in the Dockerfile"),
    }
}

/// Returns what to do about what the kernel refuses an app, if its last lines complain of that.
fn refused_hint(tail: &[String]) -> Option<String> {
    let says = |words: &str| tail.iter().any(|line| line.to_lowercase().contains(words));
    if says("read-only file system") {
        return some("`read-only = true` in func.toml leaves /tmp and /run to write to");
    }
    let refused = ["operation not permitted", "permission denied"].into_iter().any(says);
    refused.then(|| {
        format!(
            "an app has the capabilities {} if its image starts as root (no USER) and `capabilities` in func.toml \
             does not take them away, and no others",
            Capability::ALL.map(Capability::name).join(", ")
        )
    })
}

fn kept_hint(kept: &[ReleaseNumber]) -> String {
    let shown: Vec<String> = kept.iter().map(ToString::to_string).collect();
    format!("there are {}", shown.join(", "))
}
