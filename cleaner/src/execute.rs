//! Acting on a plan: each step can be repeated, and says `Stale` when the world has moved on since it was planned.

use std::net::SocketAddr;
use std::sync::Arc;

use func_crash::point;
use func_ledger::{LedgerError, Settle};
use func_model::{AppName, InstanceId, Phase, ReleaseId, Route, SeenImage, Step};
use func_runner::State;
use func_store::Lock;
use tracing::{debug, info};

use crate::Cleaner;
use crate::cooling::stop_in_background;
use crate::freezing::resume;
use crate::turns::Turn;

/// Does one step. A step that is stale is done: the next plan looks again.
///
/// # Errors
/// Whatever the ledger, the engine or the disk say.
pub(crate) async fn execute(cleaner: &Arc<Cleaner>, step: &Step) -> anyhow::Result<()> {
    let done = match step {
        Step::Promote(release) => promote(cleaner, release).await,
        Step::DropRoute(app) => drop_route(cleaner, app).await,
        Step::Retire(id) => retire(cleaner, id).await,
        Step::Adopt { id, generation, addr } => adopt(cleaner, id, *generation, *addr).await,
        Step::Discard { id, generation } => end(cleaner, id, *generation, Settle::Discard).await,
        Step::Gone { id, generation } => settle(cleaner, id, *generation, Settle::Gone).await,
        Step::Reset { id, generation } => settle(cleaner, id, *generation, Settle::Reset).await,
        Step::Thaw(id) => thaw(cleaner, id).await,
        Step::Poise { id, generation } => {
            cleaner.poises.add(id.clone(), *generation);
            Ok(())
        }
        Step::StopAgain { id, generation } => stop_again(cleaner, id, *generation).await,
        Step::RemoveContainer { container, instance, running } => {
            remove_container(cleaner, container, instance.as_ref(), *running).await
        }
        Step::Forget { id, generation } => Ok(cleaner.config.cool.forget(id, *generation).await?),
        Step::RemoveRelease(release) => remove_release(cleaner, release).await,
        Step::RemoveImage(image) => remove_image(cleaner, image).await,
    };
    match done {
        Err(e) if is_stale(&e) => {
            debug!("stale: {step:?}");
            Ok(())
        }
        other => other,
    }
}

fn is_stale(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<LedgerError>(), Some(LedgerError::Stale(_)))
}

/// Takes the app's deploy lock; `None` while it is being deployed or removed: the builder knows better then.
pub(crate) fn deploy_lock(cleaner: &Cleaner, app: &AppName) -> anyhow::Result<Option<Lock>> {
    Ok(Lock::try_deploy(&cleaner.config.data, app)?)
}

async fn promote(cleaner: &Cleaner, release: &ReleaseId) -> anyhow::Result<()> {
    let Some(_lock) = deploy_lock(cleaner, &release.app)? else { return Ok(()) };
    if cleaner.config.manifests.current(&release.app)? != Some(release.number) {
        return Ok(());
    }
    let Some(manifest) = cleaner.release(release) else { return Ok(()) };
    cleaner.config.promote.promote(release, &Route::of(&manifest)).await?;
    info!(app.name = %release.app, release = %release, "promoted {release}: its manifest says that it is live");
    Ok(())
}

async fn drop_route(cleaner: &Cleaner, app: &AppName) -> anyhow::Result<()> {
    let Some(_lock) = deploy_lock(cleaner, app)? else { return Ok(()) };
    if cleaner.config.manifests.current(app)?.is_some() {
        return Ok(());
    }
    Ok(cleaner.config.promote.drop_route(app).await?)
}

async fn retire(cleaner: &Cleaner, id: &InstanceId) -> anyhow::Result<()> {
    let release = &id.release;
    let Some(_lock) = deploy_lock(cleaner, &release.app)? else { return Ok(()) };
    if cleaner.config.manifests.current(&release.app)? == Some(release.number) {
        return Ok(());
    }
    Ok(cleaner.config.promote.retire(id).await?)
}

/// One that answers is adopted, and so is one that somebody holds a lease on; another is stopped.
async fn adopt(
    cleaner: &Arc<Cleaner>,
    id: &InstanceId,
    generation: u64,
    addr: SocketAddr,
) -> anyhow::Result<()> {
    let (record, now_ms) = cleaner.config.watch.record(id).await?;
    let used = record.is_some_and(|record| record.leased(now_ms));
    let ready = match cleaner.release(&id.release) {
        Some(release) => used || cleaner.config.look.ready(&release, addr).await,
        None => false,
    };
    match ready {
        true => settle(cleaner, id, generation, Settle::Adopt(addr)).await,
        false => end(cleaner, id, generation, Settle::Discard).await,
    }
}

/// One whose stop was not finished is stopped, unless an edge that has no lease is in it: then it goes on.
async fn stop_again(cleaner: &Arc<Cleaner>, id: &InstanceId, generation: u64) -> anyhow::Result<()> {
    let Some(turn) = vacated(cleaner, id) else {
        return match cleaner.config.start.look(id).await? {
            State::Running { addr } => settle(cleaner, id, generation, Settle::Adopt(addr)).await,
            State::Paused { .. } | State::Stopped => Ok(()),
        };
    };
    settle_in(cleaner, turn, generation, Settle::Recool).await
}

