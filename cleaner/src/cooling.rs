//! Cooling: what was not used for its idle time is stopped, if the ledger grants it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use func_ledger::LedgerError;
use func_model::limits::{COOL_EVERY_MS, STOP_GRACE_MS};
use func_model::{CoolPermit, InstanceId, Phase, Record, ReleaseId};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::Cleaner;

/// Looks for what is idle, for ever.
pub(crate) async fn keep_cool(cleaner: Arc<Cleaner>) {
    let mut tick = interval(Duration::from_millis(COOL_EVERY_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut idle_times = HashMap::new();
    loop {
        tick.tick().await;
        if let Err(e) = cool_idle(&cleaner, &mut idle_times).await {
            // `keep_right` tells of a ledger that is away or lost.
            debug!("nothing is cooled: {e}");
        }
    }
}

async fn cool_idle(
    cleaner: &Arc<Cleaner>,
    idle_times: &mut HashMap<ReleaseId, u64>,
) -> Result<(), LedgerError> {
    let (records, now_ms) = cleaner.config.watch.records().await?;
    idle_times.retain(|release, _| records.contains_key(&release.instance()));
    for (id, record) in &records {
        let idle_ms = *idle_times.entry(id.release.clone()).or_insert_with(|| {
            cleaner.release(&id.release).map_or(cleaner.config.idle_ms, |release| release.idle_ms)
        });
        if !seems_idle(record, idle_ms, now_ms) {
            continue;
        }
        match cleaner.config.cool.cool(id, idle_ms).await? {
            Ok(permit) => stop_in_background(cleaner, permit),
            Err(reason) => debug!("{id} is not cooled: {reason:?}"),
        }
    }
    Ok(())
}

/// A first look, without a call; the ledger decides.
fn seems_idle(record: &Record, idle_ms: u64, now_ms: u64) -> bool {
    let unused = record.retired || now_ms.saturating_sub(record.used_ms) >= idle_ms;
    matches!(record.phase, Phase::Warm { .. }) && unused && !record.leased(now_ms)
}

/// Stops under a permit. A stop that fails is done again by the plan, when the permit is over.
pub(crate) fn stop_in_background(cleaner: &Arc<Cleaner>, permit: CoolPermit) {
    let stopper = cleaner.clone();
    cleaner.stops.spawn(async move { stop(&stopper, &permit).await });
}

async fn stop(cleaner: &Cleaner, permit: &CoolPermit) {
    let id: &InstanceId = &permit.id;
    let began = tokio::time::Instant::now();
    if let Err(e) = cleaner.config.stop.stop(id, Duration::from_millis(STOP_GRACE_MS)).await {
        warn!(app.name = %id.release.app, release = %id.release, "{id} could not be stopped: {e}");
        return;
    }
    match cleaner.config.cool.cooled(permit).await {
        Ok(()) => {
            let took_ms = began.elapsed().as_millis() as u64;
            info!(app.name = %id.release.app, release = %id.release, took_ms, "stopped {id}");
        }
        Err(e) => debug!("{id} is stopped, and the ledger could not be told: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use func_model::LeaseId;

    use super::*;

    fn warm(used_ms: u64) -> Record {
        let addr = "10.0.0.2:80".parse().expect("an address");
        Record { phase: Phase::Warm { addr }, used_ms, ..Record::new(0) }
    }

    #[test]
    fn only_what_is_warm_unused_and_unleased_seems_idle() {
        assert!(seems_idle(&warm(0), 60_000, 60_000));
        assert!(!seems_idle(&warm(1), 60_000, 60_000));
        assert!(!seems_idle(&Record::new(0), 60_000, 60_000));
        let mut leased = warm(0);
        leased.leases.insert(LeaseId { holder: "edge".into(), serial: 1 }, 60_001);
        assert!(!seems_idle(&leased, 60_000, 60_000));
    }

    #[test]
    fn what_is_retired_needs_no_idle_time() {
        assert!(seems_idle(&Record { retired: true, ..warm(60_000) }, 60_000, 60_000));
    }
}
