//! Outage: entering what runs while the ledger does not answer.
//!
//! What an edge has a lease on needs nothing of this. It is for what was not used here for a few seconds, or was used
//! through another edge: it is warm, and nobody can be asked for a lease.

use std::sync::Arc;
use std::time::Duration;

use func_model::{Endpoint, LeaseId};
use func_runner::{Start, State};
use func_store::Occupancy;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::slot::Slot;
use crate::starter::Gates;

/// How long the cleaner may take to say whether an instance runs.
const LOOK: Duration = Duration::from_secs(2);
/// How long an instance that runs may take to accept a connection: one that is starting is not waited for.
const ANSWERS: Duration = Duration::from_millis(500);

pub(crate) struct Outage {
    occupancy: Occupancy,
    start: Arc<dyn Start>,
    gates: Arc<dyn Gates>,
}

impl Outage {
    /// `start` is only asked to look.
    pub(crate) fn new(occupancy: Occupancy, start: Arc<dyn Start>, gates: Arc<dyn Gates>) -> Self {
        Self { occupancy, start, gates }
    }

    /// Enters an instance that runs, under a lease that the keeper puts into the ledger as soon as that answers; gives
    /// whether it did. Occupied first and looked at then: what is seen running is not stopped or paused any more.
    pub(crate) async fn stay(&self, slot: &Slot, lease: &LeaseId) -> bool {
        let occupied = match self.occupancy.occupy(&slot.id) {
            Ok(Some(occupied)) => occupied,
            Ok(None) => return false,
            Err(e) => {
                debug!("{} is not occupied: {e}", slot.id);
                return false;
            }
        };
        let addr = match timeout(LOOK, self.start.look(&slot.id)).await {
            Ok(Ok(State::Running { addr })) => addr,
            Ok(Ok(State::Paused { .. } | State::Stopped) | Err(_)) | Err(_) => return false,
        };
        if !self.gates.accepts(addr, Instant::now() + ANSWERS).await {
            return false;
        }
        info!(app.name = %slot.id.release.app, release = %slot.id.release, "{} is used without the ledger", slot.id);
        // A generation of the ledger's is a time in ms: this is none.
        slot.stay(lease.clone(), Endpoint { addr, generation: lease.serial }, occupied);
        true
    }
}