/// Settles so that it is stopped, unless somebody is in it.
async fn end(cleaner: &Arc<Cleaner>, id: &InstanceId, generation: u64, how: Settle) -> anyhow::Result<()> {
    let Some(turn) = vacated(cleaner, id) else { return Ok(()) };
    settle_in(cleaner, turn, generation, how).await
}

/// Gives the turn of an instance that nobody is in.
fn vacated(cleaner: &Cleaner, id: &InstanceId) -> Option<Turn> {
    let mut turn = cleaner.turns.try_take(id)?;
    cleaner.vacate(&mut turn).then_some(turn)
}

async fn settle(cleaner: &Arc<Cleaner>, id: &InstanceId, generation: u64, how: Settle) -> anyhow::Result<()> {
    let Some(turn) = cleaner.turns.try_take(id) else { return Ok(()) };
    settle_in(cleaner, turn, generation, how).await
}

async fn settle_in(cleaner: &Arc<Cleaner>, turn: Turn, generation: u64, how: Settle) -> anyhow::Result<()> {
    let id = &turn.id().clone();
    let (said, again) = (format!("settled {id}: {how:?}"), comes_to_rest(&how));
    let permit = cleaner.config.cool.settle(id, generation, how).await?;
    point("after_settle");
    info!(app.name = %id.release.app, release = %id.release, generation, "{said}");
    if let Some(permit) = permit {
        stop_in_background(cleaner, turn, permit);
    } else if again {
        cleaner.changed.notify_one();
    }
    Ok(())
}

/// Whether the next plan has more to do: the next start can be made ahead.
fn comes_to_rest(how: &Settle) -> bool {
    match how {
        Settle::Reset | Settle::Gone => true,
        Settle::Adopt(_) | Settle::Poise(_) | Settle::Discard | Settle::Recool => false,
    }
}

/// One that is paused though it is warm, or though somebody has a request in it, goes on, unless it was frozen since the
/// plan.
async fn thaw(cleaner: &Arc<Cleaner>, id: &InstanceId) -> anyhow::Result<()> {
    let Some(turn) = cleaner.turns.try_take(id) else { return Ok(()) };
    let (record, now_ms) = cleaner.config.watch.record(id).await?;
    let used = record.is_some_and(|record| match record.phase {
        Phase::Warm { .. } => true,
        Phase::Cold | Phase::Frozen { .. } | Phase::Broken { .. } => record.leased(now_ms),
        Phase::Waking { .. } | Phase::Cooling { .. } => record.unclaimed(now_ms) && record.leased(now_ms),
    });
    if used {
        resume(cleaner, &turn).await;
        info!(app.name = %id.release.app, release = %id.release, "{id} was paused though it is used");
        // What runs now is adopted.
        cleaner.changed.notify_one();
    }
    Ok(())
}

/// What belongs to nobody may have become somebody's since the plan: it is looked at once more.
async fn remove_container(
    cleaner: &Arc<Cleaner>,
    container: &str,
    instance: Option<&InstanceId>,
    running: bool,
) -> anyhow::Result<()> {
    let turn = match running {
        true => instance.map(|id| vacated(cleaner, id)),
        false => instance.map(|id| cleaner.turns.try_take(id)),
    };
    if matches!(turn, Some(None)) {
        return Ok(());
    }
    let (record, now_ms) = match instance {
        Some(id) => cleaner.config.watch.record(id).await?,
        None => (None, 0),
    };
    let claimed = record.as_ref().is_some_and(|record| match record.phase {
        Phase::Waking { until_ms, .. } => until_ms > now_ms,
        Phase::Warm { .. } | Phase::Frozen { .. } | Phase::Cooling { .. } => running,
        Phase::Cold | Phase::Broken { .. } => false,
    });
    let introduced =
        running && record.is_none() && instance.is_some_and(|id| cleaner.release(&id.release).is_some());
    if claimed || introduced {
        return Ok(());
    }
    cleaner.config.stop.remove_container(container, running).await?;
    if instance.is_some() {
        // Its name is free now: the next start can be made ahead.
        cleaner.changed.notify_one();
    }
    Ok(())
}

async fn remove_release(cleaner: &Cleaner, release: &ReleaseId) -> anyhow::Result<()> {
    let Some(_lock) = deploy_lock(cleaner, &release.app)? else { return Ok(()) };
    if cleaner.config.manifests.current(&release.app)? == Some(release.number) {
        return Ok(());
    }
    if cleaner.config.manifests.pinned(&release.app)?.contains(&release.number) {
        return Ok(());
    }
    cleaner.config.manifests.remove(release)?;
    info!(app.name = %release.app, release = %release, "removed {release}: newer ones are kept");
    Ok(())
}

async fn remove_image(cleaner: &Cleaner, image: &SeenImage) -> anyhow::Result<()> {
    let Some(_lock) = deploy_lock(cleaner, &image.release.app)? else { return Ok(()) };
    if cleaner.config.manifests.release(&image.release)?.is_some() {
        return Ok(());
    }
    cleaner.config.stop.remove_image(&image.tag).await?;
    info!(app.name = %image.release.app, release = %image.release, "removed the image {}", image.tag);
    Ok(())
}
