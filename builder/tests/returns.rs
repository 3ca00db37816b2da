//! What a builder does after it was away, and the ways back: rollbacks and removals.

mod world;

use func_ledger::Watch;
use func_model::event::BuildEvent;
use func_model::{Release, ReleaseId, ReleaseNumber};
use func_runner::StartError;

use crate::world::{DOCKERFILE, SITE, World, app, is_live, text, until};

async fn two_releases() -> World {
    let world = World::new().await;
    world.push("blog", &[("index.html", "one")]).await;
    world.push("blog", &[("index.html", "two")]).await;
    assert_eq!(world.current("blog"), Some(2));
    world
}

#[tokio::test]
async fn at_boot_a_head_without_a_release_is_deployed_and_a_failed_one_is_not() {
    let mut world = World::asleep();
    world.restore().await;
    world.commit("blog", SITE);
    let failed = world.commit("broken", SITE);
    world.manifests.set_failed(&app("broken"), &failed).expect("noted");
    world.run().await;
    until("blog is live", || world.current("blog") == Some(1)).await;
    assert_eq!(world.current("broken"), None);
    world.halt().await;
    world.run().await;
    assert!(is_live(&world.push("other", SITE).await, "other-v1"));
    assert_eq!(world.manifests.numbers(&app("blog")).expect("read").len(), 1, "it was not deployed again");
}

#[tokio::test]
async fn a_deploy_that_killed_the_builder_three_times_is_left_alone_until_the_next_push() {
    let mut world = World::asleep();
    world.restore().await;
    let (deadly, again) = (world.commit("deadly", SITE), world.commit("again", SITE));
    world.manifests.set_attempts(&app("deadly"), &deadly, 3).expect("noted");
    world.manifests.set_attempts(&app("again"), &again, 2).expect("noted");
    world.run().await;
    until("again is live", || world.current("again") == Some(1)).await;
    assert!(is_live(&world.push("other", SITE).await, "other-v1"), "whatever boot had queued is done");
    assert_eq!(world.current("deadly"), None);
    assert!(is_live(&world.push("deadly", &[("index.html", "mended")]).await, "deadly-v1"));
    for name in ["deadly", "again"] {
        let file = world.dir.path().join(format!("data/manifest/{name}/attempts"));
        until("what has ended is not counted", || !file.exists()).await;
    }
}

