//! Restoring a ledger that lost its memory, from the manifests and from what runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use func_crash::point;
use func_ledger::{Restored, RestoredInstance, RestoredState};
use func_model::{InstanceId, ReleaseId, Route, SeenContainer, SeenState};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::reconcile::on_disk;
use crate::{Cleaner, stops};

/// How many instances are looked at at once.
const AT_ONCE: usize = 8;
/// How long the gate of what was made ahead may take to be found. Requests wait for the ledger: what takes longer is
/// found by the plan.
const POISED_WITHIN: Duration = Duration::from_millis(500);

/// Fills the ledger: what runs and is ready is warm in it, what is paused frozen, what was made ahead is there to be
/// claimed; live ones that do not run are cold. So is what somebody starts or stops just now: the plan sees how that
/// ends.
pub(crate) async fn restore(cleaner: &Arc<Cleaner>) -> anyhow::Result<()> {
    // Before the look: a stop that ends after it has its turn now, also one that failed and is perhaps under way.
    stops::end_old_stops(cleaner).context("look for stops that failed")?;
    let busy = cleaner.turns.taken();
    let seen = cleaner.config.look.seen().await.context("look at the containers")?;
    let current = on_disk(cleaner)?.current;
    let mut restored = Restored::default();
    for (app, number) in &current {
        let id = ReleaseId { app: app.clone(), number: *number };
        let Some(release) = cleaner.release(&id) else { continue };
        restored.routes.insert(app.clone(), Route::of(&release));
        let cold = RestoredInstance { state: RestoredState::Cold, retired: false };
        restored.instances.insert(id.instance(), cold);
    }
    let found = found(cleaner, &seen.containers, &busy, &restored.instances).await;
    restored.instances.extend(found);
    let warm = |i: &&RestoredInstance| matches!(i.state, RestoredState::Warm(_));
    let warm = restored.instances.values().filter(warm).count();
    if cleaner.config.cool.restore(&restored).await.context("restore the ledger")? {
        point("after_restore");
        info!(apps = restored.routes.len(), warm, "restored the ledger");
    }
    Ok(())
}

/// Gives the instances that are more than cold, or not live.
async fn found(
    cleaner: &Arc<Cleaner>,
    containers: &[SeenContainer],
    busy: &BTreeSet<InstanceId>,
    live: &BTreeMap<InstanceId, RestoredInstance>,
) -> Vec<(InstanceId, RestoredInstance)> {
    let looks: Vec<BoxFuture<'_, _>> = containers
        .iter()
        .filter_map(|container| {
            let (id, seen) = (container.instance.as_ref()?, container.state);
            Some(one(cleaner, id, seen, busy.contains(id), !live.contains_key(id)).boxed())
        })
        .collect();
    stream::iter(looks).buffer_unordered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn one(
    cleaner: &Arc<Cleaner>,
    id: &InstanceId,
    seen: SeenState,
    busy: bool,
    retired: bool,
) -> Option<(InstanceId, RestoredInstance)> {
    let state = match busy {
        true => cold_if_it_runs(seen)?,
        false => state(cleaner, id, seen, retired).await?,
    };
    Some((id.clone(), RestoredInstance { state, retired }))
}

/// Gives what a container that nobody is at makes of its instance; `None`: nothing.
async fn state(
    cleaner: &Arc<Cleaner>,
    id: &InstanceId,
    seen: SeenState,
    retired: bool,
) -> Option<RestoredState> {
    cleaner.release(&id.release)?;
    match seen {
        SeenState::Running { addr } => Some(running(cleaner, id, addr).await),
        SeenState::Paused { addr } => Some(RestoredState::Frozen(addr)),
        SeenState::Poised { fresh: true, .. } if !retired => poised(cleaner, id).await,
        SeenState::Poised { .. } | SeenState::Created | SeenState::Unreachable | SeenState::Exited => None,
    }
}

fn cold_if_it_runs(seen: SeenState) -> Option<RestoredState> {
    match seen {
        SeenState::Running { .. } | SeenState::Paused { .. } => Some(RestoredState::Cold),
        SeenState::Poised { .. } | SeenState::Created | SeenState::Unreachable | SeenState::Exited => None,
    }
}

/// One that runs: warm if it is ready. If not it is cold, so that those who still use it can put their leases back
/// before the plan deals with it.
async fn running(cleaner: &Cleaner, id: &InstanceId, addr: SocketAddr) -> RestoredState {
    match cleaner.release(&id.release) {
        Some(release) if cleaner.config.look.ready(&release, addr).await => RestoredState::Warm(addr),
        Some(_) | None => RestoredState::Cold,
    }
}

/// One that was made ahead: its gate and its address.
async fn poised(cleaner: &Arc<Cleaner>, id: &InstanceId) -> Option<RestoredState> {
    let _turn = cleaner.turns.try_take(id)?;
    match timeout(POISED_WITHIN, cleaner.config.hold.poise(id)).await {
        Ok(Ok(poised)) => Some(RestoredState::Poised(poised)),
        Ok(Err(e)) => {
            debug!("{id} is restored cold: {e}");
            None
        }
        Err(_) => None,
    }
}

#[cfg(test)]
#[path = "restore_tests.rs"]
mod tests;
