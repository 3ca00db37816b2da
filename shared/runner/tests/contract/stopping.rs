//! Stopping and removing: gentle, final, repeatable.

use std::time::{Duration, Instant};

use func_runner::State;

use crate::sweep::docker as cli;
use crate::world::{App, GRACE, get, until, world};

#[tokio::test]
async fn sigterm_reaches_the_app_and_its_output_is_kept() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    get(addr, "/print/a-word").await;
    let begun = Instant::now();
    world.runner.stop(&id, GRACE).await.unwrap();
    assert!(begun.elapsed() < GRACE, "it was killed");
    let kept = world.kept(&id);
    for line in ["--- blog-v1.1, started ", "a-word", "SIGTERM came", "exit status 0"] {
        assert!(kept.contains(line), "{line} in {kept}");
    }
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Stopped);
    assert_eq!(world.containers().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_deaf_app_is_killed_after_the_grace() {
    let world = world().await;
    let id = world.release("blog", App { mode: "deaf", ..App::default() });
    world.start(&id).await;
    let grace = Duration::from_secs(1);
    let begun = Instant::now();
    world.runner.stop(&id, grace).await.unwrap();
    assert!(begun.elapsed() >= grace, "it had its grace");
    assert_eq!(world.containers().await, Vec::<String>::new());
    assert!(world.kept(&id).contains("exit status 137"), "{}", world.kept(&id));
}

#[tokio::test]
async fn stopping_twice_is_the_same_as_once() {
    let world = world().await;
    let (id, _) = world.started("blog").await;
    let (first, second) = tokio::join!(world.runner.stop(&id, GRACE), world.runner.stop(&id, GRACE));
    first.unwrap();
    second.unwrap();
    world.runner.stop(&id, GRACE).await.unwrap();
    assert_eq!(world.containers().await, Vec::<String>::new());
}

#[tokio::test]
async fn stopping_what_is_absent_is_done() {
    let world = world().await;
    world.runner.stop(&"blog-v3.1".parse().unwrap(), GRACE).await.unwrap();
    world.runner.remove_container(&"f".repeat(64), true).await.unwrap();
}

#[tokio::test]
async fn a_running_container_is_removed_only_if_that_is_wanted() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    let container = world.containers().await.remove(0);
    world.runner.remove_container(&container, false).await.unwrap();
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Running { addr });
    world.runner.remove_container(&container, true).await.unwrap();
    assert_eq!(world.containers().await, Vec::<String>::new());
    assert!(world.kept(&id).contains("SIGTERM came"), "it was stopped gently, and its output kept");
}

#[tokio::test]
async fn a_container_that_is_over_is_removed_and_its_output_kept() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    get(addr, "/print/last-words").await;
    let container = world.containers().await.remove(0);
    cli(&["kill", &container]);
    until("it is over", || async { world.runner.look(&id).await.unwrap() == State::Stopped }).await;
    world.runner.remove_container(&container, false).await.unwrap();
    assert_eq!(world.containers().await, Vec::<String>::new());
    assert!(world.kept(&id).contains("last-words"));
}

#[tokio::test]
async fn the_last_instance_of_a_removed_app_leaves_no_log_for_the_next_of_its_name() {
    let world = world().await;
    let (id, _) = world.started("blog").await;
    world.manifests.remove_app(&id.release.app).unwrap();
    // The next one was pushed meanwhile.
    std::fs::create_dir_all(world.data.repository(&id.release.app)).unwrap();
    world.runner.stop(&id, GRACE).await.unwrap();
    assert!(!world.data.logs(&id.release.app).exists(), "{}", world.kept(&id));
}
