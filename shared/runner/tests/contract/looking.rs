//! Looking: what is there, what it prints, what ends.

use std::time::Duration;

use func_model::{SeenState, limits};
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::sweep::docker as cli;
use crate::world::{App, GRACE, LONG, get, until, world};

#[tokio::test]
async fn running_created_and_exited_containers_are_seen() {
    let world = world().await;
    let (blog, addr) = world.started("blog").await;
    let (shop, _) = world.started("shop").await;
    let shops = format!("{}-{shop}", world.installation);
    cli(&["kill", &shops]);
    let label = format!("func.installation={}", world.installation);
    let wikis = format!("{}-wiki-v2.1", world.installation);
    let label = ["--label", &label, "--label", "func.instance=wiki-v2.1"];
    cli(&[&["create", "--name", &wikis][..], &label, &[world.image.as_str()]].concat());
    let state = |seen: &func_model::Seen, id: &str| {
        let id = id.parse().unwrap();
        seen.containers.iter().find(|c| c.instance.as_ref() == Some(&id)).map(|c| c.state)
    };
    until("shop is over", || async {
        state(&world.runner.seen().await.unwrap(), "shop-v1.1") == Some(SeenState::Exited)
    })
    .await;
    let seen = world.runner.seen().await.unwrap();
    assert_eq!(seen.containers.len(), 3);
    assert_eq!(state(&seen, &blog.to_string()), Some(SeenState::Running { addr }));
    assert_eq!(state(&seen, "wiki-v2.1"), Some(SeenState::Created));
}

#[tokio::test]
async fn a_paused_instance_is_seen_as_paused() {
    let world = world().await;
    let (_, addr) = world.started("blog").await;
    let container = world.containers().await.remove(0);
    cli(&["pause", &container]);
    let seen = world.runner.seen().await.unwrap();
    cli(&["unpause", &container]);
    assert_eq!(seen.containers[0].state, SeenState::Paused { addr });
}

#[tokio::test]
async fn another_installations_containers_and_images_are_never_seen() {
    let (ours, theirs) = (world().await, world().await);
    let (id, addr) = theirs.started("blog").await;
    theirs.runner.tag(&theirs.image, &id.release).await.unwrap();
    let seen = ours.runner.seen().await.unwrap();
    assert!(seen.containers.is_empty() && seen.images.is_empty(), "{seen:?}");
    ours.runner.remove_container(&theirs.containers().await[0], true).await.unwrap();
    ours.runner.stop(&id, GRACE).await.unwrap();
    assert_eq!(get(addr, "/").await, "hello");
}

#[tokio::test]
async fn a_container_that_somebody_ran_from_our_image_is_not_ours() {
    let world = world().await;
    let theirs = cli(&["run", "-d", "--label", "func.instance=blog-v1.1", world.image.as_str()]).remove(0);
    assert!(world.runner.seen().await.unwrap().containers.is_empty(), "it has our label from the image");
    world.runner.remove_container(&theirs, true).await.unwrap();
    let state = cli(&["inspect", "--format", "{{.State.Status}}", &theirs]);
    assert_eq!(state, ["running"]);
}

#[tokio::test]
async fn logs_are_followed_until_the_instance_ends() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    let mut lines = world.runner.logs(&id, 100, true).await.unwrap();
    assert_eq!(timeout(LONG, lines.next()).await.unwrap().as_deref(), Some("listening on 8080"));
    get(addr, "/print/now").await;
    assert_eq!(timeout(LONG, lines.next()).await.unwrap().as_deref(), Some("now"));
    world.runner.stop(&id, GRACE).await.unwrap();
    let rest: Vec<String> = timeout(LONG, lines.collect()).await.unwrap();
    assert_eq!(rest, ["SIGTERM came"]);
    let none: Vec<String> = world.runner.logs(&id, 100, true).await.unwrap().collect().await;
    assert!(none.is_empty(), "it does not run");
}

#[tokio::test]
async fn only_the_last_lines_are_given_cut_and_readable() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    get(addr, "/broken").await;
    until("all is printed", || async {
        let lines: Vec<String> = world.runner.logs(&id, 1, false).await.unwrap().collect().await;
        lines == ["after"]
    })
    .await;
    let lines: Vec<String> = world.runner.logs(&id, 1_000, false).await.unwrap().collect().await;
    assert_eq!(lines.len(), 4, "{:?}", lines.iter().map(String::len).collect::<Vec<_>>());
    assert_eq!(lines[1], "bad \u{fffd}\u{fffd} bytes");
    assert!(lines[2].starts_with("long xxx") && lines[2].len() == limits::LOG_LINE_BYTES);
}

#[tokio::test]
async fn an_apps_escape_sequences_are_in_no_log() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    get(addr, "/print/\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}\u{1b}[2J").await;
    until("it is printed as plain text", || async {
        let lines: Vec<String> = world.runner.logs(&id, 1, false).await.unwrap().collect().await;
        lines == ["red"]
    })
    .await;
    world.runner.stop(&id, GRACE).await.unwrap();
    let kept = world.kept(&id);
    assert!(kept.contains("\nred\n") && !kept.contains('\u{1b}'), "{kept}");
}

#[tokio::test]
async fn every_exit_is_told_with_its_instance() {
    let world = world().await;
    let (blog, _) = world.started("blog").await;
    let (shop, _) = world.started("shop").await;
    let mut exits = world.runner.exits().await.unwrap();
    // This exit comes before the stream is polled for the first time.
    cli(&["kill", &format!("{}-{blog}", world.installation)]);
    assert_eq!(timeout(LONG, exits.next()).await.unwrap(), Some(blog));
    world.runner.stop(&shop, GRACE).await.unwrap();
    assert_eq!(timeout(LONG, exits.next()).await.unwrap(), Some(shop));
    let more = timeout(Duration::from_millis(100), exits.next()).await;
    assert!(more.is_err(), "nothing else ended: {more:?}");
}

#[tokio::test]
async fn a_ready_app_is_told_from_one_that_is_not() {
    let world = world().await;
    let id = world.release("blog", App { mode: "sick", ..App::default() });
    let addr = world.start(&id).await.addr;
    let mut release = world.manifests.release(&id.release).unwrap().unwrap();
    assert!(world.runner.ready(&release, addr).await, "it accepts a connection");
    release.health = Some("/healthz".to_owned());
    assert!(!world.runner.ready(&release, addr).await, "its health path says 503");
    world.runner.stop(&id, GRACE).await.unwrap();
    release.health = None;
    assert!(!world.runner.ready(&release, addr).await, "it does not run");
}
