//! Deploys through the builder's socket.

mod world;

use std::sync::atomic::Ordering;
use std::time::Duration;

use func_ledger::Watch;
use func_model::event::BuildEvent;
use func_model::{InstanceId, ReleaseNumber};
use func_runner::StartError;

use crate::world::{DOCKERFILE, SITE, World, app, is_live, text, until};

fn silent(release: &str) -> StartError {
    StartError::Silent {
        id: format!("{release}.1").parse::<InstanceId>().expect("an instance"),
        port: 8080,
        within: Duration::from_secs(30),
        tail: vec!["listening on 3000".into()],
    }
}

#[tokio::test]
async fn a_pushed_site_becomes_a_live_release_with_a_route() {
    let world = World::new().await;
    let events = world.push("blog", &[("public/index.html", "hello"), ("public/a/b.css", "x")]).await;
    assert!(is_live(&events, "blog-v1"), "{}", text(&events));
    assert!(text(&events).contains("http://blog.localhost:8080"), "{}", text(&events));
    let live = world.manifests.live(&app("blog")).expect("read").expect("live");
    assert_eq!((live.recipe.as_str(), live.port, live.idle_ms), ("static", 8080, 60_000));
    assert_eq!(world.ledger.routes().await.expect("known")[&app("blog")].number, ReleaseNumber(1));
    assert_eq!(*world.engine.tags.lock().expect("unbroken"), ["blog-v1"]);
    let log = func_store::tail(&world.data.logs(&app("blog")), "build", 100).expect("a log");
    assert!(
        log[0].starts_with("==== deploy of ") && log.last().is_some_and(|l| l.contains("8080")),
        "{log:?}"
    );
}

#[tokio::test]
async fn the_lease_of_the_smoke_test_is_given_back_when_the_release_is_live() {
    let world = World::new().await;
    world.push("blog", SITE).await;
    let (records, now_ms) = world.ledger.records().await.expect("known");
    let record = &records[&"blog-v1.1".parse::<InstanceId>().expect("an instance")];
    assert!(record.endpoint().is_some() && !record.leased(now_ms) && !record.retired);
}

#[tokio::test]
async fn a_dockerfile_is_built_from_the_commit_without_what_dockerignore_leaves_out() {
    let world = World::new().await;
    let mut files = DOCKERFILE.to_vec();
    files.extend([
        (".dockerignore", "secrets\n*.md\n"),
        ("secrets/key", "k"),
        ("README.md", "r"),
        ("func.toml", "idle = \"5m\"\n[limits]\nmemory = \"64M\"\n"),
    ]);
    let events = world.push("shop", &files).await;
    assert!(is_live(&events, "shop-v1"), "{}", text(&events));
    assert!(events.contains(&BuildEvent::Log { line: "Step 1/1 : FROM scratch".into() }), "{events:?}");
    let contexts = world.engine.contexts.lock().expect("unbroken");
    assert!(contexts[0].contains("main.c") && contexts[0].contains("Dockerfile"));
    assert!(
        !contexts[0].iter().any(|path| path.contains("secrets") || path.contains("README")),
        "{contexts:?}"
    );
    let live = world.manifests.live(&app("shop")).expect("read").expect("live");
    assert_eq!((live.port, live.idle_ms, live.limits.memory_bytes), (3000, 300_000, 64 * 1024 * 1024));
}

#[tokio::test]
async fn a_second_push_replaces_the_first_and_the_same_commit_again_changes_nothing() {
    let world = World::new().await;
    world.push("blog", SITE).await;
    let second = world.commit("blog", &[("index.html", "two")]);
    assert!(is_live(&world.build("blog", &second).await.all().await, "blog-v2"));
    let again = world.build("blog", &second).await.all().await;
    assert!(is_live(&again, "blog-v2") && text(&again).contains("already"), "{}", text(&again));
    let records = world.ledger.records().await.expect("known").0;
    assert!(records[&"blog-v1.1".parse::<InstanceId>().expect("an instance")].retired);
}

