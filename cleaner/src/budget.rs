//! The disk budget: measures what func keeps on disk, and evicts what was used least recently when it is too much.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use func_model::limits::DISK_EVERY_MS;
use func_model::{
    AppName, CacheUsage, DiskBudget, DiskReport, DiskUsage, Eviction, ImageUsage, Known, ReleaseId,
    evictions, in_use, previous, protected,
};
use func_store::{FolderUsage, remove_rotated, volume, write_disk_report};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::Cleaner;
use crate::execute::deploy_lock;
use crate::reconcile::{OnDisk, known, on_disk, route_change};

/// How long after the start is the first time: what matters at boot goes first.
const FIRST: Duration = Duration::from_secs(60);
const EVERY: Duration = Duration::from_millis(DISK_EVERY_MS);
/// How soon it is measured again after an eviction, and while there is too much: somebody makes room.
const SOON: Duration = Duration::from_secs(5);
/// How soon after a deploy or a removal: what it replaced has gone by then.
const SETTLE: Duration = Duration::from_secs(2);
/// The pause after each measurement, as a multiple of its duration.
const REST: u32 = 20;
/// How long the size of the build cache is believed, as a multiple of the time that it took to learn it.
const CACHE_REST: u32 = 100;
const CACHE_LEAST: Duration = Duration::from_secs(1);

/// State kept between measurements; its lock serialises them.
#[derive(Default)]
pub(crate) struct Budget(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    cache: Option<(CacheUsage, Instant)>,
    /// `Some(None)`: the engine's folder is not on this machine.
    engine_root: Option<Option<PathBuf>>,
}

/// One measurement.
pub(crate) struct Measured {
    pub(crate) usage: DiskUsage,
    pub(crate) evictions: Vec<Eviction>,
    pub(crate) report: DiskReport,
}

/// Measures and evicts, for ever: at intervals, and after each change of a route.
pub(crate) async fn keep_within(cleaner: Arc<Cleaner>) {
    let mut changes = cleaner.config.watch.changes();
    let (mut pause, mut was_over) = (FIRST, false);
    loop {
        if timeout(pause, route_change(&mut changes)).await.is_ok() {
            sleep(SETTLE).await;
        }
        let began = Instant::now();
        let measured = match measure(&cleaner).await {
            Ok(measured) => measured,
            Err(e) => {
                warn!("the disk usage of func is not known: {e:#}");
                pause = EVERY;
                continue;
            }
        };
        let took = began.elapsed();
        let is_over = measured.report.refusal().is_some();
        match (was_over, is_over) {
            (false, true) => {
                warn!("pushes are refused: more is kept than the setting `disk` allows, see `func df`")
            }
            (true, false) => info!("pushes are taken again: the setting `disk` allows what is kept"),
            (false, false) | (true, true) => {}
        }
        was_over = is_over;
        pause = if measured.evictions.is_empty() && !measured.report.is_exceeded() { EVERY } else { SOON };
        evict(&cleaner, &measured).await;
        // The git host ignores reports older than 15 minutes.
        sleep((took * REST).min(EVERY)).await;
    }
}

/// Measures, and leaves the report where the git host reads it.
///
/// # Errors
/// If the engine or the disk cannot be asked.
pub(crate) async fn measure(cleaner: &Arc<Cleaner>) -> anyhow::Result<Measured> {
    let mut remembered = cleaner.budget.0.lock().await;
    let data = cleaner.config.data.clone();
    let folder = spawn_blocking(move || FolderUsage::of(&data)).await?.context("add up the data folder")?;
    if folder.is_cut {
        warn!("there are too many files in the data folder: only some of them are counted");
    }
    let is_remembered = remembered.cache.is_some();
    let cache = size_of_cache(cleaner, &mut remembered).await?;
    let images = cleaner.config.measure.images().await.context("measure the images")?;
    let FolderUsage { repositories, logs, own_bytes, is_cut: _ } = folder;
    let Kept { protected, mut in_use } = kept(cleaner).await?;
    let mut usage = DiskUsage { repositories, logs, own_bytes, cache, images: Vec::new() };
    for (release, layers) in images {
        let used_ms = cleaner.config.manifests.used_ms(&release)?;
        if used_ms.is_none() {
            // It is being released, or goes with the next plan.
            in_use.insert(release.clone());
        }
        usage.images.push(ImageUsage { release, layers, used_ms: used_ms.unwrap_or_default() });
    }
    let budget = budget(cleaner, &mut remembered).await?;
    let stay = &protected | &in_use;
    let mut chosen = evictions(&usage, &stay, budget);
    if is_remembered && !chosen.iter().all(|eviction| matches!(eviction, Eviction::Cache { .. })) {
        // Releases go by a size of now only: somebody may have pruned the cache.
        remembered.cache = None;
        usage.cache = size_of_cache(cleaner, &mut remembered).await?;
        chosen = evictions(&usage, &stay, budget);
    }
    let report = DiskReport::new(unix_ms(), &usage, &protected, budget);
    let (data, note) = (cleaner.config.data.clone(), report.clone());
    if let Err(e) = spawn_blocking(move || write_disk_report(&data, &note)).await? {
        warn!("the git host does not learn the disk usage: {e}");
    }
    Ok(Measured { usage, evictions: chosen, report })
}

