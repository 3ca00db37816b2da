//! Slots: what this edge holds of each instance, and how many requests it has in it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use func_ledger::Leaving;
use func_model::limits::{LEASE_MS, LINGER_MS, MARGIN_MS, RENEW_MS};
use func_model::{Endpoint, InstanceId, LeaseId, Refusal};
use func_store::Occupied;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout_at};

use crate::wake::{Closed, Landing};

const TRUST: Duration = Duration::from_millis(LEASE_MS - MARGIN_MS);
const RENEW: Duration = Duration::from_millis(RENEW_MS);
const LINGER: Duration = Duration::from_millis(LINGER_MS);
/// How long a look that found an instance running is believed.
const LOOKED: Duration = Duration::from_millis(20);

/// A lease that stands in the ledger.
#[derive(Debug)]
struct Held {
    lease: LeaseId,
    /// Where to send requests; `None` once the instance was found gone or retired: nobody enters any more.
    endpoint: Option<Endpoint>,
    /// Counted from before the call that took or renewed it, by this process' own clock.
    trusted_until: Instant,
    renew_at: Instant,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    /// Given up with the lease: while it is there the cleaner leaves the instance alone, whatever the ledger says.
    occupied: Option<Occupied>,
    /// Leases that a newer one has replaced.
    replaced: Vec<LeaseId>,
    in_flight: usize,
    used: Option<Instant>,
    flight: Option<watch::Receiver<Option<Landing>>>,
    waiters: usize,
}

/// One instance, as this edge sees it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: InstanceId,
    state: Mutex<State>,
    /// What was seen when a connection was refused; held while somebody looks.
    pub(crate) looked: tokio::sync::Mutex<Option<Looked>>,
    slots: Arc<Shared>,
}

/// Whether a generation of an instance was gone at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Looked {
    pub(crate) generation: u64,
    pub(crate) at: Instant,
    pub(crate) gone: bool,
}

impl Looked {
    /// Whether it says enough about `generation` now: what is gone stays so, what runs may have ended since.
    pub(crate) fn is_fresh(&self, generation: u64) -> bool {
        self.generation == generation && (self.gone || self.at.elapsed() < LOOKED)
    }
}

/// What all slots share.
#[derive(Debug)]
struct Shared {
    holder: String,
    serial: AtomicU64,
    requests: AtomicUsize,
    no_requests: Notify,
    /// The ledger did not answer the last renewal: no lease is given up.
    away: AtomicBool,
}

/// A request under a lease. Whoever holds it is counted; dropping it is the end of the request.
#[derive(Debug)]
pub(crate) struct InFlight {
    slot: Arc<Slot>,
    pub(crate) endpoint: Endpoint,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.in_flight -= 1;
        state.used = Some(Instant::now());
    }
}

impl InFlight {
    pub(crate) fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }
}

/// What the keeper has to do for one slot.
#[derive(Debug)]
pub(crate) enum Duty {
    Renew(LeaseId),
    Leave(Leaving),
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change under the lock is complete before it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters if a lease is held and trusted: the fast path. What is occupied is trusted beyond the time of its lease,
    /// since the ledger may be out of reach: the cleaner does not stop it.
    pub(crate) fn try_enter(self: &Arc<Self>) -> Option<InFlight> {
        let mut state = self.lock();
        let held = state.held.as_ref()?;
        let endpoint = held.endpoint?;
        if state.occupied.is_none() && Instant::now() >= held.trusted_until {
            return None;
        }
        state.in_flight += 1;
        Some(InFlight { slot: self.clone(), endpoint })
    }

    /// Makes a lease that was never used before.
    pub(crate) fn new_lease(&self) -> LeaseId {
        let serial = self.slots.serial.fetch_add(1, Ordering::Relaxed);
        LeaseId { holder: self.slots.holder.clone(), serial }
    }

