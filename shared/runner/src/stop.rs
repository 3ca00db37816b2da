//! Stopping and removing.

use std::time::Duration;

use async_trait::async_trait;
use bollard::query_parameters::{RemoveImageOptions, StopContainerOptions};
use func_crash::point;
use func_model::InstanceId;
use func_model::limits::STOP_GRACE_MS;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::call::{CallError, WORK, call};
use crate::container::{Container, Life};
use crate::remove::IfRunning;
use crate::{Docker, RunnerError, Stop};

#[async_trait]
impl Stop for Docker {
    async fn stop(&self, id: &InstanceId, grace: Duration) -> Result<(), RunnerError> {
        let begun = Instant::now();
        let Some(found) = self.container(&self.name(id)).await? else { return Ok(()) };
        self.end(&found, grace).await?;
        if let Life::Poised(_) = found.life {
            debug!(app.name = %id.release.app, release = %id.release, "removed what was made ahead for {id}");
            return Ok(());
        }
        let took_ms = begun.elapsed().as_millis() as u64;
        info!(app.name = %id.release.app, release = %id.release, took_ms, "stopped {id}");
        Ok(())
    }

    async fn remove_container(&self, container: &str, running: bool) -> Result<(), RunnerError> {
        let Some(found) = self.container(container).await? else { return Ok(()) };
        if found.is_alive() && running {
            return self.end(&found, Duration::from_millis(STOP_GRACE_MS)).await;
        }
        self.bury(&found, IfRunning::Leave).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), RunnerError> {
        let removed = self.engine().await?.remove_image(tag, None::<RemoveImageOptions>, None);
        match call("remove an image", WORK, removed).await {
            // 409: a container uses it.
            Ok(_) | Err(CallError::Denied { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn prune(&self, cache_bytes_max: u64) -> Result<u64, RunnerError> {
        Ok(self.prune_images().await? + self.prune_cache(cache_bytes_max).await?)
    }
}

impl Docker {
    /// A paused process gets its signal and its grace as well: it is resumed first. One that waits at a gate is the app's
    /// not yet, and is ended at once.
    async fn end(&self, container: &Container, grace: Duration) -> Result<(), RunnerError> {
        match container.life {
            Life::Running => self.end_process(&container.id, grace).await?,
            Life::Paused => {
                self.unpause(&container.id).await?;
                self.end_process(&container.id, grace).await?;
            }
            Life::Poised(_) | Life::Over => {}
        }
        self.bury(container, IfRunning::Kill).await
    }

    /// The image's own stop signal (SIGTERM unless it names another), the grace in whole seconds, SIGKILL.
    async fn end_process(&self, container: &str, grace: Duration) -> Result<(), RunnerError> {
        let seconds = grace.as_millis().div_ceil(1000).try_into().unwrap_or(i32::MAX);
        let options = StopContainerOptions { signal: None, t: Some(seconds) };
        let stopped = self.engine().await?.stop_container(container, Some(options));
        let stopped = call("stop a container", grace + WORK, stopped).await;
        point("after_stop");
        match stopped {
            // 404: it is gone; 409: it is being removed.
            Ok(()) | Err(CallError::Denied { status: 404 | 409, .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
