//! An engine that only notes what it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use func_model::{
    CacheUsage, Claim, GateName, InstanceId, Layers, Poised, Release, ReleaseId, Seen, SeenContainer,
    SeenState,
};
use func_runner::{
    BoundError, Guard, GuardError, Hold, How, Kept, LineStream, Look, Measure, RunnerError, Start,
    StartError, StartTimes, Started, State, Stop,
};
use futures_util::{Stream, stream};
use tokio::time::sleep;

use super::addr;

/// What the engine does, and how long it takes.
#[derive(Debug)]
pub(crate) struct EngineState {
    pub(crate) containers: BTreeMap<InstanceId, SeenState>,
    /// What it was told: a verb and an instance.
    pub(crate) told: Vec<String>,
    pub(crate) takes: Duration,
    pub(crate) starting: usize,
    pub(crate) starting_most: usize,
    /// How often it was asked what an instance does.
    pub(crate) looks: usize,
    /// How long it takes to say so.
    pub(crate) look_takes: fn(&InstanceId) -> Duration,
    pub(crate) memory_bytes: BTreeMap<InstanceId, u64>,
    /// Whose files were measured, in this order.
    pub(crate) measured: Vec<InstanceId>,
    /// How many of the next calls of these kinds fail.
    pub(crate) failing_starts: usize,
    /// How many of the next starts find something that runs and does not answer.
    pub(crate) silent_starts: usize,
    /// What runs is not ready.
    pub(crate) unready: bool,
    pub(crate) failing_pauses: usize,
    pub(crate) failing_resumes: usize,
    pub(crate) failing_poises: usize,
    pub(crate) images: Vec<(ReleaseId, Layers)>,
    pub(crate) cache: CacheUsage,
    /// To how many bytes the cache was pruned, each time.
    pub(crate) pruned: Vec<u64>,
    gates: u128,
}

/// An engine that does what it is told, later.
pub(crate) struct Engine(Mutex<EngineState>);

impl Engine {
    pub(super) fn new() -> Self {
        Self(Mutex::new(EngineState {
            containers: BTreeMap::new(),
            told: Vec::new(),
            takes: Duration::from_millis(200),
            starting: 0,
            starting_most: 0,
            looks: 0,
            look_takes: |_| Duration::ZERO,
            memory_bytes: BTreeMap::new(),
            measured: Vec::new(),
            failing_starts: 0,
            silent_starts: 0,
            unready: false,
            failing_pauses: 0,
            failing_resumes: 0,
            failing_poises: 0,
            images: Vec::new(),
            cache: CacheUsage::default(),
            pruned: Vec::new(),
            gates: 0,
        }))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, EngineState> {
        self.0.lock().expect("unbroken")
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.state().told.clone()
    }

    async fn tell(&self, verb: &str, id: &InstanceId) {
        let takes = {
            let mut state = self.state();
            state.told.push(format!("{verb} {id}"));
            state.takes
        };
        sleep(takes).await;
    }
}

fn refused(verb: &'static str) -> RunnerError {
    RunnerError::Refused { verb, said: "it is broken".to_owned() }
}

fn fails(left: &mut usize) -> bool {
    let fails = *left > 0;
    *left = left.saturating_sub(1);
    fails
}

#[async_trait]
impl Start for Engine {
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let how = {
            let mut state = self.state();
            state.starting += 1;
            state.starting_most = state.starting_most.max(state.starting);
            match state.containers.get(&claim.id) {
                Some(SeenState::Running { .. }) => How::Found,
                Some(SeenState::Poised { .. }) => How::Opened,
                Some(SeenState::Paused { .. }) => How::Resumed,
                Some(SeenState::Created | SeenState::Unreachable | SeenState::Exited) | None => How::Made,
            }
        };
        self.tell("start", &claim.id).await;
        let mut state = self.state();
        state.starting -= 1;
        if fails(&mut state.silent_starts) {
            let id = claim.id.clone();
            return Err(StartError::Silent { id, port: 8080, within, tail: Vec::new() });
        }
        if fails(&mut state.failing_starts) {
            state.containers.remove(&claim.id);
            return Err(refused("start a container").into());
        }
        state.containers.insert(claim.id.clone(), SeenState::Running { addr: addr() });
        let took = StartTimes { ready_us: 100_000, ..StartTimes::default() };
        Ok(Started { addr: addr(), how, took })
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        let takes = {
            let mut state = self.state();
            state.looks += 1;
            (state.look_takes)(id)
        };
        if !takes.is_zero() {
            sleep(takes).await;
        }
        Ok(match self.state().containers.get(id) {
            Some(SeenState::Running { addr }) => State::Running { addr: *addr },
            Some(SeenState::Paused { addr }) => State::Paused { addr: *addr },
            Some(
                SeenState::Created | SeenState::Poised { .. } | SeenState::Unreachable | SeenState::Exited,
            )
            | None => State::Stopped,
        })
    }
}

