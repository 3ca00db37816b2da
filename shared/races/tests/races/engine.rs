//! An engine in memory: containers, their gates, and the requests in them. What is wrong is noticed here.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use func_model::{GateName, InstanceId, Poised, Seen, SeenContainer, SeenState};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::world::World;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Life {
    Created,
    /// Its process waits at its gate.
    Waits,
    /// It is ready from this moment on; never, if it will not.
    Runs(Option<Instant>),
    Paused(Option<Instant>),
    Exited,
}

impl fmt::Debug for Life {
    /// Without the moment, which is another one each time that a story is told.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Waits => "waits",
            Self::Runs(Some(_)) => "runs",
            Self::Runs(None) => "runs, and will never be ready",
            Self::Paused(_) => "paused",
            Self::Exited => "exited",
        })
    }
}

/// Of a container that was made ahead.
#[derive(Clone, Copy, Debug)]
pub struct Gate {
    pub name: GateName,
    pub marked: bool,
    pub passed: bool,
}

#[derive(Debug)]
pub struct Container {
    /// The engine's id: none is given twice.
    pub number: u64,
    pub addr: SocketAddr,
    pub life: Life,
    pub gate: Option<Gate>,
    /// How many requests are in its process.
    pub inside: usize,
    /// Its process was told to end.
    stopping: bool,
    /// Changes with its life.
    turned: watch::Sender<()>,
}

#[derive(Default)]
pub struct State {
    pub containers: BTreeMap<InstanceId, Container>,
    made: u64,
    gates: u128,
}

pub struct Engine {
    pub world: Arc<World>,
    state: Mutex<State>,
    ends: broadcast::Sender<InstanceId>,
}

/// A request in a process. Dropping it is its end.
pub struct Inside {
    engine: Arc<Engine>,
    number: u64,
    turned: watch::Receiver<()>,
}

/// How a request in a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Whole,
    /// Its process ended.
    Cut,
    /// Its process was paused for longer than anybody waits.
    Never,
}

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(90);

