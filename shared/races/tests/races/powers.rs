//! The engine's powers as one process has them: each call takes its time, may fail, and goes on when its caller is gone.
//!
//! What a start, a stop and the like are made of is as in `shared/runner`: a look, and one call after the other.

use std::hash::Hash;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use func_model::{Claim, GateName, InstanceId, Poised, Release, Seen};
use func_runner::{
    BoundError, GateError, Guard, GuardError, Hold, How, Kept, LineStream, Look, OverMemory, RunnerError,
    Start, StartError, StartTimes, Started, State, Stop,
};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_stream::wrappers::BroadcastStream;

use crate::engine::{Engine, Life};
use crate::world::World;

const TRIES: u32 = 5;
/// As in `shared/runner`.
const OPENING: Duration = Duration::from_millis(20);
/// How long a call that is given up is waited for.
const CALL: Duration = Duration::from_secs(5);
/// How often what becomes ready is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Clone)]
pub struct Powers {
    pub engine: Arc<Engine>,
    pub world: Arc<World>,
    pub alive: Arc<AtomicBool>,
}

fn refused(verb: &'static str) -> RunnerError {
    RunnerError::Refused { verb, said: "it is foul weather".to_owned() }
}

impl Powers {
    async fn live(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Looks. May fail.
    async fn ask<T>(
        &self,
        of: impl Hash + Send,
        verb: &'static str,
        look: impl FnOnce(&Engine) -> T + Send,
    ) -> Result<T, RunnerError> {
        self.live().await;
        let roll = &mut self.world.dice.roll(("engine", verb, of));
        self.world.travel(roll).await;
        let seen = look(&self.engine);
        self.world.travel(roll).await;
        self.live().await;
        if self.world.fails(roll, 10) { Err(refused(verb)) } else { Ok(seen) }
    }

    /// Makes a call that changes something. It goes on when the caller is gone, and when the caller has given it up.
    async fn call<T: Send + 'static>(
        &self,
        of: impl Hash + Send,
        verb: &'static str,
        effect: impl FnOnce(&Arc<Engine>) -> T + Send + 'static,
    ) -> Result<T, RunnerError> {
        self.live().await;
        let world = &self.world;
        let roll = &mut world.dice.roll(("engine", verb, of));
        if world.fails(roll, 15) {
            world.note("engine", || format!("does not {verb}"));
            world.travel(roll).await;
            return Err(refused(verb));
        }
        let late = world.fails(roll, 15);
        let (engine, way) = (self.engine.clone(), world.way(roll));
        let under_way = tokio::spawn(async move {
            sleep(if late { way + CALL } else { way }).await;
            effect(&engine)
        });
        if late {
            world.note("engine", || format!("is slow to {verb}"));
            sleep(CALL - Duration::from_secs(1)).await;
            self.live().await;
            return Err(RunnerError::Slow { verb, within: CALL });
        }
        let done = under_way.await.expect("it does not panic");
        world.travel(roll).await;
        self.live().await;
        if world.fails(roll, 10) { Err(refused(verb)) } else { Ok(done) }
    }

    /// Kills and removes. Taken for granted (see the model in `shared/model/tests/protocol`): it ends with its turn.
    fn kill(&self, number: u64) {
        self.engine.end(number);
        self.engine.remove(number);
    }

    async fn clear(&self, number: u64) -> Result<(), RunnerError> {
        self.call(number, "remove a container", move |engine| engine.remove(number)).await
    }

    /// Gives what runs now: its number, its address, and by which way.
    async fn running(&self, claim: &Claim) -> Result<(u64, SocketAddr, How), StartError> {
        let id = &claim.id;
        for tried in 1..=TRIES {
            let Some((number, life, gate, addr)) = self.ask(id, "look", |e| e.find(id)).await? else {
                let name = id.clone();
                let Some(number) = self.call(id, "create", move |e| e.create(&name, false)).await? else {
                    sleep(Duration::from_millis(50) * tried).await;
                    continue;
                };
                self.call(number, "start", move |e| e.start(number)).await?;
                let Some((_, _, _, addr)) = self.ask(id, "look", |e| e.find(id)).await? else { continue };
                return Ok((number, addr, How::Made));
            };
            let own = claim.poised.as_ref().zip(gate).is_some_and(|(p, g)| p.gate == g.name && g.passed);
            let how = match life {
                Life::Exited if own => return Err(exited(id)),
                Life::Created | Life::Exited => {
                    self.clear(number).await?;
                    continue;
                }
                Life::Paused(_) => {
                    self.call(number, "resume", move |e| e.resume(number)).await?;
                    Some(How::Resumed)
                }
                Life::Waits => self.open(number).await,
                Life::Runs(_) => Some(How::Found),
            };
            match how {
                Some(how) => return Ok((number, addr, how)),
                None => self.kill(number),
            }
        }
        Err(refused("create a container").into())
    }

