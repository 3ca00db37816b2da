//! Serves one git call, whatever door it came through.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use func_crash::point;
use func_store::{Audit, DataDir, disk_report};
use tokio::sync::Semaphore;

use crate::call::{Call, Program};
use crate::error::io_error;
use crate::free_disk::FreeDisk;
use crate::limits::COMMANDS_MAX;
use crate::process::Git;
use crate::refusals::Refusals;
use crate::relay::{Ending, Report, Wire, relay};
use crate::settle::settle;
use crate::verdict::Verdict;
use crate::{HostError, repository};

/// The repositories and git.
pub(crate) struct Host {
    pub(crate) data: DataDir,
    pub(crate) refusals: Refusals,
    git: Git,
    places: Semaphore,
    /// How long one command may take.
    pub(crate) within: Duration,
    /// Less free disk than this, and nothing more is pushed.
    free_bytes_min: Option<u64>,
}

/// How a call ended, for its door to pass on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) ending: Ending,
    /// The hook said that the deploy failed.
    pub(crate) deploy_failed: bool,
}

impl Host {
    pub(crate) fn new(data: DataDir, git: Git, within: Duration, free_bytes_min: Option<u64>) -> Self {
        let refusals = Refusals::new(Audit::new(&data));
        Self { data, refusals, git, places: Semaphore::new(COMMANDS_MAX), within, free_bytes_min }
    }

    /// Serves a call of a client that is let in. A push makes the repository if there is none.
    ///
    /// # Errors
    /// [`HostError::NoSuchApp`], [`HostError::Crowded`], [`HostError::LowDisk`],
    /// [`HostError::OverBudget`], and the host's own failures.
    pub(crate) async fn serve(&self, call: &Call, wire: &mut Wire) -> Result<Outcome, HostError> {
        let _place = self.places.try_acquire().map_err(|_| HostError::Crowded)?;
        let started = Instant::now();
        let (data, wanted, kept) = (self.data.clone(), call.clone(), self.free_bytes_min);
        let prepare = move || {
            let place = match wanted.program {
                Program::ReceivePack => {
                    has_room(&data, kept)?;
                    is_within_budget(&data)?;
                    repository::made(&data, &wanted.app)?
                }
                Program::UploadPack => repository::existing(&data, &wanted.app)?,
            };
            settle(&place)?;
            Ok::<_, HostError>((place, Verdict::new(&data)?))
        };
        let prepared = tokio::task::spawn_blocking(prepare).await;
        let (place, verdict) = prepared.map_err(|_| HostError::Panic)??;
        let process = self.git.start(call, &place, &verdict)?;
        point("after_git_began");
        let report = relay(process, wire, self.within).await?;
        point("after_git_ended");
        if report.ending == Ending::TooLong
            && let Some(packet) = call.late_packet(report.bytes_out)
        {
            // A client that does not read does not need it.
            let _ = wire.output.try_send(packet);
        }
        let deploy_failed = call.program == Program::ReceivePack && verdict.is_failed();
        log(call, &report, deploy_failed, started);
        Ok(Outcome { ending: report.ending, deploy_failed })
    }
}

/// Refuses a push while the disk of the repositories is nearly full.
fn has_room(data: &DataDir, kept: Option<u64>) -> Result<(), HostError> {
    let projects = data.projects();
    let found = FreeDisk::of(&projects, kept).map_err(io_error("look at the disk of", &projects))?;
    let FreeDisk { free, kept } = found;
    if found.is_low() { Err(HostError::LowDisk { free, kept }) } else { Ok(()) }
}

/// Refuses a push while the cleaner's last report says that the disk budget is used up. Without a report, or with one that
/// cannot be read, pushes go on: the disk itself is looked at as well.
fn is_within_budget(data: &DataDir) -> Result<(), HostError> {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let report = disk_report(data, u64::try_from(now_ms).unwrap_or(u64::MAX)).unwrap_or_else(|e| {
        tracing::warn!("the disk usage is not known: {}", func_model::chain(&e));
        None
    });
    match report.and_then(|report| report.refusal()) {
        Some(why) => Err(HostError::OverBudget { why }),
        None => Ok(()),
    }
}

fn log(call: &Call, report: &Report, deploy_failed: bool, started: Instant) {
    let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (app, verb) = (&call.app, call.program.verb());
    let Report { ending, bytes_in, bytes_out, stderr } = report;
    match ending {
        Ending::Exited(0) => {
            tracing::info!(app.name = %app, took_ms, bytes_in, bytes_out, deploy_failed, "{verb} of {app} ended");
        }
        Ending::Left => {
            tracing::debug!(app.name = %app, took_ms, bytes_in, bytes_out, stderr, "the client left {verb} of {app}");
        }
        Ending::Exited(status) => {
            tracing::warn!(app.name = %app, took_ms, status, stderr, "{verb} of {app} ended with status {status}");
        }
        Ending::TooLong => {
            tracing::warn!(app.name = %app, took_ms, stderr, "{verb} of {app} took too long and was ended");
        }
    }
}

/// Logs what kept a call from being served: the client's own mistake quietly, ours aloud.
pub(crate) fn log_error(error: &HostError) {
    if let HostError::LowDisk { .. } | HostError::OverBudget { .. } = error {
        tracing::warn!("a push is refused: {error}");
    } else if error.is_refusal() {
        tracing::debug!("refused: {error}");
    } else {
        tracing::error!("a git call failed: {}", func_model::chain(error));
    }
}
