//! What the planner decides, case by case.

use std::net::SocketAddr;

use super::*;
use crate::{LeaseId, Poised};

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
        ..Known::default()
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
    stopping.busy.insert(id());
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

/// Found by the model of two replicas: the manifest of a release went while its second replica had a record.
#[test]
fn a_release_and_its_image_stay_as_long_as_any_replica_has_a_record() {
    let mut known = known(None);
    for number in 2..=7 {
        known.releases.insert(release(&format!("blog-v{number}")));
    }
    let second = |name: &str| InstanceId { release: release(name), replica: 2 };
    known.records.insert(second("blog-v2"), record(waking(NOW + 1)));
    known.records.insert(second("blog-v9"), record(waking(NOW + 1)));
    let image = SeenImage { tag: "func/blog:v9".into(), release: release("blog-v9") };
    let seen = Seen { containers: vec![], images: vec![image] };
    assert_eq!(one(&known, &seen), None);
}

const GATE: u128 = 7;

fn poised(gate: u128) -> Poised {
    Poised { gate: GateName::new(gate), addr: addr(), health: None }
}

/// At rest, with this made ahead.
fn ahead(gate: u128) -> Record {
    Record { poised: Some(poised(gate)), ..record(Phase::Cold) }
}

fn held(gate: u128, fresh: bool) -> Option<SeenState> {
    Some(SeenState::Poised { gate: GateName::new(gate), fresh })
}

fn paused() -> Option<SeenState> {
    Some(SeenState::Paused { addr: addr() })
}

/// As `known`, with room for one that is made ahead.
fn roomy(record: Option<Record>) -> Known {
    Known { poised_max: 1, ..known(record) }
}

fn poise() -> Option<Step> {
    Some(Step::Poise { id: id(), generation: 5 })
}

fn discard() -> Option<Step> {
    Some(Step::Discard { id: id(), generation: 5 })
}

fn reset() -> Option<Step> {
    Some(Step::Reset { id: id(), generation: 5 })
}

#[test]
fn what_rests_is_made_ahead_and_what_is_made_ahead_is_noted() {
    let cold = roomy(Some(record(Phase::Cold)));
    assert_eq!(one(&cold, &seen(None)), poise());
    assert_eq!(one(&cold, &seen(held(GATE, true))), poise(), "the ledger does not have it");
    let other = roomy(Some(ahead(GATE + 1)));
    assert_eq!(one(&other, &seen(held(GATE, true))), poise(), "the ledger has another");
    assert_eq!(one(&roomy(Some(ahead(GATE))), &seen(held(GATE, true))), None);
    assert_eq!(one(&known(Some(record(Phase::Cold))), &seen(None)), None, "there is no room");
}

#[test]
fn only_what_is_cold_and_live_and_free_and_has_a_manifest_is_made_ahead() {
    let lease = LeaseId { holder: "edge".into(), serial: 1 };
    let mut leased = retired(Phase::Cold);
    leased.leases.insert(lease, NOW + 1);
    assert_eq!(one(&roomy(Some(leased)), &seen(None)), None);
    for phase in [waking(NOW + 1), Phase::Broken { until_ms: NOW + 1 }] {
        assert_eq!(one(&roomy(Some(record(phase))), &seen(None)), None);
    }
    let mut busy = roomy(Some(record(Phase::Cold)));
    busy.busy.insert(id());
    assert_eq!(one(&busy, &seen(None)), None);
    let mut spoilt = roomy(Some(record(Phase::Cold)));
    spoilt.releases.clear();
    assert_eq!(one(&spoilt, &seen(None)), None);
    // What is in its way goes first.
    let cold = roomy(Some(record(Phase::Cold)));
    assert_eq!(one(&cold, &seen(Some(SeenState::Exited))), remove(false));
    assert_eq!(one(&cold, &seen(Some(SeenState::Created))), remove(false));
}

