//! Wake: from a release to a request in flight in it, by single flight.
//!
//! A flight belongs to no request: waiters come and go, each with its own deadline; the start goes on.

use std::sync::Arc;
use std::time::Duration;

use func_ledger::{Change, Enter, LedgerError, Watch};
use func_model::limits::{BACKOFF_MS_MIN, CLAIM_MS, COOLING_MS, WAITERS_MAX, WAKE_MS};
use func_model::{Claim, Entry, LeaseId, Refusal, ReleaseId};
use func_runner::{Start, StartError, State};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::slot::{InFlight, Slot, Slots};

const WAKE: Duration = Duration::from_millis(WAKE_MS);
/// A flight outlives a stop that it waits for, and a start of somebody else's.
const FLIGHT: Duration = Duration::from_millis(CLAIM_MS + COOLING_MS);
/// How soon one who waits for somebody else's start asks again, even if nobody tells of a change.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How often a ledger that went away during a start is told again that the instance is warm.
const TELL_AGAIN: Duration = Duration::from_millis(200);

/// How long a ledger that does not answer is asked again.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long somebody goes on asking.
struct Patience {
    until: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { until: Instant::now() + PATIENCE }
    }

    /// Waits a little; false when it is over.
    async fn lasts(&mut self) -> bool {
        tokio::time::sleep(TELL_AGAIN).await;
        Instant::now() < self.until
    }
}

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    Woken,
    Retired,
    Refused(Refusal),
}

/// Why nobody entered.
pub(crate) enum Closed {
    /// Another release is live: look the route up again.
    Retired,
    Refused(Refusal),
}

pub(crate) struct Wake {
    slots: Arc<Slots>,
    enter: Arc<dyn Enter>,
    watch: Arc<dyn Watch>,
    start: Arc<dyn Start>,
    flights: TaskTracker,
}

impl Wake {
    pub(crate) fn new(
        slots: Arc<Slots>,
        enter: Arc<dyn Enter>,
        watch: Arc<dyn Watch>,
        start: Arc<dyn Start>,
    ) -> Self {
        Self { slots, enter, watch, start, flights: TaskTracker::new() }
    }

    /// Enters the release's instance, woken if it sleeps, until `deadline`. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`].
    pub(crate) async fn enter(
        self: &Arc<Self>,
        release: &ReleaseId,
        deadline: Instant,
    ) -> Result<InFlight, Closed> {
        let slot = self.slots.slot(&release.instance());
        loop {
            if let Some(in_flight) = slot.try_enter() {
                return Ok(in_flight);
            }
            let launch = || self.launch(slot.clone());
            let Some(mut waiting) = slot.join(WAITERS_MAX, launch) else {
                return Err(Closed::Refused(Refusal::Crowded { app: release.app.clone() }));
            };
            let landing = timeout_at(deadline, waiting.flight.wait_for(Option::is_some)).await;
            let landing = match landing {
                Err(_) => return Err(Closed::Refused(Refusal::TooSlow { app: release.app.clone() })),
                // The flight was given up with the edge itself.
                Ok(Err(_)) => return Err(Closed::Refused(Refusal::Leaving)),
                Ok(Ok(landing)) => landing.clone(),
            };
            match landing {
                Some(Landing::Retired) => return Err(Closed::Retired),
                Some(Landing::Refused(refusal)) => return Err(Closed::Refused(refusal)),
                // Entered in the next round, unless it is over again already. Bounded by the deadline.
                Some(Landing::Woken) | None => {}
            }
        }
    }

    /// Finds out why an instance did not accept a connection; true if it is gone and can be woken anew.
    pub(crate) async fn examine(&self, in_flight: &InFlight) -> bool {
        let (slot, endpoint) = (in_flight.slot(), in_flight.endpoint);
        match self.start.look(&slot.id).await {
            Ok(State::Running { addr }) if addr == endpoint.addr => false,
            Ok(State::Running { .. } | State::Stopped) => {
                warn!(instance = %slot.id, generation = endpoint.generation, "{} is gone", slot.id);
                slot.forsake(endpoint.generation);
                match self.enter.gone(&slot.id, endpoint.generation).await {
                    // Somebody else saw it too.
                    Ok(()) | Err(LedgerError::Stale(_)) => true,
                    Err(e) => {
                        debug!("the ledger was not told that {} is gone: {e}", slot.id);
                        true
                    }
                }
            }
            Err(e) => {
                warn!("{} cannot be looked at: {e}", slot.id);
                false
            }
        }
    }

