//! Starting an instance: reuse or make its container, wait until it is ready, leave nothing if it fails.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bollard::errors::Error;
use bollard::query_parameters::{CreateContainerOptions, StartContainerOptions, WaitContainerOptions};
use func_model::limits::{CLAIM_MS, TAIL_LINES, WAKE_MS};
use func_model::{InstanceId, Release};
use futures_util::StreamExt;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::call::{CallError, WORK, call, failed};
use crate::readiness::{NotReady, until_ready};
use crate::remove::IfRunning;
use crate::{Docker, RunnerError, Start, StartError, State};

/// How often a name that is taken is looked at again.
const TRIES: usize = 5;

/// How long after its deadline a failed start may still remove what it has started. Later its claim may be over, and
/// the container somebody else's.
const CLEARING: Duration = Duration::from_secs(5);
const _: () = assert!(WAKE_MS + 5_000 < CLAIM_MS, "a start must clear up before others may clear its claim");

/// Why a running container is not an instance that answers.
enum Failure {
    Exited,
    NotReady(NotReady),
    Runner(RunnerError),
}

#[async_trait]
impl Start for Docker {
    /// The start is a task of its own: if the future is dropped it goes on, to its own end.
    async fn start(&self, id: &InstanceId, within: Duration) -> Result<SocketAddr, StartError> {
        let (docker, id) = (self.clone(), id.clone());
        match tokio::spawn(async move { docker.start_instance(&id, within).await }).await {
            Ok(started) => started,
            Err(e) => Err(RunnerError::Refused { verb: "start a container", said: e.to_string() }.into()),
        }
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        let found = self.container(&self.name(id)).await?;
        Ok(match found.filter(|c| c.running).and_then(|c| c.addr) {
            Some(addr) => State::Running { addr },
            None => State::Stopped,
        })
    }
}

impl Docker {
    async fn start_instance(&self, id: &InstanceId, within: Duration) -> Result<SocketAddr, StartError> {
        let begun = Instant::now();
        let release = self.manifest(&id.release).await?;
        let container = self.running(&release, id, begun + within + CLEARING).await?;
        let failure = match self.settle(&release, &container, begun + within).await {
            Ok(addr) => {
                let took_ms = begun.elapsed().as_millis() as u64;
                info!(app.name = %id.release.app, release = %id.release, took_ms, "started {id}");
                return Ok(addr);
            }
            Err(failure) => failure,
        };
        if begun.elapsed() > within + CLEARING {
            warn!(app.name = %id.release.app, release = %id.release, "{id} took so long that it is left to the cleaner");
            return Err(RunnerError::Slow { verb: "start a container", within }.into());
        }
        let error = self.failed_start(&release, id, &container, failure, within).await;
        info!(app.name = %id.release.app, release = %id.release, %error, "{id} did not start");
        Err(error)
    }

    /// Gives the running container of an instance: the one there is, or a new one.
    async fn running(
        &self,
        release: &Release,
        id: &InstanceId,
        clear_until: Instant,
    ) -> Result<String, StartError> {
        let name = self.name(id);
        for _ in 0..TRIES {
            match self.container(&name).await? {
                Some(found) if found.running => return Ok(found.id),
                Some(found) => {
                    self.bury(&found, IfRunning::Leave).await?;
                }
                None => {}
            }
            let Some(container) = self.create(release, id, &name).await? else { continue };
            return match self.run(&container, id).await {
                Ok(()) => Ok(container),
                Err(error) => {
                    if Instant::now() < clear_until {
                        self.discard(&container).await;
                    }
                    Err(error)
                }
            };
        }
        let said = format!("the name {name} is taken by a container that is not func's, or comes and goes");
        Err(RunnerError::Refused { verb: "create a container", said }.into())
    }

    /// Creates the container; `None` if the name was taken just now.
    async fn create(
        &self,
        release: &Release,
        id: &InstanceId,
        name: &str,
    ) -> Result<Option<String>, StartError> {
        let Some(volumes) = self.image_volumes(&release.image).await? else {
            return Err(StartError::NoImage { id: id.clone() });
        };
        let options = CreateContainerOptions { name: Some(name.to_owned()), platform: String::new() };
        let body = self.body(release, id, &volumes);
        let created = self.engine().await?.create_container(Some(options), body);
        match call("create a container", WORK, created).await {
            Ok(created) => Ok(Some(created.id)),
            Err(CallError::Denied { status: 404, said, .. }) if said.contains("No such image") => {
                Err(StartError::NoImage { id: id.clone() })
            }
            Err(CallError::Denied { status: 409, said, .. }) if said.contains("in use") => {
                debug!(app.name = %id.release.app, "the name {name} is taken: looking again");
                Ok(None)
            }
            Err(CallError::Denied { said, .. }) if said.contains("No command specified") => {
                let said = "the image has no command and no entry point".to_owned();
                Err(StartError::NoCommand { id: id.clone(), said })
            }
            Err(error) => Err(RunnerError::from(error).into()),
        }
    }