#[test]
fn beyond_the_budget_the_least_recently_used_is_left_out_and_loses_what_it_has() {
    let mut known = roomy(Some(Record { used_ms: NOW - 2, ..ahead(GATE) }));
    let wiki = release("wiki-v1");
    known.current.insert(wiki.app.clone(), wiki.number);
    known.routes.insert(wiki.app.clone(), wiki.number);
    known.releases.insert(wiki.clone());
    known.records.insert(wiki.instance(), Record { used_ms: NOW - 1, ..record(Phase::Cold) });
    let newer = Step::Poise { id: wiki.instance(), generation: 5 };
    let steps = plan(&known, &seen(held(GATE, true)), NOW);
    assert_eq!(Some(steps), discard().map(|discard| vec![discard, newer]));
    known.poised_max = 2;
    assert_eq!(
        plan(&known, &seen(held(GATE, true)), NOW),
        [Step::Poise { id: wiki.instance(), generation: 5 }]
    );
    // Those used last go first.
    known.records.insert(id(), Record { used_ms: NOW - 2, ..record(Phase::Cold) });
    let steps = plan(&known, &seen(None), NOW);
    assert_eq!(
        Some(steps),
        poise().map(|poise| vec![Step::Poise { id: wiki.instance(), generation: 5 }, poise])
    );
}

/// An upgrade of func makes all that was made ahead out of date at once.
#[test]
fn what_is_out_of_date_is_replaced_a_few_at_a_time_the_least_recently_used_first() {
    let (mut known, mut seen) = (Known { poised_max: 9, ..Known::default() }, Seen::default());
    for n in 1..=4_u64 {
        let live = release(&format!("app{n}-v1"));
        known.current.insert(live.app.clone(), live.number);
        known.routes.insert(live.app.clone(), live.number);
        known.releases.insert(live.clone());
        known.records.insert(live.instance(), Record { used_ms: NOW - n, ..ahead(u128::from(n)) });
        let state = SeenState::Poised { gate: GateName::new(u128::from(n)), fresh: false };
        let (container, instance) = (live.to_string(), Some(live.instance()));
        seen.containers.push(SeenContainer { container, instance, state });
    }
    let instance = |n| release(&format!("app{n}-v1")).instance();
    let discard = |n| Step::Discard { id: instance(n), generation: 5 };
    let poise = |n| Step::Poise { id: instance(n), generation: 5 };
    assert_eq!(plan(&known, &seen, NOW), [discard(3), discard(4)]);
    known.busy = [instance(3), instance(4)].into();
    assert_eq!(plan(&known, &seen, NOW), [], "while those are discarded, or made anew, no other is");
    known.busy.clear();
    seen.containers.pop();
    known.records.get_mut(&instance(4)).expect("known").poised = None;
    assert_eq!(plan(&known, &seen, NOW), [discard(3), poise(4)], "one that is made now counts");
    // Those that cannot be made ahead keep nobody from being renewed.
    seen.containers.pop();
    known.records.get_mut(&instance(3)).expect("known").poised = None;
    assert_eq!(plan(&known, &seen, NOW), [discard(2), poise(3), poise(4)]);
}

#[test]
fn what_is_made_ahead_and_is_not_wanted_or_old_is_discarded_through_the_ledger() {
    assert_eq!(one(&known(Some(ahead(GATE))), &seen(held(GATE, true))), discard(), "there is no room");
    assert_eq!(one(&roomy(Some(ahead(GATE))), &seen(held(GATE, false))), discard(), "it is old");
    let over = Record { poised: Some(poised(GATE)), ..retired(Phase::Cold) };
    assert_eq!(one(&roomy(Some(over)), &seen(held(GATE, true))), discard(), "it is retired");
    let broken = record(Phase::Broken { until_ms: NOW + 1 });
    assert_eq!(one(&roomy(Some(broken)), &seen(held(GATE, true))), discard());
    let unknown = Some(Step::Discard { id: id(), generation: 0 });
    assert_eq!(one(&roomy(None), &seen(held(GATE, true))), unknown);
    assert_eq!(one(&Known::default(), &seen(held(GATE, true))), remove(true));
}

