//! Starting an instance: let go what was made ahead, resume what is paused, or make it; wait until it is ready, leave
//! nothing running if it fails.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, EndpointIpamConfig, EndpointSettings, NetworkingConfig};
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions};
use func_crash::point;
use func_model::{Claim, GateName, InstanceId, Release};
use futures_util::StreamExt;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::call::{CallError, WORK, call, failed};
use crate::container::{Container, Life};
use crate::gate::{self, GateError, GateState, open_gate};
use crate::poise::{PROGRAM, name_taken};
use crate::readiness::{NotReady, ready_once, until_ready};
use crate::remove::IfRunning;
use crate::{Docker, How, RunnerError, Start, StartError, StartTimes, Started, State};

/// How often a name that is taken is looked at again.
const TRIES: u32 = 5;
/// How long after the first look, and how much longer after each further one: a removal takes about as long.
const TRY_AFTER: Duration = Duration::from_millis(50);
/// How long a gate that is marked as opened may still be read before its opener is taken for dead.
const OPENING: Duration = Duration::from_millis(20);

/// Why a container that was started is not an instance that answers.
pub(crate) enum Failure {
    /// Its exit status, if it is known.
    Exited {
        status: Option<i64>,
    },
    NotReady(NotReady),
    /// It did not even run.
    Start(StartError),
    Runner(RunnerError),
}

impl From<RunnerError> for Failure {
    fn from(error: RunnerError) -> Self {
        Self::Runner(error)
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        Self::Start(error)
    }
}

/// A container that runs, or has run until just now.
struct Running {
    container: String,
    /// Where it answers, if that is known already.
    addr: Option<SocketAddr>,
    how: How,
    took: StartTimes,
}

#[async_trait]
impl Start for Docker {
    /// The start is a task of its own: if the future is dropped it goes on, to its own end. The caller sees to it that
    /// nobody else starts, stops or holds the same instance meanwhile: what fails is ended and removed.
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let (docker, claim) = (self.clone(), claim.clone());
        let starting = async move {
            let started = docker.start_instance(&claim, within).await;
            if let Err(error) = &started {
                docker.keep_failure(&claim.id, error).await;
            }
            started
        };
        match tokio::spawn(starting).await {
            Ok(started) => started,
            Err(e) => Err(RunnerError::Refused { verb: "start a container", said: e.to_string() }.into()),
        }
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        let Some(found) = self.container(&self.name(id)).await? else { return Ok(State::Stopped) };
        Ok(match (found.life, found.addr) {
            (Life::Running, Some(addr)) => State::Running { addr },
            (Life::Paused, Some(addr)) => State::Paused { addr },
            (Life::Running | Life::Paused, None) | (Life::Poised(_) | Life::Over, _) => State::Stopped,
        })
    }
}

impl Docker {
    async fn start_instance(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let (id, begun) = (&claim.id, Instant::now());
        let release = self.manifest(&id.release).await?;
        let Running { container, addr, how, mut took } = self.running(&release, claim, begun).await?;
        let runs = Instant::now();
        let failure = match self.settle(&release, &container, addr, begun + within).await {
            Ok(addr) => {
                point("after_started");
                took.ready_us = us_since(runs);
                let took_ms = begun.elapsed().as_millis() as u64;
                info!(app.name = %id.release.app, release = %id.release, took_ms, ?how, "started {id}");
                return Ok(Started { addr, how, took });
            }
            Err(failure) => failure,
        };
        let (error, remains) = self.failed_start(&release, &container, how, failure, within).await;
        point("after_discard");
        if let Some(remains) = remains {
            self.bury_later(remains);
        }
        info!(app.name = %id.release.app, release = %id.release, %error, "{id} did not start");
        Err(error)
    }

    /// Gives the running container of an instance: the one there is, let go or resumed if it is held, or a new one.
    async fn running(&self, release: &Release, claim: &Claim, begun: Instant) -> Result<Running, StartError> {
        let name = self.name(&claim.id);
        for tried in 1..=TRIES {
            // An answer of "there is none" costs a fraction of a name that is refused: looking comes first.
            let made = match self.container(&name).await? {
                Some(found) if self.crashed(claim, &found) => Some(Running {
                    container: found.id,
                    addr: None,
                    how: How::Opened,
                    took: StartTimes::default(),
                }),
                Some(found) => self.take_up(release, found, begun).await?,
                None => {
                    let made = self.make(release, &claim.id, &name, begun).await?;
                    if made.is_none() {
                        sleep(TRY_AFTER * tried).await;
                    }
                    made
                }
            };
            if let Some(running) = made {
                return Ok(running);
            }
        }
        Err(name_taken(&name).into())
    }

    /// Whether a container is this claim's own start, let go by its holder, and has ended since.
    fn crashed(&self, claim: &Claim, found: &Container) -> bool {
        let gate = claim.poised.as_ref().map(|poised| poised.gate).filter(|gate| found.gate == Some(*gate));
        found.life == Life::Over && gate.is_some_and(|gate| gate::is_passed(&self.gates(), gate))
    }

