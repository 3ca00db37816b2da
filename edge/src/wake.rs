//! Wake: from a release to a request in flight in it, by single flight.
//!
//! A flight belongs to no request: waiters come and go, each with its own deadline; the start goes on.

use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_ledger::{Change, Enter, LedgerError, Watch, keep_claim};
use func_model::limits::{BACKOFF_MS_MIN, CLAIM_MS, COOLING_MS, WAITERS_MAX, WAKE_MS};
use func_model::{Claim, Endpoint, Entry, LeaseId, Refusal, ReleaseId, chain};
use func_runner::{Start, StartError, State};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info, warn};

use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::pace::{Pace, Pass};
use crate::patience::{PATIENCE, Patience, TELL_AGAIN, tell};
use crate::slot::{InFlight, Looked, Slot, Slots};
use crate::starter::{Gates, Starter, places_here};
use crate::trace::{Log, Part, Trace, Way};
use crate::turns;

const WAKE: Duration = Duration::from_millis(WAKE_MS);
/// A flight outlives a stop that it waits for, and a start of somebody else's.
const FLIGHT: Duration = Duration::from_millis(WAKE_MS + CLAIM_MS + COOLING_MS);
/// How soon one who waits for somebody else's start asks again, even if nobody tells of a change.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How soon the ledger is asked again after a claim was lost.
const CLAIM_AGAIN: Duration = Duration::from_millis(20);
/// How long a look at an instance may take.
const LOOK: Duration = Duration::from_secs(5);

/// How a flight ended.
#[derive(Debug, Clone)]
pub(crate) enum Landing {
    /// The trace is of the start that was waited for, if there was one.
    Woken(Option<Arc<Trace>>, Arc<Pace>),
    Retired,
    Refused(Refusal),
}

impl Landing {
    fn woken(trace: Option<Trace>) -> Self {
        Self::Woken(trace.map(Arc::new), Pace::new())
    }
}

/// A request that got its instance.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) in_flight: InFlight,
    /// The start that it waited for.
    pub(crate) trace: Option<Arc<Trace>>,
    /// Held until it is answered: the next one of those who waited for the same start goes then.
    pub(crate) pass: Option<Pass>,
}

/// Why nobody entered.
#[derive(Debug)]
pub(crate) enum Closed {
    /// Another release is live: look the route up again.
    Retired,
    /// It is not ready at the deadline; the flight goes on.
    Late,
    Refused(Refusal),
}

pub(crate) struct Wake {
    slots: Arc<Slots>,
    enter: Arc<dyn Enter>,
    watch: Arc<dyn Watch>,
    start: Arc<dyn Start>,
    starter: Starter,
    outage: Outage,
    metrics: Arc<Metrics>,
    flights: TaskTracker,
}

impl Wake {
    pub(crate) fn new(
        slots: Arc<Slots>,
        enter: Arc<dyn Enter>,
        watch: Arc<dyn Watch>,
        start: Arc<dyn Start>,
        gates: Arc<dyn Gates>,
        outage: Outage,
        metrics: Arc<Metrics>,
    ) -> Self {
        let starter = Starter::new(start.clone(), gates, places_here());
        Self { slots, enter, watch, start, starter, outage, metrics, flights: TaskTracker::new() }
    }

    /// Enters the release's instance, woken if it sleeps, until `deadline`. Cancel-safe.
    ///
    /// # Errors
    /// [`Closed`].
    pub(crate) async fn enter(
        self: &Arc<Self>,
        release: &ReleaseId,
        deadline: Instant,
    ) -> Result<Entered, Closed> {
        let slot = self.slots.slot(&release.instance());
        let (mut trace, mut pass) = (None, None);
        loop {
            if let Some(in_flight) = slot.try_enter() {
                return Ok(Entered { in_flight, trace, pass });
            }
            turns::unknown();
            // It is over already: nobody of that landing goes any more.
            drop(pass.take());
            let launch = || self.launch(slot.clone());
            let Some(mut waiting) = slot.join(WAITERS_MAX, launch) else {
                return Err(Closed::Refused(Refusal::Crowded { app: release.app.clone() }));
            };
            match waiting.landing(deadline).await? {
                Landing::Retired => return Err(Closed::Retired),
                Landing::Refused(refusal) => return Err(Closed::Refused(refusal)),
                // Entered in the next round, unless it is over again already. Bounded by the deadline.
                Landing::Woken(woken, pace) => {
                    pass = Some(pace.pass(deadline).await.ok_or(Closed::Late)?);
                    trace = woken.or(trace);
                }
            }
        }
    }

