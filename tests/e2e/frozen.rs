//! Paused, kept warm, woken ahead of time: what `freeze`, `min` and `waiting-page` in func.toml do.

use std::time::Duration;

use crate::client::Repo;
use crate::world::{World, docker, until};

/// An app whose func.toml says `text`.
fn live(text: &str, settings: &[(&str, &str)]) -> World {
    let world = World::with(settings);
    let repo = Repo::app(&world, "one");
    repo.write("func.toml", text);
    repo.commit("settings");
    repo.push(&world.ssh_url("shop")).succeeded();
    world
}

fn frozen(world: &World) {
    until("it is frozen", || world.phase("shop") == "frozen");
    let name = format!("{}-shop-v1.1", world.installation);
    assert_eq!(docker(&["inspect", "--format", "{{.State.Paused}}", &name]), "true");
}

#[test]
fn what_is_frozen_goes_on_where_it_was_when_it_is_asked() {
    let world = live("freeze = \"3s\"\n", &[]);
    let (_, before) = world.get("shop.localhost", "/start");
    for _ in 0..2 {
        frozen(&world);
        assert_eq!(world.get("shop.localhost", "/start"), (200, before.clone()), "the same process");
    }
    frozen(&world);
    let (_, head) = world.curl("shop.localhost", "/", &["-o", "/dev/null", "-D", "-"]);
    let head = head.to_lowercase();
    assert!(head.contains("resume;dur=") && head.contains("desc=resumed"), "{head}");
}

#[test]
fn what_is_frozen_is_stopped_when_its_idle_time_is_over() {
    let world = live("freeze = \"3s\"\nidle = \"30s\"\n", &[]);
    frozen(&world);
    until("it is stopped", || ["cold", "poised"].contains(&world.phase("shop").as_str()));
    assert!(world.containers().is_empty());
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_stream_that_is_silent_for_longer_than_the_freeze_time_is_not_frozen() {
    let world = live("freeze = \"3s\"\n", &[]);
    let (status, body) = world.get("shop.localhost", "/sse?n=2&ms=9000");
    assert_eq!((status, body.as_str()), (200, "data: 0\n\ndata: 1\n\n"));
}

#[test]
fn what_is_frozen_outlives_a_restart_of_func() {
    let mut world = live("freeze = \"3s\"\n", &[]);
    let (_, before) = world.get("shop.localhost", "/start");
    frozen(&world);
    world.kill();
    world.start();
    assert_eq!(world.get("shop.localhost", "/start"), (200, before));
}

#[test]
fn without_memory_for_it_nothing_is_frozen() {
    let world = live("freeze = \"3s\"\nidle = \"7s\"\n", &[("frozen-memory", "0")]);
    until("it is stopped", || {
        let phase = world.phase("shop");
        assert_ne!(phase, "frozen");
        ["cold", "poised"].contains(&phase.as_str())
    });
}

#[test]
fn an_app_that_is_kept_warm_does_not_sleep_and_comes_back_by_itself() {
    let world = live("min = 1\nidle = \"5s\"\n", &[]);
    let (_, before) = world.get("shop.localhost", "/start");
    std::thread::sleep(Duration::from_secs(12));
    assert_eq!(world.phase("shop"), "warm");
    assert_eq!(world.get("shop.localhost", "/start"), (200, before));
    docker(&["rm", "-f", &format!("{}-shop-v1.1", world.installation)]);
    until("it runs again, though nobody asked", || {
        world.phase("shop") == "warm" && world.containers().len() == 1
    });
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_browser_is_shown_a_page_while_a_slow_app_starts_and_nobody_else_is() {
    let world = World::with(&[("idle", "5s"), ("frozen-memory", "0")]);
    let repo = Repo::app(&world, "one");
    repo.write("func.toml", "waiting-page = true\n");
    repo.write("behave", "slow");
    repo.commit("slow");
    repo.push(&world.ssh_url("shop")).succeeded();
    let rests = || ["cold", "poised"].contains(&world.phase("shop").as_str());
    until("it is at rest", rests);
    let accept = "Accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let (status, page) = world.curl("shop.localhost", "/", &["-H", accept]);
    assert_eq!(status, 503, "{page}");
    assert!(page.contains("shop") && page.contains("http-equiv=\"refresh\""), "{page}");
    // The start goes on, and others wait for it.
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert_eq!(world.curl("shop.localhost", "/", &["-H", accept]), (200, "hello one".into()));
}

#[test]
fn an_app_with_a_schedule_is_woken_though_nobody_asks() {
    let world = live("warm-at = [\"* * * * *\"]\nidle = \"5s\"\n", &[]);
    let rests = || ["cold", "poised"].contains(&world.phase("shop").as_str());
    until("it is at rest", rests);
    until("it is woken at the next minute", || world.phase("shop") == "warm");
    until("it sleeps again", rests);
}

#[test]
fn where_memory_is_short_what_was_used_last_stays_frozen() {
    // Room for one: what each holds is more than what the engine counts besides, or does not, of files in its cache.
    let world = World::with(&[("frozen-memory", "96M")]);
    for app in ["shop", "page"] {
        let repo = Repo::app(&world, "one");
        repo.write("func.toml", "freeze = \"3s\"\n");
        repo.commit("settings");
        repo.push(&world.ssh_url(app)).succeeded();
    }
    for host in ["page.localhost", "shop.localhost"] {
        assert_eq!(world.get(host, "/hold?mb=64").1, "held");
    }
    let (_, before) = world.get("shop.localhost", "/start");
    until("the one that was used before is stopped", || {
        ["cold", "poised"].contains(&world.phase("page").as_str())
    });
    frozen(&world);
    assert_eq!(world.get("shop.localhost", "/start"), (200, before), "the same process");
}
