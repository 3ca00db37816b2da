//! Making an instance ahead: its container, its process held at a gate before the app's first instruction.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType};
use func_crash::point;
use func_model::limits::POISED_MS;
use func_model::{GateName, InstanceId, Poised, Release};
use serde_json::Value;
use tokio::time::Instant;
use tracing::debug;

use crate::container::{Container, Life};
use crate::disk::without_storage;
use crate::docker::{GATE, MADE};
use crate::gate::{self, GateState};
use crate::gate_program;
use crate::image::Shape;
use crate::remove::IfRunning;
use crate::start::{Failure, no_command_at_all};
use crate::{Docker, How, RunnerError, StartError};

/// Where a poised container has its gate: two files, both read-only.
pub(crate) const PROGRAM: &str = "/.func-gate/gate";
const PIPE: &str = "/.func-gate/go";
/// How long the process of a container that was started may take until it waits at its gate.
const HELD_WITHIN: Duration = Duration::from_secs(10);

impl Docker {
    pub(crate) async fn poise_instance(&self, id: &InstanceId) -> Result<Poised, StartError> {
        let release = self.manifest(&id.release).await?;
        let shape = self.shape(&release.image).await?;
        let shape = shape.ok_or_else(|| StartError::NoImage { id: id.clone() })?;
        if shape.command.is_empty() {
            return Err(no_command_at_all(id));
        }
        let plain = self.body(&release, id, &shape);
        let made = digest(&plain);
        if let Some(found) = self.container(&self.name(id)).await? {
            if let Some(poised) = self.still_poised(&release, &found, &made) {
                return Ok(poised);
            }
            self.clear_for_poising(&found).await?;
        }
        let gate = GateName::new(random()?);
        let body = self.held_body(plain, gate, made, &shape).map_err(|e| refused("make a gate", &e))?;
        let poised = self.make_held(&release, id, gate, body).await;
        if poised.is_err() {
            self.remove_gate(gate);
        }
        poised
    }

    /// Whether a container that was made ahead is still what would be made now, and not old.
    pub(crate) async fn is_fresh(&self, id: &InstanceId, made: Option<&String>, age: Duration) -> bool {
        if age >= Duration::from_millis(POISED_MS) {
            return false;
        }
        let wanted = async {
            let release = self.manifest(&id.release).await?;
            let shape = self.shape(&release.image).await?;
            Ok::<_, RunnerError>(shape.map(|shape| digest(&self.body(&release, id, &shape))))
        };
        match wanted.await {
            Ok(wanted) => wanted.as_ref() == made && made.is_some(),
            Err(error) => {
                debug!(app.name = %id.release.app, %error, "nobody knows what {id} should be");
                false
            }
        }
    }

    /// Gives what a container has ready, if it is as it would be made now and its process waits.
    fn still_poised(&self, release: &Release, found: &Container, made: &String) -> Option<Poised> {
        let Life::Poised(gate) = found.life else { return None };
        let GateState::Shut { age } = gate::state(&self.gates(), gate) else { return None };
        let fresh = age < Duration::from_millis(POISED_MS) && found.made.as_ref() == Some(made);
        let addr = found.addr.filter(|_| fresh && gate::is_read(&self.gates(), gate))?;
        Some(Poised { gate, addr, health: release.health.clone() })
    }

    async fn clear_for_poising(&self, found: &Container) -> Result<(), RunnerError> {
        match found.life {
            Life::Poised(_) => self.bury(found, IfRunning::Kill).await,
            Life::Over => self.bury(found, IfRunning::Leave).await,
            Life::Running | Life::Paused => {
                let said = format!("{} runs", found.instance);
                Err(RunnerError::Refused { verb: "make an instance ahead", said })
            }
        }
    }

