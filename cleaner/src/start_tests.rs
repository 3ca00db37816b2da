//! Starts: turns, claims, places.

use func_ledger::{Cool, Enter};
use func_model::SeenState;
use func_runner::How;
use tokio::time::timeout;

use super::*;
use crate::places::WAITING_MAX;
use crate::testing::{PLACES, World, addr, blog, instance, poised, release};

const SECOND: Duration = Duration::from_secs(1);

async fn call(world: &World, claim: &Claim, within: Duration) -> Result<Started, StartError> {
    start(&world.cleaner, &claim.id, claim.generation, within).await
}

/// Many apps, each asked for at once; gives what each start came to, in order.
async fn herd(world: &World, apps: &[InstanceId], within: Duration) -> Vec<Result<Started, StartError>> {
    let mut tasks = Vec::new();
    for id in apps {
        let ((claim, _), cleaner) = (world.claim(id).await, world.cleaner.clone());
        tasks.push(tokio::spawn(async move { start(&cleaner, &claim.id, claim.generation, within).await }));
        tokio::task::yield_now().await;
    }
    let mut ends = Vec::new();
    for task in tasks {
        ends.push(task.await.expect("no panic"));
    }
    ends
}

fn hundred() -> Vec<InstanceId> {
    (0..100).map(|n| instance(&format!("app-{n:02}"))).collect()
}

