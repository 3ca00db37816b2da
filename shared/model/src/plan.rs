//! What has to be done when what is known and what is seen differ. Pure: `plan` decides, the cleaner acts.
//!
//! The same plan is made at boot, every 30 s and after a loss; each step can be repeated, and each step that
//! touches what runs is guarded by the generation that the plan was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::limits::RELEASES_KEPT;
use crate::{AppName, InstanceId, Phase, Record, ReleaseId, ReleaseNumber};

/// What is written down: manifests, routes, records.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// `manifest/<app>/current` of each app.
    pub current: BTreeMap<AppName, ReleaseNumber>,
    /// Every release that has a manifest.
    pub releases: BTreeSet<ReleaseId>,
    /// The live release of each app in the ledger.
    pub routes: BTreeMap<AppName, ReleaseNumber>,
    pub records: BTreeMap<InstanceId, Record>,
    /// What the one cleaner is stopping now.
    pub stopping: BTreeSet<InstanceId>,
}

/// What the engine shows.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub containers: Vec<SeenContainer>,
    pub images: Vec<SeenImage>,
}

/// One container that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenContainer {
    /// The engine's id.
    pub container: String,
    pub instance: Option<InstanceId>,
    pub state: SeenState,
}

/// What the engine says of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeenState {
    /// Made, not started: somebody may be starting it.
    Created,
    Running {
        addr: SocketAddr,
    },
    /// It runs, and is not on our network: of no use.
    Unreachable,
    Exited,
}

/// One image that carries our label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenImage {
    /// `func/blog:v7`.
    pub tag: String,
    pub release: ReleaseId,
}

/// One action of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The route leads elsewhere than `current`: promote it.
    Promote(ReleaseId),
    /// The ledger routes an app that has no manifest.
    DropRoute(AppName),
    /// The release is not live and nobody is making it live.
    Retire(InstanceId),
    /// It runs, and nobody has the claim: adopt it if it answers, else stop it.
    Adopt { id: InstanceId, generation: u64, addr: SocketAddr },
    /// It runs, and nobody may use it: stop it.
    Discard { id: InstanceId, generation: u64 },
    /// It is warm in the ledger, and does not run.
    Gone { id: InstanceId, generation: u64 },
    /// Its claim is over, and it does not run.
    Reset { id: InstanceId, generation: u64 },
    /// A stop was not finished: stop again.
    StopAgain { id: InstanceId, generation: u64 },
    /// A container that is over, or of a release that does not exist. `running`: stop it first.
    RemoveContainer { container: String, instance: Option<InstanceId>, running: bool },
    /// The record of a retired instance that is cold.
    Forget { id: InstanceId, generation: u64 },
    /// A release that is older than what is kept.
    RemoveRelease(ReleaseId),
    /// An image of a release that has no manifest.
    RemoveImage(SeenImage),
}

/// Gives what has to be done, in the order in which to do it; empty when all is as it should be.
pub fn plan(known: &Known, seen: &Seen, now_ms: u64) -> Vec<Step> {
    let mut steps = routes(known);
    let running: BTreeMap<&InstanceId, SocketAddr> =
        seen.containers.iter().filter_map(running_instance).collect();
    for (id, record) in &known.records {
        steps.extend(record_step(known, id, record, running.get(id).copied(), now_ms));
    }
    steps.extend(seen.containers.iter().filter_map(|c| container_step(known, c, now_ms)));
    steps.extend(old_releases(known).into_iter().map(Step::RemoveRelease));
    let unused = |image: &&SeenImage| {
        !known.releases.contains(&image.release) && !known.records.contains_key(&image.release.instance())
    };
    steps.extend(seen.images.iter().filter(unused).cloned().map(Step::RemoveImage));
    steps
}

fn routes(known: &Known) -> Vec<Step> {
    let mut steps = Vec::new();
    for (app, number) in &known.current {
        let release = ReleaseId { app: app.clone(), number: *number };
        if known.releases.contains(&release) && known.routes.get(app) != Some(number) {
            steps.push(Step::Promote(release));
        }
    }
    steps.extend(
        known.routes.keys().filter(|app| !known.current.contains_key(*app)).cloned().map(Step::DropRoute),
    );
    steps
}