    /// Takes note of a lease that the ledger granted to a call made at `asked`.
    pub(crate) fn hold(&self, lease: LeaseId, endpoint: Endpoint, asked: Instant) {
        let mut state = self.lock();
        let held =
            Held { lease, endpoint: Some(endpoint), trusted_until: asked + TRUST, renew_at: asked + RENEW };
        if let Some(old) = state.held.replace(held) {
            state.replaced.push(old.lease);
        }
        state.used = Some(Instant::now());
    }

    /// Takes note of what is used without the ledger: the lease is yet to be put there.
    pub(crate) fn stay(&self, lease: LeaseId, endpoint: Endpoint, occupied: Occupied) {
        let now = Instant::now();
        let mut state = self.lock();
        let held = Held { lease, endpoint: Some(endpoint), trusted_until: now, renew_at: now };
        if let Some(old) = state.held.replace(held) {
            state.replaced.push(old.lease);
        }
        state.occupied = Some(occupied);
        state.used = Some(now);
    }

    /// Occupies the instance, for as long as a lease is held.
    pub(crate) fn occupy(&self, occupied: Occupied) {
        let mut state = self.lock();
        if state.held.is_some() {
            state.occupied = Some(occupied);
        }
    }

    fn is_unoccupied(&self) -> bool {
        let state = self.lock();
        state.held.is_some() && state.occupied.is_none()
    }

    /// Takes note of a renewal: where the instance answers now.
    pub(crate) fn renewed(&self, lease: &LeaseId, endpoint: Option<Endpoint>, asked: Instant) {
        let mut state = self.lock();
        if let Some(held) = state.held.as_mut().filter(|held| held.lease == *lease) {
            held.endpoint = endpoint;
            held.trusted_until = asked + TRUST;
            held.renew_at = asked + RENEW;
        }
    }

    /// Lets nobody enter `generation` any more; those who are in it keep the lease.
    pub(crate) fn forsake(&self, generation: u64) {
        let mut state = self.lock();
        if let Some(held) =
            state.held.as_mut().filter(|h| h.endpoint.is_some_and(|e| e.generation == generation))
        {
            held.endpoint = None;
        }
    }

    /// Joins the flight under way, or the one that `launch` begins. `None` if too many wait.
    pub(crate) fn join(
        self: &Arc<Self>,
        waiters_max: usize,
        launch: impl FnOnce() -> watch::Receiver<Option<Landing>>,
    ) -> Option<Waiting> {
        let mut state = self.lock();
        if state.waiters >= waiters_max {
            return None;
        }
        state.waiters += 1;
        // A flight whose task is dead without having landed is none.
        if state
            .flight
            .as_ref()
            .is_some_and(|flight| flight.has_changed().is_err() && flight.borrow().is_none())
        {
            state.flight = None;
        }
        let flight = state.flight.get_or_insert_with(launch).clone();
        Some(Waiting { slot: self.clone(), flight })
    }

    /// How many wait for a flight, or to go after it.
    pub(crate) fn waiters(&self) -> usize {
        self.lock().waiters
    }

    /// The flight has landed: the next who finds the slot closed begins another.
    pub(crate) fn landed(&self) {
        self.lock().flight = None;
    }

    fn duties(&self, now: Instant, leave_all: bool) -> Vec<Duty> {
        let mut state = self.lock();
        let idle_for = state.used.map_or(Duration::ZERO, |used| now.saturating_duration_since(used));
        let leaving = |lease| {
            Duty::Leave(Leaving { id: self.id.clone(), lease, idle_for_ms: idle_for.as_millis() as u64 })
        };
        let mut duties: Vec<Duty> = std::mem::take(&mut state.replaced).into_iter().map(leaving).collect();
        // Without a ledger a lease that is given up cannot be had back: what is warm stays so.
        let away = self.slots.away.load(Ordering::Acquire);
        let unused = state.in_flight == 0 && state.waiters == 0 && idle_for >= LINGER && !away;
        if unused || leave_all {
            duties.extend(state.held.take().map(|held| leaving(held.lease)));
            state.occupied = None;
        } else if let Some(held) = state.held.as_ref().filter(|held| held.renew_at <= now) {
            duties.push(Duty::Renew(held.lease.clone()));
        }
        duties
    }

