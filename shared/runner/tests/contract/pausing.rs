//! Pausing: the process stands still, its memory is kept, and it goes on where it was.

use func_model::SeenState;
use func_runner::{How, State};

use crate::world::{App, GRACE, get, world};

#[tokio::test]
async fn a_paused_instance_is_resumed_by_a_start() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    let process = get(addr, "/self").await;
    for _ in 0..2 {
        assert_eq!(world.runner.pause(&id).await.unwrap(), Some(addr));
        assert_eq!(world.seen(&id).await, Some(SeenState::Paused { addr }));
    }
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Paused { addr });
    let memory_bytes = world.runner.memory_bytes(&id).await.unwrap();
    assert!(memory_bytes > 100_000 && memory_bytes < 64 * 1024 * 1024, "{memory_bytes}");
    let started = world.start(&id).await;
    assert_eq!((started.how, started.addr), (How::Resumed, addr));
    assert_eq!(get(addr, "/self").await, process);
    assert_eq!(world.seen(&id).await, Some(SeenState::Running { addr }));
}

#[tokio::test]
async fn resuming_twice_is_the_same_as_once() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    world.runner.pause(&id).await.unwrap();
    for _ in 0..2 {
        world.runner.resume(&id).await.unwrap();
        assert_eq!(world.seen(&id).await, Some(SeenState::Running { addr }));
    }
    assert_eq!(get(addr, "/").await, "hello");
}

#[tokio::test]
async fn a_paused_instance_is_stopped_gently() {
    let world = world().await;
    let (id, _) = world.started("blog").await;
    world.runner.pause(&id).await.unwrap();
    world.runner.stop(&id, GRACE).await.unwrap();
    assert_eq!(world.seen(&id).await, None);
    assert!(world.kept(&id).contains("SIGTERM came"), "{}", world.kept(&id));
}

#[tokio::test]
async fn what_was_made_ahead_is_paused_and_resumed_as_any_other() {
    let world = world().await;
    let id = world.serving("blog");
    world.poise(&id).await;
    let addr = world.start(&id).await.addr;
    assert_eq!(world.runner.pause(&id).await.unwrap(), Some(addr));
    assert_eq!(world.start(&id).await.how, How::Resumed);
    assert_eq!(get(addr, "/").await, "hello");
}

#[tokio::test]
async fn what_does_not_run_is_not_paused() {
    let world = world().await;
    let id = world.release("blog", App { mode: "serve", ..App::default() });
    assert_eq!(world.runner.pause(&id).await.unwrap(), None);
    world.runner.resume(&id).await.unwrap();
    assert_eq!(world.runner.memory_bytes(&id).await.unwrap(), 0);
    world.poise(&id).await;
    assert_eq!(world.runner.pause(&id).await.unwrap(), None);
    assert_eq!(world.start(&id).await.how, How::Opened);
}
