//! Cooling: what was not used for its idle time is stopped, or paused before, if the ledger grants it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_ledger::LedgerError;
use func_model::limits::{COOL_EVERY_MS, LEASE_MS, RENEW_MS};
use func_model::{CoolPermit, Freeze, InstanceId, Phase, Record, ReleaseId};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, info, warn};

use crate::Cleaner;
use crate::freezing::{Frozen, freeze};
use crate::stops::stop_marked;
use crate::turns::Turn;

/// How far the ledger's clock and our own may drift apart between two looks.
const DRIFT: Duration = Duration::from_secs(2);
/// A look that comes so late was held up, and edges were perhaps as well.
const LATE: Duration = Duration::from_millis(RENEW_MS);

/// When it is safe to cool. After anything that may have kept edges from renewing (a ledger that did not answer, a
/// clock that jumped, a machine that slept), one lease time has to pass: they put their leases back meanwhile. A new
/// cleaner does not know what there was, and waits as well.
#[derive(Debug)]
struct Calm {
    from: Instant,
    looked: Option<(Instant, u64)>,
}

impl Calm {
    fn new() -> Self {
        Self { from: Instant::now() + Duration::from_millis(LEASE_MS), looked: None }
    }

    fn disturb(&mut self) {
        self.from = Instant::now() + Duration::from_millis(LEASE_MS);
        self.looked = None;
    }

    /// Takes note of a look at the ledger, whose clock said `ledger_ms`; gives whether it is calm.
    fn look(&mut self, ledger_ms: u64) -> bool {
        let now = Instant::now();
        if let Some((before, before_ms)) = self.looked {
            let ours = now.duration_since(before);
            let theirs = Duration::from_millis(ledger_ms.saturating_sub(before_ms));
            if ours > LATE || ours.abs_diff(theirs) > DRIFT || ledger_ms < before_ms {
                self.disturb();
            }
        }
        self.looked = Some((now, ledger_ms));
        now >= self.from
    }
}

/// How soon a stop that failed is planned again.
const STOP_AGAIN: Duration = Duration::from_secs(1);

/// What a release's manifest says about its rest. It never changes.
#[derive(Debug, Clone, Copy)]
struct Rest {
    idle_ms: u64,
    freeze: Freeze,
    /// How long its last requests may take when it is retired.
    drain_ms: u64,
    /// It is kept warm while it is live.
    kept: bool,
}

/// What is to be done with an instance that nobody uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    Freeze {
        after_ms: u64,
    },
    Cool,
    /// The time for its last requests is over.
    Cut,
}

#[derive(Debug)]
struct Cooling {
    rests: HashMap<ReleaseId, Rest>,
    calm: Calm,
    frozen: Frozen,
}

