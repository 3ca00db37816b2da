//! What the planner decides, case by case.

use std::net::SocketAddr;

use super::*;
use crate::LeaseId;

const NOW: u64 = 1_000_000;

fn addr() -> SocketAddr {
    "10.0.0.2:8080".parse().expect("an address")
}

fn release(name: &str) -> ReleaseId {
    name.parse().expect("a release")
}

fn record(phase: Phase) -> Record {
    Record { generation: 5, phase, ..Record::new(NOW) }
}

fn retired(phase: Phase) -> Record {
    Record { retired: true, ..record(phase) }
}

fn waking(until_ms: u64) -> Phase {
    Phase::Waking { owner: LeaseId { holder: "edge".into(), serial: 1 }, until_ms }
}

/// An app with one live release, its route, and this record.
fn known(record: Option<Record>) -> Known {
    let live = release("blog-v1");
    Known {
        current: BTreeMap::from([(live.app.clone(), live.number)]),
        releases: BTreeSet::from([live.clone()]),
        routes: BTreeMap::from([(live.app.clone(), live.number)]),
        records: record.map(|r| (live.instance(), r)).into_iter().collect(),
        stopping: BTreeSet::new(),
    }
}

fn seen(state: Option<SeenState>) -> Seen {
    let container = |state| SeenContainer {
        container: "c1".into(),
        instance: Some(release("blog-v1").instance()),
        state,
    };
    Seen { containers: state.map(container).into_iter().collect(), images: vec![] }
}

fn running() -> Option<SeenState> {
    Some(SeenState::Running { addr: addr() })
}

fn one(known: &Known, seen: &Seen) -> Option<Step> {
    let mut steps = plan(known, seen, NOW);
    assert!(steps.len() <= 1, "{steps:?}");
    steps.pop()
}

fn id() -> InstanceId {
    release("blog-v1").instance()
}

fn remove(running: bool) -> Option<Step> {
    Some(Step::RemoveContainer { container: "c1".into(), instance: Some(id()), running })
}

#[test]
fn when_all_is_as_it_should_be_there_is_nothing_to_do() {
    assert_eq!(one(&known(Some(record(Phase::Cold))), &seen(None)), None);
    assert_eq!(one(&known(Some(record(Phase::Warm { addr: addr() }))), &seen(running())), None);
    assert_eq!(one(&known(Some(record(waking(NOW + 1)))), &seen(Some(SeenState::Created))), None);
    let mut stopping = known(Some(record(Phase::Cooling { until_ms: NOW + 1 })));
    stopping.stopping.insert(id());
    assert_eq!(one(&stopping, &seen(running())), None);
}

#[test]
fn a_claim_that_is_over_is_cleared_by_what_is_seen() {
    let known = known(Some(record(waking(NOW))));
    assert_eq!(one(&known, &seen(running())), Some(Step::Adopt { id: id(), generation: 5, addr: addr() }));
    assert_eq!(one(&known, &seen(None)), Some(Step::Reset { id: id(), generation: 5 }));
}

#[test]
fn what_died_is_gone_and_its_container_goes() {
    let known = known(Some(record(Phase::Warm { addr: addr() })));
    assert_eq!(one(&known, &seen(None)), Some(Step::Gone { id: id(), generation: 5 }));
    let steps = plan(&known, &seen(Some(SeenState::Exited)), NOW);
    assert_eq!(Some(steps), remove(false).map(|remove| vec![Step::Gone { id: id(), generation: 5 }, remove]));
}

#[test]
fn a_stop_that_nobody_is_at_is_done_again() {
    let known = known(Some(record(Phase::Cooling { until_ms: NOW + 1 })));
    let again = Some(Step::StopAgain { id: id(), generation: 5 });
    assert_eq!(one(&known, &seen(running())), again);
    assert_eq!(one(&known, &seen(None)), again);
}

