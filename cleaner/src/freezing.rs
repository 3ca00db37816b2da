//! Freezing: what was not used for a while and starts slowly is paused, its memory kept, within a limit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_ledger::LedgerError;
use func_model::{CoolPermit, FreezePermit, InstanceId, Phase, Record};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use crate::Cleaner;
use crate::cooling::{cool, stop};
use crate::turns::Turn;

/// How often letting a paused instance go on is tried at once. Later the plan does it.
const RESUMES: u32 = 5;
/// The wait after the first of them; it doubles.
const RESUME_AGAIN: Duration = Duration::from_millis(50);
/// How long frozen instances are asked for their memory in one look, so that cooling goes on.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// Asks for the right to pause an instance, and pauses it in the background.
///
/// # Errors
/// [`LedgerError`] if the ledger could not be asked.
pub(crate) async fn freeze(
    cleaner: &Arc<Cleaner>,
    id: &InstanceId,
    after_ms: u64,
) -> Result<(), LedgerError> {
    let Some(mut turn) = cleaner.turns.try_take(id) else { return Ok(()) };
    if !cleaner.vacate(&mut turn) {
        debug!("{id} is not frozen: an edge is in it");
        return Ok(());
    }
    match cleaner.config.cool.freeze(id, after_ms).await? {
        Ok(permit) => {
            cleaner.tasks.spawn(pause(cleaner.clone(), turn, permit));
        }
        Err(reason) => {
            debug!("{id} is not frozen: {reason:?}");
            cleaner.retry_if_lost(reason);
        }
    }
    Ok(())
}

/// Pauses under a permit. What cannot be paused is stopped: the permit allows that as well.
async fn pause(cleaner: Arc<Cleaner>, turn: Turn, permit: FreezePermit) {
    point("after_freeze");
    let id = turn.id();
    let addr = match cleaner.config.hold.pause(id).await {
        Ok(Some(addr)) => addr,
        Ok(None) => return stop(&cleaner, &to_stop(permit)).await,
        Err(e) => {
            warn!(app.name = %id.release.app, release = %id.release, "{id} could not be paused, and is stopped: {e}");
            return stop(&cleaner, &to_stop(permit)).await;
        }
    };
    match cleaner.config.cool.frozen(&permit, addr).await {
        Ok(()) => {
            point("after_frozen");
            info!(app.name = %id.release.app, release = %id.release, "froze {id}");
        }
        Err(e) => {
            debug!("{id} was paused in vain: {e}");
            resume(&cleaner, &turn).await;
            cleaner.changed.notify_one();
        }
    }
}

fn to_stop(permit: FreezePermit) -> CoolPermit {
    CoolPermit { id: permit.id, generation: permit.generation }
}

/// Lets a paused instance go on, in its turn. What fails here is planned again.
pub(crate) async fn resume(cleaner: &Cleaner, turn: &Turn) {
    let (id, mut wait) = (turn.id(), RESUME_AGAIN);
    for _ in 0..RESUMES {
        match cleaner.config.hold.resume(id).await {
            Ok(()) => return,
            Err(e) => debug!("{id} does not go on yet: {e}"),
        }
        sleep(wait).await;
        wait *= 2;
    }
    warn!(app.name = %id.release.app, release = %id.release, "{id} is paused and could not be let go on");
    cleaner.changed.notify_one();
}

/// What memory the frozen instances keep, each with the generation in which it was asked.
#[derive(Debug, Default)]
pub(crate) struct Frozen {
    asked: BTreeMap<InstanceId, (u64, u64)>,
}

impl Frozen {
    /// Stops frozen instances until the rest keeps no more memory than it may.
    ///
    /// # Errors
    /// [`LedgerError`] if the ledger could not be asked.
    pub(crate) async fn keep_small(
        &mut self,
        cleaner: &Arc<Cleaner>,
        records: &BTreeMap<InstanceId, Record>,
    ) -> Result<(), LedgerError> {
        let frozen: BTreeMap<&InstanceId, &Record> =
            records.iter().filter(|(_, record)| matches!(record.phase, Phase::Frozen { .. })).collect();
        self.asked.retain(|id, (generation, _)| frozen.get(id).is_some_and(|r| r.generation == *generation));
        let unasked: Vec<_> = frozen.iter().filter(|(id, _)| !self.asked.contains_key(**id)).collect();
        let began = Instant::now();
        for (id, record) in unasked {
            if began.elapsed() >= ASKED_FOR {
                break;
            }
            match cleaner.config.hold.memory_bytes(id).await {
                Ok(bytes) => {
                    self.asked.insert((*id).clone(), (record.generation, bytes));
                }
                Err(e) => debug!("{id} does not tell its memory: {e}"),
            }
        }
        for id in self.too_many(&frozen, cleaner.config.frozen_bytes_max) {
            cool(cleaner, &id, 0).await?;
        }
        Ok(())
    }

    /// Gives those that have to go, the least recently used first.
    fn too_many(&self, frozen: &BTreeMap<&InstanceId, &Record>, bytes_max: u64) -> Vec<InstanceId> {
        let mut by_use: Vec<_> =
            self.asked.iter().map(|(id, (_, bytes))| (frozen[id].used_ms, id, *bytes)).collect();
        by_use.sort();
        let mut sum: u64 = by_use.iter().map(|(_, _, bytes)| *bytes).sum();
        let mut gone = Vec::new();
        for (_, id, bytes) in by_use {
            if sum <= bytes_max {
                break;
            }
            sum -= bytes;
            gone.push(id.clone());
        }
        gone
    }
}

#[cfg(test)]
#[path = "freezing_tests.rs"]
mod tests;
