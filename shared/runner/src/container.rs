//! One container: how it is made of a release, and how it is read back.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, HealthConfig,
};
use bollard::query_parameters::InspectContainerOptions;
use func_model::{GateName, InstanceId, Release, SeenContainer, SeenState};

use crate::call::{ASK, call, present};
use crate::docker::{APP, GATE, INSTALLATION, INSTANCE, MADE, PORT, RELEASE};
use crate::gate::{self, GateState};
use crate::image::Shape;
use crate::{Docker, RunnerError};

/// A container as the engine describes it now.
#[derive(Debug, Clone)]
pub(crate) struct Container {
    pub id: String,
    pub instance: InstanceId,
    pub life: Life,
    /// The gate of one that was made ahead, opened or not.
    pub gate: Option<GateName>,
    /// What one that was made ahead was asked to be.
    pub made: Option<String>,
    /// On our network, with the port of its release; there is none while it does not run.
    pub addr: Option<SocketAddr>,
    pub exit_status: i64,
    pub out_of_memory: bool,
    pub started: String,
    pub finished: String,
}

/// What becomes of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    /// It was made ahead, and its process waits at a gate that nobody has opened.
    Poised(GateName),
    /// It runs. So does one whose gate's folder is gone: nobody can know more of it.
    Running,
    Paused,
    /// It was never started, or has ended.
    Over,
}

impl Container {
    /// Whether it has a process.
    pub(crate) fn is_alive(&self) -> bool {
        self.life != Life::Over
    }
}

impl Docker {
    /// Looks at a container by its name or id; `None` if there is none, or if it is not this installation's.
    pub(crate) async fn container(&self, container: &str) -> Result<Option<Container>, RunnerError> {
        let asked = self.engine().await?.inspect_container(container, None::<InspectContainerOptions>);
        let found = present(call("look at a container", ASK, asked).await)?;
        Ok(found.and_then(|found| self.read(found)))
    }

    /// Reads what the engine says of a container; `None` if it is not this installation's.
    pub(crate) fn read(&self, found: ContainerInspectResponse) -> Option<Container> {
        let labels = found.config.and_then(|c| c.labels).unwrap_or_default();
        let instance = self.instance(&labels, found.name.as_deref()?)?;
        let ContainerState { running, paused, oom_killed, exit_code, started_at, finished_at, .. } =
            found.state.unwrap_or_default();
        let gate = gate_of(&labels);
        let life = match (running.unwrap_or(false), paused.unwrap_or(false)) {
            (false, _) => Life::Over,
            (true, true) => Life::Paused,
            (true, false) => self.shut(gate).map_or(Life::Running, |(gate, _)| Life::Poised(gate)),
        };
        Some(Container {
            id: found.id.unwrap_or_default(),
            instance,
            life,
            gate,
            made: labels.get(MADE).cloned(),
            addr: found.network_settings.and_then(|n| n.networks).and_then(|n| self.addr(&n, &labels)),
            exit_status: exit_code.unwrap_or_default(),
            out_of_memory: oom_killed.unwrap_or(false),
            started: started_at.unwrap_or_default(),
            finished: finished_at.unwrap_or_default(),
        })
    }

    /// Gives a gate at which a process waits, and its age. One that is spent is older than any that is of use.
    fn shut(&self, gate: Option<GateName>) -> Option<(GateName, Duration)> {
        match gate::state(&self.gates(), gate?) {
            GateState::Shut { age } => Some((gate?, age)),
            GateState::Spent => Some((gate?, Duration::MAX)),
            GateState::Opened | GateState::Gone => None,
        }
    }

    /// Reads one line of the engine's list; `None` if it is not this installation's.
    pub(crate) async fn seen_container(&self, listed: ContainerSummary) -> Option<SeenContainer> {
        let labels = listed.labels.unwrap_or_default();
        let instance = self.instance(&labels, listed.names.iter().flatten().next()?)?;
        let addr = listed.network_settings.and_then(|n| n.networks).and_then(|n| self.addr(&n, &labels));
        let mut state = seen_state(listed.state, addr);
        if let (SeenState::Running { .. }, Some((gate, age))) = (state, self.shut(gate_of(&labels))) {
            let fresh = self.is_fresh(&instance, labels.get(MADE), age).await;
            state = SeenState::Poised { gate, fresh };
        }
        Some(SeenContainer { container: listed.id?, instance: Some(instance), state })
    }

