//! The disk budget: what func keeps on disk, what of it may go, and in which order. Pure: the cleaner measures and evicts.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::plan::recorded;
use crate::{AppName, Known, ReleaseId, previous};

/// The suffix of a log file that was rotated out: nobody writes to it any more.
pub const ROTATED: &str = ".log.1";

/// The setting `disk`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskLimit {
    Bytes(u64),
    /// A share of the file system, in percent.
    Percent(u64),
}

/// One mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Volume {
    pub device: u64,
    pub bytes: u64,
}

/// How many bytes may be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskBudget {
    /// For everything together.
    Whole(u64),
    /// A share of two file systems: what fills one makes no room on the other.
    Split { engine: u64, data: u64 },
}

impl DiskLimit {
    /// Returns the budget; `engine` is the engine's file system, `None` if only the engine knows it: then it is taken to
    /// be the data folder's.
    pub fn budget(self, data: Volume, engine: Option<Volume>) -> DiskBudget {
        let share = |volume: Volume, percent: u64| volume.bytes / 100 * percent;
        match (self, engine) {
            (Self::Bytes(bytes), _) => DiskBudget::Whole(bytes),
            (Self::Percent(percent), Some(engine)) if engine.device != data.device => {
                DiskBudget::Split { engine: share(engine, percent), data: share(data, percent) }
            }
            (Self::Percent(percent), Some(_) | None) => DiskBudget::Whole(share(data, percent)),
        }
    }
}

/// The disk usage of an installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub repositories: BTreeMap<AppName, u64>,
    pub logs: Vec<LogUsage>,
    /// Audit logs, manifests, repositories on their way in or out: in bytes.
    pub own_bytes: u64,
    pub images: Vec<ImageUsage>,
    pub cache: CacheUsage,
}

/// One file of an app's logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogUsage {
    pub app: AppName,
    pub file: String,
    pub bytes: u64,
    /// When it was last written to, in Unix ms.
    pub used_ms: u64,
}

/// The layers of an image by their ids, each with its bytes.
pub type Layers = BTreeMap<String, u64>;

/// The image of one release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUsage {
    pub release: ReleaseId,
    pub layers: Layers,
    /// When it last became live, or ceased to be, in Unix ms.
    pub used_ms: u64,
}

/// The engine's build cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheUsage {
    pub bytes: u64,
    /// The bytes that no running build uses.
    pub unused_bytes: u64,
}

/// The file systems that something is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskPart {
    Everything,
    /// Images and the build cache.
    Engine,
    /// Repositories and logs.
    Data,
}

/// Something that may go, and the bytes that this frees if what comes before it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Eviction {
    /// The least recently used part of the build cache.
    Cache {
        bytes: u64,
    },
    Release {
        release: ReleaseId,
        bytes: u64,
    },
    Log {
        app: AppName,
        file: String,
        bytes: u64,
    },
}

impl Eviction {
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Cache { bytes } | Self::Release { bytes, .. } | Self::Log { bytes, .. } => *bytes,
        }
    }

    fn is_in(&self, part: DiskPart) -> bool {
        match (part, self) {
            (DiskPart::Everything, _)
            | (DiskPart::Engine, Self::Cache { .. } | Self::Release { .. })
            | (DiskPart::Data, Self::Log { .. }) => true,
            (DiskPart::Engine, Self::Log { .. })
            | (DiskPart::Data, Self::Cache { .. } | Self::Release { .. }) => false,
        }
    }
}

impl DiskUsage {
    /// Returns the bytes of all images, each layer counted once.
    pub fn images_bytes(&self) -> u64 {
        let layers: BTreeMap<&str, u64> = self.layers().collect();
        layers.values().sum()
    }

    fn layers(&self) -> impl Iterator<Item = (&str, u64)> {
        self.images.iter().flat_map(|image| &image.layers).map(|(id, bytes)| (id.as_str(), *bytes))
    }

    pub fn logs_bytes(&self) -> u64 {
        self.logs.iter().map(|log| log.bytes).sum()
    }

    pub fn repositories_bytes(&self) -> u64 {
        self.repositories.values().sum()
    }

    /// Returns what is used on a part.
    pub fn bytes(&self, part: DiskPart) -> u64 {
        let engine = || self.images_bytes() + self.cache.bytes;
        let data = || self.repositories_bytes() + self.logs_bytes() + self.own_bytes;
        match part {
            DiskPart::Everything => engine() + data(),
            DiskPart::Engine => engine(),
            DiskPart::Data => data(),
        }
    }
}

impl DiskBudget {
    /// Returns what is left when so many bytes are set aside on the engine's disk.
    pub fn without(self, bytes: u64) -> Self {
        match self {
            Self::Whole(all) => Self::Whole(all.saturating_sub(bytes)),
            Self::Split { engine, data } => Self::Split { engine: engine.saturating_sub(bytes), data },
        }
    }

