//! When it is calm, and what is due then.

use func_ledger::{Cool, Enter};
use func_model::limits::FREEZE_MS;
use func_model::{LeaseId, Release, SeenState};

use super::*;
use crate::testing::{World, blog, release};

const REST: Rest = Rest { idle_ms: 60_000, freeze: Freeze::Auto, drain_ms: 600_000, kept: false };

fn addr() -> std::net::SocketAddr {
    "10.0.0.2:80".parse().expect("an address")
}

fn warm(used_ms: u64) -> Record {
    Record { phase: Phase::Warm { addr: addr() }, used_ms, ..Record::new(0) }
}

#[test]
fn only_what_is_warm_or_frozen_and_unused_and_unleased_is_cooled() {
    let frozen = Record { phase: Phase::Frozen { addr: addr() }, ..warm(0) };
    assert_eq!(due(&warm(0), REST, 60_000), Due::Cool);
    assert_eq!(due(&frozen, REST, 60_000), Due::Cool);
    assert_eq!(due(&warm(1), REST, 60_000), Due::Nothing);
    assert_eq!(due(&Record::new(0), REST, 60_000), Due::Nothing);
    let mut leased = warm(0);
    leased.leases.insert(LeaseId { holder: "edge".into(), serial: 1 }, 60_001);
    assert_eq!(due(&leased, REST, 60_000), Due::Nothing);
}

#[test]
fn only_what_starts_slowly_and_is_warm_is_frozen_before() {
    let slow = Record { start_ms: 100, ..warm(0) };
    assert_eq!(due(&slow, REST, FREEZE_MS), Due::Freeze { after_ms: FREEZE_MS });
    assert_eq!(due(&slow, REST, FREEZE_MS - 1), Due::Nothing);
    assert_eq!(due(&warm(0), REST, FREEZE_MS), Due::Nothing);
    assert_eq!(due(&slow, Rest { freeze: Freeze::Off, ..REST }, FREEZE_MS), Due::Nothing);
    let frozen = Record { phase: Phase::Frozen { addr: addr() }, ..slow.clone() };
    assert_eq!(due(&frozen, REST, FREEZE_MS), Due::Nothing);
    assert_eq!(due(&slow, REST, 60_000), Due::Cool);
}

#[test]
fn what_is_retired_needs_no_idle_time_and_is_not_frozen() {
    let retired = Record { retired: true, start_ms: 100, ..warm(60_000) };
    assert_eq!(due(&retired, REST, 60_000), Due::Cool);
}

