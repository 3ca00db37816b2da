//! The ledger of a single process: `func serve all` without Redis.
//!
//! It is `Record::apply` behind a lock, and nothing else. A new one is lost until it is restored, as a new Redis is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use func_model::limits::{CHANGES_MAX, LEASE_MS};
use func_model::{
    Act, AppName, Claim, CoolPermit, Endpoint, Entry, FreezePermit, InstanceId, LeaseId, NotYet, Outcome,
    Phase, Record, ReleaseId, Route, Stale, backoff_ms,
};
use tokio::sync::broadcast;
use tokio::time::Instant;

use crate::{
    Change, Cool, Enter, Leaving, LedgerError, Promote, Restored, RestoredInstance, RestoredState, Settle,
    Watch,
};

#[derive(Debug, Default)]
struct State {
    restored: bool,
    quarantine_until_ms: u64,
    routes: BTreeMap<AppName, Route>,
    records: BTreeMap<InstanceId, Record>,
}

/// The ledger in memory.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
    changes: broadcast::Sender<Change>,
    began: Instant,
    began_ms: u64,
}

impl Memory {
    /// Makes a ledger that waits to be restored.
    pub fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            state: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            began: Instant::now(),
            began_ms: unix.as_millis() as u64,
        }
    }

    /// Forgets everything, as a Redis that was restarted without its file. Its clock goes on.
    #[cfg(feature = "testing")]
    pub fn lose(&self) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
        self.tell(Change::Unknown);
    }

    /// Monotonic from the start on, so that a clock that is set back cools nothing too early or too late.
    fn now_ms(&self) -> u64 {
        self.began_ms + self.began.elapsed().as_millis() as u64
    }

    fn restored(&self) -> Result<MutexGuard<'_, State>, LedgerError> {
        // A panic while it is held leaves each record as some act left it.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.restored { Ok(state) } else { Err(LedgerError::Lost) }
    }

    fn tell(&self, change: Change) {
        // Nobody listens: nobody waits.
        let _ = self.changes.send(change);
    }

    /// Applies an act to a record that has to be there.
    fn act(&self, id: &InstanceId, act: &Act) -> Result<Outcome, LedgerError> {
        let now_ms = self.now_ms();
        let mut state = self.restored()?;
        let record = state.records.get_mut(id).ok_or(Stale)?;
        Ok(record.apply(id, act, now_ms)?)
    }

    fn act_and_tell(&self, id: &InstanceId, act: &Act) -> Result<Outcome, LedgerError> {
        let outcome = self.act(id, act)?;
        self.tell(Change::Instance(id.clone()));
        Ok(outcome)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Enter for Memory {
    async fn enter(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        match self.act(id, &Act::Enter { lease: lease.clone() }) {
            Ok(Outcome::Entry(entry)) => Ok(entry),
            Ok(other) => unreachable_outcome(&other),
            Err(LedgerError::Stale(_)) => Ok(Entry::Retired),
            Err(e) => Err(e),
        }
    }

    async fn woken(
        &self,
        claim: &Claim,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
    ) -> Result<Endpoint, LedgerError> {
        let act = Act::Woken { generation: claim.generation, addr, lease: lease.clone(), start_ms };
        match self.act_and_tell(&claim.id, &act)? {
            Outcome::Endpoint(Some(endpoint)) => Ok(endpoint),
            other => unreachable_outcome(&other),
        }
    }

    async fn failed(&self, claim: &Claim) -> Result<u64, LedgerError> {
        self.act_and_tell(&claim.id, &Act::Failed { generation: claim.generation })?;
        let failures = self.restored()?.records.get(&claim.id).map_or(0, |record| record.failures);
        Ok(backoff_ms(failures))
    }

    async fn extend(&self, claim: &Claim) -> Result<(), LedgerError> {
        self.act(&claim.id, &Act::Extend { generation: claim.generation }).map(drop)
    }

    async fn give_back(&self, claim: &Claim) -> Result<(), LedgerError> {
        self.act_and_tell(&claim.id, &Act::GiveBack { generation: claim.generation }).map(drop)
    }

    async fn gone(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        self.act_and_tell(id, &Act::Gone { generation }).map(drop)
    }

    async fn keep(
        &self,
        renew: &[(InstanceId, LeaseId)],
        leave: &[Leaving],
    ) -> Result<Vec<Option<Endpoint>>, LedgerError> {
        let now_ms = self.now_ms();
        let mut state = self.restored()?;
        for leaving in leave {
            if let Some(record) = state.records.get_mut(&leaving.id) {
                let act = Act::Leave { lease: leaving.lease.clone(), idle_for_ms: leaving.idle_for_ms };
                record.apply(&leaving.id, &act, now_ms)?;
            }
        }
        let mut endpoints = Vec::with_capacity(renew.len());
        for (id, lease) in renew {
            let outcome = match state.records.get_mut(id) {
                Some(record) => record.apply(id, &Act::Renew { lease: lease.clone() }, now_ms)?,
                None => Outcome::Endpoint(None),
            };
            match outcome {
                Outcome::Endpoint(endpoint) => endpoints.push(endpoint),
                other => return unreachable_outcome(&other),
            }
        }
        Ok(endpoints)
    }
}

#[async_trait]
impl Watch for Memory {
    async fn routes(&self) -> Result<BTreeMap<AppName, Route>, LedgerError> {
        Ok(self.restored()?.routes.clone())
    }

    async fn records(&self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError> {
        Ok((self.restored()?.records.clone(), self.now_ms()))
    }

    async fn record(&self, id: &InstanceId) -> Result<(Option<Record>, u64), LedgerError> {
        Ok((self.restored()?.records.get(id).cloned(), self.now_ms()))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}

#[async_trait]
impl Promote for Memory {
    async fn introduce(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        let now_ms = self.now_ms();
        let mut state = self.restored()?;
        let record = state.records.entry(id.clone()).or_insert_with(|| Record::new(now_ms));
        match record.apply(id, &Act::Introduce { lease: lease.clone() }, now_ms)? {
            Outcome::Entry(entry) => Ok(entry),
            other => unreachable_outcome(&other),
        }
    }

    async fn promote(&self, release: &ReleaseId, route: &Route) -> Result<(), LedgerError> {
        let now_ms = self.now_ms();
        {
            let mut state = self.restored()?;
            let live = release.instance();
            state.records.entry(live.clone()).or_insert_with(|| Record::new(now_ms)).retired = false;
            for (id, record) in &mut state.records {
                if id.release.app == release.app && *id != live {
                    record.apply(id, &Act::Retire, now_ms)?;
                }
            }
            state.routes.insert(release.app.clone(), route.clone());
        }
        self.tell(Change::Routes);
        Ok(())
    }

    async fn retire(&self, id: &InstanceId) -> Result<(), LedgerError> {
        match self.act_and_tell(id, &Act::Retire) {
            Ok(_) | Err(LedgerError::Stale(_)) => Ok(()),
            Err(e) => Err(e),
        }
    }

    async fn drop_route(&self, app: &AppName) -> Result<(), LedgerError> {
        let now_ms = self.now_ms();
        {
            let mut state = self.restored()?;
            state.routes.remove(app);
            for (id, record) in &mut state.records {
                if id.release.app == *app {
                    record.apply(id, &Act::Retire, now_ms)?;
                }
            }
        }
        self.tell(Change::Routes);
        Ok(())
    }
}

#[async_trait]
impl Cool for Memory {
    async fn cool(&self, id: &InstanceId, idle_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        let quarantine = self.now_ms() < self.restored()?.quarantine_until_ms;
        match self.act(id, &Act::Cool { idle_ms, quarantine }) {
            Ok(Outcome::Granted(generation)) => Ok(Ok(CoolPermit { id: id.clone(), generation })),
            Ok(Outcome::NotYet(reason)) => Ok(Err(reason)),
            Ok(other) => unreachable_outcome(&other),
            Err(LedgerError::Stale(_)) => Ok(Err(NotYet::NotWarm)),
            Err(e) => Err(e),
        }
    }

    async fn cut(&self, id: &InstanceId, drain_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        match self.act(id, &Act::Cut { drain_ms }) {
            Ok(Outcome::Granted(generation)) => Ok(Ok(CoolPermit { id: id.clone(), generation })),
            Ok(Outcome::NotYet(reason)) => Ok(Err(reason)),
            Ok(other) => unreachable_outcome(&other),
            Err(LedgerError::Stale(_)) => Ok(Err(NotYet::NotWarm)),
            Err(e) => Err(e),
        }
    }

    async fn cooled(&self, permit: &CoolPermit) -> Result<(), LedgerError> {
        self.act_and_tell(&permit.id, &Act::Cooled { generation: permit.generation }).map(drop)
    }

    async fn freeze(
        &self,
        id: &InstanceId,
        after_ms: u64,
    ) -> Result<Result<FreezePermit, NotYet>, LedgerError> {
        let quarantine = self.now_ms() < self.restored()?.quarantine_until_ms;
        match self.act(id, &Act::Freeze { after_ms, quarantine }) {
            Ok(Outcome::Granted(generation)) => Ok(Ok(FreezePermit { id: id.clone(), generation })),
            Ok(Outcome::NotYet(reason)) => Ok(Err(reason)),
            Ok(other) => unreachable_outcome(&other),
            Err(LedgerError::Stale(_)) => Ok(Err(NotYet::NotWarm)),
            Err(e) => Err(e),
        }
    }

    async fn frozen(&self, permit: &FreezePermit, addr: SocketAddr) -> Result<(), LedgerError> {
        let act = Act::Frozen { generation: permit.generation, addr };
        self.act_and_tell(&permit.id, &act).map(drop)
    }

    async fn settle(
        &self,
        id: &InstanceId,
        generation: u64,
        settle: Settle,
    ) -> Result<Option<CoolPermit>, LedgerError> {
        let (mut generation, quarantine) = (generation, self.now_ms() < self.restored()?.quarantine_until_ms);
        if generation == 0 {
            // Its generation comes from the clock, as that of every new record: no permit of an earlier life fits.
            let now_ms = self.now_ms();
            let absent = Record { retired: true, retired_ms: now_ms, ..Record::new(now_ms) };
            generation = absent.generation;
            let mut state = self.restored()?;
            if state.records.contains_key(id) || settle != Settle::Discard {
                return Err(Stale.into());
            }
            state.records.insert(id.clone(), absent);
        }
        let act = match settle {
            Settle::Adopt(addr) => Act::Adopt { generation, addr },
            Settle::Reset => Act::Reset { generation },
            Settle::Gone => Act::Gone { generation },
            Settle::Poise(poised) => Act::Poise { generation, poised },
            Settle::Discard => Act::Discard { generation, quarantine },
            Settle::Recool => Act::Recool { generation },
        };
        match self.act_and_tell(id, &act)? {
            Outcome::Granted(generation) => Ok(Some(CoolPermit { id: id.clone(), generation })),
            Outcome::Done | Outcome::NotYet(_) => Ok(None),
            other => unreachable_outcome(&other),
        }
    }

    async fn forget(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        let now_ms = self.now_ms();
        let mut state = self.restored()?;
        let Some(record) = state.records.get(id) else { return Ok(()) };
        let rests = record.unclaimed(now_ms) && !matches!(record.phase, Phase::Frozen { .. });
        let over = record.retired && rests && record.poised.is_none() && !record.leased(now_ms);
        if record.generation != generation || !over {
            return Err(Stale.into());
        }
        state.records.remove(id);
        Ok(())
    }

    async fn restore(&self, restored: &Restored) -> Result<bool, LedgerError> {
        let now_ms = self.now_ms();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.restored {
                return Ok(false);
            }
            *state = State {
                restored: true,
                quarantine_until_ms: now_ms + LEASE_MS,
                routes: restored.routes.clone(),
                records: restored
                    .instances
                    .iter()
                    .map(|(id, instance)| (id.clone(), restored_record(instance, now_ms)))
                    .collect(),
            };
        }
        self.tell(Change::Unknown);
        Ok(true)
    }
}

fn restored_record(instance: &RestoredInstance, now_ms: u64) -> Record {
    let (phase, poised) = match &instance.state {
        RestoredState::Cold => (Phase::Cold, None),
        RestoredState::Poised(poised) => (Phase::Cold, Some(poised.clone())),
        RestoredState::Warm(addr) => (Phase::Warm { addr: *addr }, None),
        RestoredState::Frozen(addr) => (Phase::Frozen { addr: *addr }, None),
    };
    Record { phase, poised, retired: instance.retired, retired_ms: now_ms, ..Record::new(now_ms) }
}

/// `Record::apply` answers each act with its own kind of outcome.
fn unreachable_outcome<T>(outcome: &Outcome) -> Result<T, LedgerError> {
    Err(LedgerError::Corrupt(format!("an act was answered with {outcome:?}")))
}
