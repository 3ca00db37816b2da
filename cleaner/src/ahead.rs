//! Ahead of time: wakes what is to be kept warm, and what its schedule says, before anybody asks for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use func_ledger::{Leaving, LedgerError, keep_claim};
use func_model::limits::WAKE_MS;
use func_model::{Claim, Entry, InstanceId, LeaseId, Phase, Record, ReleaseId};
use func_runner::StartError;
use func_schedule::Schedule;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::{Cleaner, start};

/// How often the clock is looked at, and what is to be kept warm: a fraction of a minute.
const EVERY: Duration = Duration::from_secs(2);
const MINUTE_MS: u64 = 60_000;
/// How many minutes what its schedule says is tried for, where it fails through no fault of the app.
const DUE_MINUTES: u64 = 5;
/// How many are woken at once: requests that come meanwhile find a place soon.
const WAKES: usize = 2;
/// How often a call to the ledger whose answer did not come is made again, under the same lease.
const ASKS: usize = 3;
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long a wake that failed through no fault of the app keeps its place.
const TROUBLE: Duration = Duration::from_secs(5);

/// Wakes, for ever.
pub(crate) async fn keep_ahead(cleaner: Arc<Cleaner>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ahead = Ahead::new();
    loop {
        tokio::select! {
            biased;
            _ = tick.tick() => {}
            () = ahead.ended.notified() => {}
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if let Err(e) = ahead.look(&cleaner, unix.as_millis() as u64).await {
            // `keep_right` tells of a ledger that is away or lost.
            debug!("nothing is woken ahead of time: {e}");
        }
    }
}

/// What a live release wants. Its manifest never changes.
#[derive(Debug, Default)]
struct Wanted {
    /// It is kept warm.
    kept: bool,
    schedules: Vec<Schedule>,
}

/// What its schedule says is to be woken, and was not yet, with the minute that said so.
#[derive(Debug, Clone, Default)]
struct Due(Arc<Mutex<BTreeMap<InstanceId, u64>>>);

impl Due {
    fn all(&self) -> MutexGuard<'_, BTreeMap<InstanceId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Ahead {
    live: HashMap<ReleaseId, Wanted>,
    /// The minute that was looked at last. Those that were missed are not made up for.
    minute: Option<u64>,
    due: Due,
    places: Arc<Semaphore>,
    /// A wake has ended.
    ended: Arc<Notify>,
}

impl Ahead {
    fn new() -> Self {
        Self {
            live: HashMap::new(),
            minute: None,
            due: Due::default(),
            places: Arc::new(Semaphore::new(WAKES)),
            ended: Arc::default(),
        }
    }

    async fn look(&mut self, cleaner: &Arc<Cleaner>, unix_ms: u64) -> Result<(), LedgerError> {
        self.read(cleaner).await?;
        self.note_due(unix_ms / MINUTE_MS);
        let kept = self.live.iter().filter(|(_, wanted)| wanted.kept).map(|(release, _)| release.instance());
        let wanted: BTreeSet<InstanceId> = kept.chain(self.due.all().keys().cloned()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let (records, now_ms) = cleaner.config.watch.records().await?;
        for id in wanted {
            let Some(record) = records.get(&id) else { continue };
            if !may_enter(record, self.due.all().contains_key(&id), now_ms) {
                continue;
            }
            let Ok(place) = self.places.clone().try_acquire_owned() else { break };
            cleaner.tasks.spawn(self.wake(cleaner.clone(), id, place));
        }
        Ok(())
    }

    /// Reads what the live releases want, each once.
    async fn read(&mut self, cleaner: &Cleaner) -> Result<(), LedgerError> {
        let routes = cleaner.config.watch.routes().await?;
        let live: BTreeSet<ReleaseId> =
            routes.into_iter().map(|(app, route)| ReleaseId { app, number: route.number }).collect();
        self.live.retain(|release, _| live.contains(release));
        self.due.all().retain(|id, _| live.contains(&id.release));
        for release in live {
            self.live.entry(release).or_insert_with_key(|release| wanted(cleaner, release));
        }
        Ok(())
    }

    fn note_due(&mut self, minute: u64) {
        if self.minute.replace(minute) == Some(minute) {
            return;
        }
        let (from_ms, before_ms) = (minute * MINUTE_MS, (minute * MINUTE_MS).saturating_sub(1));
        let now = |schedule: &Schedule| schedule.next_after(before_ms) == Some(from_ms);
        let due = self.live.iter().filter(|(_, wanted)| wanted.schedules.iter().any(now));
        let mut all = self.due.all();
        all.retain(|_, since| minute.abs_diff(*since) < DUE_MINUTES);
        all.extend(due.map(|(release, _)| (release.instance(), minute)));
    }

    /// Wakes one. What its schedule says stays due if it fails through no fault of the app.
    fn wake(
        &self,
        cleaner: Arc<Cleaner>,
        id: InstanceId,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + use<> {
        let (due, ended) = (self.due.clone(), self.ended.clone());
        let since = due.all().remove(&id);
        async move {
            let is_settled = wake(&cleaner, &id).await;
            if let (false, Some(since)) = (is_settled, since) {
                due.all().entry(id).or_insert(since);
            }
            drop(place);
            ended.notify_one();
        }
    }
}

fn wanted(cleaner: &Cleaner, id: &ReleaseId) -> Wanted {
    let Some(release) = cleaner.release(id) else { return Wanted::default() };
    let schedule = |line: &String| {
        let told = |e| warn!(app.name = %id.app, release = %id, "a schedule of {id} is ignored: {e}");
        line.parse().map_err(told).ok()
    };
    Wanted { kept: release.min > 0, schedules: release.warm_at.iter().filter_map(schedule).collect() }
}

/// Whether to enter now. One that is warm is entered when it is due, so that it was used just now.
fn may_enter(record: &Record, due: bool, now_ms: u64) -> bool {
    match record.phase {
        Phase::Cold | Phase::Frozen { .. } => true,
        Phase::Warm { .. } => due,
        Phase::Broken { until_ms } => until_ms <= now_ms,
        Phase::Waking { .. } | Phase::Cooling { .. } => false,
    }
}

/// Wakes one instance as an edge would for a request that is over at once. `false` if it should be tried again.
async fn wake(cleaner: &Arc<Cleaner>, id: &InstanceId) -> bool {
    let lease = cleaner.lease();
    match enter(cleaner, id, &lease).await {
        Some(Entry::Warm(_)) => {
            leave(cleaner, id, lease).await;
            true
        }
        Some(Entry::Claimed(claim)) => start_claimed(cleaner, &claim, lease).await,
        // Somebody else is at it, or it is not its time. Not asked again at once.
        Some(Entry::Wait | Entry::Retired | Entry::Broken { .. }) | None => {
            sleep(EVERY).await;
            false
        }
    }
}

async fn enter(cleaner: &Cleaner, id: &InstanceId, lease: &LeaseId) -> Option<Entry> {
    for _ in 0..ASKS {
        match cleaner.config.enter.enter(id, lease).await {
            Ok(entry) => return Some(entry),
            Err(e) => debug!("{id} is not entered: {e}"),
        }
        sleep(ASK_AGAIN).await;
    }
    None
}

/// Starts what was claimed. `false` if it should be tried again: nothing was started, and the app is not to blame.
async fn start_claimed(cleaner: &Arc<Cleaner>, claim: &Claim, lease: LeaseId) -> bool {
    let id = &claim.id;
    let started = tokio::select! {
        biased;
        started = start::start(cleaner, id, claim.generation, Duration::from_millis(WAKE_MS)) => started,
        () = keep_claim(cleaner.config.enter.as_ref(), claim) => Err(StartError::Stale { id: id.clone() }),
    };
    let started = match started {
        Ok(started) => started,
        Err(StartError::Stale { .. }) => {
            debug!("{id} is somebody else's");
            return false;
        }
        Err(e) => {
            warn!(app.name = %id.release.app, release = %id.release, "{id} could not be woken ahead of time: {e}");
            give_up(cleaner, claim, &e).await;
            return e.is_apps_fault();
        }
    };
    for _ in 0..ASKS {
        match cleaner.config.enter.woken(claim, started.addr, &lease, started.start_ms()).await {
            Ok(_) => {
                info!(app.name = %id.release.app, release = %id.release, "woke {id} ahead of time");
                leave(cleaner, id, lease).await;
                return true;
            }
            Err(LedgerError::Stale(_) | LedgerError::Lost) => {
                debug!("{id} was woken too late");
                return false;
            }
            Err(e) => debug!("the ledger was not told that {id} is awake: {e}"),
        }
        sleep(ASK_AGAIN).await;
    }
    false
}

/// Ends a claim under which nothing was started. Only the app's own fault makes others wait.
async fn give_up(cleaner: &Cleaner, claim: &Claim, failure: &StartError) {
    let told = match failure.is_apps_fault() {
        true => cleaner.config.enter.failed(claim).await.map(drop),
        false => cleaner.config.enter.give_back(claim).await,
    };
    if let Err(e) = told {
        debug!("the claim of {} ends by itself: {e}", claim.id);
    }
    if !failure.is_apps_fault() {
        // What has ended is looked at again at once.
        sleep(TROUBLE).await;
    }
}

/// Leaves a lease. One that could not be left ends by itself.
async fn leave(cleaner: &Cleaner, id: &InstanceId, lease: LeaseId) {
    let leaving = Leaving { id: id.clone(), lease, idle_for_ms: 0 };
    if let Err(e) = cleaner.config.enter.keep(&[], &[leaving]).await {
        debug!("a lease on {id} is left to end by itself: {e}");
    }
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
