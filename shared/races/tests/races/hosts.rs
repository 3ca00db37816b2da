//! The processes: an edge, the cleaner, the way from the one to the other. Each can be killed and comes back.

use std::hash::Hash;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use func_ledger::Memory;
use func_model::limits::{DRAIN_MS, POISED_BYTES};
use func_model::{CacheUsage, Claim, DiskLimit, HostName, InstanceId, Layers, ReleaseId};
use func_runner::{Measure, RunnerError, Start, StartError, Started, State};
use func_store::{DataDir, Manifests, Occupancy};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::engine::{Answer, Engine};
use crate::line::Line;
use crate::powers::Powers;
use crate::world::World;

/// How many containers are made at the same time.
const PLACES: usize = 2;
/// The longest that anybody may be told nothing: the wait for a start, the looks and the retries after it, and the
/// look-ups of a route, each with a call to the ledger.
const TOLD: Duration = Duration::from_secs(75);

/// What all processes have in common.
#[derive(Clone)]
pub struct Shared {
    pub world: Arc<World>,
    pub engine: Arc<Engine>,
    pub ledger: Arc<Memory>,
    pub data: DataDir,
    /// Where the edges' locks are. The rules of leases hold without them: in half of the stories there are none.
    pub locks: DataDir,
    pub manifests: Manifests,
    pub idle_ms: u64,
}

/// Nobody asks it: the budget of the disk is kept outside of these stories.
struct NoDisk;

#[async_trait]
impl Measure for NoDisk {
    async fn images(&self) -> Result<Vec<(ReleaseId, Layers)>, RunnerError> {
        unreachable!("nothing is measured")
    }

    async fn cache(&self) -> Result<CacheUsage, RunnerError> {
        unreachable!("nothing is measured")
    }

    async fn root(&self) -> Result<Option<PathBuf>, RunnerError> {
        unreachable!("nothing is measured")
    }
}

/// One life of the cleaner.
struct Cleaning {
    inside: Arc<func_cleaner::inside::Inside>,
    alive: Arc<AtomicBool>,
    work: JoinHandle<()>,
}

/// The cleaner, and those who ask it.
pub struct CleanerHost {
    shared: Shared,
    life: Mutex<Option<Cleaning>>,
    lives: AtomicU64,
}

impl CleanerHost {
    pub fn new(shared: &Shared) -> Arc<Self> {
        Arc::new(Self { shared: shared.clone(), life: Mutex::default(), lives: AtomicU64::new(0) })
    }

    pub fn rise(&self) {
        let Shared { world, engine, ledger, data, manifests, idle_ms, .. } = self.shared.clone();
        let alive = Arc::new(AtomicBool::new(true));
        let line = Arc::new(Line::new(&world, "cleaner", &ledger, &alive));
        let powers = Arc::new(Powers { engine, world: world.clone(), alive: alive.clone() });
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let config = func_cleaner::Config {
            data,
            manifests,
            watch: line.clone(),
            promote: line.clone(),
            cool: line.clone(),
            enter: line,
            start: powers.clone(),
            stop: powers.clone(),
            hold: powers.clone(),
            look: powers.clone(),
            guard: powers,
            measure: Arc::new(NoDisk),
            disk: DiskLimit::Percent(90),
            build_bytes_max: 0,
            holder: format!("cleaner {life}"),
            idle_ms,
            poised_bytes_max: POISED_BYTES,
            frozen_bytes_max: 1_024,
            drain_ms: DRAIN_MS,
        };
        let inside = Arc::new(func_cleaner::inside::Inside::new(config, PLACES).expect("the marks are read"));
        let working = inside.clone();
        let work = tokio::spawn(async move { working.work().await });
        world.note("cleaner", || "rises".to_owned());
        *self.life.lock().expect("unbroken") = Some(Cleaning { inside, alive, work });
    }

    pub fn kill(&self) {
        let Some(life) = self.life.lock().expect("unbroken").take() else { return };
        self.shared.world.note("cleaner", || "is killed".to_owned());
        self.shared.world.count(|c| c.crashes += 1);
        life.alive.store(false, Ordering::Relaxed);
        life.work.abort();
        life.inside.kill();
    }

    pub fn is_idle(&self) -> bool {
        let life = self.life.lock().expect("unbroken");
        life.as_ref().is_some_and(|life| life.inside.busy().is_empty())
    }

    fn now(&self) -> Option<(Arc<func_cleaner::inside::Inside>, Arc<AtomicBool>)> {
        let life = self.life.lock().expect("unbroken");
        life.as_ref().map(|life| (life.inside.clone(), life.alive.clone()))
    }
}

/// The cleaner's `start.sock`, as one process has it.
pub struct Ask {
    pub who: &'static str,
    pub cleaner: Arc<CleanerHost>,
    pub alive: Arc<AtomicBool>,
}

fn unheard() -> RunnerError {
    RunnerError::Cleaner("nobody answers".into())
}