impl Engine {
    pub fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), state: Mutex::default(), ends: broadcast::Sender::new(64) })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("unbroken")
    }

    pub fn ends(&self) -> broadcast::Receiver<InstanceId> {
        self.ends.subscribe()
    }

    /// Gives the number of the container of an instance, and how it is.
    pub fn find(&self, id: &InstanceId) -> Option<(u64, Life, Option<Gate>, SocketAddr)> {
        self.state().containers.get(id).map(|c| (c.number, c.life, c.gate, c.addr))
    }

    /// Makes a container; `None` if the name is taken.
    pub fn create(&self, id: &InstanceId, gated: bool) -> Option<u64> {
        let mut state = self.state();
        if state.containers.contains_key(id) {
            return None;
        }
        state.made += 1;
        state.gates += u128::from(gated);
        let container = Container {
            number: state.made,
            // In turn, as Docker does: a former address does not come back soon.
            addr: SocketAddr::from(([10, 0, (state.made >> 8) as u8, state.made as u8], 80)),
            life: Life::Created,
            gate: gated.then_some(Gate { name: GateName::new(state.gates), marked: false, passed: false }),
            inside: 0,
            stopping: false,
            turned: watch::Sender::new(()),
        };
        let number = container.number;
        state.containers.insert(id.clone(), container);
        self.world.note("engine", || format!("made {id} as {number}{}", if gated { ", gated" } else { "" }));
        Some(number)
    }

    /// Changes one container, by its number; nothing if it is gone.
    fn turn(&self, number: u64, what: &str, change: impl FnOnce(&mut Container) -> bool) {
        let mut state = self.state();
        let Some((id, container)) = state.containers.iter_mut().find(|(_, c)| c.number == number) else {
            return;
        };
        if !change(container) {
            return;
        }
        self.world.note("engine", || format!("{what} {id} ({number}): {:?}", container.life));
        container.turned.send_replace(());
        if container.life == Life::Exited {
            let _ = self.ends.send(id.clone());
        }
    }

    /// When an app that is let go now will be ready.
    fn boot(&self, of: impl Hash) -> Option<Instant> {
        let roll = &mut self.world.dice.roll(("boot", of));
        let never = self.world.fails(roll, 20);
        let ready = Instant::now() + roll.ms(1, 400);
        (!never).then_some(ready)
    }

    pub fn start(&self, number: u64) {
        let ready = self.boot(number);
        self.turn(number, "started", |c| {
            let starts = c.life == Life::Created;
            if starts {
                c.life = if c.gate.is_some() { Life::Waits } else { Life::Runs(ready) };
            }
            starts
        });
    }

    /// Marks a gate as opened; `false` if it was.
    pub fn mark(&self, gate: GateName) -> Option<bool> {
        let mut state = self.state();
        let gate = state.containers.values_mut().filter_map(|c| c.gate.as_mut()).find(|g| g.name == gate)?;
        Some(!std::mem::replace(&mut gate.marked, true))
    }

    /// Writes the byte; `false` if nobody waits at the gate.
    pub fn pass(&self, gate: GateName) -> bool {
        let ready = self.boot(gate);
        let mut state = self.state();
        let has = |c: &&mut Container| c.gate.is_some_and(|g| g.name == gate);
        let Some(container) = state.containers.values_mut().find(has) else { return false };
        let Some(gate) = container.gate.as_mut() else { return false };
        if gate.passed {
            self.world.wrong(format!("a gate was opened twice: {}", container.number));
        }
        if container.life != Life::Waits {
            return false;
        }
        (gate.passed, container.life) = (true, Life::Runs(ready));
        self.world.note("engine", || format!("let go {}", container.number));
        self.world.count(|c| c.opened += 1);
        container.turned.send_replace(());
        true
    }

    pub fn pause(&self, number: u64) {
        self.turn(number, "paused", |c| {
            let Life::Runs(ready) = c.life else { return false };
            self.used(c, "paused");
            self.world.count(|counts| counts.frozen += 1);
            c.life = Life::Paused(ready);
            true
        });
    }

    pub fn resume(&self, number: u64) {
        self.turn(number, "resumed", |c| {
            let Life::Paused(ready) = c.life else { return false };
            c.life = Life::Runs(ready);
            true
        });
    }

    /// Its process is told to end.
    pub fn terminate(&self, number: u64) {
        self.turn(number, "terminated", |c| {
            let lives = !matches!(c.life, Life::Created | Life::Exited);
            if lives {
                self.used(c, "stopped");
                c.stopping = true;
            }
            lives
        });
    }

    pub fn end(&self, number: u64) {
        self.turn(number, "ended", |c| {
            let lives = !matches!(c.life, Life::Created | Life::Exited);
            if lives {
                self.used(c, "killed");
                self.world.count(|counts| counts.stopped += 1);
                c.life = Life::Exited;
            }
            lives
        });
    }

    /// It dies by itself.
    pub fn die(&self, number: u64) {
        self.turn(number, "death of", |c| {
            let lives = !matches!(c.life, Life::Created | Life::Exited);
            if lives {
                (c.life, c.inside) = (Life::Exited, 0);
            }
            lives
        });
    }

    /// Removes what does not run.
    pub fn remove(&self, number: u64) {
        self.state().containers.retain(|id, c| {
            let over = c.number == number && matches!(c.life, Life::Created | Life::Exited);
            if over {
                self.world.note("engine", || format!("removed {id} ({number})"));
            }
            !over
        });
    }

    fn used(&self, container: &Container, what: &str) {
        if container.inside > 0 {
            self.world.wrong(format!("{what} under traffic: container {}", container.number));
        }
    }

    /// Connects to whatever answers at `addr`: an app, or the kernel for one that is paused.
    pub fn connect(self: &Arc<Self>, addr: SocketAddr) -> Option<Inside> {
        let mut state = self.state();
        let container = state.containers.values_mut().find(|c| {
            let ready = match c.life {
                Life::Runs(ready) | Life::Paused(ready) => ready.is_some_and(|at| at <= Instant::now()),
                Life::Created | Life::Waits | Life::Exited => false,
            };
            ready && c.addr == addr
        })?;
        if container.stopping {
            self.world.wrong(format!("a request came to container {}, which is stopped", container.number));
        }
        container.inside += 1;
        let (number, turned) = (container.number, container.turned.subscribe());
        Some(Inside { engine: self.clone(), number, turned })
    }

    /// Whether somebody answers at `addr` now.
    pub fn answers(&self, addr: SocketAddr) -> bool {
        let ready = |c: &Container| matches!(c.life, Life::Runs(Some(at)) if at <= Instant::now());
        self.state().containers.values().any(|c| c.addr == addr && ready(c))
    }

    pub fn life(&self, number: u64) -> Option<Life> {
        self.state().containers.values().find(|c| c.number == number).map(|c| c.life)
    }

    pub fn seen(&self) -> Seen {
        let state = self.state();
        let containers = state.containers.iter().map(|(id, c)| SeenContainer {
            container: c.number.to_string(),
            instance: Some(id.clone()),
            state: match (c.life, c.gate) {
                (Life::Created, _) => SeenState::Created,
                (Life::Waits, Some(gate)) => SeenState::Poised { gate: gate.name, fresh: !gate.marked },
                (Life::Waits, None) | (Life::Runs(_), _) => SeenState::Running { addr: c.addr },
                (Life::Paused(_), _) => SeenState::Paused { addr: c.addr },
                (Life::Exited, _) => SeenState::Exited,
            },
        });
        Seen { containers: containers.collect(), images: Vec::new() }
    }

    pub fn poised(&self, number: u64) -> Option<Poised> {
        let state = self.state();
        let container = state.containers.values().find(|c| c.number == number && c.life == Life::Waits)?;
        let gate = container.gate.filter(|gate| !gate.marked)?;
        Some(Poised { gate: gate.name, addr: container.addr, health: None })
    }
}

impl Inside {
    /// The app works on it for `takes` of its own time.
    pub async fn answer(&mut self, takes: Duration) -> Answer {
        let until = Instant::now() + PATIENCE;
        let mut due = Instant::now() + takes;
        loop {
            match self.engine.life(self.number) {
                Some(Life::Runs(_)) if due <= Instant::now() => return Answer::Whole,
                Some(Life::Runs(_)) => {}
                // It does nothing meanwhile.
                Some(Life::Paused(_)) => due = until,
                Some(Life::Created | Life::Waits | Life::Exited) | None => return Answer::Cut,
            }
            if Instant::now() >= until {
                return Answer::Never;
            }
            // Its sender is gone with the container.
            if let Ok(Err(_)) = tokio::time::timeout_at(due.min(until), self.turned.changed()).await {
                return Answer::Cut;
            }
            if due == until && matches!(self.engine.life(self.number), Some(Life::Runs(_))) {
                due = Instant::now() + takes;
            }
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut state = self.engine.state();
        if let Some(container) = state.containers.values_mut().find(|c| c.number == self.number) {
            container.inside = container.inside.saturating_sub(1);
        }
    }
}
