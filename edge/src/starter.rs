//! The starter: makes a claimed instance ready, through its gate or by asking the cleaner.
//!
//! A poised instance needs one byte into its gate, and nobody else: a few file system calls. Everything else, and
//! every doubt, is the cleaner's: it looks at what is there, and tells a crash with its last lines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use func_model::limits::WAKE_MS;
use func_model::{Claim, GateName, Poised};
use func_runner::{GateError, How, RunnerError, Start, StartError, Started, open_gate, until_ready};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

use crate::trace::{Log, Part, Way};

const WAKE: Duration = Duration::from_millis(WAKE_MS);
/// How long an opened instance is waited for before the cleaner is asked to watch it as well: what is fast costs no
/// call, and what crashes is told soon.
const ALONE: Duration = Duration::from_millis(15);
/// How long an instance that was let go keeps its place at the most. What takes longer mostly waits: apps that start slowly
/// must not keep the others out.
const PLACE_HELD: Duration = Duration::from_millis(100);
/// How much longer than its own limit a call to the cleaner may take: what failed is cleared away before it is told.
const SLACK: Duration = Duration::from_secs(8);

/// An instance that is ready, before the ledger knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ready {
    pub(crate) addr: SocketAddr,
    pub(crate) way: Way,
    /// The app's own time; `None` if its process was not started anew.
    pub(crate) start_ms: Option<u64>,
}

impl From<Started> for Ready {
    fn from(started: Started) -> Self {
        Self { addr: started.addr, way: started.how.into(), start_ms: started.start_ms() }
    }
}

/// Rounds up: a time of 0 would say that it is not known.
fn known_ms(took: Duration) -> u64 {
    (took.as_micros() as u64).div_ceil(1_000).max(1)
}

/// What an edge does by itself with what was made ahead. A trait, because `shared/races` has gates and apps of its own.
#[async_trait]
pub trait Gates: Send + Sync {
    /// As [`open_gate`].
    ///
    /// # Errors
    /// [`GateError`].
    async fn open(&self, gate: GateName) -> Result<(), GateError>;

    /// Ends when the instance is ready, and not before: why it is not is the cleaner's to say.
    async fn answers(&self, poised: &Poised, until: Instant);

    /// Whether what runs at an address accepts a connection, until then.
    async fn accepts(&self, addr: SocketAddr, until: Instant) -> bool;
}

/// The folder of the gates' own folders.
pub(crate) struct Folder(pub(crate) PathBuf);

#[async_trait]
impl Gates for Folder {
    async fn open(&self, gate: GateName) -> Result<(), GateError> {
        open_gate(&self.0, gate).await
    }

    async fn answers(&self, poised: &Poised, until: Instant) {
        if until_ready(poised.health.as_deref(), poised.addr, until).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    async fn accepts(&self, addr: SocketAddr, until: Instant) -> bool {
        until_ready(None, addr, until).await.is_ok()
    }
}

pub(crate) struct Starter {
    start: Arc<dyn Start>,
    gates: Arc<dyn Gates>,
    /// So many that were let go may begin at the same time.
    places: Semaphore,
}

/// Gives how many places this machine has: a process that begins keeps one CPU busy, and one is left to what is warm.
/// More at once are all of them late.
pub(crate) fn places_here() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() - 1).max(1))
}

impl Starter {
    pub(crate) fn new(start: Arc<dyn Start>, gates: Arc<dyn Gates>, places: usize) -> Self {
        Self { start, gates, places: Semaphore::new(places) }
    }

    /// Makes a claimed instance ready, and writes down what it took.
    ///
    /// # Errors
    /// [`StartError`], as [`Start::start`] gives it.
    pub(crate) async fn make_ready(&self, claim: &Claim, log: &mut Log) -> Result<Ready, StartError> {
        let Some(poised) = &claim.poised else {
            return self.ask_and_log(claim, Instant::now() + WAKE, log).await;
        };
        // In the order of asking.
        let place = timeout(WAKE, self.places.acquire()).await;
        let place = place.map_err(|_| StartError::Busy { id: claim.id.clone(), within: WAKE })?;
        let began = Instant::now();
        let until = began + WAKE;
        if let Err(e) = self.gates.open(poised.gate).await {
            // Somebody opened it before, or nothing waits at it: the cleaner sees what is there.
            debug!(instance = %claim.id, "the gate of {} was not opened: {e}", claim.id);
            drop(place);
            return self.ask_and_log(claim, until, log).await;
        }
        log.add(Part::Gate, began);
        let following = self.follow(claim, poised, until, log);
        tokio::pin!(following);
        match timeout(PLACE_HELD, following.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                drop(place);
                following.await
            }
        }
    }

    /// Follows an instance whose gate was opened just now until it is ready.
    async fn follow(
        &self,
        claim: &Claim,
        poised: &Poised,
        until: Instant,
        log: &mut Log,
    ) -> Result<Ready, StartError> {
        let opened = Instant::now();
        let ready = self.gates.answers(poised, until);
        tokio::pin!(ready);
        if timeout(ALONE, ready.as_mut()).await.is_err() {
            let asked = Instant::now();
            if let Some(another) = self.watch(claim, poised, until, ready).await? {
                log.add_started(asked, &another);
                return Ok(another.into());
            }
        }
        log.add(Part::Connect, opened);
        let start_ms = Some(known_ms(opened.elapsed()));
        Ok(Ready { addr: poised.addr, way: Way::Poised, start_ms })
    }

    /// Asks the cleaner beside the own waiting; who knows first is believed. `None`: the opened instance is ready.
    /// Otherwise the cleaner found it gone, and gives another.
    async fn watch(
        &self,
        claim: &Claim,
        poised: &Poised,
        until: Instant,
        mut ready: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Started>, StartError> {
        let told = tokio::select! {
            biased;
            () = ready.as_mut() => return Ok(None),
            told = self.ask(claim, until) => told,
        };
        match told {
            Ok(started) => Ok(Some(started).filter(|s| s.how == How::Made || s.addr != poised.addr)),
            // It says nothing about the instance, which may be ready any moment.
            Err(e) if !e.is_apps_fault() && !matches!(e, StartError::Stale { .. }) => {
                match timeout_at(until, ready).await {
                    Ok(()) => Ok(None),
                    Err(_) => Err(e),
                }
            }
            Err(e) => Err(e),
        }
    }

    async fn ask_and_log(&self, claim: &Claim, until: Instant, log: &mut Log) -> Result<Ready, StartError> {
        let asked = Instant::now();
        let started = self.ask(claim, until).await?;
        log.add_started(asked, &started);
        Ok(started.into())
    }

    async fn ask(&self, claim: &Claim, until: Instant) -> Result<Started, StartError> {
        let within = until.saturating_duration_since(Instant::now());
        match timeout_at(until + SLACK, self.start.start(claim, within)).await {
            Ok(started) => started,
            Err(elapsed) => Err(RunnerError::Cleaner(Box::new(elapsed)).into()),
        }
    }
}

#[cfg(test)]
#[path = "starter_tests.rs"]
mod tests;