/// Looks for what is idle, for ever.
pub(crate) async fn keep_cool(cleaner: Arc<Cleaner>) {
    let mut tick = interval(Duration::from_millis(COOL_EVERY_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cooling = Cooling::new();
    loop {
        tick.tick().await;
        if let Err(e) = cooling.look(&cleaner).await {
            // `keep_right` tells of a ledger that is away or lost.
            debug!("nothing is cooled: {e}");
            cooling.calm.disturb();
            // Lost, or an answer was: what was granted then has to be found.
            cleaner.retry_soon();
        }
    }
}

impl Cooling {
    fn new() -> Self {
        Self { rests: HashMap::new(), calm: Calm::new(), frozen: Frozen::default() }
    }

    async fn look(&mut self, cleaner: &Arc<Cleaner>) -> Result<(), LedgerError> {
        let (records, now_ms) = cleaner.config.watch.records().await?;
        if !self.calm.look(now_ms) {
            return Ok(());
        }
        if records.values().any(|record| is_abandoned(record, now_ms)) {
            cleaner.retry_soon();
        }
        self.rests.retain(|release, _| records.contains_key(&release.instance()));
        for (id, record) in &records {
            let rest = *self.rests.entry(id.release.clone()).or_insert_with_key(|id| rest(cleaner, id));
            match due(record, rest, now_ms) {
                Due::Nothing => {}
                Due::Freeze { after_ms } => freeze(cleaner, id, after_ms).await?,
                Due::Cool => cool(cleaner, id, rest.idle_ms).await?,
                Due::Cut => cut(cleaner, id, rest.drain_ms).await?,
            }
        }
        self.frozen.keep_small(cleaner, &records).await
    }
}

/// Looks once, as if it had been calm.
#[cfg(test)]
pub(crate) async fn look_once(cleaner: &Arc<Cleaner>) -> Result<(), LedgerError> {
    let mut cooling = Cooling::new();
    cooling.calm.from = Instant::now();
    cooling.look(cleaner).await
}

fn rest(cleaner: &Cleaner, id: &ReleaseId) -> Rest {
    let (idle_ms, drain_ms) = (cleaner.config.idle_ms, cleaner.config.drain_ms);
    let may_freeze = cleaner.config.frozen_bytes_max > 0;
    let unknown = Rest { idle_ms, freeze: Freeze::Off, drain_ms, kept: false };
    cleaner.release(id).map_or(unknown, |release| Rest {
        idle_ms: release.idle_ms,
        freeze: if may_freeze { release.freeze } else { Freeze::Off },
        drain_ms: release.drain_ms.unwrap_or(drain_ms),
        kept: release.min > 0,
    })
}

/// Whether the claim of an instance is over and its holder has not said so: it died. Whoever asks for the instance gets
/// the next claim; if nobody does, the plan brings it to rest.
fn is_abandoned(record: &Record, now_ms: u64) -> bool {
    matches!(record.phase, Phase::Waking { .. }) && record.unclaimed(now_ms)
}

/// A first look, without a call; the ledger decides.
fn due(record: &Record, rest: Rest, now_ms: u64) -> Due {
    let warm = match record.phase {
        Phase::Warm { .. } => true,
        Phase::Frozen { .. } => false,
        Phase::Cold | Phase::Waking { .. } | Phase::Cooling { .. } | Phase::Broken { .. } => {
            return Due::Nothing;
        }
    };
    let unused_ms = now_ms.saturating_sub(record.used_ms);
    if record.leased(now_ms) && record.overdue(rest.drain_ms, now_ms) {
        return Due::Cut;
    }
    if record.leased(now_ms) || (rest.kept && !record.retired) {
        return Due::Nothing;
    }
    if record.retired || unused_ms >= rest.idle_ms {
        return Due::Cool;
    }
    match rest.freeze.after_ms(record.start_ms, rest.idle_ms) {
        Some(after_ms) if warm && unused_ms >= after_ms => Due::Freeze { after_ms },
        Some(_) | None => Due::Nothing,
    }
}

/// Asks for the right to stop an instance, and stops it in the background.
///
/// # Errors
/// [`LedgerError`] if the ledger could not be asked.
pub(crate) async fn cool(cleaner: &Arc<Cleaner>, id: &InstanceId, idle_ms: u64) -> Result<(), LedgerError> {
    let Some(mut turn) = cleaner.turns.try_take(id) else { return Ok(()) };
    if !cleaner.vacate(&mut turn) {
        debug!("{id} is not cooled: an edge is in it");
        return Ok(());
    }
    match cleaner.config.cool.cool(id, idle_ms).await? {
        Ok(permit) => stop_in_background(cleaner, turn, permit),
        Err(reason) => {
            debug!("{id} is not cooled: {reason:?}");
            cleaner.retry_if_lost(reason);
        }
    }
    Ok(())
}

/// Asks for the right to stop a retired instance under its last requests, and stops it in the background.
async fn cut(cleaner: &Arc<Cleaner>, id: &InstanceId, drain_ms: u64) -> Result<(), LedgerError> {
    let Some(turn) = cleaner.turns.try_take(id) else { return Ok(()) };
    match cleaner.config.cool.cut(id, drain_ms).await? {
        Ok(permit) => {
            info!(app.name = %id.release.app, release = %id.release, drain_ms, "the last requests of {id} are cut off");
            stop_in_background(cleaner, turn, permit);
        }
        Err(reason) => {
            debug!("{id} is not cut: {reason:?}");
            cleaner.retry_if_lost(reason);
        }
    }
    Ok(())
}

/// Stops under a permit. A stop that fails is done again by the plan.
pub(crate) fn stop_in_background(cleaner: &Arc<Cleaner>, turn: Turn, permit: CoolPermit) {
    let stopping = cleaner.clone();
    cleaner.tasks.spawn(async move {
        stop(&stopping, &permit).await;
        drop(turn);
    });
}

/// Stops under a permit, in the turn that the caller has.
pub(crate) async fn stop(cleaner: &Cleaner, permit: &CoolPermit) {
    point("after_cool");
    let id: &InstanceId = &permit.id;
    let began = Instant::now();
    if let Err(e) = stop_marked(cleaner, id).await {
        warn!(app.name = %id.release.app, release = %id.release, "{id} could not be stopped: {e}");
        // Not at once: the engine may be away.
        sleep(STOP_AGAIN).await;
        cleaner.retry_soon();
        return;
    }
    match cleaner.config.cool.cooled(permit).await {
        Ok(()) => {
            point("after_cooled");
            let took_ms = began.elapsed().as_millis() as u64;
            info!(app.name = %id.release.app, release = %id.release, took_ms, "stopped {id}");
            // Its next start can be made ahead.
            cleaner.changed.notify_one();
        }
        Err(e) => {
            debug!("{id} is stopped, and the ledger could not be told: {e}");
            cleaner.retry_soon();
        }
    }
}

#[cfg(test)]
#[path = "cooling_tests.rs"]
mod tests;
