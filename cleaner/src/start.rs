//! Starting on behalf of whoever holds a claim: in its turn, if the claim still stands, when a place is free.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use func_ledger::LedgerError;
use func_model::limits::WAKE_MS;
use func_model::{Claim, InstanceId, Phase, Poised};
use func_runner::{RunnerError, StartError, Started, State};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, warn};

use crate::Cleaner;
use crate::places::Place;

/// How long a start keeps its place at the most, once its container runs: from then on it is the app's own start, which
/// mostly waits, and has limits of its own. It must not keep the others out.
const PLACE_HELD: Duration = Duration::from_secs(1);
/// How much of its time a start must have left when its place is found: it could not end well with less.
const ROOM: Duration = Duration::from_secs(1);
/// How long a claim that was looked at needs not be looked at again.
const STANDS: Duration = Duration::from_millis(500);
/// How long the holder of a claim may take to tell the ledger that its start has failed.
const TOLD: Duration = Duration::from_millis(500);
/// How soon a ledger that does not answer is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// Starts a claimed instance. The start belongs to nobody: it goes on when the future is dropped, and a second call
/// for the same instance waits for the first one's end.
///
/// # Errors
/// As [`func_runner::Start::start`]; [`StartError::Stale`] if the claim is over, [`StartError::Busy`] if its turn or a
/// place is not found in time.
pub(crate) async fn start(
    cleaner: &Arc<Cleaner>,
    id: &InstanceId,
    generation: u64,
    within: Duration,
) -> Result<Started, StartError> {
    let within = within.min(Duration::from_millis(WAKE_MS));
    let (starting, id) = (cleaner.clone(), id.clone());
    let task = cleaner.tasks.spawn(async move {
        let ended = start_in_turn(&starting, id, generation, within).await;
        match &ended {
            // Nothing was done.
            Ok(_) | Err(StartError::Stale { .. } | StartError::Busy { .. }) => {}
            Err(_) => starting.changed.notify_one(),
        }
        ended
    });
    match task.await {
        Ok(ended) => ended,
        Err(e) => Err(RunnerError::Refused { verb: "start a container", said: e.to_string() }.into()),
    }
}

async fn start_in_turn(
    cleaner: &Arc<Cleaner>,
    id: InstanceId,
    generation: u64,
    within: Duration,
) -> Result<Started, StartError> {
    let (began, busy) = (Instant::now(), || StartError::Busy { id: id.clone(), within });
    let queue_until = began + within.saturating_sub(ROOM.min(within / 2));
    let turn = timeout_at(queue_until, cleaner.turns.take(&id)).await.ok().flatten().ok_or_else(busy)?;
    let mut poised = claimed(cleaner, &id, generation, queue_until).await?.ok_or_else(busy)?;
    let mut place = None;
    if !was_made_ahead(cleaner, poised.as_ref()) {
        let (asked, _waiting) = (Instant::now(), cleaner.places.join().ok_or_else(busy)?);
        place = timeout_at(queue_until, place_of(cleaner, &id)).await.map_err(|_| busy())?;
        if asked.elapsed() > STANDS {
            poised = claimed(cleaner, &id, generation, queue_until).await?.ok_or_else(busy)?;
        }
    }
    let queued = began.elapsed();
    let claim = Claim { id, generation, poised };
    let starting = cleaner.config.start.start(&claim, within.saturating_sub(queued));
    match while_in_place(cleaner, &claim.id, starting, place).await {
        Ok(mut started) => {
            started.took.queue_us += queued.as_micros() as u64;
            Ok(started)
        }
        Err(error) => {
            drop(turn);
            let error = told(error, queued, within);
            look_soon(cleaner, &error);
            Err(error)
        }
    }
}

/// Says the caller's own time. What spent most of it in the queue is not to blame for being late.
fn told(error: StartError, queued: Duration, within: Duration) -> StartError {
    match error {
        StartError::Silent { id, .. } | StartError::Unhealthy { id, .. } if queued > within / 2 => {
            StartError::Busy { id, within }
        }
        StartError::Silent { id, port, tail, .. } => StartError::Silent { id, port, within, tail },
        StartError::Unhealthy { id, path, said, tail, .. } => {
            StartError::Unhealthy { id, path, said, within, tail }
        }
        other => other,
    }
}

