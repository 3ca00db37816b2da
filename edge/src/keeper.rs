//! The lease keeper: renews what is in use, leaves what is not. One call for all slots.

use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_ledger::Enter;
use func_model::{InstanceId, LeaseId};
use func_store::Occupancy;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use crate::slot::{Duty, Slot, Slots};

/// How often the slots are looked at: a fraction of the linger time.
const LOOK: Duration = Duration::from_millis(500);
/// How many leases one call renews or leaves.
const BATCH: usize = 256;

pub(crate) struct Keeper {
    slots: Arc<Slots>,
    enter: Arc<dyn Enter>,
    occupancy: Occupancy,
}

impl Keeper {
    pub(crate) fn new(slots: Arc<Slots>, enter: Arc<dyn Enter>, occupancy: Occupancy) -> Self {
        Self { slots, enter, occupancy }
    }

    /// Keeps leases for ever.
    pub(crate) async fn keep_on(self: Arc<Self>) {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut away = false;
        loop {
            tick.tick().await;
            self.occupy();
            let duties = self.slots.duties(false);
            if duties.is_empty() && !away {
                continue;
            }
            let answered = self.fulfil(duties).await;
            if answered == away {
                match answered {
                    true => info!("the ledger answers again"),
                    false => warn!("the ledger does not answer: what is warm is served, nothing is woken"),
                }
            }
            away = !answered;
            self.slots.set_away(away);
        }
    }

    /// Occupies what a lease is held on. What the cleaner keeps vacant just now is tried again at the next look: until then,
    /// and for much longer, the lease protects it.
    fn occupy(&self) {
        for slot in self.slots.unoccupied() {
            match self.occupancy.occupy(&slot.id) {
                Ok(Some(occupied)) => slot.occupy(occupied),
                Ok(None) => {}
                Err(e) => debug!("{} is not occupied: {e}", slot.id),
            }
        }
    }

    /// Leaves every lease: nothing is in flight any more, or it will be cut.
    pub(crate) async fn leave_all(&self) {
        let duties = self.slots.duties(true);
        self.fulfil(duties).await;
    }

    /// Gives whether the ledger answered; one that did not is not asked for the rest. What was to be left and could not be
    /// ends by itself, and what was to be renewed is still due.
    async fn fulfil(&self, duties: Vec<(Arc<Slot>, Duty)>) -> bool {
        let mut duties = duties.into_iter().peekable();
        loop {
            let batch: Vec<_> = duties.by_ref().take(BATCH).collect();
            if !self.fulfil_batch(batch).await {
                return false;
            }
            if duties.peek().is_none() {
                return true;
            }
        }
    }

    async fn fulfil_batch(&self, batch: Vec<(Arc<Slot>, Duty)>) -> bool {
        let (mut slots, mut renew, mut leave) = (Vec::new(), Vec::<(InstanceId, LeaseId)>::new(), Vec::new());
        for (slot, duty) in batch {
            match duty {
                Duty::Renew(lease) => {
                    renew.push((slot.id.clone(), lease));
                    slots.push(slot);
                }
                Duty::Leave(leaving) => leave.push(leaving),
            }
        }
        let asked = Instant::now();
        let kept = self.enter.keep(&renew, &leave).await;
        point("after_kept");
        match kept {
            Ok(endpoints) => {
                for ((slot, (_, lease)), endpoint) in slots.iter().zip(&renew).zip(endpoints) {
                    slot.renewed(lease, endpoint, asked);
                }
                true
            }
            Err(e) => {
                debug!("leases could not be kept: {e}");
                false
            }
        }
    }
}