#[tokio::test]
async fn a_deploy_that_the_end_of_the_builder_cut_is_done_again_at_the_next_start() {
    let mut world = World::asleep();
    world.restore().await;
    world.engine.gate.forget_permits(1_000);
    world.run().await;
    let revision = world.commit("shop", DOCKERFILE);
    let mut lines = world.build("shop", &revision).await;
    until("it is being built", || world.engine.building.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    world.stop.cancel();
    let mut last = None;
    while let Some(event) = lines.next().await {
        last = Some(event);
    }
    assert!(last.is_some_and(|event| !event.is_last()), "its pusher sees the lines end early");
    until("the builder is down", || !world.socket().exists()).await;
    assert_eq!(world.manifests.failed(&app("shop")).expect("read"), None);
    let attempts = || world.manifests.attempts(&app("shop"), &revision).expect("read");
    until("an orderly end is no attempt", || attempts() == 0).await;
    world.engine.gate.add_permits(1_000);
    world.run().await;
    until("shop is live", || world.current("shop").is_some()).await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_deploy_is_removed_before_it_is_done_again() {
    let mut world = World::asleep();
    world.restore().await;
    let revision = world.commit("blog", SITE);
    let number = world.manifests.take_number(&app("blog")).expect("taken");
    assert_eq!(number, ReleaseNumber(1));
    let left = Release {
        id: "blog-v1".parse().expect("a release"),
        revision,
        image: format!("sha256:{}", "0".repeat(64)).parse().expect("a digest"),
        recipe: "static".into(),
        port: 8080,
        hosts: vec![],
        env: Default::default(),
        limits: func_model::RESOURCES,
        capabilities: func_model::Capability::all(),
        read_only: false,
        idle_ms: 60_000,
        drain_ms: None,
        health: None,
        freeze: func_model::Freeze::Auto,
        min: 0,
        warm_at: Vec::new(),
        waiting_page: false,
        created_ms: 1,
    };
    world.manifests.add(&left).expect("stored");
    world.run().await;
    until("v2 is live", || world.current("blog") == Some(2)).await;
    assert_eq!(world.manifests.release(&left.id).expect("read"), None);
}

#[tokio::test]
async fn a_rollback_makes_the_newest_older_release_live_and_a_restart_does_not_undo_it() {
    let mut world = two_releases().await;
    assert!(is_live(&world.roll_back("blog", None).await, "blog-v1"));
    assert_eq!(world.ledger.routes().await.expect("known")[&app("blog")].number, ReleaseNumber(1));
    world.halt().await;
    world.run().await;
    assert!(is_live(&world.push("other", SITE).await, "other-v1"), "whatever boot had queued is done");
    assert_eq!(world.current("blog"), Some(1));
    assert!(is_live(&world.roll_back("blog", Some(2)).await, "blog-v2"), "and forward again");
}

#[tokio::test]
async fn a_rollback_whose_builder_was_killed_behind_the_commit_point_is_ended_by_the_next() {
    let mut world = two_releases().await;
    world.halt().await;
    let first: ReleaseId = "blog-v1".parse().expect("a release");
    let revision = world.manifests.release(&first).expect("read").expect("it is there").revision;
    world.manifests.set_attempts(&app("blog"), &revision, 1).expect("noted");
    world.manifests.set_current(&first).expect("set");
    world.run().await;
    let noted = || world.manifests.attempts(&app("blog"), &revision).expect("read");
    until("it is ended", || noted() == 0).await;
    assert_eq!(world.ledger.routes().await.expect("known")[&app("blog")].number, ReleaseNumber(1));
}

#[tokio::test]
async fn a_removal_whose_builder_was_killed_is_ended_by_the_next() {
    let mut world = two_releases().await;
    world.halt().await;
    let projects = world.dir.path().join("data/projects");
    std::fs::rename(projects.join("blog.git"), projects.join(".removing-blog-1")).expect("aside");
    world.run().await;
    assert!(is_live(&world.push("other", SITE).await, "other-v1"));
    assert_eq!(world.current("blog"), None);
    assert!(!projects.join(".removing-blog-1").exists());
    assert!(!world.ledger.routes().await.expect("known").contains_key(&app("blog")));
}

#[tokio::test]
async fn a_rollback_of_an_app_with_one_release_is_told_that_there_is_no_older_one() {
    let world = World::new().await;
    world.push("blog", SITE).await;
    let said = text(&world.roll_back("blog", None).await);
    assert!(said.contains("blog has no release older than v1; v1 stays live"), "{said}");
    assert!(said.contains("there is no older release") && !said.contains("are removed"), "{said}");
}

#[tokio::test]
async fn a_rollback_that_cannot_be_is_told_why() {
    let world = two_releases().await;
    let live = text(&world.roll_back("blog", Some(2)).await);
    assert!(live.contains("blog-v2 is live already"), "{live}");
    let missing = text(&world.roll_back("blog", Some(9)).await);
    assert!(
        missing.contains("there is no release blog-v9; v2 stays live") && missing.contains("v1, v2"),
        "{missing}"
    );
    let unknown = text(&world.roll_back("nobody", None).await);
    assert!(unknown.contains("there is no app nobody"), "{unknown}");
    assert!(!world.data.logs(&app("nobody")).exists(), "nothing is left of it");
    world.engine.images.lock().expect("unbroken").clear();
    let gone = text(&world.roll_back("blog", None).await);
    assert!(gone.contains("the image of blog-v1 is gone; v2 stays live"), "{gone}");
}

#[tokio::test]
async fn a_rollback_to_what_does_not_start_leaves_the_live_release_and_both_manifests() {
    let world = two_releases().await;
    // v1 is warm from its own deploy: cool it first, as the cleaner does.
    let id = "blog-v1.1".parse().expect("an instance");
    let permit = func_ledger::Cool::settle(
        world.ledger.as_ref(),
        &id,
        world.ledger.records().await.expect("known").0[&id].generation,
        func_ledger::Settle::Gone,
    );
    permit.await.expect("settled");
    world.fail_next_start(StartError::Exited {
        id,
        status: 1,
        memory: func_runner::OverMemory::No,
        tail: vec!["boom".into()],
    });
    let said = text(&world.roll_back("blog", None).await);
    assert!(said.contains("| boom") && said.contains("v2 stays live"), "{said}");
    assert_eq!(world.manifests.numbers(&app("blog")).expect("read").len(), 2);
    assert_eq!(world.current("blog"), Some(2));
}

#[tokio::test]
async fn a_removal_leaves_nothing_of_the_app_and_a_push_begins_anew() {
    let mut world = two_releases().await;
    let done = world.remove("blog").await;
    assert!(matches!(done.last(), Some(BuildEvent::Done { .. })), "{}", text(&done));
    assert!(!world.data.repository(&app("blog")).exists() && !world.data.logs(&app("blog")).exists());
    assert!(world.manifests.apps().expect("read").is_empty());
    assert!(world.ledger.routes().await.expect("known").is_empty());
    assert_eq!(std::fs::read_dir(world.data.projects()).expect("read").count(), 0);
    let again = text(&world.remove("blog").await);
    assert!(again.contains("there is no app blog"), "{again}");
    world.halt().await;
    world.run().await;
    assert!(is_live(&world.push("blog", SITE).await, "blog-v3"), "numbers go on");
}

#[tokio::test]
async fn an_app_that_is_being_deployed_is_neither_removed_nor_rolled_back() {
    let world = World::new().await;
    world.push("shop", DOCKERFILE).await;
    world.engine.gate.forget_permits(1_000);
    let revision = world.commit("shop", DOCKERFILE);
    let lines = world.build("shop", &revision).await;
    until("it is being built", || world.engine.building.load(std::sync::atomic::Ordering::SeqCst) == 1).await;
    let (removed, rolled) = tokio::join!(world.remove("shop"), world.roll_back("shop", None));
    assert!(text(&removed).contains("shop is being deployed; v1 stays live"), "{}", text(&removed));
    assert!(text(&rolled).contains("shop is being deployed"), "{}", text(&rolled));
    world.engine.gate.add_permits(1);
    assert!(is_live(&lines.all().await, "shop-v2"));
}
