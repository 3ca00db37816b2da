//! Restoring a ledger that lost its memory, from the manifests and from what runs.

use std::collections::BTreeMap;

use anyhow::Context;
use func_ledger::{Restored, RestoredInstance};
use func_model::{InstanceId, ReleaseId, Route, SeenState};
use tracing::info;

use crate::Cleaner;
use crate::reconcile::on_disk;

/// Fills the ledger. Instances that run and are ready are warm in it, live ones that do not run are cold.
pub(crate) async fn restore(cleaner: &Cleaner) -> anyhow::Result<()> {
    let seen = cleaner.config.look.seen().await.context("look at the containers")?;
    let (current, _) = on_disk(cleaner)?;
    let mut restored = Restored::default();
    for (app, number) in &current {
        let id = ReleaseId { app: app.clone(), number: *number };
        let Some(release) = cleaner.release(&id) else { continue };
        restored.routes.insert(app.clone(), Route { number: *number, hosts: release.hosts });
        restored.instances.insert(id.instance(), RestoredInstance { addr: None, retired: false });
    }
    for container in &seen.containers {
        if let (Some(id), SeenState::Running { addr }) = (&container.instance, container.state)
            && let Some(instance) = running(cleaner, id, addr, &restored.instances).await
        {
            restored.instances.insert(id.clone(), instance);
        }
    }
    let warm = restored.instances.values().filter(|i| i.addr.is_some()).count();
    if cleaner.config.cool.restore(&restored).await.context("restore the ledger")? {
        info!(apps = restored.routes.len(), warm, "restored the ledger");
    }
    Ok(())
}

/// One that runs: warm if it is ready. If not it is cold, so that those who still use it can put their leases back
/// before the plan deals with it.
async fn running(
    cleaner: &Cleaner,
    id: &InstanceId,
    addr: std::net::SocketAddr,
    live: &BTreeMap<InstanceId, RestoredInstance>,
) -> Option<RestoredInstance> {
    let release = cleaner.release(&id.release)?;
    let ready = cleaner.config.look.ready(&release, addr).await;
    Some(RestoredInstance { addr: ready.then_some(addr), retired: !live.contains_key(id) })
}