    /// Finds out why an instance did not accept a connection; true if it is gone and can be woken anew.
    pub(crate) async fn examine(&self, in_flight: &InFlight) -> bool {
        let (slot, generation) = (in_flight.slot(), in_flight.endpoint.generation);
        // A herd that was refused at once looks once.
        let mut looked = slot.looked.lock().await;
        if let Some(looked) = looked.filter(|looked| looked.is_fresh(generation)) {
            return looked.gone;
        }
        let gone = self.look(slot, in_flight.endpoint).await;
        *looked = Some(Looked { generation, at: Instant::now(), gone });
        gone
    }

    async fn look(&self, slot: &Slot, endpoint: Endpoint) -> bool {
        match timeout(LOOK, self.start.look(&slot.id)).await {
            Ok(Ok(State::Running { addr } | State::Paused { addr })) if addr == endpoint.addr => false,
            Ok(Ok(State::Running { .. } | State::Paused { .. } | State::Stopped)) => {
                warn!(instance = %slot.id, generation = endpoint.generation, "{} is gone", slot.id);
                slot.forsake(endpoint.generation);
                let told = self.enter.gone(&slot.id, endpoint.generation).await;
                point("after_gone");
                match told {
                    // Somebody else saw it too.
                    Ok(()) | Err(LedgerError::Stale(_)) => true,
                    Err(e) => {
                        debug!("the ledger was not told that {} is gone: {e}", slot.id);
                        true
                    }
                }
            }
            Ok(Err(e)) => {
                warn!("{} cannot be looked at: {}", slot.id, chain(&e));
                false
            }
            Err(_) => {
                warn!("{} was not looked at within {} s", slot.id, LOOK.as_secs());
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
            let _ = tell.send(Some(landing.clone()));
            wake.count(&landing);
            if let Landing::Woken(_, pace) = landing {
                // No part of the flight: it ends with those who wait, which is at their deadlines.
                tokio::spawn(async move { pace.widen(|| slot.waiters()).await });
            }
        });
        told
    }

    fn count(&self, landing: &Landing) {
        match landing {
            Landing::Woken(Some(trace), _) => self.metrics.woken(trace),
            Landing::Refused(refusal) => self.metrics.failed(refusal),
            Landing::Woken(None, _) | Landing::Retired => {}
        }
    }

    async fn fly(&self, slot: &Slot) -> Landing {
        let lease = slot.new_lease();
        let app = || slot.id.release.app.clone();
        let mut changes = self.watch.changes();
        let mut patience = Patience::of(PATIENCE);
        let (mut log, mut waited) = (Log::new(), false);
        let mut stayed = self.slots.is_away();
        if stayed && self.outage.stay(slot, &lease).await {
            return Landing::woken(None);
        }
        loop {
            let asked = Instant::now();
            match self.enter.enter(&slot.id, &lease).await {
                Ok(Entry::Warm(endpoint)) => {
                    slot.hold(lease, endpoint, asked);
                    log.add(Part::Claim, asked);
                    // Without a start there is nothing to tell: only the lease was new.
                    return Landing::woken(waited.then(|| log.end(Way::Found)));
                }
                Ok(Entry::Wait) => {
                    waited = true;
                    wait_for(slot, &mut changes).await;
                    patience = Patience::of(PATIENCE);
                }
                Ok(Entry::Retired) => return Landing::Retired,
                Ok(Entry::Broken { retry_ms }) => {
                    return Landing::Refused(Refusal::Broken { app: app(), retry_ms });
                }
                Ok(Entry::Claimed(claim)) => {
                    point("after_claim");
                    log.add(Part::Claim, asked);
                    match self.start_it(slot, &claim, &lease, &mut log).await {
                        Ok(way) => return Landing::woken(Some(log.end(way))),
                        Err(Unstarted::Refused(refusal)) => return Landing::Refused(refusal),
                        Err(Unstarted::ClaimLost) => {
                            log.clear();
                            waited = true;
                            tokio::time::sleep(CLAIM_AGAIN).await;
                            patience = Patience::of(PATIENCE);
                        }
                    }
                }
                Err(LedgerError::Away(_) | LedgerError::Lost)
                    if !std::mem::replace(&mut stayed, true) && self.outage.stay(slot, &lease).await =>
                {
                    return Landing::woken(None);
                }
                // Asked again under the same lease: if the claim was given and only the answer lost, it is ours. One
                // that was lost is restored by the cleaner.
                Err(LedgerError::Away(_) | LedgerError::Lost) if patience.lasts().await => {}
                Err(e) => {
                    debug!("{} cannot be entered: {e}", slot.id);
                    return Landing::Refused(Refusal::Lost);
                }
            }
        }
    }