    /// Waits for the flights under way: what they start must be known to the ledger.
    pub(crate) async fn close(&self) {
        self.flights.close();
        if timeout(WAKE, self.flights.wait()).await.is_err() {
            warn!("the edge leaves while an instance is starting");
        }
    }

    fn launch(self: &Arc<Self>, slot: Arc<Slot>) -> watch::Receiver<Option<Landing>> {
        let (tell, told) = watch::channel(None);
        let wake = self.clone();
        self.flights.spawn(async move {
            let landing = match timeout(FLIGHT, wake.fly(&slot)).await {
                Ok(landing) => landing,
                Err(_) => Landing::Refused(Refusal::TooSlow { app: slot.id.release.app.clone() }),
            };
            slot.landed();
            // Waiters come and go.
            let _ = tell.send(Some(landing));
        });
        told
    }

    async fn fly(&self, slot: &Slot) -> Landing {
        let lease = slot.new_lease();
        let app = || slot.id.release.app.clone();
        let mut changes = self.watch.changes();
        let mut patience = Patience::new();
        loop {
            let asked = Instant::now();
            match self.enter.enter(&slot.id, &lease).await {
                Ok(Entry::Warm(endpoint)) => {
                    slot.hold(lease, endpoint, asked);
                    return Landing::Woken;
                }
                Ok(Entry::Wait) => wait_for(slot, &mut changes).await,
                Ok(Entry::Retired) => return Landing::Retired,
                Ok(Entry::Broken { retry_ms }) => {
                    return Landing::Refused(Refusal::Broken { app: app(), retry_ms });
                }
                Ok(Entry::Claimed(claim)) => {
                    if let Some(landing) = self.start_it(slot, &claim, &lease).await {
                        return landing;
                    }
                }
                // Asked again under the same lease: if the claim was given and only the answer lost, it is ours.
                Err(LedgerError::Away(_)) if patience.lasts().await => {}
                Err(e) => {
                    debug!("{} cannot be entered: {e}", slot.id);
                    return Landing::Refused(Refusal::Lost);
                }
            }
        }
    }

    /// Starts under a claim; `None` if the claim was lost and has to be asked for again.
    async fn start_it(&self, slot: &Slot, claim: &Claim, lease: &LeaseId) -> Option<Landing> {
        let (id, began) = (&slot.id, Instant::now());
        let addr = match self.start.start(id, WAKE).await {
            Ok(addr) => addr,
            Err(e) => return Some(self.start_failed(slot, claim, &e).await),
        };
        let until = began + Duration::from_millis(CLAIM_MS);
        loop {
            let asked = Instant::now();
            match self.enter.woken(claim, addr, lease).await {
                Ok(endpoint) => {
                    let took_ms = began.elapsed().as_millis() as u64;
                    info!(app.name = %id.release.app, release = %id.release, generation = endpoint.generation, took_ms,
                        "woke {id}");
                    slot.hold(lease.clone(), endpoint, asked);
                    return Some(Landing::Woken);
                }
                Err(LedgerError::Stale(_)) => {
                    warn!("the claim of {id} ended during its start");
                    return None;
                }
                Err(e) if Instant::now() + TELL_AGAIN >= until => {
                    error!("{id} runs, and the ledger could not be told: {e}");
                    return Some(Landing::Refused(Refusal::Lost));
                }
                Err(_) => tokio::time::sleep(TELL_AGAIN).await,
            }
        }
    }

    async fn start_failed(&self, slot: &Slot, claim: &Claim, failure: &StartError) -> Landing {
        let (id, app) = (&slot.id, slot.id.release.app.clone());
        warn!(app.name = %app, release = %id.release, "{}", chain(failure));
        let mut patience = Patience::new();
        loop {
            match self.enter.failed(claim).await {
                Ok(retry_ms) => return Landing::Refused(Refusal::StartFailed { app, retry_ms }),
                Err(LedgerError::Away(_)) if patience.lasts().await => {}
                Err(e) => {
                    debug!("the ledger was not told that {id} did not start: {e}");
                    return Landing::Refused(Refusal::StartFailed { app, retry_ms: BACKOFF_MS_MIN });
                }
            }
        }
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Waits until something may have changed for the instance.
async fn wait_for(slot: &Slot, changes: &mut Receiver<Change>) {
    let changed = async {
        loop {
            match changes.recv().await {
                Ok(Change::Instance(id)) if id != slot.id => {}
                Ok(_) | Err(RecvError::Lagged(_)) => return,
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    };
    let _ = timeout(ASK_AGAIN, changed).await;
}
