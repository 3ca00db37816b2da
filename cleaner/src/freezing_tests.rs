//! Freezing, against everything that may come between.

use func_ledger::Cool;
use func_model::limits::FREEZE_MS;
use func_model::{Release, SeenState};
use tokio::time::advance;

use super::*;
use crate::cooling::look_once;
use crate::testing::{FROZEN_BYTES_MAX, World, addr, blog, instance, release};

const UNUSED: Duration = Duration::from_millis(FREEZE_MS);

/// An app that starts in 100 ms, warm, and unused for as long as it takes to freeze it.
async fn unused() -> World {
    let world = World::cold(&[release("blog")]).await;
    world.warm(&blog(), 100).await;
    advance(UNUSED).await;
    world
}

fn state(world: &World) -> Option<SeenState> {
    world.engine.state().containers.get(&blog()).copied()
}

#[tokio::test(start_paused = true)]
async fn what_was_not_used_for_a_while_and_starts_slowly_is_frozen() {
    let world = unused().await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "frozen");
    assert_eq!(world.engine.told(), ["pause blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn frozen_ones_are_stopped_after_their_idle_time() {
    let world = unused().await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    advance(Duration::from_secs(54)).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "frozen");
    advance(Duration::from_secs(1)).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "cold");
    assert_eq!(world.engine.told(), ["pause blog-v1.1", "stop blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_frozen_one_is_resumed_by_a_start() {
    let world = unused().await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    let (claim, _) = world.claim(&blog()).await;
    let within = Duration::from_secs(5);
    let started = crate::start::start(&world.cleaner, &blog(), claim.generation, within).await;
    assert_eq!(started.expect("resumed").how, func_runner::How::Resumed);
}

#[tokio::test(start_paused = true)]
async fn one_that_was_retired_while_it_was_paused_goes_on() {
    let world = unused().await;
    look_once(&world.cleaner).await.expect("looked");
    tokio::task::yield_now().await;
    world.retire(&blog()).await;
    world.engine.state().failing_resumes = 2;
    world.until_done().await;
    assert_eq!(state(&world), Some(SeenState::Running { addr: addr() }));
    let resume = "resume blog-v1.1";
    assert_eq!(world.engine.told(), ["pause blog-v1.1", resume, resume, resume]);
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_be_paused_is_stopped_under_the_same_permit() {
    let world = unused().await;
    world.engine.state().failing_pauses = 1;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "cold");
    assert_eq!(state(&world), None);
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_run_is_cold_after_the_try_to_pause_it() {
    let world = unused().await;
    world.engine.state().containers.clear();
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "cold");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_paused_though_it_is_warm_goes_on_with_the_next_plan() {
    let world = unused().await;
    world.engine.state().containers.insert(blog(), SeenState::Paused { addr: addr() });
    world.plan().await;
    assert_eq!(state(&world), Some(SeenState::Running { addr: addr() }));
    assert_eq!(world.phase(&blog()).await, "warm");
}

#[tokio::test(start_paused = true)]
async fn a_plan_passes_over_what_somebody_is_at() {
    let world = unused().await;
    world.engine.state().containers.insert(blog(), SeenState::Paused { addr: addr() });
    let turn = world.cleaner.turns.try_take(&blog()).expect("free");
    world.plan().await;
    assert!(world.engine.told().is_empty());
    drop(turn);
    world.plan().await;
    assert_eq!(world.engine.told(), ["resume blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_memory_cap_the_least_recently_used_are_stopped() {
    let apps = ["c", "a", "b"];
    let releases: Vec<Release> = apps.iter().map(|app| release(app)).collect();
    let world = World::cold(&releases).await;
    for app in apps {
        world.warm(&instance(app), 100).await;
        world.engine.state().memory_bytes.insert(instance(app), FROZEN_BYTES_MAX / 2);
        advance(Duration::from_secs(1)).await;
    }
    advance(UNUSED).await;
    let mut frozen = Frozen::default();
    for app in apps {
        freeze(&world.cleaner, &instance(app), FREEZE_MS).await.expect("asked");
    }
    world.until_done().await;
    let (records, _) = world.cleaner.config.watch.records().await.expect("known");
    frozen.keep_small(&world.cleaner, &records).await.expect("kept");
    world.until_done().await;
    assert_eq!(world.phase(&instance("c")).await, "cold", "it was used first");
    assert_eq!(world.phase(&instance("a")).await, "frozen");
    assert_eq!(world.phase(&instance("b")).await, "frozen");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_frozen_in_the_quarantine() {
    let world = World::lost(&[release("blog")]);
    world.engine.state().containers.insert(blog(), SeenState::Running { addr: addr() });
    crate::restore::restore(&world.cleaner).await.expect("restored");
    assert!(world.ledger.freeze(&blog(), 0).await.expect("asked").is_err());
    freeze(&world.cleaner, &blog(), 0).await.expect("asked");
    world.until_done().await;
    assert!(world.engine.told().is_empty());
}

/// The plan said so, and the step looked only for what is warm.
#[tokio::test(start_paused = true)]
async fn a_frozen_one_that_somebody_holds_a_lease_on_goes_on() {
    let world = unused().await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "frozen");
    // An edge that was cut off from the ledger comes back, with a stream that it never ended.
    let lease = func_model::LeaseId { holder: "edge".into(), serial: 99 };
    func_ledger::Enter::keep(world.ledger.as_ref(), &[(blog(), lease)], &[]).await.expect("put back");
    world.plan().await;
    world.until_done().await;
    assert_eq!(state(&world), Some(SeenState::Running { addr: addr() }));
    world.plan().await;
    assert_eq!(world.phase(&blog()).await, "warm");
}