async fn world_of(apps: &[InstanceId]) -> World {
    let releases: Vec<_> = apps.iter().map(|id| release(id.release.app.as_str())).collect();
    World::cold(&releases).await
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_while_its_instance_is_stopped() {
    let world = World::cold(&[release("blog")]).await;
    world.warm(&blog(), 0).await;
    world.engine.state().takes = SECOND;
    crate::cooling::cool(&world.cleaner, &blog(), 0).await.expect("cooled");
    assert_eq!(world.cleaner.turns.taken().len(), 1);
    world.until(&blog(), "cold").await;
    let turn = world.cleaner.turns.try_take(&blog()).expect("stopped");
    let (claim, _) = world.claim(&blog()).await;
    let starting = call(&world, &claim, 10 * SECOND);
    tokio::pin!(starting);
    assert!(timeout(5 * SECOND, starting.as_mut()).await.is_err());
    assert_eq!(world.engine.told(), ["stop blog-v1.1"]);
    drop(turn);
    let started = starting.await.expect("started");
    assert_eq!(started.how, How::Made);
    assert!(started.took.queue_us >= 5_000_000, "{started:?}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_not_found_in_time_is_busy() {
    let world = World::cold(&[release("blog")]).await;
    let _turn = world.cleaner.turns.try_take(&blog()).expect("free");
    let (claim, _) = world.claim(&blog()).await;
    assert!(matches!(call(&world, &claim, SECOND).await, Err(StartError::Busy { .. })));
    assert!(world.engine.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_is_over_starts_nothing() {
    let world = World::cold(&[release("blog")]).await;
    let (claim, lease) = world.claim(&blog()).await;
    world.ledger.failed(&claim).await.expect("told");
    assert!(matches!(call(&world, &claim, SECOND).await, Err(StartError::Stale { .. })), "it failed");
    tokio::time::advance(SECOND).await;
    let (newer, _) = world.claim(&blog()).await;
    assert!(matches!(call(&world, &claim, SECOND).await, Err(StartError::Stale { .. })), "it is another's");
    world.ledger.woken(&newer, addr(), &lease, None).await.expect("woken");
    assert!(matches!(call(&world, &newer, SECOND).await, Err(StartError::Stale { .. })), "it is awake");
    assert!(world.engine.told().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_claim_on_a_ledger_that_is_lost_starts_nothing() {
    let world = World::lost(&[release("blog")]);
    let ended = start(&world.cleaner, &blog(), 1, SECOND).await;
    assert!(matches!(ended, Err(StartError::Stale { .. })), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_when_its_caller_leaves_and_a_second_call_finds_it() {
    let world = World::cold(&[release("blog")]).await;
    world.engine.state().takes = 2 * SECOND;
    let (claim, _) = world.claim(&blog()).await;
    assert!(timeout(SECOND, call(&world, &claim, 10 * SECOND)).await.is_err());
    let again = call(&world, &claim, 10 * SECOND).await.expect("started");
    assert_eq!(again.how, How::Found);
    assert_eq!(world.engine.state().starting_most, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_apps_asked_for_at_once_are_started_a_few_at_a_time_in_their_order() {
    let apps = hundred();
    let world = world_of(&apps).await;
    for (id, ended) in apps.iter().zip(herd(&world, &apps, 30 * SECOND).await) {
        assert_eq!(ended.expect("started").how, How::Made, "{id}");
    }
    assert_eq!(world.engine.state().starting_most, PLACES);
    let order: Vec<String> = apps.iter().map(|id| format!("start {id}")).collect();
    assert_eq!(world.engine.told(), order);
}

/// Who looked faster used to come first.
#[tokio::test(start_paused = true)]
async fn the_order_of_starts_is_that_of_asking_however_long_the_engine_takes_to_say_what_is_there() {
    let apps = hundred();
    let world = world_of(&apps).await;
    world.engine.state().look_takes = |id| {
        let number: u64 = id.release.app.as_str().trim_start_matches("app-").parse().expect("a number");
        Duration::from_millis(100 - number)
    };
    for ended in herd(&world, &apps, 30 * SECOND).await {
        ended.expect("started");
    }
    let order: Vec<String> = apps.iter().map(|id| format!("start {id}")).collect();
    assert_eq!(world.engine.told(), order);
}

#[tokio::test(start_paused = true)]
async fn those_that_find_no_place_in_time_are_busy_and_nothing_of_them_is_started() {
    let apps = hundred();
    let world = world_of(&apps).await;
    let ends = herd(&world, &apps, 3 * SECOND).await;
    let started = ends.iter().filter(|end| end.is_ok()).count();
    // For two of three seconds, 0.2 s each.
    assert_eq!(started, 10 * PLACES);
    assert!(ends[started..].iter().all(|end| matches!(end, Err(StartError::Busy { .. }))));
    assert_eq!(world.engine.told().len(), started);
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_behind_too_many_is_told_at_once() {
    let apps: Vec<_> = (0..WAITING_MAX + PLACES + 1).map(|n| instance(&format!("app-{n:03}"))).collect();
    let world = world_of(&apps).await;
    let (last, before) = apps.split_last().expect("some");
    let (starting, world) = (herd(&world, before, 30 * SECOND), &world);
    tokio::pin!(starting);
    assert!(timeout(SECOND / 10, starting.as_mut()).await.is_err());
    let (claim, _) = world.claim(last).await;
    let began = Instant::now();
    assert!(matches!(call(world, &claim, 30 * SECOND).await, Err(StartError::Busy { .. })));
    assert!(began.elapsed() < SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_is_made_ahead_or_paused_or_runs_needs_no_place() {
    let apps = hundred();
    let world = world_of(&apps).await;
    for (n, id) in apps.iter().enumerate() {
        let gate = n as u128;
        let state = match n % 3 {
            0 => SeenState::Poised { gate: func_model::GateName::new(gate), fresh: true },
            1 => SeenState::Paused { addr: addr() },
            _ => SeenState::Running { addr: addr() },
        };
        world.engine.state().containers.insert(id.clone(), state);
        if n % 3 == 0 {
            let generation = world.record(id).await.generation;
            let poise = func_ledger::Settle::Poise(poised(gate));
            world.ledger.settle(id, generation, poise).await.expect("poised");
            let folder = world.cleaner.config.data.gates().join(func_model::GateName::new(gate).to_string());
            std::fs::create_dir_all(&folder).expect("made");
            std::fs::write(folder.join("go"), "").expect("written");
        }
    }
    let mut places = Vec::new();
    for _ in 0..PLACES {
        places.push(world.cleaner.places.take().await);
    }
    let ends = herd(&world, &apps, 2 * SECOND).await;
    assert!(ends.iter().all(Result::is_ok));
    assert_eq!(world.engine.state().starting_most, 100);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_a_place_free_does_not_look_first() {
    let world = World::cold(&[release("blog")]).await;
    let (claim, _) = world.claim(&blog()).await;
    let started = call(&world, &claim, SECOND).await.expect("started");
    assert_eq!((started.how, world.engine.state().looks), (How::Made, 0));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_ahead_and_is_gone_needs_a_place() {
    let world = World::cold(&[release("blog")]).await;
    let (poised, generation) = (poised(1), world.record(&blog()).await.generation);
    // An edge has opened the gate, and nobody was there.
    let gate = world.cleaner.config.data.gates().join(poised.gate.to_string());
    std::fs::create_dir_all(&gate).expect("made");
    std::fs::write(gate.join("opened"), "").expect("marked");
    world.ledger.settle(&blog(), generation, func_ledger::Settle::Poise(poised)).await.expect("poised");
    let mut places = Vec::new();
    for _ in 0..PLACES {
        places.push(world.cleaner.places.take().await);
    }
    let (claim, _) = world.claim(&blog()).await;
    assert!(matches!(call(&world, &claim, SECOND).await, Err(StartError::Busy { .. })));
    places.pop();
    call(&world, &claim, SECOND).await.expect("started");
}

/// It used to wait for a place, and to be told that the machine was busy.
#[tokio::test(start_paused = true)]
async fn what_was_let_go_and_has_crashed_is_told_while_all_places_are_taken() {
    let world = World::cold(&[release("blog")]).await;
    let (poised, generation) = (poised(1), world.record(&blog()).await.generation);
    let gate = world.cleaner.config.data.gates().join(poised.gate.to_string());
    std::fs::create_dir_all(&gate).expect("made");
    for name in ["go", "opened", "passed"] {
        std::fs::write(gate.join(name), "").expect("made");
    }
    world.ledger.settle(&blog(), generation, func_ledger::Settle::Poise(poised)).await.expect("poised");
    world.engine.state().containers.insert(blog(), SeenState::Exited);
    world.engine.state().silent_starts = 1;
    let mut places = Vec::new();
    for _ in 0..PLACES {
        places.push(world.cleaner.places.take().await);
    }
    let (claim, _) = world.claim(&blog()).await;
    let error = call(&world, &claim, 10 * SECOND).await.expect_err("it crashed");
    assert!(error.is_apps_fault(), "{error}");
}

/// An engine that was slow to make containers used to be given one more with each second.
#[tokio::test(start_paused = true)]
async fn an_engine_that_takes_long_to_make_containers_makes_no_more_of_them_at_once() {
    let apps: Vec<_> = hundred().into_iter().take(3 * PLACES).collect();
    let world = world_of(&apps).await;
    world.engine.state().takes = 3 * SECOND;
    for ended in herd(&world, &apps, 30 * SECOND).await {
        ended.expect("started");
    }
    assert_eq!(world.engine.state().starting_most, PLACES);
}

#[tokio::test(start_paused = true)]
async fn an_app_that_does_not_answer_gives_its_place_back() {
    let apps: Vec<_> = hundred().into_iter().take(PLACES).collect();
    let mut all = apps.clone();
    all.push(blog());
    let world = world_of(&all).await;
    world.engine.state().takes = 20 * SECOND;
    let slow = herd(&world, &apps, 30 * SECOND);
    tokio::pin!(slow);
    assert!(timeout(SECOND / 2, slow.as_mut()).await.is_err());
    for app in &apps {
        world.engine.state().containers.insert(app.clone(), SeenState::Running { addr: addr() });
    }
    world.engine.state().takes = SECOND;
    let (claim, _) = world.claim(&blog()).await;
    let started = call(&world, &claim, 10 * SECOND).await.expect("started");
    assert!(Duration::from_micros(started.took.queue_us) <= PLACE_HELD);
    assert!(slow.await.iter().all(Result::is_ok));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_asks_for_a_new_plan() {
    let world = World::cold(&[release("blog")]).await;
    world.engine.state().failing_starts = 1;
    let (claim, _) = world.claim(&blog()).await;
    assert!(call(&world, &claim, SECOND).await.is_err());
    assert!(timeout(SECOND, world.cleaner.changed.notified()).await.is_ok());
}

/// A start used to kill what ran and did not get ready, also when an edge had requests in it.
#[tokio::test(start_paused = true)]
async fn what_ran_and_is_not_ready_is_ended_through_the_ledger_by_the_next_plan() {
    for leased in [false, true] {
        let world = World::cold(&[release("blog")]).await;
        let (claim, lease) = world.claim(&blog()).await;
        world.engine.state().containers.insert(blog(), SeenState::Running { addr: addr() });
        world.engine.state().silent_starts = 1;
        world.engine.state().unready = true;
        if leased {
            world.ledger.keep(&[(blog(), lease)], &[]).await.expect("put back");
        }
        let error = call(&world, &claim, SECOND).await.expect_err("it is silent");
        // A little of its time had passed; it is told the whole.
        assert!(matches!(error, StartError::Silent { within: SECOND, .. }), "{error:?}");
        world.ledger.failed(&claim).await.expect("told");
        timeout(SECOND, world.cleaner.changed.notified()).await.expect("it is looked at soon");
        world.plan().await;
        world.until_done().await;
        assert_eq!(world.engine.told().contains(&"stop blog-v1.1".to_owned()), !leased);
    }
}

/// It used to be told that it did not answer within 30 s, of which it had two.
#[tokio::test(start_paused = true)]
async fn what_waited_most_of_its_time_for_its_place_is_not_blamed_for_being_late() {
    for (waits, blamed) in [(8 * SECOND, false), (2 * SECOND, true)] {
        let world = World::cold(&[release("blog")]).await;
        let turn = world.cleaner.turns.try_take(&blog()).expect("free");
        let (claim, _) = world.claim(&blog()).await;
        world.engine.state().silent_starts = 1;
        let call = call(&world, &claim, 10 * SECOND);
        tokio::pin!(call);
        assert!(timeout(waits, call.as_mut()).await.is_err());
        drop(turn);
        let error = call.await.expect_err("it is silent");
        assert_eq!(matches!(error, StartError::Silent { .. }), blamed, "{error:?}");
    }
}
