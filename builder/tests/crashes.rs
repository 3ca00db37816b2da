//! A builder that dies at any point of a deploy loses nothing: the next one goes on.

mod world;

use std::process::Command;

use crate::world::{Dir, SITE, World, app, until};

const DIR: &str = "FUNC_TEST_DIR";

/// Does nothing by itself: it is the process that crashes.
#[tokio::test]
async fn the_builder_that_crashes() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let mut world = World::at(Dir::Lent(dir.into()));
    world.restore().await;
    world.run().await;
    until("it has crashed", || false).await;
}

/// Has a builder die at `point` while it deploys; gives the number that is live when the next one is done.
async fn live_after_a_crash(point: &str) -> u32 {
    let mut world = World::asleep();
    let head = world.commit("blog", SITE);
    let crashed = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "the_builder_that_crashes"])
        .env(DIR, world.dir.path())
        .env("FUNC_CRASH_AT", point)
        .output()
        .expect("it runs");
    let signal = std::os::unix::process::ExitStatusExt::signal(&crashed.status);
    assert_eq!(signal, Some(9), "{point}: {}", String::from_utf8_lossy(&crashed.stdout));
    assert_eq!(world.manifests.failed(&app("blog")).expect("read"), None, "a crash is no failed deploy");
    world.restore().await;
    world.run().await;
    until("the head is live", || {
        world.manifests.live(&app("blog")).expect("read").is_some_and(|live| live.revision == head)
    })
    .await;
    let numbers = world.manifests.numbers(&app("blog")).expect("read");
    let live = world.current("blog").expect("live");
    assert_eq!(numbers.into_iter().map(|n| n.0).collect::<Vec<_>>(), [live], "{point}: nothing else is left");
    world.halt().await;
    live
}

#[tokio::test]
async fn a_crash_before_the_commit_point_is_a_deploy_to_be_done_again() {
    for point in ["after_image", "after_manifest", "after_start"] {
        assert_eq!(live_after_a_crash(point).await, 2, "{point}");
    }
}

#[tokio::test]
async fn a_crash_after_the_commit_point_is_a_deploy_that_is_done() {
    for point in ["after_current", "after_promote"] {
        assert_eq!(live_after_a_crash(point).await, 1, "{point}");
    }
}
