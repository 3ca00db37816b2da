//! Kills the processes of an [`Apart`] at random, starts each again a little later, and knows when an edge was away.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::apart::Apart;
use crate::chance::Chance;
use crate::load::{Answer, Failure};
use crate::world::LIMIT;

/// Every so many rounds it is Redis that is killed: after a loss nothing is stopped or paused for 15 s, and without
/// that nothing would have to be woken.
const REDIS_EVERY: u32 = 60;
/// How many chances of being killed each has: a push needs builder and git host for seconds.
const CHANCES: [(&str, usize); 5] =
    [("edge", 4), ("edge2", 4), ("cleaner", 4), ("builder", 1), ("githost", 1)];
/// How long a process stays dead at the most.
const DEAD_MS: u64 = 700;
/// The name of Redis in the counts, beside those of the services.
const REDIS: &str = "redis";

/// When an edge was not there: from its kill until it listened again.
struct Away {
    edge: SocketAddr,
    from: Instant,
    until: Instant,
}

pub struct Killer {
    chance: Chance,
    round: u32,
    /// What is dead, and when it is started again.
    dead: Vec<(Instant, &'static str)>,
    returns: Vec<JoinHandle<Away>>,
    away: Vec<Away>,
    kills: BTreeMap<&'static str, u32>,
}

impl Killer {
    pub fn new(chance: Chance) -> Self {
        let (dead, returns, away) = (Vec::new(), Vec::new(), Vec::new());
        Self { chance, round: 0, dead, returns, away, kills: BTreeMap::new() }
    }

    /// Kills one that lives, and starts again what is due, until `pause` is over.
    pub fn round(&mut self, apart: &mut Apart, pause: Duration) {
        let until = Instant::now() + pause;
        self.round += 1;
        let lives = |name: &str| !self.dead.iter().any(|(_, dead)| *dead == name);
        let chances = CHANCES.into_iter().filter(|(name, _)| lives(name));
        let chances: Vec<&'static str> = chances.flat_map(|(name, n)| std::iter::repeat_n(name, n)).collect();
        if self.round.is_multiple_of(REDIS_EVERY) && lives(REDIS) {
            self.kill(apart, REDIS);
        } else if !chances.is_empty() {
            let name = *self.chance.one_of(&chances);
            self.kill(apart, name);
        }
        while Instant::now() < until {
            self.start_due(apart, Instant::now());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn kill(&mut self, apart: &mut Apart, name: &'static str) {
        let from = Instant::now();
        match name {
            REDIS => apart.redis.kill(),
            "edge" | "edge2" => {
                apart.kill(name);
                self.returns.push(returns(apart.edge_addr(name), from));
            }
            name => apart.kill(name),
        }
        *self.kills.entry(name).or_default() += 1;
        let dead = Duration::from_millis(self.chance.below(DEAD_MS));
        self.dead.push((Instant::now() + dead, name));
    }

    fn start_due(&mut self, apart: &mut Apart, now: Instant) {
        let (due, dead) = self.dead.drain(..).partition(|(at, _)| *at <= now);
        self.dead = dead;
        for (_, name) in Vec::from_iter::<Vec<(Instant, &'static str)>>(due) {
            match name {
                REDIS => apart.redis.start(),
                name => apart.start(name),
            }
        }
    }

    /// Starts what is still dead, and waits until everything is ready.
    pub fn end(&mut self, apart: &mut Apart) {
        let dead = Instant::now() + Duration::from_millis(DEAD_MS);
        self.start_due(apart, dead);
        apart.redis.answers();
        apart.ready();
        let returned = self.returns.drain(..).map(|thread| thread.join().expect("it listens again"));
        self.away.extend(returned);
    }

    /// Whether it was not answered because the edge that was asked was away meanwhile.
    pub fn excuses(&self, failure: &Failure) -> bool {
        if failure.answer != Answer::None {
            return false;
        }
        let overlaps = |away: &&Away| failure.asked <= away.until && failure.failed >= away.from;
        self.away.iter().filter(|away| away.edge == failure.edge).any(|away| overlaps(&away))
    }

    /// How long the edges were away, together.
    pub fn away(&self) -> Duration {
        self.away.iter().map(|away| away.until - away.from).sum()
    }

    /// How often each was killed.
    pub fn kills(&self) -> &BTreeMap<&'static str, u32> {
        &self.kills
    }
}

/// Waits beside everything else until an edge listens again.
fn returns(edge: SocketAddr, from: Instant) -> JoinHandle<Away> {
    std::thread::spawn(move || {
        while TcpStream::connect(edge).is_err() {
            assert!(from.elapsed() < LIMIT, "{edge} does not listen again");
            std::thread::sleep(Duration::from_millis(5));
        }
        Away { edge, from, until: Instant::now() }
    })
}
