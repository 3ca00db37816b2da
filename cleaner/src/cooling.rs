//! Cooling: what was not used for its idle time is stopped, if the ledger grants it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use func_ledger::LedgerError;
use func_model::limits::{COOL_EVERY_MS, LEASE_MS, RENEW_MS, STOP_GRACE_MS};
use func_model::{CoolPermit, InstanceId, Phase, Record, ReleaseId};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::{Cleaner, Turn};

/// How far the ledger's clock and our own may drift apart between two looks.
const DRIFT: Duration = Duration::from_secs(2);
/// A look that comes so late was held up, and edges were perhaps as well.
const LATE: Duration = Duration::from_millis(RENEW_MS);

/// When it is safe to cool. After anything that may have kept edges from renewing (a ledger that did not answer, a
/// clock that jumped, a machine that slept), one lease time has to pass: they put their leases back meanwhile.
#[derive(Debug)]
struct Calm {
    from: Instant,
    looked: Option<(Instant, u64)>,
}

impl Calm {
    fn new() -> Self {
        Self { from: Instant::now(), looked: None }
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

/// Looks for what is idle, for ever.
pub(crate) async fn keep_cool(cleaner: Arc<Cleaner>) {
    let mut tick = interval(Duration::from_millis(COOL_EVERY_MS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut idle_times, mut calm) = (HashMap::new(), Calm::new());
    loop {
        tick.tick().await;
        if let Err(e) = cool_idle(&cleaner, &mut idle_times, &mut calm).await {
            // `keep_right` tells of a ledger that is away or lost.
            debug!("nothing is cooled: {e}");
            calm.disturb();
            if matches!(e, LedgerError::Lost) {
                cleaner.lost.notify_one();
            }
        }
    }
}

async fn cool_idle(
    cleaner: &Arc<Cleaner>,
    idle_times: &mut HashMap<ReleaseId, u64>,
    calm: &mut Calm,
) -> Result<(), LedgerError> {
    let (records, now_ms) = cleaner.config.watch.records().await?;
    if !calm.look(now_ms) {
        return Ok(());
    }
    idle_times.retain(|release, _| records.contains_key(&release.instance()));
    for (id, record) in &records {
        let idle_ms = *idle_times.entry(id.release.clone()).or_insert_with(|| {
            cleaner.release(&id.release).map_or(cleaner.config.idle_ms, |release| release.idle_ms)
        });
        if !seems_idle(record, idle_ms, now_ms) {
            continue;
        }
        let Some(turn) = cleaner.take_turn(id) else { continue };
        match cleaner.config.cool.cool(id, idle_ms).await? {
            Ok(permit) => stop_in_background(turn, permit),
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

/// Stops under a permit. A stop that fails is done again by the plan.
pub(crate) fn stop_in_background(turn: Turn, permit: CoolPermit) {
    let stops = turn.cleaner.stops.clone();
    stops.spawn(async move {
        stop(&turn.cleaner, &permit).await;
        drop(turn);
    });
}

async fn stop(cleaner: &Cleaner, permit: &CoolPermit) {
    let id: &InstanceId = &permit.id;
    let began = Instant::now();
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

    const TICK: Duration = Duration::from_millis(COOL_EVERY_MS);

    #[tokio::test(start_paused = true)]
    async fn it_is_calm_while_both_clocks_go_alike() {
        let mut calm = Calm::new();
        for second in 0..100 {
            assert!(calm.look(second * 1_000));
            tokio::time::advance(TICK).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_disturbance_nothing_is_cooled_for_one_lease_time() {
        // A ledger that was away; its clock that jumped on, and back; a machine that slept.
        for disturb in [
            |calm: &mut Calm, ms: u64| {
                calm.disturb();
                ms
            },
            |_: &mut Calm, ms: u64| ms + 3_600_000,
            |_: &mut Calm, ms: u64| ms - 3_600_000,
        ] {
            let (mut calm, start_ms) = (Calm::new(), 10_000_000);
            assert!(calm.look(start_ms));
            let mut ms = disturb(&mut calm, start_ms);
            assert!(!calm.look(ms));
            for _ in 0..LEASE_MS / COOL_EVERY_MS - 1 {
                tokio::time::advance(TICK).await;
                ms += COOL_EVERY_MS;
                assert!(!calm.look(ms));
            }
            tokio::time::advance(TICK).await;
            assert!(calm.look(ms + COOL_EVERY_MS));
        }
        let mut calm = Calm::new();
        assert!(calm.look(0));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(!calm.look(60_000), "it was held up for a minute");
    }

    #[test]
    fn what_is_retired_needs_no_idle_time() {
        assert!(seems_idle(&Record { retired: true, ..warm(60_000) }, 60_000, 60_000));
    }
}