    fn is_empty(&self) -> bool {
        let state = self.lock();
        state.held.is_none() && state.flight.is_none() && state.in_flight == 0 && state.waiters == 0
    }
}

/// One who waits for a flight, or to go after it.
pub(crate) struct Waiting {
    slot: Arc<Slot>,
    flight: watch::Receiver<Option<Landing>>,
}

impl Waiting {
    /// Waits for the end of the flight.
    ///
    /// # Errors
    /// [`Closed::Late`] at the deadline; a refusal if the flight was given up with the edge itself.
    pub(crate) async fn landing(&mut self, deadline: Instant) -> Result<Landing, Closed> {
        let landed =
            timeout_at(deadline, self.flight.wait_for(Option::is_some)).await.map_err(|_| Closed::Late)?;
        let landing = landed.ok().and_then(|landing| landing.clone());
        landing.ok_or(Closed::Refused(Refusal::Leaving))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.slot.lock().waiters -= 1;
    }
}

/// All slots of this edge.
#[derive(Debug)]
pub(crate) struct Slots {
    all: RwLock<HashMap<InstanceId, Arc<Slot>>>,
    shared: Arc<Shared>,
}

impl Slots {
    pub(crate) fn new(holder: String) -> Self {
        let shared = Shared {
            holder,
            serial: AtomicU64::new(1),
            requests: 0.into(),
            no_requests: Notify::new(),
            away: false.into(),
        };
        Self { all: RwLock::default(), shared: Arc::new(shared) }
    }

    /// Gives the slot of an instance, a new one if there is none.
    pub(crate) fn slot(&self, id: &InstanceId) -> Arc<Slot> {
        if let Some(slot) = self.all.read().unwrap_or_else(PoisonError::into_inner).get(id) {
            return slot.clone();
        }
        let new = || {
            Arc::new(Slot {
                id: id.clone(),
                state: Mutex::default(),
                looked: tokio::sync::Mutex::default(),
                slots: self.shared.clone(),
            })
        };
        self.all.write().unwrap_or_else(PoisonError::into_inner).entry(id.clone()).or_insert_with(new).clone()
    }

    /// Gives what is to be renewed and left now; forgets slots that nobody has.
    pub(crate) fn duties(&self, leave_all: bool) -> Vec<(Arc<Slot>, Duty)> {
        let now = Instant::now();
        let mut duties = Vec::new();
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, slot| {
            duties.extend(slot.duties(now, leave_all).into_iter().map(|duty| (slot.clone(), duty)));
            // Clones are made under the lock that is held here: nobody else can get hold of it now.
            Arc::strong_count(slot) > 1 || !slot.is_empty()
        });
        duties
    }

    /// Gives those that have a lease and are not occupied.
    pub(crate) fn unoccupied(&self) -> Vec<Arc<Slot>> {
        let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|slot| slot.is_unoccupied()).cloned().collect()
    }

    pub(crate) fn is_away(&self) -> bool {
        self.shared.away.load(Ordering::Acquire)
    }

    pub(crate) fn set_away(&self, away: bool) {
        self.shared.away.store(away, Ordering::Release);
    }

    /// Counts a request from its beginning to its end: before it has an instance, and after.
    pub(crate) fn request(&self) -> Request {
        self.shared.requests.fetch_add(1, Ordering::AcqRel);
        Request(self.shared.clone())
    }

    /// How many requests there are.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Waits until there is no request.
    pub(crate) async fn idle(&self) {
        loop {
            let notified = self.shared.no_requests.notified();
            if self.requests() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// A request that is counted.
#[derive(Debug)]
pub(crate) struct Request(Arc<Shared>);

impl Drop for Request {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.no_requests.notify_waiters();
        }
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
