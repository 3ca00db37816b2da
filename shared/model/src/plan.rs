//! What has to be done when what is known and what is seen differ. Pure: `plan` decides, the cleaner acts.
//!
//! The same plan is made at boot, every 30 s and after a loss; each step can be repeated, and each step that
//! touches what runs is guarded by the generation that the plan was made from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use crate::limits::{RELEASES_KEPT, RENEWED_AT_ONCE};
use crate::{AppName, GateName, InstanceId, Phase, Record, ReleaseId, ReleaseNumber};

/// What is written down: manifests, routes, records.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// `manifest/<app>/current` of each app.
    pub current: BTreeMap<AppName, ReleaseNumber>,
    /// Every release that has a manifest.
    pub releases: BTreeSet<ReleaseId>,
    /// Releases that somebody said to keep.
    pub pinned: BTreeSet<ReleaseId>,
    /// The live release of each app in the ledger.
    pub routes: BTreeMap<AppName, ReleaseNumber>,
    pub records: BTreeMap<InstanceId, Record>,
    /// What the one cleaner is starting, stopping or making ahead now.
    pub busy: BTreeSet<InstanceId>,
    /// How many instances may be made ahead.
    pub poised_max: usize,
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
    /// Made ahead, its process held at a gate that nobody has opened. `fresh`: it is what would be made now, and not old.
    Poised {
        gate: GateName,
        fresh: bool,
    },
    /// It is paused, its memory kept.
    Paused {
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
    /// It runs, or is made ahead, and nobody may use it: stop it.
    Discard { id: InstanceId, generation: u64 },
    /// It is warm in the ledger, and does not run.
    Gone { id: InstanceId, generation: u64 },
    /// Its claim is over, and it does not run.
    Reset { id: InstanceId, generation: u64 },
    /// It is warm in the ledger, and paused: let it go on.
    Thaw(InstanceId),
    /// It rests: make its next instance ahead, or take note of the one there is.
    Poise { id: InstanceId, generation: u64 },
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
    let states: BTreeMap<&InstanceId, SeenState> =
        seen.containers.iter().filter_map(|c| Some((c.instance.as_ref()?, c.state))).collect();
    let wanted = to_be_poised(known);
    let spared = stale_and_spared(known, &wanted, &states);
    for (id, record) in &known.records {
        let state = states.get(id).copied();
        if !spared.contains(id) {
            steps.extend(record_step(known, id, record, state, wanted.contains(&id), now_ms));
        }
    }
    steps.extend(seen.containers.iter().filter_map(|c| container_step(known, c, now_ms)));
    let missing = |id: &&&InstanceId| missing(known, &known.records[**id], id, states.get(*id).copied());
    steps.extend(wanted.iter().filter(missing).map(|id| {
        let generation = known.records[*id].generation;
        Step::Poise { id: (*id).clone(), generation }
    }));
    steps.extend(old_releases(known).into_iter().map(Step::RemoveRelease));
    let unused =
        |image: &&SeenImage| !known.releases.contains(&image.release) && !recorded(known, &image.release);
    steps.extend(seen.images.iter().filter(unused).cloned().map(Step::RemoveImage));
    steps
}

/// Gives the instances at rest whose next start is to be made ahead, those used last first.
fn to_be_poised(known: &Known) -> Vec<&InstanceId> {
    let rests = |(id, record): &(&InstanceId, &Record)| {
        record.phase == Phase::Cold
            && !record.retired
            && live(known, id)
            && known.releases.contains(&id.release)
    };
    let mut at_rest: Vec<_> = known.records.iter().filter(rests).collect();
    at_rest.sort_by_key(|(_, record)| std::cmp::Reverse(record.used_ms));
    at_rest.into_iter().take(known.poised_max).map(|(id, _)| id).collect()
}