    /// Makes what is there run; `None` if it was of no use, and is gone now.
    async fn take_up(
        &self,
        release: &Release,
        found: Container,
        begun: Instant,
    ) -> Result<Option<Running>, RunnerError> {
        let how = match found.life {
            Life::Over => {
                self.bury(&found, IfRunning::Leave).await?;
                return Ok(None);
            }
            // Somebody took it off our network: nobody will ever reach it.
            Life::Paused | Life::Poised(_) | Life::Running if found.addr.is_none() => None,
            Life::Paused => {
                self.unpause(&found.id).await?;
                Some(How::Resumed)
            }
            Life::Poised(gate) => self.open(&found, gate).await,
            Life::Running if self.is_stuck(release, &found).await => None,
            Life::Running => Some(How::Found),
        };
        let Some(how) = how else {
            let id = &found.instance;
            warn!(app.name = %id.release.app, release = %id.release, "the container of {id} is of no use");
            self.bury(&found, IfRunning::Kill).await?;
            return Ok(None);
        };
        let took = StartTimes { start_us: us_since(begun), ..StartTimes::default() };
        Ok(Some(Running { container: found.id, addr: found.addr, how, took }))
    }

    /// Opens a gate; `None` if the process that waited there cannot be had.
    async fn open(&self, found: &Container, gate: GateName) -> Option<How> {
        match open_gate(&self.gates(), gate).await {
            Ok(()) => Some(How::Opened),
            // Somebody was faster, and has written the byte by now.
            Err(GateError::Opened) if self.has_left(gate).await => Some(How::Found),
            Err(error) => {
                let id = &found.instance;
                warn!(app.name = %id.release.app, %gate, %error, "the gate of {id} could not be opened");
                None
            }
        }
    }

    /// Whether a container that was made ahead, and opened, will never become the app: its opener died between the mark
    /// and the byte, or its gate is gone.
    async fn is_stuck(&self, release: &Release, found: &Container) -> bool {
        let Some(gate) = found.gate else { return false };
        match (gate::state(&self.gates(), gate), found.addr) {
            (GateState::Opened, _) => false,
            (GateState::Spent | GateState::Shut { .. }, _) => !self.has_left(gate).await,
            (GateState::Gone, Some(addr)) => ready_once(release.health.as_deref(), addr).await.is_err(),
            (GateState::Gone, None) => true,
        }
    }

    async fn has_left(&self, gate: GateName) -> bool {
        gate::until_left(&self.gates(), gate, Instant::now() + OPENING).await
    }

    /// Makes and starts a container; `None` if its name or its address was taken just now.
    async fn make(
        &self,
        release: &Release,
        id: &InstanceId,
        name: &str,
        begun: Instant,
    ) -> Result<Option<Running>, StartError> {
        let Some(shape) = self.shape(&release.image).await? else {
            return Err(StartError::NoImage { id: id.clone() });
        };
        let body = self.body(release, id, &shape);
        let Some((container, addr)) = self.create(id, name, body).await? else { return Ok(None) };
        let mut took = StartTimes { create_us: us_since(begun), ..StartTimes::default() };
        let created = Instant::now();
        if let Err(error) = self.run(&container, id).await {
            self.discard(&container).await;
            // An engine that was killed may count addresses as used that nobody has: the next try has another one.
            return if address_taken(&error) { Ok(None) } else { Err(error) };
        }
        took.start_us = us_since(created);
        let addr = addr.map(|addr| SocketAddr::new(addr.into(), release.port));
        Ok(Some(Running { container, addr, how: How::Made, took }))
    }

    /// Creates a container, and gives its id and the address that it will have, if that is not the engine's choice;
    /// `None` if the name is taken.
    pub(crate) async fn create(
        &self,
        id: &InstanceId,
        name: &str,
        body: ContainerCreateBody,
    ) -> Result<Option<(String, Option<Ipv4Addr>)>, StartError> {
        let options = CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let addr = self.address().await?;
        let networking_config = addr.map(|addr| self.endpoint(addr));
        let body = ContainerCreateBody { networking_config, ..body };
        match self.create_bounded(options, body).await {
            Ok(created) => {
                point("after_create");
                Ok(Some((created.id, addr)))
            }
            Err(CallError::Denied { status: 404, said, .. }) if said.contains("No such image") => {
                Err(StartError::NoImage { id: id.clone() })
            }
            Err(CallError::Denied { status: 409, said, .. }) if said.contains("in use") => {
                debug!(app.name = %id.release.app, "the name {name} is taken");
                Ok(None)
            }
            Err(CallError::Denied { said, .. }) if said.contains("No command specified") => {
                Err(no_command_at_all(id))
            }
            Err(error) => Err(RunnerError::from(error).into()),
        }
    }

