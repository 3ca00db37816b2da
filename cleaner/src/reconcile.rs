//! Reconciling: compares what is known with what is seen, at boot, every 30 s, and when something has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use func_crash::point;
use func_ledger::{Change, LedgerError};
use func_model::limits::{POISED_BYTES, RECONCILE_MS};
use func_model::{AppName, InstanceId, Known, ReleaseId, ReleaseNumber, Seen, plan};
use futures_util::{FutureExt, Stream, StreamExt};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::{Cleaner, execute, restore};

const EVERY: Duration = Duration::from_millis(RECONCILE_MS);
/// How soon it is tried again when something could not be reached, or the ledger was lost.
const AGAIN: Duration = Duration::from_millis(500);
/// How long after a change is looked: several changes, an end and the stop of our own that made it, are one look.
const SETTLE: Duration = Duration::from_millis(100);

/// Puts right what differs, for ever.
pub(crate) async fn keep_right(cleaner: Arc<Cleaner>) {
    let mut failed = false;
    let (mut exits, mut changes) = (None, cleaner.config.watch.changes());
    loop {
        if exits.is_none() {
            // Asked before the look, so that no end falls between the two.
            exits = cleaner.config.look.exits().await.ok();
        }
        let wait = match put_right(&cleaner).await {
            Ok(()) => {
                failed = false;
                EVERY
            }
            Err(e) => {
                match failed {
                    true => debug!("{e:#}"),
                    false => warn!("what runs and what should run are not compared: {e:#}"),
                }
                failed = true;
                AGAIN
            }
        };
        let woken = async {
            tokio::select! {
                // Any of them is one look at everything.
                biased;
                () = exit(&mut exits) => {}
                () = cleaner.changed.notified() => {}
                () = route_change(&mut changes) => {}
            }
        };
        if timeout(wait, woken).await.is_ok() {
            sleep(SETTLE).await;
            // What was told meanwhile is in this look.
            let _ = cleaner.changed.notified().now_or_never();
        }
    }
}

/// Waits for the next end of an instance; for ever if the engine cannot tell.
async fn exit(exits: &mut Option<impl Stream<Item = InstanceId> + Unpin>) {
    if let Some(stream) = exits {
        if let Some(id) = stream.next().await {
            debug!("{id} has ended");
            return;
        }
        *exits = None;
        return;
    }
    std::future::pending().await
}

/// Waits until a route has changed, or may have; for ever if nobody tells.
pub(crate) async fn route_change(changes: &mut Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Routes | Change::Unknown) | Err(RecvError::Lagged(_)) => return,
            Ok(Change::Instance(_)) => {}
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

async fn put_right(cleaner: &Arc<Cleaner>) -> anyhow::Result<()> {
    match compare(cleaner).await {
        Err(e) if is_lost(&e) => {
            restore::restore(cleaner).await?;
            compare(cleaner).await
        }
        other => other,
    }
}

fn is_lost(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<LedgerError>(), Some(LedgerError::Lost))
}

/// Makes a plan, and does it.
pub(crate) async fn compare(cleaner: &Arc<Cleaner>) -> anyhow::Result<()> {
    let (known, now_ms) = known(cleaner).await?;
    // Looked at after the records were read: a record that changes in between makes the step stale.
    let seen: Seen = cleaner.config.look.seen().await.context("look at the containers")?;
    cleaner.poises.clear();
    for step in plan(&known, &seen, now_ms) {
        debug!("plan: {step:?}");
        if let Err(e) = execute::execute(cleaner, &step).await {
            warn!("a step of the plan failed, it is planned again: {step:?}: {e:#}");
        }
        point("after_step");
    }
    Ok(())
}

pub(crate) async fn known(cleaner: &Cleaner) -> anyhow::Result<(Known, u64)> {
    let (records, now_ms) = cleaner.config.watch.records().await?;
    let routes = cleaner.config.watch.routes().await?;
    let OnDisk { current, releases, pinned } = on_disk(cleaner)?;
    let routes = routes.into_iter().map(|(app, route)| (app, route.number)).collect();
    let poised_max = usize::try_from(cleaner.config.poised_bytes_max / POISED_BYTES).unwrap_or(usize::MAX);
    let busy = cleaner.turns.taken();
    Ok((Known { current, releases, pinned, routes, records, busy, poised_max }, now_ms))
}

/// The manifests' state.
pub(crate) struct OnDisk {
    /// Each app's live number.
    pub(crate) current: BTreeMap<AppName, ReleaseNumber>,
    pub(crate) releases: BTreeSet<ReleaseId>,
    pub(crate) pinned: BTreeSet<ReleaseId>,
}

/// Reads what the manifests say of all apps.
pub(crate) fn on_disk(cleaner: &Cleaner) -> anyhow::Result<OnDisk> {
    let manifests = &cleaner.config.manifests;
    let (mut releases, mut pinned) = (BTreeSet::new(), BTreeSet::new());
    for app in manifests.apps().context("list the apps")? {
        let release = |number| ReleaseId { app: app.clone(), number };
        releases.extend(manifests.numbers(&app).context("list the releases")?.into_iter().map(release));
        pinned.extend(manifests.pinned(&app).context("list the pinned releases")?.into_iter().map(release));
    }
    let current = manifests.all_current().context("read the live releases")?;
    Ok(OnDisk { current, releases, pinned })
}