/// Releases that stay.
struct Kept {
    /// Whatever happens.
    protected: BTreeSet<ReleaseId>,
    /// For now.
    in_use: BTreeSet<ReleaseId>,
}

/// Without the ledger nobody knows what runs: all of it may.
async fn kept(cleaner: &Cleaner) -> anyhow::Result<Kept> {
    match known(cleaner).await {
        Ok((known, _)) => Ok(Kept { protected: protected(&known), in_use: in_use(&known) }),
        Err(e) => {
            debug!("no release is evicted: {e:#}");
            let OnDisk { current, releases, pinned } = on_disk(cleaner)?;
            let in_use = releases.clone();
            let known = Known { current, releases, pinned, ..Known::default() };
            Ok(Kept { protected: protected(&known), in_use })
        }
    }
}

/// Returns the size of the build cache, which an old engine takes long to learn.
async fn size_of_cache(cleaner: &Cleaner, remembered: &mut Remembered) -> anyhow::Result<CacheUsage> {
    if let Some((cache, _)) = remembered.cache.filter(|(_, until)| *until > Instant::now()) {
        return Ok(cache);
    }
    let began = Instant::now();
    let cache = cleaner.config.measure.cache().await.context("measure the build cache")?;
    let rest = (began.elapsed() * CACHE_REST).max(CACHE_LEAST);
    remembered.cache = Some((cache, Instant::now() + rest));
    Ok(cache)
}

async fn budget(cleaner: &Cleaner, remembered: &mut Remembered) -> anyhow::Result<DiskBudget> {
    let root = match &remembered.engine_root {
        Some(root) => root.clone(),
        None => {
            let root = cleaner.config.measure.root().await.context("ask for the engine's folder")?;
            remembered.engine_root.insert(root).clone()
        }
    };
    let data = volume(&cleaner.config.data.projects())?;
    // In a container of its own the cleaner does not see it.
    let engine = root.and_then(|root| volume(&root).ok());
    Ok(cleaner.config.disk.budget(data, engine).without(cleaner.config.build_bytes_max))
}

/// Evicts what a measurement has chosen; what fails, or cannot go now, is chosen again.
pub(crate) async fn evict(cleaner: &Arc<Cleaner>, measured: &Measured) {
    for eviction in &measured.evictions {
        let evicted = match eviction {
            Eviction::Cache { bytes } => {
                evict_cache(cleaner, measured.usage.cache.bytes.saturating_sub(*bytes)).await
            }
            Eviction::Release { release, .. } => evict_release(cleaner, release).await,
            Eviction::Log { app, file, .. } => evict_log(cleaner, app, file).await,
        };
        let what = eviction.text();
        match evicted {
            Ok(Evicted::Gone) => info!("made room on the disk: {what}"),
            Ok(Evicted::Kept) => debug!("not evicted now: {what}"),
            Err(e) => warn!("no room could be made on the disk: {what}: {e:#}"),
        }
    }
    if !measured.evictions.is_empty() {
        // The images of evicted releases go with the next plan.
        cleaner.changed.notify_one();
    }
}

/// The outcome of an eviction.
enum Evicted {
    Gone,
    /// It has become worth keeping, or somebody works on it.
    Kept,
}

async fn evict_cache(cleaner: &Cleaner, bytes_max: u64) -> anyhow::Result<Evicted> {
    cleaner.config.stop.prune(bytes_max).await?;
    cleaner.budget.0.lock().await.cache = None;
    Ok(Evicted::Gone)
}

async fn evict_release(cleaner: &Cleaner, release: &ReleaseId) -> anyhow::Result<Evicted> {
    let (app, manifests) = (&release.app, &cleaner.config.manifests);
    let Some(_lock) = deploy_lock(cleaner, app)? else { return Ok(Evicted::Kept) };
    let (live, numbers) = (manifests.current(app)?, manifests.numbers(app)?);
    let back = live.and_then(|live| previous(&numbers, live));
    let has_record = cleaner.config.watch.record(&release.instance()).await?.0.is_some();
    let is_kept = [live, back].contains(&Some(release.number));
    if is_kept || has_record || manifests.pinned(app)?.contains(&release.number) {
        return Ok(Evicted::Kept);
    }
    manifests.remove(release)?;
    Ok(Evicted::Gone)
}

async fn evict_log(cleaner: &Cleaner, app: &AppName, file: &str) -> anyhow::Result<Evicted> {
    let (data, app, file) = (cleaner.config.data.clone(), app.clone(), file.to_owned());
    spawn_blocking(move || remove_rotated(&data, &app, &file)).await??;
    Ok(Evicted::Gone)
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