    /// Says which address a new container gets.
    fn endpoint(&self, addr: Ipv4Addr) -> NetworkingConfig {
        let ipam = EndpointIpamConfig { ipv4_address: Some(addr.to_string()), ..Default::default() };
        let endpoint = EndpointSettings { ipam_config: Some(ipam), ..Default::default() };
        let endpoints = HashMap::from([(self.installation().to_owned(), endpoint)]);
        NetworkingConfig { endpoints_config: Some(endpoints) }
    }

    pub(crate) async fn run(&self, container: &str, id: &InstanceId) -> Result<(), StartError> {
        let error = match self.run_once(container).await {
            Ok(()) => return Ok(()),
            // Somebody removed our network.
            Err(CallError::Denied { status: 404, said, .. }) if said.contains("network") => {
                self.make_network().await?;
                match self.run_once(container).await {
                    Ok(()) => return Ok(()),
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        match &error {
            CallError::Denied { said, .. } => match no_command(said) {
                Some(said) => Err(StartError::NoCommand { id: id.clone(), said }),
                None => Err(RunnerError::from(error).into()),
            },
            CallError::Runner(_) => Err(RunnerError::from(error).into()),
        }
    }

    async fn run_once(&self, container: &str) -> Result<(), CallError> {
        let engine = self.engine().await.map_err(CallError::Runner)?;
        let started = engine.start_container(container, None::<StartContainerOptions>);
        call("start a container", WORK, started).await?;
        point("after_container_start");
        Ok(())
    }

    /// Waits until the container answers, or ends, or the deadline.
    async fn settle(
        &self,
        release: &Release,
        container: &str,
        addr: Option<SocketAddr>,
        deadline: Instant,
    ) -> Result<SocketAddr, Failure> {
        let addr = match addr {
            Some(addr) => Some(addr),
            // The engine chose when it started it.
            None => self.container(container).await?.and_then(|c| c.addr),
        };
        let Some(addr) = addr else { return Err(Failure::Exited { status: None }) };
        tokio::select! {
            ready = until_ready(release.health.as_deref(), addr, deadline) => match ready {
                Ok(()) => Ok(addr),
                Err(why) => Err(Failure::NotReady(why)),
            },
            ended = self.ended(container) => Err(Failure::Exited { status: ended? }),
        }
    }

    /// Waits until a container does not run, and gives its exit status, if it is known.
    pub(crate) async fn ended(&self, container: &str) -> Result<Option<i64>, RunnerError> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut wait = Box::pin(self.engine().await?.wait_container(container, Some(options)));
        match wait.next().await {
            Some(Ok(ended)) => Ok(Some(ended.status_code)),
            // bollard makes an error of every exit status but 0.
            Some(Err(Error::DockerContainerWaitError { code, .. })) => Ok(Some(code)),
            // Removed, or the connection ended: what became of it is found out by looking.
            Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(None),
            Some(Err(error)) => Err(failed("wait for a container", error).into()),
            None => Err(RunnerError::Refused {
                verb: "wait for a container",
                said: "the engine ended the call".to_owned(),
            }),
        }
    }
}

/// Says that an image has nothing to run.
pub(crate) fn no_command_at_all(id: &InstanceId) -> StartError {
    let said = "the image has no command and no entry point".to_owned();
    StartError::NoCommand { id: id.clone(), said }
}

/// Finds out of the engine's words that the image's command cannot be run, and says why, without the engine's names
/// for its own parts.
fn no_command(said: &str) -> Option<String> {
    const MARKS: [&str; 4] = ["exec: \"", "unable to find user", "no matching entries in", "chdir to cwd"];
    // That is ours, and not the image's.
    if said.contains(PROGRAM) {
        return None;
    }
    let from = MARKS.iter().filter_map(|mark| said.find(mark)).min()?;
    let said = said[from..].trim_end_matches(": unknown").trim_end();
    Some(said.strip_prefix("exec: ").unwrap_or(said).to_owned())
}

fn address_taken(error: &StartError) -> bool {
    matches!(error, StartError::Runner(RunnerError::Refused { said, .. }) if said.contains("Address already in use"))
}

fn us_since(instant: Instant) -> u64 {
    instant.elapsed().as_micros().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_is_not_there_is_told_from_other_refusals() {
        let absent = "OCI runtime create failed: runc create failed: unable to start container process: \
                      exec: \"nope\": executable file not found in $PATH: unknown";
        assert_eq!(no_command(absent).as_deref(), Some("\"nope\": executable file not found in $PATH"));
        let user = "unable to find user web: no matching entries in passwd file";
        assert_eq!(no_command(user).as_deref(), Some(user));
        assert_eq!(no_command("driver failed programming external connectivity"), None);
        let ours = "exec: \"/.func-gate/gate\": permission denied: unknown";
        assert_eq!(no_command(ours), None);
    }
}