#[test]
fn a_stray_is_adopted_if_it_is_live_and_stopped_if_it_is_retired() {
    let adopt = Some(Step::Adopt { id: id(), generation: 5, addr: addr() });
    assert_eq!(one(&known(Some(record(Phase::Cold))), &seen(running())), adopt);
    let discard = Some(Step::Discard { id: id(), generation: 5 });
    assert_eq!(one(&known(Some(retired(Phase::Cold))), &seen(running())), discard);
    let unknown = Some(Step::Discard { id: id(), generation: 0 });
    assert_eq!(one(&known(None), &seen(running())), unknown);
}

#[test]
fn what_runs_beside_our_network_is_gone_and_is_stopped() {
    let known = known(Some(record(Phase::Warm { addr: addr() })));
    let steps = plan(&known, &seen(Some(SeenState::Unreachable)), NOW);
    assert_eq!(Some(steps), remove(true).map(|remove| vec![Step::Gone { id: id(), generation: 5 }, remove]));
}

#[test]
fn what_belongs_to_no_release_is_removed() {
    let nothing = Known::default();
    assert_eq!(one(&nothing, &seen(running())), remove(true));
    assert_eq!(one(&nothing, &seen(Some(SeenState::Exited))), remove(false));
    assert_eq!(one(&nothing, &seen(Some(SeenState::Created))), remove(false));
    let image = SeenImage { tag: "func/blog:v1".into(), release: release("blog-v1") };
    let seen = Seen { containers: vec![], images: vec![image.clone()] };
    assert_eq!(one(&nothing, &seen), Some(Step::RemoveImage(image)));
    assert_eq!(one(&known(None), &seen), None);
}

#[test]
fn a_route_that_differs_from_current_is_promoted_and_one_without_an_app_is_dropped() {
    let mut differs = known(None);
    differs.routes.clear();
    assert_eq!(one(&differs, &seen(None)), Some(Step::Promote(release("blog-v1"))));
    differs.releases.clear();
    assert_eq!(one(&differs, &seen(None)), None, "a release without a manifest is never promoted");
    let mut dropped = known(None);
    dropped.current.clear();
    assert_eq!(one(&dropped, &seen(None)), Some(Step::DropRoute(release("blog-v1").app)));
}

#[test]
fn a_release_that_is_not_live_is_retired_unless_somebody_is_at_it() {
    let mut known = known(Some(record(Phase::Warm { addr: addr() })));
    let live = release("blog-v2");
    known.current.insert(live.app.clone(), live.number);
    known.routes.insert(live.app.clone(), live.number);
    known.releases.insert(live);
    assert_eq!(one(&known, &seen(running())), Some(Step::Retire(id())));
    let lease = LeaseId { holder: "builder".into(), serial: 1 };
    for phase in [waking(NOW + 1), Phase::Warm { addr: addr() }] {
        let mut record = record(phase);
        record.leases.insert(lease.clone(), NOW + 1);
        known.records.insert(id(), record);
        assert_eq!(one(&known, &seen(running())), None);
    }
}

#[test]
fn a_retired_record_is_forgotten_when_it_is_cold_and_free() {
    let over = known(Some(retired(Phase::Cold)));
    assert_eq!(one(&over, &seen(None)), Some(Step::Forget { id: id(), generation: 5 }));
    let mut leased = retired(Phase::Cold);
    leased.leases.insert(LeaseId { holder: "edge".into(), serial: 1 }, NOW + 1);
    assert_eq!(one(&known(Some(leased)), &seen(None)), None);
}

#[test]
fn only_releases_beyond_the_newest_kept_are_removed_and_never_the_live_one() {
    let mut known = known(None);
    for number in 2..=8 {
        known.releases.insert(release(&format!("blog-v{number}")));
    }
    known.records.insert(release("blog-v2").instance(), record(waking(NOW + 1)));
    // 8 7 6 5 4 are kept; 1 is live, 2 has a record.
    assert_eq!(one(&known, &seen(None)), Some(Step::RemoveRelease(release("blog-v3"))));
}