    async fn run(&self, container: &str, id: &InstanceId) -> Result<(), StartError> {
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
        call("start a container", WORK, started).await
    }

    /// Waits until the container answers, or ends, or the deadline.
    async fn settle(
        &self,
        release: &Release,
        container: &str,
        deadline: Instant,
    ) -> Result<SocketAddr, Failure> {
        let found = self.container(container).await.map_err(Failure::Runner)?;
        let Some(addr) = found.filter(|c| c.running).and_then(|c| c.addr) else {
            return Err(Failure::Exited);
        };
        tokio::select! {
            ready = until_ready(release, addr, deadline) => match ready {
                Ok(()) => Ok(addr),
                Err(why) => Err(Failure::NotReady(why)),
            },
            ended = self.ended(container) => match ended {
                Ok(()) => Err(Failure::Exited),
                Err(error) => Err(Failure::Runner(error)),
            },
        }
    }

    /// Waits until a container does not run.
    async fn ended(&self, container: &str) -> Result<(), RunnerError> {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        let mut wait = Box::pin(self.engine().await?.wait_container(container, Some(options)));
        match wait.next().await {
            // bollard makes an error of every exit status but 0.
            Some(Ok(_)) | Some(Err(Error::DockerContainerWaitError { .. })) => Ok(()),
            // Removed, or the connection ended: `Exited` is found out by looking.
            Some(Err(Error::DockerResponseServerError { status_code: 404, .. })) => Ok(()),
            Some(Err(error)) => Err(failed("wait for a container", error).into()),
            None => Err(RunnerError::Refused {
                verb: "wait for a container",
                said: "the engine ended the call".to_owned(),
            }),
        }
    }

    /// Removes what a failed start left, and says why it failed.
    async fn failed_start(
        &self,
        release: &Release,
        id: &InstanceId,
        container: &str,
        failure: Failure,
        within: Duration,
    ) -> StartError {
        let found = match self.container(container).await {
            Ok(Some(found)) => found,
            Ok(None) => {
                return StartError::Exited {
                    id: id.clone(),
                    status: 137,
                    memory_bytes: None,
                    tail: Vec::new(),
                };
            }
            Err(error) => return error.into(),
        };
        let buried = self.bury(&found, IfRunning::Kill).await;
        let mut tail = match buried {
            Ok(lines) => lines,
            Err(error) if found.running => return error.into(),
            Err(error) => {
                warn!(app.name = %id.release.app, %error, "what is left of {id} could not be removed");
                Vec::new()
            }
        };
        tail.drain(..tail.len().saturating_sub(TAIL_LINES));
        let id = id.clone();
        let exited = |id, tail| {
            let memory_bytes = found.out_of_memory.then_some(release.limits.memory_bytes);
            StartError::Exited { id, status: found.exit_status, memory_bytes, tail }
        };
        match (failure, &release.health) {
            (Failure::Runner(error), _) => error.into(),
            (Failure::Exited, _) => exited(id, tail),
            (Failure::NotReady(_), _) if !found.running => exited(id, tail),
            (Failure::NotReady(NotReady::Unhealthy { said }), Some(path)) => {
                StartError::Unhealthy { id, path: path.clone(), said, within, tail }
            }
            (Failure::NotReady(NotReady::Silent | NotReady::Unhealthy { .. }), _) => {
                StartError::Silent { id, port: release.port, within, tail }
            }
        }
    }

    /// Removes a container that never ran.
    async fn discard(&self, container: &str) {
        let removed = async {
            match self.container(container).await? {
                Some(found) => self.bury(&found, IfRunning::Kill).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = removed.await {
            warn!(container, %error, "a container that did not start could not be removed");
        }
    }
}

/// Finds out of the engine's words that the image's command cannot be run, and says why, without the engine's names
/// for its own parts.
fn no_command(said: &str) -> Option<String> {
    const MARKS: [&str; 4] = ["exec: \"", "unable to find user", "no matching entries in", "chdir to cwd"];
    let from = MARKS.iter().filter_map(|mark| said.find(mark)).min()?;
    let said = said[from..].trim_end_matches(": unknown").trim_end();
    Some(said.strip_prefix("exec: ").unwrap_or(said).to_owned())
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
    }
}