    /// Returns the parts that are bounded on their own, and their bounds.
    pub fn parts(self) -> Vec<(DiskPart, u64)> {
        match self {
            Self::Whole(bytes) => vec![(DiskPart::Everything, bytes)],
            Self::Split { engine, data } => vec![(DiskPart::Engine, engine), (DiskPart::Data, data)],
        }
    }
}

/// Returns the releases that are never evicted: each app's live release, its default target of a rollback, and pinned ones.
pub fn protected(known: &Known) -> BTreeSet<ReleaseId> {
    let numbers = |app: &AppName| -> BTreeSet<_> {
        known.releases.iter().filter(|release| release.app == *app).map(|release| release.number).collect()
    };
    let mut protected: BTreeSet<ReleaseId> = known.pinned.clone();
    for (app, live) in &known.current {
        let kept = [Some(*live), previous(&numbers(app), *live)];
        protected.extend(kept.into_iter().flatten().map(|number| ReleaseId { app: app.clone(), number }));
    }
    protected
}

/// Returns the releases that do not go now: they run, drain, start, or are poised or frozen.
pub fn in_use(known: &Known) -> BTreeSet<ReleaseId> {
    known.releases.iter().filter(|release| recorded(known, release)).cloned().collect()
}

/// Returns all that may go, in the order in which it goes: the unused build cache, images of releases that are not
/// protected, rotated logs; among each what was used least recently goes first. An image that frees nothing, because
/// protected ones have all of its layers, stays.
pub fn evictable(usage: &DiskUsage, protected: &BTreeSet<ReleaseId>) -> Vec<Eviction> {
    let mut all = Vec::new();
    if usage.cache.unused_bytes > 0 {
        all.push(Eviction::Cache { bytes: usage.cache.unused_bytes });
    }
    all.extend(releases(usage, protected));
    let mut logs: Vec<_> = usage.logs.iter().filter(|log| log.file.ends_with(ROTATED)).collect();
    logs.sort_by_key(|log| log.used_ms);
    all.extend(logs.into_iter().map(|log| Eviction::Log {
        app: log.app.clone(),
        file: log.file.clone(),
        bytes: log.bytes,
    }));
    all
}

fn releases(usage: &DiskUsage, protected: &BTreeSet<ReleaseId>) -> Vec<Eviction> {
    let mut holders: BTreeMap<&str, usize> = BTreeMap::new();
    for (layer, _) in usage.layers() {
        *holders.entry(layer).or_default() += 1;
    }
    let (kept, mut old): (Vec<&ImageUsage>, Vec<&ImageUsage>) =
        usage.images.iter().partition(|image| protected.contains(&image.release));
    let kept: BTreeSet<&String> = kept.iter().flat_map(|image| image.layers.keys()).collect();
    old.retain(|image| image.layers.iter().any(|(layer, bytes)| *bytes > 0 && !kept.contains(layer)));
    old.sort_by_key(|image| (image.used_ms, image.release.number));
    let mut evictions = Vec::with_capacity(old.len());
    for image in old {
        let mut freed = 0;
        for (layer, bytes) in &image.layers {
            let left = holders.entry(layer).or_default();
            *left = left.saturating_sub(1);
            freed += if *left == 0 { *bytes } else { 0 };
        }
        evictions.push(Eviction::Release { release: image.release.clone(), bytes: freed });
    }
    evictions
}

/// Returns what has to go so that the budget holds, or all that may if it cannot; nothing if it holds.
pub fn evictions(usage: &DiskUsage, protected: &BTreeSet<ReleaseId>, budget: DiskBudget) -> Vec<Eviction> {
    let all = evictable(usage, protected);
    let mut chosen = Vec::new();
    for (part, bytes_max) in budget.parts() {
        let mut excess = usage.bytes(part).saturating_sub(bytes_max);
        for eviction in all.iter().filter(|eviction| eviction.is_in(part)) {
            if excess == 0 {
                break;
            }
            let part_of_it = match eviction {
                Eviction::Cache { bytes } => Eviction::Cache { bytes: excess.min(*bytes) },
                whole @ (Eviction::Release { .. } | Eviction::Log { .. }) => whole.clone(),
            };
            excess = excess.saturating_sub(part_of_it.bytes());
            chosen.push(part_of_it);
        }
    }
    chosen
}

/// Returns the bytes of a part that may go.
pub(crate) fn evictable_bytes(evictable: &[Eviction], part: DiskPart) -> u64 {
    evictable.iter().filter(|eviction| eviction.is_in(part)).map(Eviction::bytes).sum()
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