impl Ask {
    async fn ask<T, F>(
        &self,
        of: impl Hash + Send,
        call: impl FnOnce(Arc<func_cleaner::inside::Inside>) -> F + Send,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send,
        T: Send,
    {
        let world = &self.cleaner.shared.world;
        let roll = &mut world.dice.roll(("start.sock", &self.who, of));
        world.travel(roll).await;
        let (inside, alive) = self.cleaner.now()?;
        if world.fails(roll, 20) {
            return None;
        }
        let killed = async {
            while alive.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let answer = tokio::select! {
            biased;
            () = killed => None,
            answer = call(inside) => Some(answer),
        };
        world.travel(roll).await;
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if world.fails(roll, 20) { None } else { answer }
    }
}

#[async_trait]
impl Start for Ask {
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let (claim, id) = (claim.clone(), claim.id.clone());
        let started = self.ask((id, "start"), |inside| async move { inside.start(&claim, within).await });
        match started.await {
            Some(started) => started,
            None => Err(unheard().into()),
        }
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        let id = id.clone();
        self.ask((id.clone(), "look"), |inside| async move { inside.look(&id).await })
            .await
            .unwrap_or_else(|| Err(unheard()))
    }
}

/// One life of an edge.
struct Serving {
    inside: Arc<func_edge::inside::Inside>,
    alive: Arc<AtomicBool>,
    work: JoinHandle<()>,
    requests: Vec<JoinHandle<()>>,
}

pub struct EdgeHost {
    pub name: &'static str,
    shared: Shared,
    cleaner: Arc<CleanerHost>,
    life: Mutex<Option<Serving>>,
    lives: AtomicU64,
}

/// How a client's request ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    Answered,
    Refused,
    Cut,
}

impl EdgeHost {
    pub fn new(name: &'static str, shared: &Shared, cleaner: &Arc<CleanerHost>) -> Arc<Self> {
        let (shared, cleaner) = (shared.clone(), cleaner.clone());
        Arc::new(Self { name, shared, cleaner, life: Mutex::default(), lives: AtomicU64::new(0) })
    }

    pub fn rise(&self) {
        let Shared { world, engine, ledger, locks, .. } = self.shared.clone();
        let alive = Arc::new(AtomicBool::new(true));
        let line = Arc::new(Line::new(&world, self.name, &ledger, &alive));
        let ask = Arc::new(Ask { who: self.name, cleaner: self.cleaner.clone(), alive: alive.clone() });
        let gates = Arc::new(Powers { engine, world: world.clone(), alive: alive.clone() });
        let life = self.lives.fetch_add(1, Ordering::Relaxed);
        let domain: HostName = "func.test".parse().expect("a host name");
        let holder = format!("{} {life}", self.name);
        let inside = Arc::new(func_edge::inside::Inside::new(
            domain,
            holder,
            line.clone(),
            line,
            ask,
            gates,
            Occupancy::new(&locks),
        ));
        let working = inside.clone();
        let work = tokio::spawn(async move { working.work().await });
        world.note(self.name, || "rises".to_owned());
        let serving = Serving { inside, alive, work, requests: Vec::new() };
        *self.life.lock().expect("unbroken") = Some(serving);
    }

    /// Its requests end with it.
    pub fn kill(&self) {
        let Some(life) = self.life.lock().expect("unbroken").take() else { return };
        self.shared.world.note(self.name, || "is killed".to_owned());
        self.shared.world.count(|c| c.crashes += 1);
        life.alive.store(false, Ordering::Relaxed);
        life.work.abort();
        life.requests.iter().for_each(JoinHandle::abort);
    }

    /// Sends a request for `app`, which takes so long; nothing comes of it if the edge is down.
    pub fn send(self: &Arc<Self>, app: &'static str, takes: Duration) -> Option<JoinHandle<Told>> {
        let mut life = self.life.lock().expect("unbroken");
        let life = life.as_mut()?;
        let (edge, inside) = (self.clone(), life.inside.clone());
        let (tell, told) = tokio::sync::oneshot::channel();
        life.requests.push(tokio::spawn(async move {
            let _ = tell.send(edge.request(&inside, app, takes).await);
        }));
        // Cut with its edge: the client sends another.
        Some(tokio::spawn(async move { told.await.unwrap_or(Told::Cut) }))
    }

    async fn request(&self, inside: &func_edge::inside::Inside, app: &'static str, takes: Duration) -> Told {
        let (world, engine) = (&self.shared.world, &self.shared.engine);
        let host: HostName = format!("{app}.func.test").parse().expect("a host name");
        let began = Instant::now();
        let mut asked = inside.ask(host);
        let mut process = loop {
            let entered = match timeout(TOLD, inside.enter(&mut asked)).await {
                Ok(entered) => entered,
                Err(_) => {
                    world.wrong(format!("a request for {app} at {} was told nothing", self.name));
                    return Told::Refused;
                }
            };
            let endpoint = match entered {
                Ok(endpoint) => endpoint,
                Err(refusal) => {
                    world.note(self.name, || format!("refuses {app}: {refusal:?}"));
                    world.count(|c| c.refused += 1);
                    self.late(app, began);
                    return Told::Refused;
                }
            };
            if let Some(process) = engine.connect(endpoint.addr) {
                world.note(self.name, || format!("sends to {app} at {}", endpoint.addr));
                break process;
            }
            world.note(self.name, || format!("finds nobody of {app} at {}", endpoint.addr));
            if !inside.is_tried_again(&mut asked) {
                return Told::Refused;
            }
        };
        self.late(app, began);
        let answer = process.answer(takes).await;
        world.note(self.name, || format!("{app}: {answer:?}"));
        drop(process);
        match answer {
            Answer::Whole => {
                world.count(|c| c.answered += 1);
                Told::Answered
            }
            Answer::Cut => {
                world.count(|c| c.cut += 1);
                Told::Cut
            }
            Answer::Never => {
                world.wrong(format!("a request in {app} was never answered: it is paused"));
                Told::Cut
            }
        }
    }

    fn late(&self, app: &str, began: Instant) {
        if began.elapsed() > TOLD {
            self.shared.world.wrong(format!("a request for {app} at {} waited too long", self.name));
        }
    }
}
