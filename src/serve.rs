//! `func serve`: binds the doors, makes what the services share, runs them, and ends them in order.

mod doors;
pub mod git;
mod guide;
mod logs;
mod pace;
mod parts;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use func_model::{AuditAct, AuditEnd};
use func_store::{Audit, DataDir, Part, Token, audited, local};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::cli::{Role, Serve};
use crate::settings::Settings;
use doors::Doors;
use parts::Parts;

/// The names of the links in the hooks' folder, by which this program knows that git calls it.
pub const HOOKS: [&str; 2] = ["pre-receive", "post-receive"];

/// Why the rest cannot be taken over: one builder and one cleaner at a time, and a ledger in memory goes with its process.
const ONLY_EDGE: &str = "--upgrade is for `func serve edge`: only an edge can run beside the one that it replaces. \
    Restart the other parts; for an edge that is upgraded without a gap, run the parts apart, with a Redis";

impl Role {
    /// Whether this process runs the git host, and so on: `all` is every one.
    pub fn is(self, part: Self) -> bool {
        self == Self::All || self == part
    }

    /// Returns the parts that this process runs.
    fn parts(self) -> Vec<Part> {
        match self {
            Self::All => Part::ALL.to_vec(),
            Self::Githost => vec![Part::Githost],
            Self::Builder => vec![Part::Builder],
            Self::Edge => vec![Part::Edge],
            Self::Cleaner => vec![Part::Cleaner],
        }
    }
}

/// Runs until SIGTERM or SIGINT; a second signal ends it at once.
///
/// # Errors
/// For a wrong setting, a port in use, or a service that ends though nobody asked it to.
pub async fn run(serve: Serve) -> anyhow::Result<ExitCode> {
    let (role, settings) = (serve.role, Settings::read(&serve.given)?);
    if role != Role::All && role != Role::Githost && settings.redis.is_none() {
        bail!(
            "the setting `redis` is \"memory\"; services that run apart share a Redis: --redis redis://host:port"
        );
    }
    if serve.upgrade && role != Role::Edge {
        bail!("{ONLY_EDGE}");
    }
    logs::init(&settings)?;
    func_socket::descriptors::raise();
    let doors = if serve.upgrade { Doors::take_over(&settings)? } else { Doors::bind(&settings, role)? };
    let (data, changes) = DataDir::prepare(&settings.data, &role.parts())
        .with_context(|| format!("use the folder {} (setting `data`)", settings.data.display()))?;
    changes.iter().for_each(|change| warn!("{change}"));
    let info = doors.info(&settings, &data)?;
    let parts = Arc::new(Parts::make(&settings, role, data.clone()).await?);
    let mut token = None;
    if role.is(Role::Githost) {
        git::check().await?;
        info.write(&data)?;
        token = new_token(&data, &settings, serve.guide)?;
    }
    let mut running = parts::Running::start(&parts, doors, &info, role)?;
    let ready = async {
        parts.ready().await;
        guide::tell(serve.guide, &info, token.as_deref(), &data, &settings);
        std::future::pending::<()>().await
    };
    let ended = tokio::select! {
        ended = running.first_ended() => Some(ended),
        () = ready => None,
        () = parts.relieved.cancelled() => None,
        signalled = signalled() => { signalled?; None }
    };
    let forced = signalled();
    tokio::select! {
        () = running.stop() => {}
        _ = forced => info!("asked twice: leaving at once"),
    }
    match ended {
        None => Ok(ExitCode::SUCCESS),
        Some(Err(e)) => Err(e),
        Some(Ok(name)) => {
            error!("the {name} ended, though nobody asked it to");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Makes the token of a new installation, when nothing can keep the process from telling it. The guide shows it to the
/// person in front of it; a service leaves it in a file.
fn new_token(data: &DataDir, settings: &Settings, guide: bool) -> anyhow::Result<Option<String>> {
    if settings.http_listen.is_empty() || Token::stored(data)?.is_some() {
        return Ok(None);
    }
    let made = if guide { Token::make(data) } else { Token::make_file(data) };
    let (_, text) = made.context("make the token")?;
    let by = local(rustix::process::getuid().as_raw());
    let record = audited(AuditAct::Token, None, by, AuditEnd::Done, "at the first start");
    Audit::new(data).record(&record).context("write the audit log")?;
    Ok(Some(text))
}

async fn signalled() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("wait for SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => info!("SIGTERM: leaving"),
        _ = interrupt.recv() => info!("SIGINT: leaving"),
    }
    Ok(())
}