    /// Gives the instance whose container this is; `None` if it is not this installation's. A container inherits the
    /// labels of its image, whoever made it: what is ours has our name as well.
    pub(crate) fn instance(&self, labels: &HashMap<String, String>, name: &str) -> Option<InstanceId> {
        if labels.get(INSTALLATION).map(String::as_str) != Some(self.installation()) {
            return None;
        }
        let id: InstanceId = labels.get(INSTANCE)?.parse().ok()?;
        (name.strip_prefix('/').unwrap_or(name) == self.name(&id)).then_some(id)
    }

    fn addr(
        &self,
        networks: &HashMap<String, EndpointSettings>,
        labels: &HashMap<String, String>,
    ) -> Option<SocketAddr> {
        let ip: IpAddr = networks.get(self.installation())?.ip_address.as_deref()?.parse().ok()?;
        Some(SocketAddr::new(ip, labels.get(PORT)?.parse().ok()?))
    }

    /// Describes the container of an instance; `shape` is its image's.
    pub(crate) fn body(&self, release: &Release, id: &InstanceId, shape: &Shape) -> ContainerCreateBody {
        let mut env: Vec<String> = release
            .env
            .iter()
            .filter(|(name, _)| name.as_str() != "PORT")
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        env.push(format!("PORT={}", release.port));
        ContainerCreateBody {
            image: Some(release.image.to_string()),
            hostname: Some(id.release.app.to_string()),
            env: Some(env),
            labels: Some(self.instance_labels(release, id)),
            attach_stdin: Some(false),
            open_stdin: Some(false),
            tty: Some(false),
            // The edge asks the app itself whether it is well.
            healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
            host_config: Some(self.confined(release, shape)),
            ..Default::default()
        }
    }

    fn instance_labels(&self, release: &Release, id: &InstanceId) -> HashMap<String, String> {
        let mut labels = self.labels();
        labels.insert(APP.to_owned(), id.release.app.to_string());
        labels.insert(RELEASE.to_owned(), id.release.to_string());
        labels.insert(INSTANCE.to_owned(), id.to_string());
        labels.insert(PORT.to_owned(), release.port.to_string());
        // An image may have labels of these names: they are not inherited.
        labels.insert(GATE.to_owned(), String::new());
        labels.insert(MADE.to_owned(), String::new());
        labels
    }
}

/// Gives the gate of a container that was made ahead.
fn gate_of(labels: &HashMap<String, String>) -> Option<GateName> {
    labels.get(GATE)?.parse().ok()
}

fn seen_state(state: Option<ContainerSummaryStateEnum>, addr: Option<SocketAddr>) -> SeenState {
    use ContainerSummaryStateEnum as Listed;
    match (state, addr) {
        (Some(Listed::CREATED), _) => SeenState::Created,
        (Some(Listed::RUNNING | Listed::STOPPING), Some(addr)) => SeenState::Running { addr },
        (Some(Listed::PAUSED), Some(addr)) => SeenState::Paused { addr },
        (Some(Listed::RUNNING | Listed::PAUSED | Listed::STOPPING), None) => SeenState::Unreachable,
        (Some(Listed::EMPTY | Listed::RESTARTING | Listed::EXITED | Listed::REMOVING | Listed::DEAD), _)
        | (None, _) => SeenState::Exited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_of_the_engine_has_one_meaning() {
        use ContainerSummaryStateEnum as Listed;
        let addr: SocketAddr = "172.18.0.2:8080".parse().expect("an address");
        assert_eq!(seen_state(Some(Listed::RUNNING), Some(addr)), SeenState::Running { addr });
        assert_eq!(seen_state(Some(Listed::PAUSED), Some(addr)), SeenState::Paused { addr });
        assert_eq!(seen_state(Some(Listed::PAUSED), None), SeenState::Unreachable);
        for over in [Listed::EXITED, Listed::DEAD, Listed::REMOVING, Listed::RESTARTING] {
            assert_eq!(seen_state(Some(over), Some(addr)), SeenState::Exited);
        }
        assert_eq!(seen_state(Some(Listed::CREATED), None), SeenState::Created);
    }
}
