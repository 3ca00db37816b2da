//! The disk usage report: `func df` prints it, and the refusal of a push quotes it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::budget::{DiskPart, DiskUsage, Eviction, evictable, evictable_bytes};
use crate::limits::DISK_NEXT_MAX;
use crate::{AppName, DiskBudget, ReleaseId};

/// `GET /disk` of the cleaner, and `run/deploy/disk.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskReport {
    /// Unix ms.
    pub measured_ms: u64,
    pub apps: Vec<AppDisk>,
    /// Layers that several apps have, each counted once.
    pub shared_layers_bytes: u64,
    pub cache_bytes: u64,
    /// Audit logs, manifests, repositories on their way in or out.
    pub own_bytes: u64,
    pub images_bytes: u64,
    pub repositories_bytes: u64,
    pub logs_bytes: u64,
    /// The bounded file systems: two if the engine has its own and `disk` is a percentage, else one.
    pub parts: Vec<PartReport>,
    /// The next evictions, a few at most.
    pub next: Vec<Eviction>,
}

/// The disk usage of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDisk {
    pub app: AppName,
    pub repository_bytes: u64,
    /// Layers that no other app has.
    pub images_bytes: u64,
    pub logs_bytes: u64,
}

/// One part and its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartReport {
    pub part: DiskPart,
    pub used_bytes: u64,
    pub budget_bytes: u64,
    /// The part of it that eviction can free.
    pub evictable_bytes: u64,
}

impl PartReport {
    /// Whether the budget would be exceeded with all gone that may go.
    pub fn is_over(&self) -> bool {
        self.used_bytes - self.evictable_bytes.min(self.used_bytes) > self.budget_bytes
    }
}

impl DiskReport {
    /// Returns the report of a measurement. Releases in use that are not protected count as evictable: they soon are.
    pub fn new(
        measured_ms: u64,
        usage: &DiskUsage,
        protected: &BTreeSet<ReleaseId>,
        budget: DiskBudget,
    ) -> Self {
        let mut next = evictable(usage, protected);
        let part = |(part, budget_bytes)| PartReport {
            part,
            used_bytes: usage.bytes(part),
            budget_bytes,
            evictable_bytes: evictable_bytes(&next, part),
        };
        let parts = budget.parts().into_iter().map(part).collect();
        next.truncate(DISK_NEXT_MAX);
        let apps = apps(usage);
        let images_bytes = usage.images_bytes();
        let apps_images_bytes: u64 = apps.iter().map(|app| app.images_bytes).sum();
        Self {
            measured_ms,
            shared_layers_bytes: images_bytes - apps_images_bytes,
            apps,
            cache_bytes: usage.cache.bytes,
            own_bytes: usage.own_bytes,
            images_bytes,
            repositories_bytes: usage.repositories_bytes(),
            logs_bytes: usage.logs_bytes(),
            parts,
            next,
        }
    }

    /// Whether more is kept than the budget allows, though some of it may go.
    pub fn is_exceeded(&self) -> bool {
        self.parts.iter().any(|part| part.used_bytes > part.budget_bytes)
    }

    /// Returns why a push must be refused; `None` if the budget holds, or will once what may go has gone.
    pub fn refusal(&self) -> Option<String> {
        let over = self.parts.iter().find(|part| part.is_over())?;
        let engine = format!("images {}, build cache {}", size(self.images_bytes), size(self.cache_bytes));
        let logs = self.logs_bytes + self.own_bytes;
        let data = format!("repositories {}, logs {}", size(self.repositories_bytes), size(logs));
        let kinds = match over.part {
            DiskPart::Everything => format!("{engine}, {data}"),
            DiskPart::Engine => engine,
            DiskPart::Data => data,
        };
        Some(format!(
            "the server's disk budget is used up ({} of {}: {kinds}), and nothing more may go: nothing was stored; whoever \
             runs it can look (func df), make room (func rm <app>, func unpin <app> <release>), or raise `disk`",
            size(over.used_bytes),
            size(over.budget_bytes),
        ))
    }
}