/// Sees to it that what ran before the start and did not get ready is looked at soon: when the claim is over the plan
/// adopts it, or ends it through the ledger, which knows who may have a request in it.
fn look_soon(cleaner: &Arc<Cleaner>, error: &StartError) {
    let unready =
        matches!(error, StartError::Silent { .. } | StartError::Unhealthy { .. } | StartError::Busy { .. });
    if unready {
        let cleaner = cleaner.clone();
        cleaner.tasks.clone().spawn(async move {
            sleep(TOLD).await;
            cleaner.retry_soon();
        });
    }
}

/// Gives what the claim has taken, if it stands; `None` if the ledger could not be asked in time.
async fn claimed(
    cleaner: &Cleaner,
    id: &InstanceId,
    generation: u64,
    until: Instant,
) -> Result<Option<Option<Poised>>, StartError> {
    let stale = || StartError::Stale { id: id.clone() };
    loop {
        match cleaner.config.watch.record(id).await {
            Ok((record, _)) => {
                let record = record.ok_or_else(stale)?;
                let stands = record.generation == generation && matches!(record.phase, Phase::Waking { .. });
                return if stands { Ok(Some(record.poised)) } else { Err(stale()) };
            }
            // It will be restored without any claim.
            Err(LedgerError::Lost | LedgerError::Stale(_)) => return Err(stale()),
            Err(e @ (LedgerError::Away(_) | LedgerError::Corrupt(_)))
                if Instant::now() + ASK_AGAIN < until =>
            {
                debug!("{id} is not started yet: {e}");
                sleep(ASK_AGAIN).await;
            }
            Err(e @ (LedgerError::Away(_) | LedgerError::Corrupt(_))) => {
                warn!(app.name = %id.release.app, "{id} is not started: {e}");
                return Ok(None);
            }
        }
    }
}

/// Whether nothing has to be made, as far as a quick look can tell: it waits at its gate, or was let go, and runs or has
/// crashed since.
fn was_made_ahead(cleaner: &Cleaner, poised: Option<&Poised>) -> bool {
    let gates = cleaner.config.data.gates();
    poised.is_some_and(|poised| {
        let gate = gates.join(poised.gate.to_string());
        let has = |name| gate.join(name).exists();
        has("go") && (!has("opened") || has("passed"))
    })
}

/// Waits for a place to make an instance; `None` if there is one that runs or is paused, which needs none.
async fn place_of(cleaner: &Cleaner, id: &InstanceId) -> Option<Place> {
    let waiting = cleaner.places.take();
    tokio::pin!(waiting);
    tokio::select! {
        biased;
        // In the order of asking, and before the look, which takes its time: who finds a place free does not look.
        place = waiting.as_mut() => return Some(place),
        exists = exists(cleaner, id) => if exists { return None },
    }
    Some(waiting.await)
}

/// Whether there is a container that runs or is paused.
async fn exists(cleaner: &Cleaner, id: &InstanceId) -> bool {
    matches!(cleaner.config.start.look(id).await, Ok(State::Running { .. } | State::Paused { .. }))
}

/// Gives the place back when the start ends, or when its container runs and it takes too long for it.
async fn while_in_place<T>(
    cleaner: &Cleaner,
    id: &InstanceId,
    starting: impl Future<Output = T>,
    place: Option<Place>,
) -> T {
    tokio::pin!(starting);
    if place.is_some() {
        let runs = async {
            loop {
                sleep(PLACE_HELD).await;
                // An engine that takes long to make one is not given more to make.
                if exists(cleaner, id).await {
                    return;
                }
            }
        };
        tokio::select! {
            biased;
            ended = starting.as_mut() => return ended,
            () = runs => drop(place),
        }
    }
    starting.await
}

#[cfg(test)]
#[path = "start_tests.rs"]
mod tests;