#[test]
fn what_a_claim_took_and_did_not_open_is_removed_before_its_phase_changes() {
    let standing = Record { poised: Some(poised(GATE)), ..record(waking(NOW + 1)) };
    assert_eq!(one(&roomy(Some(standing)), &seen(held(GATE, true))), None);
    let over = Record { poised: Some(poised(GATE)), ..record(waking(NOW)) };
    assert_eq!(one(&roomy(Some(over.clone())), &seen(held(GATE, true))), discard());
    assert_eq!(one(&roomy(Some(over)), &seen(None)), reset());
}

#[test]
fn what_was_made_ahead_and_is_gone_is_forgotten() {
    assert_eq!(one(&roomy(Some(ahead(GATE))), &seen(None)), reset());
    let steps = plan(&roomy(Some(ahead(GATE))), &seen(Some(SeenState::Exited)), NOW);
    assert_eq!(Some(steps), reset().zip(remove(false)).map(|(reset, remove)| vec![reset, remove]));
    let over = Record { poised: Some(poised(GATE)), ..retired(Phase::Cold) };
    assert_eq!(one(&roomy(Some(over)), &seen(None)), reset(), "a record that has something is not forgotten");
}

#[test]
fn a_frozen_record_is_put_right_by_what_is_seen() {
    let frozen = known(Some(record(Phase::Frozen { addr: addr() })));
    assert_eq!(one(&frozen, &seen(paused())), None);
    assert_eq!(one(&frozen, &seen(running())), Some(Step::Adopt { id: id(), generation: 5, addr: addr() }));
    assert_eq!(one(&frozen, &seen(None)), reset());
    let steps = plan(&frozen, &seen(Some(SeenState::Exited)), NOW);
    assert_eq!(Some(steps), reset().zip(remove(false)).map(|(reset, remove)| vec![reset, remove]));
    let mut used = record(Phase::Frozen { addr: addr() });
    used.leases.insert(LeaseId { holder: "edge".into(), serial: 1 }, NOW + 1);
    assert_eq!(
        one(&known(Some(used.clone())), &seen(paused())),
        Some(Step::Thaw(id())),
        "a request is in it"
    );
    let cold = Record { phase: Phase::Cold, retired: true, ..used };
    assert_eq!(one(&known(Some(cold)), &seen(paused())), Some(Step::Thaw(id())), "restored as cold");
    let retired = known(Some(retired(Phase::Frozen { addr: addr() })));
    assert_eq!(one(&retired, &seen(paused())), None, "cooling stops it");
}

#[test]
fn what_is_paused_though_it_is_warm_goes_on_and_at_rest_it_is_discarded() {
    let warm = known(Some(record(Phase::Warm { addr: addr() })));
    assert_eq!(one(&warm, &seen(paused())), Some(Step::Thaw(id())));
    assert_eq!(one(&known(Some(record(Phase::Cold))), &seen(paused())), discard());
    assert_eq!(one(&known(Some(retired(Phase::Cold))), &seen(paused())), discard());
    assert_eq!(one(&known(Some(record(waking(NOW + 1)))), &seen(paused())), None, "it is being resumed");
    assert_eq!(one(&known(Some(record(waking(NOW)))), &seen(paused())), discard());
    let unknown = Some(Step::Discard { id: id(), generation: 0 });
    assert_eq!(one(&known(None), &seen(paused())), unknown);
    assert_eq!(one(&Known::default(), &seen(paused())), remove(true));
}

#[test]
fn a_freeze_that_nobody_is_at_ends_as_a_stop() {
    let mut cooling = known(Some(record(Phase::Cooling { until_ms: NOW + 1 })));
    assert_eq!(one(&cooling, &seen(paused())), Some(Step::StopAgain { id: id(), generation: 5 }));
    cooling.busy.insert(id());
    assert_eq!(one(&cooling, &seen(paused())), None);
}

#[test]
fn a_container_that_somebody_is_at_is_left_alone() {
    for state in [Some(SeenState::Created), Some(SeenState::Exited), Some(SeenState::Unreachable)] {
        for mut nothing in [Known::default(), known(Some(record(Phase::Cold)))] {
            nothing.busy.insert(id());
            assert_eq!(one(&nothing, &seen(state)), None);
        }
    }
}
