//! Holding an instance still: made ahead at a gate, or paused.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptions, StatsOptions};
use func_crash::point;
use func_model::{GateName, InstanceId, Poised};
use futures_util::StreamExt;
use tracing::debug;

use crate::call::{ASK, CallError, WORK, call};
use crate::container::Life;
use crate::docker::GATE;
use crate::{Docker, Hold, RunnerError, StartError};
use crate::{gate, gate_program};

/// A gate without a container that is younger than this is being made.
const TIDY_AFTER: Duration = Duration::from_secs(5 * 60);

#[async_trait]
impl Hold for Docker {
    async fn poise(&self, id: &InstanceId) -> Result<Poised, StartError> {
        self.poise_instance(id).await
    }

    async fn pause(&self, id: &InstanceId) -> Result<Option<SocketAddr>, RunnerError> {
        let name = self.name(id);
        let Some(found) = self.container(&name).await? else { return Ok(None) };
        match found.life {
            Life::Poised(_) | Life::Over => return Ok(None),
            Life::Paused => return Ok(found.addr),
            Life::Running => {}
        }
        let paused = call("pause a container", WORK, self.engine().await?.pause_container(&found.id)).await;
        point("after_pause");
        match paused {
            Ok(()) => Ok(found.addr),
            Err(CallError::Denied { status: 404, .. }) => Ok(None),
            Err(error) => match self.container(&found.id).await?.map(|now| now.life) {
                Some(Life::Paused) => Ok(found.addr),
                Some(Life::Over) | None => Ok(None),
                Some(Life::Running | Life::Poised(_)) => Err(error.into()),
            },
        }
    }

    async fn resume(&self, id: &InstanceId) -> Result<(), RunnerError> {
        match self.container(&self.name(id)).await? {
            Some(found) if found.life == Life::Paused => self.unpause(&found.id).await,
            Some(_) | None => Ok(()),
        }
    }

    async fn memory_bytes(&self, id: &InstanceId) -> Result<u64, RunnerError> {
        let options = StatsOptions { stream: false, one_shot: true };
        let engine = self.engine().await?;
        let name = self.name(id);
        let mut told = Box::pin(engine.stats(&name, Some(options)));
        let first = async { told.next().await.transpose() };
        let stats = match call("measure a container", ASK, first).await {
            Ok(stats) => stats.and_then(|stats| stats.memory_stats).unwrap_or_default(),
            Err(CallError::Denied { status: 404, .. }) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        // What the kernel would give back at once is not counted: cgroup v2, v1.
        let cached = stats.stats.unwrap_or_default();
        let cached = ["inactive_file", "total_inactive_file"].iter().find_map(|name| cached.get(*name));
        Ok(stats.usage.unwrap_or_default().saturating_sub(cached.copied().unwrap_or_default()))
    }

    async fn tidy(&self) -> Result<(), RunnerError> {
        let gates = gate::older_than(&self.gates(), TIDY_AFTER).map_err(refused)?;
        let programs = gate_program::others(&self.run_folder()).map_err(refused)?;
        if gates.is_empty() && programs.is_empty() {
            return Ok(());
        }
        let used = self.used().await?;
        gates.into_iter().filter(|gate| !used.gates.contains(gate)).for_each(|gate| self.remove_gate(gate));
        for program in programs.iter().filter(|program| !used.files.contains(*program)) {
            self.remove_program(program);
        }
        Ok(())
    }
}

/// What containers have, whatever they do.
struct Used {
    gates: HashSet<GateName>,
    /// The names of what is mounted into them, without folders: the engine may write those in another way.
    files: HashSet<String>,
}

impl Docker {
    /// Gives what all containers of this installation have.
    async fn used(&self) -> Result<Used, RunnerError> {
        let all = ListContainersOptions { all: true, filters: Some(self.ours()), ..Default::default() };
        let listed =
            call("list the containers", ASK, self.engine().await?.list_containers(Some(all))).await?;
        let mut used = Used { gates: HashSet::new(), files: HashSet::new() };
        for ContainerSummary { labels, mounts, .. } in listed {
            used.gates.extend(labels.and_then(|labels| labels.get(GATE)?.parse::<GateName>().ok()));
            let sources = mounts.into_iter().flatten().filter_map(|mount| mount.source);
            used.files.extend(sources.filter_map(|path| path.rsplit('/').next().map(str::to_owned)));
        }
        Ok(used)
    }

    /// Removes a gate's program of another version. What cannot be removed is tried again with the next tidying.
    fn remove_program(&self, name: &str) {
        match fs::remove_file(self.run_folder().join(name)) {
            Ok(()) => debug!(name, "removed a gate's program of another version"),
            Err(error) => debug!(name, %error, "a gate's program of another version could not be removed"),
        }
    }

    /// Lets a paused container go on. One that is not paused, or absent, is done.
    pub(crate) async fn unpause(&self, container: &str) -> Result<(), RunnerError> {
        let engine = self.engine().await?;
        let Err(error) = call("resume a container", WORK, engine.unpause_container(container)).await else {
            point("after_resume");
            return Ok(());
        };
        match self.container(container).await? {
            Some(found) if found.life == Life::Paused => Err(error.into()),
            Some(_) | None => Ok(()),
        }
    }
}

fn refused(error: std::io::Error) -> RunnerError {
    RunnerError::Refused { verb: "tidy up its gates", said: error.to_string() }
}
