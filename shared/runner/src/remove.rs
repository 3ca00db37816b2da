//! The end of a container: killed if it runs, its output kept, removed by its id.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptions};
use func_crash::point;
use func_model::GateName;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::call::{CallError, WORK, call};
use crate::container::{Container, Life};
use crate::gate;
use crate::{Docker, RunnerError};

/// How long a removal that somebody else began may take, and how often to look.
const GONE: Duration = Duration::from_secs(30);
const GONE_EVERY: Duration = Duration::from_millis(20);

/// What to do with a container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IfRunning {
    Kill,
    Leave,
}

/// Who removes a container keeps its output first: one at a time, so that it is kept once.
#[derive(Default)]
pub(crate) struct Burials(Mutex<HashMap<String, Weak<Turn>>>);

type Turn = tokio::sync::Mutex<()>;

/// The container of a failed start, in its turn.
pub(crate) struct Remains {
    pub(crate) turn: OwnedMutexGuard<()>,
    pub(crate) container: Container,
    /// Its output is in the log already.
    pub(crate) kept: bool,
}

impl Burials {
    /// Waits for the turn to end a container.
    pub(crate) async fn turn(&self, container: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            turns.get(container).and_then(Weak::upgrade).unwrap_or_else(|| {
                let turn = Arc::new(Turn::default());
                turns.insert(container.to_owned(), Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

impl Docker {
    /// Ends a container, keeps its output and removes it, its gate as well. Repeatable.
    pub(crate) async fn bury(&self, container: &Container, running: IfRunning) -> Result<(), RunnerError> {
        let _turn = self.burials().turn(&container.id).await;
        self.bury_in_turn(container, running).await
    }

    async fn bury_in_turn(&self, container: &Container, running: IfRunning) -> Result<(), RunnerError> {
        if let (Life::Poised(_), IfRunning::Kill) = (container.life, running) {
            // It has printed nothing.
            return self.remove(container, running).await;
        }
        if container.is_alive() && running == IfRunning::Kill {
            self.kill(&container.id).await?;
        }
        let Some(ended) = self.container(&container.id).await? else { return Ok(()) };
        if ended.is_alive() && running == IfRunning::Leave {
            return Ok(());
        }
        self.keep_output(&ended).await;
        point("after_output");
        self.remove(&ended, running).await
    }

    /// Removes the container of a failed start while nobody waits for it. One that runs stays.
    pub(crate) fn bury_later(&self, remains: Remains) {
        let (docker, Remains { turn, container, kept }) = (self.clone(), remains);
        tokio::spawn(async move {
            let buried = match kept {
                true => docker.remove(&container, IfRunning::Leave).await,
                false => docker.bury_in_turn(&container, IfRunning::Leave).await,
            };
            drop(turn);
            if let Err(error) = buried {
                let id = &container.instance;
                warn!(app.name = %id.release.app, %error, "what is left of {id} could not be removed");
            }
        });
    }

    /// Ends a container's process at once, paused or not, and waits for its end. Absent, or over, is done.
    pub(crate) async fn kill(&self, container: &str) -> Result<(), RunnerError> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let killed = self.engine().await?.kill_container(container, Some(options));
        let killed = call("kill a container", WORK, killed).await;
        point("after_kill");
        match killed {
            // 404: it is gone; 409: it does not run.
            Ok(()) | Err(CallError::Denied { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a container, its anonymous volumes and its gate, and waits until it is gone.
    async fn remove(&self, container: &Container, running: IfRunning) -> Result<(), RunnerError> {
        let force = running == IfRunning::Kill;
        let options = RemoveContainerOptions { v: true, force, link: false };
        let removed = self.engine().await?.remove_container(&container.id, Some(options));
        match call("remove a container", WORK, removed).await {
            Ok(()) => debug!(container = container.id, "removed a container"),
            Err(CallError::Denied { status: 404, .. }) => {}
            Err(CallError::Denied { status: 409, said, .. }) if said.contains("already in progress") => {
                self.gone(&container.id).await?;
            }
            // It runs again: that is somebody else's, and stays.
            Err(CallError::Denied { status: 409, .. }) if running == IfRunning::Leave => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        point("after_remove");
        if let Some(gate) = container.gate {
            self.remove_gate(gate);
        }
        Ok(())
    }

    /// Removes a gate's folder. What cannot be removed is left to `tidy`.
    pub(crate) fn remove_gate(&self, gate: GateName) {
        if let Err(error) = gate::remove(&self.gates(), gate) {
            debug!(%gate, %error, "a gate could not be removed");
        }
    }

    /// Waits until somebody else's removal is done.
    async fn gone(&self, container: &str) -> Result<(), RunnerError> {
        let deadline = Instant::now() + GONE;
        while self.container(container).await?.is_some() {
            if Instant::now() > deadline {
                return Err(RunnerError::Slow { verb: "remove a container", within: GONE });
            }
            sleep(GONE_EVERY).await;
        }
        Ok(())
    }
}
