//! The end of a container: killed if it runs, its output kept, removed by its id.

use std::time::Duration;

use bollard::query_parameters::{KillContainerOptions, RemoveContainerOptions};
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::call::{CallError, WORK, call};
use crate::container::Container;
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

impl Docker {
    /// Ends a container, keeps its output and removes it. Gives the output's last lines. Repeatable.
    pub(crate) async fn bury(
        &self,
        container: &Container,
        running: IfRunning,
    ) -> Result<Vec<String>, RunnerError> {
        if container.running && running == IfRunning::Kill {
            self.kill(&container.id).await?;
        }
        let ended = self.container(&container.id).await?;
        let Some(ended) = ended else { return Ok(Vec::new()) };
        if ended.running && running == IfRunning::Leave {
            return Ok(Vec::new());
        }
        let lines = self.keep_output(&ended).await;
        self.remove(&ended.id, running).await?;
        Ok(lines)
    }

    async fn kill(&self, container: &str) -> Result<(), RunnerError> {
        let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
        let killed = self.engine().await?.kill_container(container, Some(options));
        match call("kill a container", WORK, killed).await {
            // 404: it is gone; 409: it does not run.
            Ok(()) | Err(CallError::Denied { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a container and its anonymous volumes, and waits until it is gone.
    async fn remove(&self, container: &str, running: IfRunning) -> Result<(), RunnerError> {
        let force = running == IfRunning::Kill;
        let options = RemoveContainerOptions { v: true, force, link: false };
        let removed = self.engine().await?.remove_container(container, Some(options));
        match call("remove a container", WORK, removed).await {
            Ok(()) => {
                debug!(container, "removed a container");
                Ok(())
            }
            Err(CallError::Denied { status: 404, .. }) => Ok(()),
            Err(CallError::Denied { status: 409, said, .. }) if said.contains("already in progress") => {
                self.gone(container).await
            }
            // It runs again: that is somebody else's, and stays.
            Err(CallError::Denied { status: 409, .. }) if running == IfRunning::Leave => Ok(()),
            Err(error) => Err(error.into()),
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
