//! A start that failed: said why, with the last lines, and cleared away.

use std::time::Duration;

use func_model::Release;
use func_model::limits::TAIL_LINES;
use tokio::time::sleep;
use tracing::warn;

use crate::container::Container;
use crate::memory::KILLED;
use crate::output::KEPT_LINES;
use crate::readiness::NotReady;
use crate::remove::{IfRunning, Remains};
use crate::start::Failure;
use crate::{Docker, How, OverMemory, StartError};

/// How the gate begins the line that says why it cannot run a command, and its exit statuses then.
const GATE_SAYS: &str = "func-gate: ";
const GATE_STATUSES: [i64; 2] = [126, 127];
/// How long it is waited for the lines of one that ended without any.
const LATE_LINES: Duration = Duration::from_millis(50);

impl Docker {
    /// Ends what a failed start left, and says why it failed. What remains is removed afterwards, while nobody waits.
    /// What ran before the start is left running: somebody may have a request in it.
    pub(crate) async fn failed_start(
        &self,
        release: &Release,
        container: &str,
        how: How,
        failure: Failure,
        within: Duration,
    ) -> (StartError, Option<Remains>) {
        let id = &release.id.instance();
        let failure = match failure {
            Failure::Start(error) => {
                self.discard(container).await;
                return (error, None);
            }
            failure => failure,
        };
        let turn = self.burials().turn(container).await;
        let (found, lines) = tokio::join!(self.container(container), self.last_lines(container, KEPT_LINES));
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                let status = status_of(&failure).unwrap_or(KILLED);
                let (id, memory) = (id.clone(), OverMemory::No);
                return (StartError::Exited { id, status, memory, tail: Vec::new() }, None);
            }
            Err(error) => return (error.into(), None),
        };
        match how {
            How::Made | How::Opened if found.is_alive() => {
                if let Err(error) = self.kill(&found.id).await {
                    return (error.into(), None);
                }
            }
            How::Made | How::Opened | How::Found | How::Resumed => {}
        }
        let ended = !found.is_alive();
        let lines = match lines {
            // On a busy machine the engine tells of an end before it has written down what was printed last.
            Ok(lines) if lines.is_empty() && ended => {
                sleep(LATE_LINES).await;
                self.last_lines(container, KEPT_LINES).await
            }
            lines => lines,
        };
        let lines = lines.unwrap_or_else(|error| {
            warn!(app.name = %id.release.app, %error, "the last lines of {id} are lost");
            Vec::new()
        });
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec();
        if ended {
            // Before anybody is told, who looks into the log then.
            self.keep_lines(&found, lines).await;
        }
        // While it is alive, nobody but us ends it.
        let memory = match ended {
            false => OverMemory::No,
            true => self.over_memory(&found, status_of(&failure), self.limits(release)).await,
        };
        let error = told(release, &found, failure, memory, within, tail);
        (error, Some(Remains { turn, container: found, kept: ended }))
    }

    /// Removes a container that never ran.
    pub(crate) async fn discard(&self, container: &str) {
        let removed = async {
            match self.container(container).await? {
                Some(found) => self.bury(&found, IfRunning::Kill).await,
                None => Ok(()),
            }
        };
        if let Err(error) = removed.await {
            warn!(container, %error, "a container that did not start could not be removed");
        }
    }
}

fn status_of(failure: &Failure) -> Option<i64> {
    match failure {
        Failure::Exited { status } => *status,
        Failure::NotReady(_) | Failure::Start(_) | Failure::Runner(_) => None,
    }
}

/// Says why a start failed. `found` is the container as it was before it was ended.
fn told(
    release: &Release,
    found: &Container,
    failure: Failure,
    memory: OverMemory,
    within: Duration,
    tail: Vec<String>,
) -> StartError {
    let id = found.instance.clone();
    match (failure, &release.health) {
        (Failure::Start(error), _) => error,
        (Failure::Runner(error), _) => error.into(),
        (Failure::Exited { status }, _) => exited(found, status, memory, tail),
        (Failure::NotReady(_), _) if !found.is_alive() => exited(found, None, memory, tail),
        (Failure::NotReady(NotReady::Unhealthy { said }), Some(path)) => {
            StartError::Unhealthy { id, path: path.clone(), said, within, tail }
        }
        (Failure::NotReady(NotReady::Silent | NotReady::Unhealthy { .. }), _) => {
            StartError::Silent { id, port: release.port, within, tail }
        }
    }
}

fn exited(found: &Container, status: Option<i64>, memory: OverMemory, tail: Vec<String>) -> StartError {
    let (id, status) = (found.instance.clone(), status.unwrap_or(found.exit_status));
    if found.gate.is_some()
        && GATE_STATUSES.contains(&status)
        && let Some(said) = tail.last().and_then(|line| line.strip_prefix(GATE_SAYS))
    {
        return StartError::NoCommand { id, said: said.to_owned() };
    }
    StartError::Exited { id, status, memory, tail }
}