/// Gives those whose next start was made ahead as it would not be made now, but for [`RENEWED_AT_ONCE`]: they can be
/// used as they are, and to replace all of them at once would leave nothing to be used. What is being replaced, and what
/// is not made ahead yet, counts; with nothing under way one is replaced all the same, since some can never be made ahead.
fn stale_and_spared<'a>(
    known: &Known,
    wanted: &[&'a InstanceId],
    states: &BTreeMap<&InstanceId, SeenState>,
) -> BTreeSet<&'a InstanceId> {
    let stale = |id: &&&InstanceId| {
        let poised = known.records[**id].poised.as_ref().map(|poised| poised.gate);
        matches!(states.get(**id), Some(SeenState::Poised { gate, fresh: false }) if Some(*gate) == poised)
    };
    let busy = wanted.iter().filter(|id| known.busy.contains(**id)).count();
    let held = |id: &&&InstanceId| matches!(states.get(**id), Some(SeenState::Poised { .. }));
    let bare = wanted.iter().filter(|id| !known.busy.contains(**id) && !held(id)).count();
    let at_once = RENEWED_AT_ONCE.saturating_sub(busy + bare).max(usize::from(busy == 0));
    wanted.iter().rev().filter(stale).skip(at_once).copied().collect()
}

/// Whether an instance that is to be poised is not, or not as the ledger has it.
fn missing(known: &Known, record: &Record, id: &InstanceId, state: Option<SeenState>) -> bool {
    let free = match (&record.poised, state) {
        (None, Some(SeenState::Poised { fresh, .. })) => fresh,
        (Some(poised), Some(SeenState::Poised { gate, fresh })) => fresh && gate != poised.gate,
        (None, None) => true,
        (Some(_), None)
        | (
            _,
            Some(
                SeenState::Created
                | SeenState::Running { .. }
                | SeenState::Paused { .. }
                | SeenState::Unreachable
                | SeenState::Exited,
            ),
        ) => false,
    };
    free && !known.busy.contains(id)
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

fn live(known: &Known, id: &InstanceId) -> bool {
    known.current.get(&id.release.app) == Some(&id.release.number)
}

/// The one step that a record needs, if any; the next plan sees what is left.
fn record_step(
    known: &Known,
    id: &InstanceId,
    record: &Record,
    state: Option<SeenState>,
    wanted: bool,
    now_ms: u64,
) -> Option<Step> {
    let (id, generation) = (id.clone(), record.generation);
    if !record.retired && !live(known, &id) && !record.leased(now_ms) && !claimed(record, now_ms) {
        return Some(Step::Retire(id));
    }
    match &record.phase {
        Phase::Waking { until_ms, .. } if *until_ms > now_ms => None,
        Phase::Cold | Phase::Waking { .. } | Phase::Broken { .. } => {
            at_rest_step(id, record, state, wanted, now_ms)
        }
        Phase::Warm { .. } => match state {
            Some(SeenState::Running { .. }) => None,
            Some(SeenState::Paused { .. }) => Some(Step::Thaw(id)),
            Some(
                SeenState::Created | SeenState::Poised { .. } | SeenState::Unreachable | SeenState::Exited,
            )
            | None => Some(Step::Gone { id, generation }),
        },
        Phase::Frozen { .. } => match state {
            // Somebody has a request in it: a ledger that was lost twice knew nothing of that.
            Some(SeenState::Paused { .. }) if record.leased(now_ms) => Some(Step::Thaw(id)),
            Some(SeenState::Paused { .. }) => None,
            Some(SeenState::Running { addr }) => Some(Step::Adopt { id, generation, addr }),
            Some(
                SeenState::Created | SeenState::Poised { .. } | SeenState::Unreachable | SeenState::Exited,
            )
            | None => Some(Step::Reset { id, generation }),
        },
        Phase::Cooling { .. } if known.busy.contains(&id) => None,
        Phase::Cooling { .. } => Some(Step::StopAgain { id, generation }),
    }
}

/// For an instance that nobody has the claim of, and that should not run.
fn at_rest_step(
    id: InstanceId,
    record: &Record,
    state: Option<SeenState>,
    wanted: bool,
    now_ms: u64,
) -> Option<Step> {
    let generation = record.generation;
    match state {
        // Somebody has a request in it: a ledger that was lost knew nothing of that.
        Some(SeenState::Paused { .. }) if record.leased(now_ms) => return Some(Step::Thaw(id)),
        Some(SeenState::Running { .. } | SeenState::Paused { .. }) if record.retired => {
            return Some(Step::Discard { id, generation });
        }
        Some(SeenState::Running { addr }) => return Some(Step::Adopt { id, generation, addr }),
        Some(SeenState::Paused { .. }) => return Some(Step::Discard { id, generation }),
        // What a claim took may still be opened by its holder: it goes before the phase is cold again.
        Some(SeenState::Poised { fresh, .. }) => {
            return (!wanted || !fresh).then_some(Step::Discard { id, generation });
        }
        Some(SeenState::Created | SeenState::Unreachable | SeenState::Exited) | None => {}
    }
    let over = matches!(record.phase, Phase::Waking { .. }) || record.poised.is_some();
    if over {
        return Some(Step::Reset { id, generation });
    }
    (record.retired && !record.leased(now_ms)).then_some(Step::Forget { id, generation })
}

fn claimed(record: &Record, now_ms: u64) -> bool {
    match record.phase {
        Phase::Waking { until_ms, .. } | Phase::Cooling { until_ms } => until_ms > now_ms,
        Phase::Cold | Phase::Warm { .. } | Phase::Frozen { .. } | Phase::Broken { .. } => false,
    }
}

/// A container without a record. Those with one are dealt with by their record, but for what is over.
fn container_step(known: &Known, seen: &SeenContainer, now_ms: u64) -> Option<Step> {
    let remove = |running| {
        let (container, instance) = (seen.container.clone(), seen.instance.clone());
        Some(Step::RemoveContainer { container, instance, running })
    };
    let Some(id) = &seen.instance else { return remove(true) };
    if known.busy.contains(id) {
        return None;
    }
    let record = known.records.get(id);
    match seen.state {
        SeenState::Exited => remove(false),
        SeenState::Unreachable if record.is_some_and(|r| claimed(r, now_ms)) => None,
        SeenState::Unreachable => remove(true),
        SeenState::Created if record.is_some_and(|r| claimed(r, now_ms)) => None,
        SeenState::Created => remove(false),
        SeenState::Running { .. } | SeenState::Poised { .. } | SeenState::Paused { .. }
            if record.is_some() =>
        {
            None
        }
        // A manifest means that a rollback may introduce it at any time: stop it through the ledger.
        SeenState::Running { .. } | SeenState::Poised { .. } | SeenState::Paused { .. }
            if known.releases.contains(&id.release) =>
        {
            Some(Step::Discard { id: id.clone(), generation: 0 })
        }
        SeenState::Running { .. } | SeenState::Poised { .. } | SeenState::Paused { .. } => remove(true),
    }
}

/// Whether any replica of a release has a record.
pub(crate) fn recorded(known: &Known, release: &ReleaseId) -> bool {
    let first = InstanceId { release: release.clone(), replica: 0 };
    known.records.range(first..).next().is_some_and(|(id, _)| id.release == *release)
}

/// Releases beyond the newest that are kept; never the live one, one with a record, or one that is pinned.
fn old_releases(known: &Known) -> Vec<ReleaseId> {
    let mut by_app: BTreeMap<&AppName, Vec<&ReleaseId>> = BTreeMap::new();
    for release in &known.releases {
        by_app.entry(&release.app).or_default().push(release);
    }
    let in_use = |r: &ReleaseId| {
        known.current.get(&r.app) == Some(&r.number) || recorded(known, r) || known.pinned.contains(r)
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