    /// Starts under a claim, and gives by which way.
    async fn start_it(
        &self,
        slot: &Slot,
        claim: &Claim,
        lease: &LeaseId,
        log: &mut Log,
    ) -> Result<Way, Unstarted> {
        let (id, began) = (&slot.id, Instant::now());
        let ready = tokio::select! {
            // What is ready counts: whether the claim stands is asked with the commit.
            biased;
            ready = self.starter.make_ready(claim, log) => ready,
            () = keep_claim(self.enter.as_ref(), claim) => {
                warn!("the claim of {id} ended during its start");
                return Err(Unstarted::ClaimLost);
            }
        };
        let ready = match ready {
            Ok(ready) => ready,
            Err(e) => return Err(self.not_started(claim, &e).await),
        };
        point("after_ready");
        let until = Instant::now() + Duration::from_millis(CLAIM_MS);
        let committing = Instant::now();
        loop {
            let asked = Instant::now();
            match self.enter.woken(claim, ready.addr, lease, ready.start_ms).await {
                Ok(endpoint) => {
                    point("after_woken");
                    slot.hold(lease.clone(), endpoint, asked);
                    log.add(Part::Commit, committing);
                    let (took_ms, way) = (began.elapsed().as_millis() as u64, ready.way.name());
                    info!(app.name = %id.release.app, release = %id.release, generation = endpoint.generation,
                        took_ms, way, "woke {id}");
                    return Ok(ready.way);
                }
                Err(LedgerError::Stale(_)) => {
                    warn!("the claim of {id} ended during its start");
                    return Err(Unstarted::ClaimLost);
                }
                Err(e) if Instant::now() + TELL_AGAIN >= until => {
                    error!("{id} runs, and the ledger could not be told: {e}");
                    return Err(Unstarted::Refused(Refusal::Lost));
                }
                Err(_) => tokio::time::sleep(TELL_AGAIN).await,
            }
        }
    }

    /// Ends a claim under which nothing was started, and says what the waiting are told.
    async fn not_started(&self, claim: &Claim, failure: &StartError) -> Unstarted {
        let (id, app) = (&claim.id, claim.id.release.app.clone());
        if let StartError::Stale { .. } = failure {
            debug!("the claim of {id} ended before its start");
            return Unstarted::ClaimLost;
        }
        warn!(app.name = %app, release = %id.release, "{}", chain(failure));
        if !failure.is_apps_fault() {
            // It is not the app's fault: whoever asks next may try at once.
            if let Err(e) = tell(|| self.enter.give_back(claim)).await {
                debug!("the claim of {id} was not given back: {e}");
            }
            let is_busy = matches!(failure, StartError::Busy { .. });
            return Unstarted::Refused(if is_busy { Refusal::Busy { app } } else { Refusal::Lost });
        }
        let retry_ms = match tell(|| self.enter.failed(claim)).await {
            Ok(retry_ms) => retry_ms,
            Err(e) => {
                debug!("the ledger was not told that {id} did not start: {e}");
                BACKOFF_MS_MIN
            }
        };
        point("after_failed");
        Unstarted::Refused(Refusal::StartFailed { app, retry_ms })
    }
}

/// Why a claim ended without an instance.
#[derive(Debug)]
enum Unstarted {
    /// It is somebody else's now: ask again.
    ClaimLost,
    Refused(Refusal),
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

#[cfg(test)]
#[path = "wake_tests.rs"]
mod tests;
