//! Waking ahead of time.

use func_ledger::{Cool, Enter};
use func_model::{Release, SeenState};
use tokio::time::advance;

use super::*;
use crate::cooling::look_once;
use crate::testing::{World, blog, instance, release};

/// 2026-01-01 00:00 UTC.
const NEW_YEAR_MS: u64 = 1_767_225_600_000;

fn kept() -> Release {
    Release { min: 1, ..release("blog") }
}

fn at(line: &str) -> Release {
    Release { warm_at: vec![line.to_owned()], ..release("blog") }
}

async fn look(world: &World, ahead: &mut Ahead, unix_ms: u64) {
    ahead.look(&world.cleaner, unix_ms).await.expect("looked");
    world.until_done().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_warm_is_woken_without_a_request_and_again_after_it_died() {
    let (world, mut ahead) = (World::cold(&[kept(), release("wiki")]).await, Ahead::new());
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "warm");
    assert!(world.record(&blog()).await.leases.is_empty());
    assert_eq!(world.record(&blog()).await.start_ms, 100);
    assert_eq!(world.phase(&instance("wiki")).await, "cold");
    world.engine.state().containers.insert(blog(), SeenState::Exited);
    world.plan().await;
    assert_eq!(world.phase(&blog()).await, "cold");
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "warm");
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_warm_is_neither_cooled_nor_frozen_until_it_is_retired() {
    let (world, mut ahead) = (World::cold(&[kept()]).await, Ahead::new());
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    advance(Duration::from_secs(3_600)).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.engine.told(), ["start blog-v1.1"]);
    world.retire(&blog()).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.engine.told(), ["start blog-v1.1", "stop blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_warm_and_fails_is_tried_again_after_its_backoff() {
    let (world, mut ahead) = (World::cold(&[kept()]).await, Ahead::new());
    world.engine.state().silent_starts = 1;
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "broken");
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.engine.told().len(), 1);
    advance(Duration::from_secs(1)).await;
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "warm");
}

/// An engine that was away used to make every app that is kept warm broken, for up to a minute.
#[tokio::test(start_paused = true)]
async fn what_is_kept_warm_is_not_broken_by_trouble_of_the_engine() {
    let (world, mut ahead) = (World::cold(&[kept()]).await, Ahead::new());
    world.engine.state().failing_starts = 1;
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "cold");
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "warm");
}

#[tokio::test(start_paused = true)]
async fn a_schedule_wakes_at_its_minute_and_then_it_idles_out() {
    let (world, mut ahead) = (World::cold(&[at("5 0 * * *")]).await, Ahead::new());
    for minute in 0..5 {
        look(&world, &mut ahead, NEW_YEAR_MS + minute * MINUTE_MS).await;
    }
    assert_eq!(world.phase(&blog()).await, "cold");
    for second in [0, 2, 4] {
        look(&world, &mut ahead, NEW_YEAR_MS + 5 * MINUTE_MS + second * 1_000).await;
    }
    assert_eq!(world.phase(&blog()).await, "warm");
    assert_eq!(world.engine.told(), ["start blog-v1.1"]);
    advance(Duration::from_secs(60)).await;
    look_once(&world.cleaner).await.expect("looked");
    world.until_done().await;
    assert_eq!(world.phase(&blog()).await, "cold");
}

/// It used to stay cold until its schedule's next time.
#[tokio::test(start_paused = true)]
async fn a_schedule_whose_minute_met_trouble_of_the_engine_is_tried_again_for_a_few_minutes() {
    for (minutes, phase) in [(1, "warm"), (DUE_MINUTES, "cold")] {
        let (world, mut ahead) = (World::cold(&[at("5 0 * * *")]).await, Ahead::new());
        world.engine.state().failing_starts = 1;
        look(&world, &mut ahead, NEW_YEAR_MS + 5 * MINUTE_MS).await;
        assert_eq!(world.phase(&blog()).await, "cold");
        look(&world, &mut ahead, NEW_YEAR_MS + (5 + minutes) * MINUTE_MS).await;
        assert_eq!(world.phase(&blog()).await, phase, "{minutes} minutes later");
    }
}

#[tokio::test(start_paused = true)]
async fn a_schedule_of_an_app_that_does_not_start_is_not_tried_again() {
    let (world, mut ahead) = (World::cold(&[at("5 0 * * *")]).await, Ahead::new());
    world.engine.state().silent_starts = 1;
    look(&world, &mut ahead, NEW_YEAR_MS + 5 * MINUTE_MS).await;
    assert_eq!(world.phase(&blog()).await, "broken");
    advance(Duration::from_secs(60)).await;
    look(&world, &mut ahead, NEW_YEAR_MS + 6 * MINUTE_MS).await;
    assert_eq!(world.engine.told(), ["start blog-v1.1"]);
}

#[tokio::test(start_paused = true)]
async fn a_schedule_on_what_is_warm_counts_as_a_use() {
    let (world, mut ahead) = (World::cold(&[at("* * * * *")]).await, Ahead::new());
    world.warm(&blog(), 0).await;
    let before = world.record(&blog()).await.used_ms;
    advance(Duration::from_secs(59)).await;
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.record(&blog()).await.used_ms, before + 59_000);
    assert!(world.engine.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn minutes_that_were_missed_are_not_made_up_for() {
    let (world, mut ahead) = (World::cold(&[at("5 0 * * *")]).await, Ahead::new());
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    look(&world, &mut ahead, NEW_YEAR_MS + 10 * MINUTE_MS).await;
    look(&world, &mut ahead, NEW_YEAR_MS - 60 * MINUTE_MS).await;
    assert!(world.engine.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_no_schedule_is_passed_over() {
    let mut both = at("every day");
    both.warm_at.push("0 0 * * *".to_owned());
    let (world, mut ahead) = (World::cold(&[both]).await, Ahead::new());
    look(&world, &mut ahead, NEW_YEAR_MS).await;
    assert_eq!(world.phase(&blog()).await, "warm");
}

#[tokio::test(start_paused = true)]
async fn only_a_few_are_woken_at_once() {
    let apps: Vec<Release> = (0..10).map(|n| Release { min: 1, ..release(&format!("app-{n}")) }).collect();
    let (world, mut ahead) = (World::cold(&apps).await, Ahead::new());
    for _ in 0..apps.len().div_ceil(WAKES) {
        look(&world, &mut ahead, NEW_YEAR_MS).await;
    }
    assert_eq!(world.engine.state().starting_most, WAKES);
    for app in &apps {
        assert_eq!(world.phase(&app.id.instance()).await, "warm");
    }
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_was_lost_on_the_way_is_nobodys_failure() {
    let world = World::cold(&[kept()]).await;
    let (claim, lease) = world.claim(&blog()).await;
    world.ledger.failed(&claim).await.expect("told");
    let before = world.record(&blog()).await;
    start_claimed(&world.cleaner, &claim, lease).await;
    assert_eq!(world.record(&blog()).await, before);
    assert!(world.ledger.forget(&blog(), before.generation).await.is_err());
}
