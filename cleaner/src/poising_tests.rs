//! What is made ahead, when, and in which order.

use func_ledger::{Cool, Watch};
use func_model::{Release, SeenState};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::testing::{POISED_MAX, World, blog, instance, release};
use crate::{reconcile, start};

const SECOND: Duration = Duration::from_secs(1);

/// A world whose plans are made and whose next starts are made ahead.
async fn living(apps: &[Release]) -> (World, [JoinHandle<()>; 2]) {
    let world = World::cold(apps).await;
    let loops = [
        tokio::spawn(reconcile::keep_right(world.cleaner.clone())),
        tokio::spawn(keep_poised(world.cleaner.clone())),
    ];
    (world, loops)
}

async fn is_poised(world: &World, id: &InstanceId) -> bool {
    world.record(id).await.poised.is_some()
}

async fn until_poised(world: &World, id: &InstanceId) {
    let poised = async {
        while !is_poised(world, id).await {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(5 * SECOND, poised).await.expect("made ahead");
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_made_ahead_once() {
    let (world, _loops) = living(&[release("blog")]).await;
    until_poised(&world, &blog()).await;
    sleep(120 * SECOND).await;
    assert_eq!(world.engine.told(), ["poise blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn the_successor_is_made_ahead_within_a_fraction_of_a_second_after_the_stop() {
    let (world, _loops) = living(&[release("blog")]).await;
    until_poised(&world, &blog()).await;
    world.warm(&blog(), 0).await;
    crate::cooling::cool(&world.cleaner, &blog(), 0).await.expect("cooled");
    world.until(&blog(), "cold").await;
    let began = Instant::now();
    until_poised(&world, &blog()).await;
    // The time until it is looked, and the engine's own 0.2 s.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(world.engine.told(), ["poise blog-v1.1", "stop blog-v1.1", "poise blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_comes_while_it_is_made_ahead_opens_it() {
    let world = World::cold(&[release("blog")]).await;
    world.plan().await;
    let _loop = tokio::spawn(keep_poised(world.cleaner.clone()));
    sleep(Duration::from_millis(100)).await;
    let (claim, _) = world.claim(&blog()).await;
    let started = start::start(&world.cleaner, &blog(), claim.generation, 5 * SECOND).await.expect("started");
    assert_eq!(started.how, func_runner::How::Opened);
    assert_eq!(world.engine.told(), ["poise blog-v1.1", "start blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_budget_is_made_ahead_and_what_leaves_it_is_removed_through_the_ledger() {
    let apps = ["a", "b", "c", "d"];
    let releases: Vec<_> = apps.iter().map(|app| release(app)).collect();
    let (world, _loops) = living(&releases).await;
    sleep(5 * SECOND).await;
    assert_eq!(world.engine.state().containers.len() as u64, POISED_MAX);
    let records = world.ledger.records().await.expect("known").0;
    let left_out = records.iter().find(|(_, r)| r.poised.is_none()).map(|(id, _)| id.clone()).expect("one");
    world.warm(&left_out, 0).await;
    crate::cooling::cool(&world.cleaner, &left_out, 0).await.expect("cooled");
    sleep(5 * SECOND).await;
    assert!(is_poised(&world, &left_out).await, "it was used last");
    let poised: Vec<_> = world.engine.state().containers.keys().cloned().collect();
    assert_eq!(poised.len() as u64, POISED_MAX);
    let out = apps.iter().map(|app| instance(app)).find(|id| !poised.contains(id)).expect("one");
    assert!(world.engine.told().contains(&format!("stop {out}")));
    assert!(world.rests(&out).await);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_made_ahead_is_not_tried_with_every_plan() {
    let world = World::cold(&[release("blog")]).await;
    world.engine.state().failing_poises = usize::MAX;
    let _loop = tokio::spawn(keep_poised(world.cleaner.clone()));
    for _ in 0..100 {
        world.plan().await;
        sleep(SECOND / 4).await;
    }
    assert_eq!(world.engine.told(), ["poise blog-v1.1"]);
    sleep(TRY_AGAIN).await;
    world.plan().await;
    sleep(SECOND).await;
    assert_eq!(world.engine.told().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_warm_is_not_made_ahead() {
    let kept = Release { min: 1, ..release("blog") };
    let (world, _loops) = living(&[kept]).await;
    sleep(5 * SECOND).await;
    assert!(world.engine.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_retired_release_keeps_nothing_that_was_made_ahead() {
    let (world, _loops) = living(&[release("blog")]).await;
    until_poised(&world, &blog()).await;
    let newer = Release { id: "blog-v2".parse().expect("a release"), ..release("blog") };
    world.cleaner.config.manifests.add(&newer).expect("written");
    world.cleaner.config.manifests.set_current(&newer.id).expect("live");
    let route = func_model::Route::of(&newer);
    world.cleaner.config.promote.promote(&newer.id, &route).await.expect("promoted");
    until_poised(&world, &newer.id.instance()).await;
    sleep(SECOND).await;
    let containers: Vec<_> = world.engine.state().containers.keys().cloned().collect();
    assert_eq!(containers, [newer.id.instance()]);
    assert!(!world.ledger.records().await.expect("known").0.contains_key(&blog()));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_ahead_and_ended_is_made_again() {
    let (world, _loops) = living(&[release("blog")]).await;
    until_poised(&world, &blog()).await;
    let before = world.record(&blog()).await.poised;
    world.engine.state().containers.insert(blog(), SeenState::Exited);
    world.cleaner.changed.notify_one();
    sleep(5 * SECOND).await;
    let after = world.record(&blog()).await.poised;
    assert!(after.is_some() && after != before, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_was_lost_knows_again_what_is_made_ahead() {
    let world = World::lost(&[release("blog")]);
    let gate = func_model::GateName::new(7);
    world.engine.state().containers.insert(blog(), SeenState::Poised { gate, fresh: true });
    crate::restore::restore(&world.cleaner).await.expect("restored");
    assert_eq!(world.record(&blog()).await.poised.map(|poised| poised.gate), Some(gate));
    let generation = world.record(&blog()).await.generation;
    assert!(world.ledger.forget(&blog(), generation).await.is_err());
}