    /// Describes a container whose process waits at a gate, and becomes what the plain one would run.
    fn held_body(
        &self,
        plain: ContainerCreateBody,
        gate: GateName,
        made: String,
        shape: &Shape,
    ) -> io::Result<ContainerCreateBody> {
        let program = gate_program::put(&self.run_folder())?;
        let pipe = gate::make(&self.gates(), gate)?;
        let mut labels = plain.labels.unwrap_or_default();
        labels.insert(GATE.to_owned(), gate.to_string());
        labels.insert(MADE.to_owned(), made);
        let host_config = plain.host_config.unwrap_or_default();
        let mut mounts = host_config.mounts.clone().unwrap_or_default();
        mounts.extend([bind(&program, PROGRAM), bind(&pipe, PIPE)]);
        let held = [PROGRAM, PIPE].into_iter().map(str::to_owned).chain(shape.command.iter().cloned());
        Ok(ContainerCreateBody {
            labels: Some(labels),
            entrypoint: Some(held.collect()),
            cmd: Some(Vec::new()),
            host_config: Some(HostConfig { mounts: Some(mounts), ..host_config }),
            ..plain
        })
    }

    async fn make_held(
        &self,
        release: &Release,
        id: &InstanceId,
        gate: GateName,
        body: ContainerCreateBody,
    ) -> Result<Poised, StartError> {
        let name = self.name(id);
        let Some((container, addr)) = self.create(id, &name, body).await? else {
            return Err(name_taken(&name).into());
        };
        let started = async {
            self.run(&container, id).await?;
            let addr = match addr {
                Some(addr) => Some(SocketAddr::new(addr.into(), release.port)),
                None => self.container(&container).await?.and_then(|c| c.addr),
            };
            self.until_held(&container, gate).await?;
            point("after_held");
            Ok::<_, Failure>(addr)
        };
        let failure = match started.await {
            Ok(Some(addr)) => return Ok(Poised { gate, addr, health: release.health.clone() }),
            Ok(None) => Failure::Exited { status: None },
            Err(failure) => failure,
        };
        let (error, remains) = self.failed_start(release, &container, How::Made, failure, HELD_WITHIN).await;
        if let Some(remains) = remains {
            self.bury_later(remains);
        }
        Err(error)
    }

    /// Waits until the process of a container waits at its gate.
    async fn until_held(&self, container: &str, gate: GateName) -> Result<(), Failure> {
        let gates = self.gates();
        tokio::select! {
            held = gate::until_read(&gates, gate, Instant::now() + HELD_WITHIN) => match held {
                true => Ok(()),
                false => {
                    let verb = "hold a container at its gate";
                    Err(RunnerError::Slow { verb, within: HELD_WITHIN }.into())
                }
            },
            ended = self.ended(container) => Err(Failure::Exited { status: ended? }),
        }
    }
}

/// Says that a name belongs to a container that is not func's, or that comes and goes.
pub(crate) fn name_taken(name: &str) -> RunnerError {
    let said = format!("the name {name} is taken by a container that is not func's, or comes and goes");
    RunnerError::Refused { verb: "create a container", said }
}

/// Gives the digest of what is asked for, the gate's program with it.
fn digest(plain: &ContainerCreateBody) -> String {
    // What is sent to the engine can be written; were it not so, it would never be the same again.
    // Whether the engine bounds its storage is not known before the first try.
    let mut asked = serde_json::to_value(without_storage(plain.clone())).unwrap_or(Value::Null);
    asked.sort_all_objects();
    gate_program::hex(format!("{} {asked}", gate_program::digest()).as_bytes())
}

pub(crate) fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.display().to_string()),
        target: Some(target.to_owned()),
        read_only: Some(true),
        ..Default::default()
    }
}

fn random() -> Result<u128, RunnerError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| refused("name a gate", &e))?;
    Ok(u128::from_ne_bytes(bytes))
}

fn refused(verb: &'static str, error: &dyn std::error::Error) -> RunnerError {
    RunnerError::Refused { verb, said: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_digest_depends_on_what_is_asked_for_and_on_nothing_else() {
        let body = |port: &str| {
            // Each map of its own has an order of its own.
            let labels: HashMap<String, String> =
                (0..20).map(|n| (format!("l{n}"), port.to_owned())).collect();
            ContainerCreateBody { labels: Some(labels), ..Default::default() }
        };
        assert_eq!(digest(&body("1")), digest(&body("1")));
        assert_ne!(digest(&body("1")), digest(&body("2")));
        assert_eq!(digest(&body("1")).len(), 64);
    }
}