impl Eviction {
    /// Says what goes, and how much room that makes.
    pub fn text(&self) -> String {
        match self {
            Self::Cache { bytes } => format!("unused build cache ({})", size(*bytes)),
            Self::Release { release, bytes } => format!("{release} ({})", size(*bytes)),
            Self::Log { app, file, bytes } => format!("{file} of {app} ({})", size(*bytes)),
        }
    }
}

fn apps(usage: &DiskUsage) -> Vec<AppDisk> {
    let mut owners: BTreeMap<&String, (BTreeSet<&AppName>, u64)> = BTreeMap::new();
    for image in &usage.images {
        for (layer, bytes) in &image.layers {
            let (apps, known_bytes) = owners.entry(layer).or_default();
            apps.insert(&image.release.app);
            *known_bytes = *bytes;
        }
    }
    let mut apps: BTreeMap<&AppName, AppDisk> = BTreeMap::new();
    let with_images = usage.images.iter().map(|image| &image.release.app);
    for app in with_images.chain(usage.repositories.keys()).chain(usage.logs.iter().map(|log| &log.app)) {
        apps.entry(app).or_insert_with(|| AppDisk {
            app: app.clone(),
            repository_bytes: usage.repositories.get(app).copied().unwrap_or_default(),
            images_bytes: 0,
            logs_bytes: usage.logs.iter().filter(|log| log.app == *app).map(|log| log.bytes).sum(),
        });
    }
    for (owners, bytes) in owners.into_values() {
        if let (1, Some(app)) = (owners.len(), owners.first().and_then(|app| apps.get_mut(app))) {
            app.images_bytes += bytes;
        }
    }
    apps.into_values().collect()
}

/// Says a size with one digit behind the point, in the unit that fits: `0 MiB`, `4.2 MiB`, `60.0 GiB`.
pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    match bytes {
        0 => "0 MiB".to_owned(),
        1..GIB => format!("{:.1} MiB", bytes as f64 / MIB as f64),
        GIB.. => format!("{:.1} GiB", bytes as f64 / GIB as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::{CacheUsage, ImageUsage};

    const MIB: u64 = 1 << 20;

    fn image(release: &str, layers: &[&str]) -> ImageUsage {
        let layers = layers.iter().map(|id| ((*id).to_owned(), 10 * MIB)).collect();
        ImageUsage { release: release.parse().expect("a release"), layers, used_ms: 0 }
    }

    fn usage() -> DiskUsage {
        DiskUsage {
            repositories: [("blog".parse().expect("a name"), MIB)].into(),
            images: vec![
                image("blog-v1", &["base", "one"]),
                image("blog-v2", &["base", "one", "two"]),
                image("shop-v1", &["base", "shop"]),
            ],
            cache: CacheUsage { bytes: 5 * MIB, unused_bytes: 5 * MIB },
            ..DiskUsage::default()
        }
    }

    #[test]
    fn every_byte_is_in_one_row() {
        let report = DiskReport::new(1, &usage(), &BTreeSet::new(), DiskBudget::Whole(100 * MIB));
        let rows: Vec<_> = report.apps.iter().map(|a| (a.app.as_str(), a.images_bytes / MIB)).collect();
        assert_eq!(rows, [("blog", 20), ("shop", 10)]);
        assert_eq!(report.shared_layers_bytes, 10 * MIB);
        assert_eq!(report.parts[0].used_bytes, 46 * MIB);
    }

    #[test]
    fn a_push_is_refused_only_if_nothing_that_may_go_makes_room() {
        let live: BTreeSet<ReleaseId> =
            ["blog-v2", "shop-v1"].map(|name| name.parse().expect("a release")).into();
        let refusal = |mib| DiskReport::new(1, &usage(), &live, DiskBudget::Whole(mib * MIB)).refusal();
        // The cache may go; blog-v1 frees nothing.
        assert_eq!(refusal(41), None);
        let said = refusal(40).expect("refused");
        for part in
            ["46.0 MiB of 40.0 MiB", "images 40.0 MiB", "build cache 5.0 MiB", "func df", "`disk`", "func rm"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
