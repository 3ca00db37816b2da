//! What all that take part share: the dice, the faults, the trace, and what went wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::dice::{Dice, Roll};

/// A rule that is taken out, to see that the search finds it missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    Nothing,
    /// The ledger grants the right to stop and to pause whatever leases there are.
    LeaseCheck,
    /// A renewal does not put back a lease that a lost ledger forgot.
    PutBack,
    /// Every lease of an edge has the same serial: a late `leave` drops the newer one.
    Serial,
    /// The first lease does not stand from the commit on: it is lost at once.
    FirstLease,
    /// An edge that is cut off does not occupy what it uses.
    Lock,
}

/// How bad the world is now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Weather {
    /// Everything is quick.
    Fair,
    /// Every call takes its time, and none is lost.
    Slow,
    /// Calls are lost before and after their effect, and arrive late.
    Foul,
}

pub struct World {
    pub dice: Dice,
    pub without: Without,
    began: Instant,
    weather: Mutex<Weather>,
    /// Nobody reaches the ledger.
    pub ledger_away: AtomicBool,
    /// This one alone does not reach it.
    cut_off: Mutex<Option<&'static str>>,
    wrongs: Mutex<Vec<String>>,
    trace: Option<Mutex<Vec<String>>>,
    pub counts: Mutex<Counts>,
}

/// What happened, to see that what was to be met was met.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub answered: u64,
    pub refused: u64,
    pub cut: u64,
    pub opened: u64,
    pub frozen: u64,
    pub stopped: u64,
    pub crashes: u64,
    pub deaths: u64,
    pub losses: u64,
    pub switches: u64,
    pub calls_lost: u64,
    pub cut_off: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.answered += other.answered;
        self.refused += other.refused;
        self.cut += other.cut;
        self.opened += other.opened;
        self.frozen += other.frozen;
        self.stopped += other.stopped;
        self.crashes += other.crashes;
        self.deaths += other.deaths;
        self.losses += other.losses;
        self.switches += other.switches;
        self.calls_lost += other.calls_lost;
        self.cut_off += other.cut_off;
    }
}

impl World {
    pub fn new(seed: u64, without: Without, keeps_trace: bool) -> Arc<Self> {
        Arc::new(Self {
            dice: Dice::new(seed),
            without,
            began: Instant::now(),
            weather: Mutex::new(Weather::Fair),
            ledger_away: AtomicBool::new(false),
            cut_off: Mutex::default(),
            wrongs: Mutex::default(),
            trace: keeps_trace.then(Mutex::default),
            counts: Mutex::default(),
        })
    }

    pub fn weather(&self) -> Weather {
        *self.weather.lock().expect("unbroken")
    }

    pub fn set_weather(&self, weather: Weather) {
        *self.weather.lock().expect("unbroken") = weather;
    }

    /// Notes what happened, when, and by whom.
    pub fn note(&self, who: &str, what: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let seconds = self.began.elapsed().as_millis() as f64 / 1_000.0;
            trace.lock().expect("unbroken").push(format!("{seconds:>8.3} {who:10} {}", what()));
        }
    }

    /// Notes what must never be.
    pub fn wrong(&self, what: String) {
        self.note("WRONG", || what.clone());
        self.wrongs.lock().expect("unbroken").push(what);
    }

    pub fn wrongs(&self) -> Vec<String> {
        self.wrongs.lock().expect("unbroken").clone()
    }

    pub fn is_wrong(&self) -> bool {
        !self.wrongs.lock().expect("unbroken").is_empty()
    }

    pub fn trace(&self) -> Vec<String> {
        self.trace.as_ref().map(|t| t.lock().expect("unbroken").clone()).unwrap_or_default()
    }

    pub fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.counts.lock().expect("unbroken"));
    }

    /// Cuts one off from the ledger, or nobody.
    pub fn cut_off(&self, who: Option<&'static str>) {
        self.note(who.unwrap_or("nobody"), || "is cut off".to_owned());
        *self.cut_off.lock().expect("unbroken") = who;
    }

    /// Whether somebody reaches the ledger.
    pub fn reaches(&self, who: &str) -> bool {
        let cut_off = *self.cut_off.lock().expect("unbroken");
        cut_off != Some(who) && !self.ledger_away.load(Ordering::Relaxed)
    }

    /// What a call takes one way.
    pub fn way(&self, roll: &mut Roll) -> Duration {
        let slow = match self.weather() {
            Weather::Fair => 0,
            Weather::Slow => 30,
            Weather::Foul => 120,
        };
        match roll.hits(slow) {
            true => roll.ms(20, 1_200),
            false => roll.ms(0, 3),
        }
    }

    pub async fn travel(&self, roll: &mut Roll) {
        let way = self.way(roll);
        if !way.is_zero() {
            sleep(way).await;
        }
    }

    /// Whether something fails that fails in foul weather, `n` times in a thousand.
    pub fn fails(&self, roll: &mut Roll, n: u64) -> bool {
        roll.hits(n) && self.weather() == Weather::Foul
    }
}