#[test]
fn only_what_is_retired_is_cut_and_only_when_its_time_is_over() {
    let used =
        Record { leases: [(LeaseId { holder: "edge".into(), serial: 1 }, u64::MAX)].into(), ..warm(0) };
    let retired = Record { retired: true, retired_ms: 50_000, ..used.clone() };
    assert_eq!(due(&used, REST, 3_600_000), Due::Nothing);
    assert_eq!(due(&retired, REST, 649_999), Due::Nothing);
    assert_eq!(due(&retired, REST, 650_000), Due::Cut);
    assert_eq!(due(&retired, Rest { kept: true, ..REST }, 650_000), Due::Cut);
    assert_eq!(
        due(&Record { phase: Phase::Cooling { until_ms: 0 }, ..retired }, REST, 650_000),
        Due::Nothing
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_an_end_holds_a_retired_release_no_longer_than_it_says() {
    let world = World::cold(&[Release { drain_ms: Some(60_000), ..release("blog") }]).await;
    let (claim, lease) = world.claim(&blog()).await;
    world.engine.state().containers.insert(blog(), SeenState::Running { addr: addr() });
    world.ledger.woken(&claim, addr(), &lease, None).await.expect("woken");
    world.retire(&blog()).await;
    for _ in 0..60 {
        look_once(&world.cleaner).await.expect("looked");
        assert!(world.engine.told().is_empty());
        tokio::time::advance(TICK).await;
        world.ledger.keep(&[(blog(), lease.clone())], &[]).await.expect("kept");
    }
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.engine.told(), ["stop blog-v1.1"]);
    assert_eq!(world.phase(&blog()).await, "cold");
}

#[test]
fn what_is_kept_warm_is_left_alone_while_it_is_live() {
    let kept = Rest { kept: true, ..REST };
    assert_eq!(due(&warm(0), kept, 3_600_000), Due::Nothing);
    assert_eq!(due(&Record { retired: true, ..warm(0) }, kept, 0), Due::Cool);
}

#[test]
fn a_claim_whose_holder_died_is_brought_to_rest_though_nobody_asks() {
    let owner = LeaseId { holder: "edge".into(), serial: 1 };
    let waking = Record { phase: Phase::Waking { owner, until_ms: 10_000 }, ..Record::new(0) };
    assert!(!is_abandoned(&waking, 9_999), "its holder is at it");
    assert!(is_abandoned(&waking, 10_000));
    assert!(!is_abandoned(&Record::new(0), 10_000));
}

const TICK: Duration = Duration::from_millis(COOL_EVERY_MS);

fn calm_now() -> Calm {
    Calm { from: Instant::now(), looked: None }
}

/// Found by `shared/races`: the ledger was away for longer than a lease, the cleaner was killed meanwhile, and the next
/// one cooled what was in use before the edge could renew.
#[tokio::test(start_paused = true)]
async fn a_new_cleaner_cools_nothing_for_one_lease_time() {
    let mut calm = Calm::new();
    for second in 0..15 {
        assert!(!calm.look(second * 1_000), "second {second}");
        tokio::time::advance(TICK).await;
    }
    assert!(calm.look(15_000));
}

#[tokio::test(start_paused = true)]
async fn it_is_calm_while_both_clocks_go_alike() {
    let mut calm = calm_now();
    for second in 0..100 {
        assert!(calm.look(second * 1_000));
        tokio::time::advance(TICK).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_disturbance_nothing_is_cooled_for_one_lease_time() {
    // A ledger that was away; its clock that jumped on, and back; a machine that slept.
    for disturb in [
        |calm: &mut Calm, ms: u64| {
            calm.disturb();
            ms
        },
        |_: &mut Calm, ms: u64| ms + 3_600_000,
        |_: &mut Calm, ms: u64| ms - 3_600_000,
    ] {
        let (mut calm, start_ms) = (calm_now(), 10_000_000);
        assert!(calm.look(start_ms));
        let mut ms = disturb(&mut calm, start_ms);
        assert!(!calm.look(ms));
        for _ in 0..LEASE_MS / COOL_EVERY_MS - 1 {
            tokio::time::advance(TICK).await;
            ms += COOL_EVERY_MS;
            assert!(!calm.look(ms));
        }
        tokio::time::advance(TICK).await;
        assert!(calm.look(ms + COOL_EVERY_MS));
    }
    let mut calm = calm_now();
    assert!(calm.look(0));
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(!calm.look(60_000), "it was held up for a minute");
}

#[tokio::test(start_paused = true)]
async fn what_an_edge_is_in_is_neither_stopped_nor_frozen_though_the_ledger_knows_no_lease() {
    let world = World::cold(&[release("blog")]).await;
    world.warm(&blog(), 10_000).await;
    let occupied = world.cleaner.occupancy.occupy(&blog()).expect("locked").expect("nobody stops it");
    freeze(&world.cleaner, &blog(), 0).await.expect("asked");
    cool(&world.cleaner, &blog(), 0).await.expect("asked");
    world.retire(&blog()).await;
    tokio::time::advance(Duration::from_secs(3_600)).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!((world.phase(&blog()).await, world.engine.told()), ("warm", vec![]));
    drop(occupied);
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.engine.told(), ["stop blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_granted_to_a_cleaner_that_died_goes_on_if_an_edge_is_in_it() {
    let world = World::cold(&[release("blog")]).await;
    world.warm(&blog(), 0).await;
    world.ledger.cool(&blog(), 0).await.expect("asked").expect("granted");
    let _occupied = world.cleaner.occupancy.occupy(&blog()).expect("locked").expect("nobody stops it");
    world.plan().await;
    world.until_done().await;
    assert_eq!((world.phase(&blog()).await, world.engine.told()), ("warm", vec![]));
}