#[async_trait]
impl Hold for Engine {
    async fn poise(&self, id: &InstanceId) -> Result<Poised, StartError> {
        self.tell("poise", id).await;
        let mut state = self.state();
        if fails(&mut state.failing_poises) {
            return Err(StartError::NoImage { id: id.clone() });
        }
        let gate = match state.containers.get(id) {
            Some(SeenState::Poised { gate, fresh: true }) => *gate,
            Some(_) | None => {
                state.gates += 1;
                GateName::new(state.gates)
            }
        };
        state.containers.insert(id.clone(), SeenState::Poised { gate, fresh: true });
        Ok(Poised { gate, addr: addr(), health: None })
    }

    async fn pause(&self, id: &InstanceId) -> Result<Option<SocketAddr>, RunnerError> {
        self.tell("pause", id).await;
        let mut state = self.state();
        if fails(&mut state.failing_pauses) {
            return Err(refused("pause a container"));
        }
        if !state.containers.contains_key(id) {
            return Ok(None);
        }
        state.containers.insert(id.clone(), SeenState::Paused { addr: addr() });
        Ok(Some(addr()))
    }

    async fn resume(&self, id: &InstanceId) -> Result<(), RunnerError> {
        self.tell("resume", id).await;
        let mut state = self.state();
        if fails(&mut state.failing_resumes) {
            return Err(refused("resume a container"));
        }
        if let Some(container) = state.containers.get_mut(id) {
            *container = SeenState::Running { addr: addr() };
        }
        Ok(())
    }

    async fn memory_bytes(&self, id: &InstanceId) -> Result<u64, RunnerError> {
        Ok(self.state().memory_bytes.get(id).copied().unwrap_or_default())
    }

    async fn tidy(&self) -> Result<(), RunnerError> {
        Ok(())
    }
}

#[async_trait]
impl Stop for Engine {
    async fn stop(&self, id: &InstanceId, _: Duration) -> Result<(), RunnerError> {
        self.tell("stop", id).await;
        self.state().containers.remove(id);
        Ok(())
    }

    async fn remove_container(&self, container: &str, _: bool) -> Result<(), RunnerError> {
        let id: InstanceId = container.parse().expect("its name");
        self.tell("remove", &id).await;
        self.state().containers.remove(&id);
        Ok(())
    }

    async fn remove_image(&self, _: &str) -> Result<(), RunnerError> {
        Ok(())
    }

    async fn prune(&self, cache_bytes_max: u64) -> Result<u64, RunnerError> {
        self.state().pruned.push(cache_bytes_max);
        Ok(0)
    }
}

#[async_trait]
impl Measure for Engine {
    async fn images(&self) -> Result<Vec<(ReleaseId, Layers)>, RunnerError> {
        Ok(self.state().images.clone())
    }

    async fn cache(&self) -> Result<CacheUsage, RunnerError> {
        Ok(self.state().cache)
    }

    async fn root(&self) -> Result<Option<PathBuf>, RunnerError> {
        Ok(None)
    }
}

#[async_trait]
impl Guard for Engine {
    async fn guard(&self) -> Result<Kept, GuardError> {
        Ok(Kept::Stood)
    }

    async fn bound_memory(&self) -> Result<(), BoundError> {
        Ok(())
    }

    async fn end_if_over_disk(&self, id: &InstanceId) -> Result<Option<u64>, RunnerError> {
        self.state().measured.push(id.clone());
        Ok(None)
    }
}

#[async_trait]
impl Look for Engine {
    async fn seen(&self) -> Result<Seen, RunnerError> {
        let state = self.state();
        let seen = |(id, state): (&InstanceId, &SeenState)| SeenContainer {
            container: id.to_string(),
            instance: Some(id.clone()),
            state: *state,
        };
        Ok(Seen { containers: state.containers.iter().map(seen).collect(), images: Vec::new() })
    }

    async fn ready(&self, _: &Release, _: SocketAddr) -> bool {
        !self.state().unready
    }

    async fn logs(&self, _: &InstanceId, _: usize, _: bool) -> Result<LineStream, RunnerError> {
        Ok(Box::pin(stream::empty()))
    }

    async fn exits(&self) -> Result<Pin<Box<dyn Stream<Item = InstanceId> + Send>>, RunnerError> {
        Ok(Box::pin(stream::pending()))
    }
}