fn running_instance(container: &SeenContainer) -> Option<(&InstanceId, SocketAddr)> {
    match (&container.instance, container.state) {
        (Some(id), SeenState::Running { addr }) => Some((id, addr)),
        (None, _) | (_, SeenState::Created | SeenState::Unreachable | SeenState::Exited) => None,
    }
}

fn live(known: &Known, id: &InstanceId) -> bool {
    known.current.get(&id.release.app) == Some(&id.release.number)
}

/// The one step that a record needs, if any; the next plan sees what is left.
fn record_step(
    known: &Known,
    id: &InstanceId,
    record: &Record,
    runs: Option<SocketAddr>,
    now_ms: u64,
) -> Option<Step> {
    let (id, generation) = (id.clone(), record.generation);
    if !record.retired && !live(known, &id) && !record.leased(now_ms) && !claimed(record, now_ms) {
        return Some(Step::Retire(id));
    }
    match (&record.phase, runs) {
        (Phase::Waking { until_ms, .. }, _) if *until_ms > now_ms => None,
        (Phase::Cold | Phase::Waking { .. } | Phase::Broken { .. }, Some(_)) if record.retired => {
            Some(Step::Discard { id, generation })
        }
        (Phase::Cold | Phase::Waking { .. } | Phase::Broken { .. }, Some(addr)) => {
            Some(Step::Adopt { id, generation, addr })
        }
        (Phase::Waking { .. }, None) => Some(Step::Reset { id, generation }),
        (Phase::Warm { .. }, None) => Some(Step::Gone { id, generation }),
        (Phase::Cooling { .. }, _) if !known.stopping.contains(&id) => {
            Some(Step::StopAgain { id, generation })
        }
        (Phase::Cold | Phase::Broken { .. }, None) if record.retired && !record.leased(now_ms) => {
            Some(Step::Forget { id, generation })
        }
        (Phase::Cold | Phase::Broken { .. }, None)
        | (Phase::Warm { .. }, Some(_))
        | (Phase::Cooling { .. }, _) => None,
    }
}

fn claimed(record: &Record, now_ms: u64) -> bool {
    match record.phase {
        Phase::Waking { until_ms, .. } | Phase::Cooling { until_ms } => until_ms > now_ms,
        Phase::Cold | Phase::Warm { .. } | Phase::Broken { .. } => false,
    }
}

/// A container without a record. Those with one are dealt with by their record, but for what is over.
fn container_step(known: &Known, seen: &SeenContainer, now_ms: u64) -> Option<Step> {
    let remove = |running| {
        let (container, instance) = (seen.container.clone(), seen.instance.clone());
        Some(Step::RemoveContainer { container, instance, running })
    };
    let Some(id) = &seen.instance else { return remove(true) };
    let record = known.records.get(id);
    match seen.state {
        SeenState::Exited => remove(false),
        SeenState::Unreachable if record.is_some_and(|r| claimed(r, now_ms)) => None,
        SeenState::Unreachable => remove(true),
        SeenState::Created if record.is_some_and(|r| claimed(r, now_ms)) => None,
        SeenState::Created => remove(false),
        SeenState::Running { .. } if record.is_some() => None,
        // A manifest means that a rollback may introduce it at any time: stop it through the ledger.
        SeenState::Running { .. } if known.releases.contains(&id.release) => {
            Some(Step::Discard { id: id.clone(), generation: 0 })
        }
        SeenState::Running { .. } => remove(true),
    }
}

/// Releases beyond the newest that are kept; never the live one, never one with a record.
fn old_releases(known: &Known) -> Vec<ReleaseId> {
    let mut by_app: BTreeMap<&AppName, Vec<&ReleaseId>> = BTreeMap::new();
    for release in &known.releases {
        by_app.entry(&release.app).or_default().push(release);
    }
    let in_use = |r: &ReleaseId| {
        known.current.get(&r.app) == Some(&r.number) || known.records.contains_key(&r.instance())
    };
    by_app
        .into_values()
        .flat_map(|mut releases| {
            releases.sort_by_key(|r| std::cmp::Reverse(r.number));
            releases.into_iter().skip(RELEASES_KEPT).filter(|r| !in_use(r)).cloned().collect::<Vec<_>>()
        })
        .collect()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