    /// Opens the gate that a container waits at; `None` if it is of no use.
    async fn open(&self, number: u64) -> Option<How> {
        let gate = self.engine.poised(number).map(|poised| poised.gate);
        if let Some(gate) = gate
            && func_edge::Gates::open(self, gate).await.is_ok()
        {
            return Some(How::Opened);
        }
        // Somebody was faster, and writes the byte any moment.
        sleep(OPENING).await;
        self.live().await;
        matches!(self.engine.life(number), Some(Life::Runs(_))).then_some(How::Found)
    }

    async fn until_ready(&self, number: u64, until: Instant) -> Option<bool> {
        while Instant::now() < until {
            match self.engine.life(number) {
                Some(Life::Runs(Some(at))) if at <= Instant::now() => return Some(true),
                Some(Life::Runs(Some(at))) => sleep(at.duration_since(Instant::now()).max(LOOK_EVERY)).await,
                Some(Life::Runs(None) | Life::Waits | Life::Paused(_)) => sleep(Duration::from_secs(1)).await,
                Some(Life::Created | Life::Exited) | None => return None,
            }
            self.live().await;
        }
        Some(false)
    }
}

fn exited(id: &InstanceId) -> StartError {
    StartError::Exited { id: id.clone(), status: 1, memory: OverMemory::No, tail: Vec::new() }
}

#[async_trait]
impl Start for Powers {
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let (id, until) = (&claim.id, Instant::now() + within);
        let (number, addr, how) = self.running(claim).await?;
        let began = Instant::now();
        match self.until_ready(number, until).await {
            Some(true) => {
                let ready_us = began.elapsed().as_micros() as u64;
                let took = StartTimes { ready_us, ..StartTimes::default() };
                Ok(Started { addr, how, took })
            }
            Some(false) => {
                match how {
                    How::Made | How::Opened => self.kill(number),
                    // Somebody may use it.
                    How::Found | How::Resumed => {}
                }
                Err(StartError::Silent { id: id.clone(), port: 80, within, tail: Vec::new() })
            }
            None => {
                self.engine.remove(number);
                Err(exited(id))
            }
        }
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        Ok(match self.ask(id, "look", |engine| engine.find(id)).await? {
            Some((_, Life::Runs(_), _, addr)) => State::Running { addr },
            Some((_, Life::Paused(_), _, addr)) => State::Paused { addr },
            Some((_, Life::Created | Life::Waits | Life::Exited, _, _)) | None => State::Stopped,
        })
    }
}

#[async_trait]
impl Hold for Powers {
    async fn poise(&self, id: &InstanceId) -> Result<Poised, StartError> {
        if let Some((number, life, _, _)) = self.ask(id, "look", |engine| engine.find(id)).await? {
            if let Some(poised) = self.engine.poised(number) {
                return Ok(poised);
            }
            match life {
                Life::Waits => self.kill(number),
                Life::Created | Life::Exited => self.clear(number).await?,
                Life::Runs(_) | Life::Paused(_) => return Err(refused("make ahead").into()),
            }
        }
        let name = id.clone();
        let Some(number) = self.call(id, "create", move |engine| engine.create(&name, true)).await? else {
            return Err(refused("create").into());
        };
        self.call(number, "start", move |engine| engine.start(number)).await?;
        self.engine.poised(number).ok_or_else(|| exited(id))
    }

    async fn pause(&self, id: &InstanceId) -> Result<Option<SocketAddr>, RunnerError> {
        let Some((number, life, _, addr)) = self.ask(id, "look", |engine| engine.find(id)).await? else {
            return Ok(None);
        };
        match life {
            Life::Created | Life::Waits | Life::Exited => return Ok(None),
            Life::Paused(_) => return Ok(Some(addr)),
            Life::Runs(_) => {}
        }
        let paused = self.call(number, "pause", move |engine| engine.pause(number)).await;
        match (paused, self.ask(number, "look", |engine| engine.life(number)).await?) {
            (_, Some(Life::Paused(_))) => Ok(Some(addr)),
            (Err(e), Some(Life::Runs(_) | Life::Waits)) => Err(e),
            (Ok(()), Some(Life::Runs(_) | Life::Waits)) => Err(refused("pause")),
            (_, Some(Life::Created | Life::Exited) | None) => Ok(None),
        }
    }

