//! Poising: makes next starts ahead, one after the other, when no start waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use func_crash::point;
use func_ledger::{LedgerError, Settle};
use func_model::limits::RECONCILE_MS;
use func_model::{InstanceId, Phase};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, info, warn};

use crate::Cleaner;
use crate::places::Place;
use crate::turns::Turn;

/// How soon an instance that could not be made ahead is tried again: plans may come much oftener. It doubles, up to an
/// hour: where it cannot work at all, that is told a few times and no more.
const TRY_AGAIN: Duration = Duration::from_millis(RECONCILE_MS);
const TRY_AGAIN_MAX: Duration = Duration::from_secs(3600);
/// How often what is left of gates is removed.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// What the last plan wants made ahead and nobody is at yet: instance and generation, in the order in which to do it.
#[derive(Debug, Default)]
pub(crate) struct Poises {
    wanted: Mutex<VecDeque<(InstanceId, u64)>>,
    more: Notify,
}

impl Poises {
    fn wanted(&self) -> MutexGuard<'_, VecDeque<(InstanceId, u64)>> {
        // Each change is one call.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what an older plan wanted: a new one says it again.
    pub(crate) fn clear(&self) {
        self.wanted().clear();
    }

    /// Adds one. A plan names each instance once, so that there are never more than instances.
    pub(crate) fn add(&self, id: InstanceId, generation: u64) {
        self.wanted().push_back((id, generation));
        self.more.notify_one();
    }

    fn next(&self) -> Option<(InstanceId, u64)> {
        self.wanted().pop_front()
    }
}

/// One that could not be made ahead.
struct Refused {
    until: Instant,
    wait: Duration,
}

/// Makes ahead what the plans want, for ever.
pub(crate) async fn keep_poised(cleaner: Arc<Cleaner>) {
    let mut refused: BTreeMap<InstanceId, Refused> = BTreeMap::new();
    let mut tidy_at = Instant::now();
    loop {
        if Instant::now() >= tidy_at {
            // Only while nothing is made: a new gate has no container yet.
            tidy(&cleaner).await;
            tidy_at = Instant::now() + TIDY_EVERY;
        }
        let Some((id, generation)) = cleaner.poises.next() else {
            let _ = timeout_at(tidy_at, cleaner.poises.more.notified()).await;
            continue;
        };
        if refused.get(&id).is_some_and(|refused| refused.until > Instant::now()) {
            continue;
        }
        let place = cleaner.places.take_idle().await;
        let Some(turn) = cleaner.turns.try_take(&id) else { continue };
        // A task of its own: what has begun ends, also when the cleaner is asked to stop.
        let poised = cleaner.tasks.spawn(poise(cleaner.clone(), turn, place, generation)).await;
        match poised.map_err(anyhow::Error::from).flatten() {
            Ok(()) => drop(refused.remove(&id)),
            Err(e) => {
                warn!(app.name = %id.release.app, release = %id.release, "{id} is not made ahead: {e:#}");
                refused.retain(|_, refused| refused.until + TRY_AGAIN_MAX > Instant::now());
                let wait = refused.get(&id).map_or(TRY_AGAIN, |r| (r.wait * 2).min(TRY_AGAIN_MAX));
                refused.insert(id, Refused { until: Instant::now() + wait, wait });
            }
        }
    }
}

async fn tidy(cleaner: &Cleaner) {
    if let Err(e) = cleaner.config.hold.tidy().await {
        warn!("what is left of gates could not be removed: {e}");
    }
}

async fn poise(cleaner: Arc<Cleaner>, turn: Turn, place: Place, generation: u64) -> anyhow::Result<()> {
    let (id, began) = (turn.id(), Instant::now());
    if !rests(&cleaner, id, generation).await? || is_kept(&cleaner, id) {
        return Ok(());
    }
    // A start that comes meanwhile does not wait for it: there may be one place only.
    drop(place);
    let poised = cleaner.config.hold.poise(id).await.context("make the container")?;
    match cleaner.config.cool.settle(id, generation, Settle::Poise(poised)).await {
        Ok(_) => {
            point("after_poised");
            let took_ms = began.elapsed().as_millis() as u64;
            info!(app.name = %id.release.app, release = %id.release, took_ms, "made the next start of {id} ahead");
            Ok(())
        }
        // Somebody claimed it meanwhile: the start that waits for this turn finds the container.
        Err(LedgerError::Stale(_)) => {
            debug!("{id} was claimed while it was made ahead");
            // Or retired and forgotten: then nobody knows the container until the next plan.
            cleaner.retry_soon();
            Ok(())
        }
        Err(e) => Err(e).context("tell the ledger"),
    }
}

/// Whether the instance is still as it was planned: much may have happened while it waited for a place.
async fn rests(cleaner: &Cleaner, id: &InstanceId, generation: u64) -> anyhow::Result<bool> {
    let (record, _) = cleaner.config.watch.record(id).await?;
    Ok(record.is_some_and(|record| {
        record.generation == generation && record.phase == Phase::Cold && !record.retired
    }))
}

/// Whether it is kept warm: it is woken at once, and not made ahead before.
fn is_kept(cleaner: &Cleaner, id: &InstanceId) -> bool {
    cleaner.release(&id.release).is_some_and(|release| release.min > 0)
}

#[cfg(test)]
#[path = "poising_tests.rs"]
mod tests;