#[tokio::test]
async fn the_same_files_are_the_same_image_and_are_loaded_once() {
    let world = World::new().await;
    world.push("blog", SITE).await;
    assert!(is_live(&world.push("blog", SITE).await, "blog-v2"));
    assert_eq!(world.engine.loads.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_app_that_never_listens_leaves_the_old_release_live_and_its_pusher_reads_why() {
    let world = World::new().await;
    world.push("blog", SITE).await;
    world.fail_next_start(silent("blog-v2"));
    let revision = world.commit("blog", &[("index.html", "two")]);
    let events = world.build("blog", &revision).await.all().await;
    let said = text(&events);
    assert!(said.contains("       | listening on 3000"), "{said}");
    assert!(said.contains("blog-v2 did not answer on port 8080 within 30 s; v1 stays live"), "{said}");
    assert!(said.contains("hint: listen on $PORT, or set `port` in func.toml"), "{said}");
    assert_eq!(world.current("blog"), Some(1));
    assert_eq!(world.manifests.numbers(&app("blog")).expect("read").len(), 1);
    assert_eq!(world.manifests.failed(&app("blog")).expect("read"), Some(revision.clone()));
    let records = world.ledger.records().await.expect("known").0;
    assert!(records[&"blog-v2.1".parse::<InstanceId>().expect("an instance")].retired);
    assert!(
        is_live(&world.build("blog", &revision).await.all().await, "blog-v3"),
        "asked again, it is built again"
    );
}

#[tokio::test]
async fn a_build_that_fails_leaves_the_old_release_live() {
    let world = World::new().await;
    world.push("shop", DOCKERFILE).await;
    *world.engine.builds_fail.lock().expect("unbroken") = true;
    let said = text(&world.push("shop", DOCKERFILE).await);
    assert!(said.contains("the build failed: RUN false: exit status 1; v1 stays live"), "{said}");
    assert_eq!(world.current("shop"), Some(1));
}

#[tokio::test]
async fn a_commit_that_cannot_be_deployed_is_told_why_and_what_to_do() {
    let world = World::new().await;
    let none = text(&world.push("a", &[("main.py", "x")]).await);
    assert!(none.contains("there is no Dockerfile") && none.contains("hint: add a Dockerfile"), "{none}");
    let empty = text(&world.push("b", &[]).await);
    assert!(empty.contains("holds no files"), "{empty}");
    let key = text(&world.push("c", &[("index.html", "x"), ("func.toml", "prot = 1")]).await);
    assert!(key.contains("unknown key `prot` in func.toml, line 1: did you mean `port`?"), "{key}");
    let link = text(&world.push("d", &[("index.html", "x"), ("etc", "-> /etc/passwd")]).await);
    assert!(link.contains("etc is a link to /etc/passwd"), "{link}");
    let host =
        text(&world.push("e", &[("index.html", "x"), ("func.toml", "hosts = [\"a.localhost\"]")]).await);
    assert!(host.contains("the host a.localhost is not e's"), "{host}");
    let large = "#".repeat(70_000);
    let large = text(&world.push("f", &[("index.html", "x"), ("func.toml", &large)]).await);
    assert!(large.contains("func.toml is larger than 65536 bytes"), "{large}");
    assert!(world.manifests.all_current().expect("read").is_empty());
}

#[tokio::test]
async fn a_host_that_another_app_has_is_refused() {
    let world = World::new().await;
    let own = "hosts = [\"www.example.org\", \"blog.localhost\"]";
    let events = world.push("blog", &[("index.html", "x"), ("func.toml", own)]).await;
    assert!(is_live(&events, "blog-v1") && text(&events).contains("http://www.example.org:8080"));
    let taken = "hosts = [\"www.example.org\"]";
    let said = text(&world.push("shop", &[("index.html", "x"), ("func.toml", taken)]).await);
    assert!(said.contains("the host www.example.org belongs to blog already"), "{said}");
    assert_eq!(world.current("shop"), None);
}

#[tokio::test]
async fn submodules_and_lfs_pointers_are_warned_of() {
    let world = World::new().await;
    let said = text(
        &world
            .push(
                "blog",
                &[("index.html", "x"), (".gitmodules", "[]"), (".gitattributes", "*.png filter=lfs")],
            )
            .await,
    );
    assert!(said.contains("submodules are not fetched") && said.contains("Git LFS"), "{said}");
    assert_eq!(world.current("blog"), Some(1));
}

#[tokio::test]
async fn a_pusher_who_leaves_does_not_end_the_deploy() {
    let mut world = World::asleep();
    world.engine = world::Engine::new();
    world.engine.gate.forget_permits(1_000);
    world.restore().await;
    world.run().await;
    let revision = world.commit("shop", DOCKERFILE);
    let mut lines = world.build("shop", &revision).await;
    lines.next().await;
    drop(lines);
    world.engine.gate.add_permits(1);
    until("shop is live", || world.current("shop") == Some(1)).await;
}

#[tokio::test]
async fn only_two_builds_run_at_once_and_the_latest_push_of_an_app_wins() {
    let world = World::new().await;
    world.engine.gate.forget_permits(1_000);
    let (a, b) = (world.commit("a", DOCKERFILE), world.commit("b", DOCKERFILE));
    let (first, second) = (world.build("a", &a).await, world.build("b", &b).await);
    until("two are being built", || world.engine.building.load(Ordering::SeqCst) == 2).await;
    let c = world.commit("c", DOCKERFILE);
    let mut third = world.build("c", &c).await;
    assert_eq!(third.next().await, Some(BuildEvent::Queued { ahead: 2 }));
    let newer = world.commit("c", &[("Dockerfile", "FROM scratch\nCMD [\"/y\"]")]);
    let fourth = world.build("c", &newer).await;
    assert_eq!(third.next().await, Some(BuildEvent::Superseded { by: newer.short().to_owned() }));
    world.engine.gate.add_permits(3);
    assert!(is_live(&first.all().await, "a-v1"));
    assert!(is_live(&second.all().await, "b-v1"));
    assert!(is_live(&fourth.all().await, "c-v1"));
    assert_eq!(world.engine.building_max.load(Ordering::SeqCst), 2);
    let live = world.manifests.live(&app("c")).expect("read").expect("live");
    assert_eq!(live.revision, newer);
}

#[tokio::test]
async fn a_hook_that_comes_late_does_not_bring_an_older_commit_back() {
    let world = World::new().await;
    let old = world.commit("blog", SITE);
    let new = world.commit("blog", &[("index.html", "two")]);
    let events = world.build("blog", &old).await.all().await;
    assert_eq!(events, [BuildEvent::Superseded { by: new.short().to_owned() }]);
    until("the newer one is live", || world.current("blog").is_some()).await;
    assert_eq!(world.manifests.live(&app("blog")).expect("read").expect("live").revision, new);
}

#[tokio::test]
async fn a_deploy_waits_for_a_ledger_that_is_lost() {
    let mut world = World::asleep();
    world.run().await;
    let revision = world.commit("blog", SITE);
    let lines = world.build("blog", &revision).await;
    until("it has its manifest", || !world.manifests.numbers(&app("blog")).expect("read").is_empty()).await;
    world.restore().await;
    assert!(is_live(&lines.all().await, "blog-v1"));
}

#[tokio::test]
async fn the_build_time_bounds_the_packing_of_a_static_site_too() {
    let mut world = World::asleep();
    world.restore().await;
    world.run_with(func_builder::Config { build_ms: 0, ..world.config() }).await;
    let said = text(&world.push("blog", SITE).await);
    assert!(said.contains("the packing took longer than 0 s"), "{said}");
    assert_eq!(world.current("blog"), None);
}