    async fn resume(&self, id: &InstanceId) -> Result<(), RunnerError> {
        match self.ask(id, "look", |engine| engine.find(id)).await? {
            Some((number, Life::Paused(_), _, _)) => {
                self.call(number, "resume", move |engine| engine.resume(number)).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn memory_bytes(&self, _: &InstanceId) -> Result<u64, RunnerError> {
        Ok(1)
    }

    async fn tidy(&self) -> Result<(), RunnerError> {
        Ok(())
    }
}

impl Powers {
    async fn end(&self, number: u64, life: Life) -> Result<(), RunnerError> {
        if let Life::Paused(_) = life {
            self.call(number, "resume", move |engine| engine.resume(number)).await?;
        }
        if let Life::Runs(_) | Life::Paused(_) = life {
            let takes = self.world.dice.roll(("end", number)).ms(0, 600);
            // It ends, whoever waits for that.
            let told = move |engine: &Arc<Engine>| {
                engine.terminate(number);
                let engine = engine.clone();
                tokio::spawn(async move {
                    sleep(takes).await;
                    engine.end(number);
                });
            };
            self.call(number, "terminate", told).await?;
            sleep(takes).await;
        }
        self.call(number, "end", move |engine| {
            engine.end(number);
            engine.remove(number);
        })
        .await
    }
}

#[async_trait]
impl Stop for Powers {
    async fn stop(&self, id: &InstanceId, _: Duration) -> Result<(), RunnerError> {
        match self.ask(id, "look", |engine| engine.find(id)).await? {
            Some((number, life, _, _)) => self.end(number, life).await,
            None => Ok(()),
        }
    }

    async fn remove_container(&self, container: &str, running: bool) -> Result<(), RunnerError> {
        let number: u64 = container.parse().expect("one of ours");
        match self.ask(number, "look", |engine| engine.life(number)).await? {
            Some(life @ (Life::Runs(_) | Life::Paused(_) | Life::Waits)) if running => {
                self.end(number, life).await
            }
            Some(_) => self.clear(number).await,
            None => Ok(()),
        }
    }

    async fn remove_image(&self, _: &str) -> Result<(), RunnerError> {
        Ok(())
    }

    async fn prune(&self, _: u64) -> Result<u64, RunnerError> {
        Ok(0)
    }
}

#[async_trait]
impl Guard for Powers {
    async fn guard(&self) -> Result<Kept, GuardError> {
        Ok(Kept::Stood)
    }

    async fn bound_memory(&self) -> Result<(), BoundError> {
        Ok(())
    }

    async fn end_if_over_disk(&self, _: &InstanceId) -> Result<Option<u64>, RunnerError> {
        Ok(None)
    }
}

#[async_trait]
impl Look for Powers {
    async fn seen(&self) -> Result<Seen, RunnerError> {
        self.ask((), "list", |engine| engine.seen()).await
    }

    async fn ready(&self, _: &Release, addr: SocketAddr) -> bool {
        self.ask(addr, "connect", |engine| engine.answers(addr)).await.unwrap_or(false)
    }

    async fn logs(&self, _: &InstanceId, _: usize, _: bool) -> Result<LineStream, RunnerError> {
        Ok(Box::pin(stream::empty()))
    }

    async fn exits(&self) -> Result<Pin<Box<dyn Stream<Item = InstanceId> + Send>>, RunnerError> {
        let ends = BroadcastStream::new(self.engine.ends());
        Ok(Box::pin(ends.filter_map(|end| std::future::ready(end.ok()))))
    }
}

/// The gates as an edge has them, and its own look at what it let go.
#[async_trait]
impl func_edge::Gates for Powers {
    /// The mark, and then the byte, with time between the two.
    async fn open(&self, gate: GateName) -> Result<(), GateError> {
        self.live().await;
        match self.engine.mark(gate) {
            None => return Err(GateError::Gone),
            Some(false) => return Err(GateError::Opened),
            Some(true) => {}
        }
        sleep(self.world.dice.roll(("gate", gate)).ms(0, 4)).await;
        self.live().await;
        if self.engine.pass(gate) { Ok(()) } else { Err(GateError::Closed) }
    }

    async fn answers(&self, poised: &Poised, until: Instant) {
        let ready = async {
            while !self.engine.answers(poised.addr) {
                sleep(LOOK_EVERY).await;
            }
        };
        if timeout_at(until, ready).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn accepts(&self, addr: SocketAddr, until: Instant) -> bool {
        self.live().await;
        Instant::now() < until && self.engine.answers(addr)
    }
}
