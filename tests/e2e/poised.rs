//! Made ahead: what rests has its next instance ready, held at a gate, and the first request lets it go.

use std::time::Duration;

use crate::client::Repo;
use crate::world::{World, docker, until};

const IDLE: &[(&str, &str)] = &[("idle", "5s")];

fn live() -> World {
    let world = World::with(IDLE);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world
}

fn poised(world: &World) -> String {
    until("it is poised", || world.phase("shop") == "poised");
    let all = world.all_containers();
    assert_eq!(all.len(), 1, "one container, made ahead");
    assert_eq!(world.poised(), [format!("{}-shop-v1.1", world.installation)]);
    all[0].id.clone()
}

fn running(world: &World) -> String {
    let all = world.all_containers();
    assert_eq!(all.len(), 1, "one container");
    all[0].id.clone()
}

/// The `Server-Timing` header of an answer.
fn timing(world: &World, path: &str) -> String {
    let (status, head) = world.curl("shop.localhost", path, &["-o", "/dev/null", "-D", "-"]);
    assert_eq!(status, 200, "{head}");
    let line = head.lines().find(|l| l.to_lowercase().starts_with("server-timing:"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn what_rests_is_poised_and_the_first_request_lets_it_go() {
    let world = live();
    let made = poised(&world);
    let timing = timing(&world, "/");
    for part in ["queue;dur=", "claim;dur=", "gate;dur=", "connect;dur=", "first-byte;dur=", "desc=poised"] {
        assert!(timing.contains(part), "{part} in {timing}");
    }
    assert_eq!(running(&world), made, "the container that was made ahead");
    assert_eq!(world.phase("shop"), "warm");
    assert!(world.poised().is_empty(), "it is used once");
    let again = poised(&world);
    assert_ne!(again, made, "and its successor is made when it has stopped");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_gate_whose_opener_died_before_it_wrote_costs_nobody_a_request() {
    let world = live();
    let made = poised(&world);
    let gate = world.all_containers()[0].gate.clone().expect("it has a gate");
    std::fs::write(world.gate(&gate).join("opened"), "").expect("marked");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert_ne!(running(&world), made, "it was made anew");
}

#[test]
fn what_was_made_ahead_and_is_gone_costs_nobody_a_request() {
    let world = live();
    docker(&["rm", "-f", &poised(&world)]);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    let second = poised(&world);
    docker(&["kill", &second]);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    poised(&world);
}

#[test]
fn a_push_replaces_what_was_made_ahead_of_the_release_before() {
    let world = live();
    poised(&world);
    let repo = Repo::app(&world, "two");
    repo.try_git(&["push", "--force", &world.ssh_url("shop"), "main"]).succeeded();
    let second = format!("{}-shop-v2.1", world.installation);
    until("the second release is poised, and nothing else is there", || {
        world.poised() == [second.clone()] && world.all_containers().len() == 1
    });
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
}

#[test]
fn without_memory_for_it_nothing_is_made_ahead() {
    let world = World::with(&[("idle", "5s"), ("poised-memory", "0")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    until("it sleeps", || world.phase("shop") == "cold" && world.all_containers().is_empty());
    let timing = timing(&world, "/");
    for part in ["create;dur=", "start;dur=", "connect;dur=", "desc=made"] {
        assert!(timing.contains(part), "{part} in {timing}");
    }
    until("it sleeps again", || world.phase("shop") == "cold");
    assert!(world.all_containers().is_empty());
}

#[test]
fn where_memory_is_short_what_was_used_last_is_made_ahead() {
    let world = World::with(&[("idle", "5s"), ("poised-memory", "4M")]);
    Repo::app(&world, "one").push(&world.ssh_url("first")).succeeded();
    Repo::app(&world, "two").push(&world.ssh_url("second")).succeeded();
    until("one of both", || world.poised() == [format!("{}-second-v1.1", world.installation)]);
    assert_eq!(world.get("first.localhost", "/"), (200, "hello one".into()));
    until("the other one", || world.poised() == [format!("{}-first-v1.1", world.installation)]);
    assert_eq!(world.get("second.localhost", "/"), (200, "hello two".into()));
}

#[test]
fn what_was_made_ahead_outlives_a_restart_of_func() {
    let mut world = live();
    let made = poised(&world);
    world.kill();
    world.start();
    assert_eq!(poised(&world), made);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert_eq!(running(&world), made);
}

#[test]
fn an_app_that_crashes_behind_its_gate_is_told_with_its_last_lines() {
    let world = live();
    let repo = Repo::app(&world, "one");
    // The first start is good, and each later one fails: the release goes live, and is poised.
    repo.write("behave", "");
    repo.write(
        "Dockerfile",
        "FROM busybox:stable\nCOPY testapp version behave /\n\
         CMD [\"sh\", \"-c\", \"if [ -e /.func-gate ]; then echo the disk is gone; exit 9; fi; exec /testapp\"]\n",
    );
    repo.commit("crashes when it was made ahead");
    repo.try_git(&["push", "--force", &world.ssh_url("shop"), "main"]).succeeded();
    until("the second release is poised", || world.phase("shop") == "poised" && world.poised().len() == 1);
    let (status, text) = world.get("shop.localhost", "/");
    assert_eq!(status, 503, "{text}");
    let logs = String::from_utf8_lossy(&world.func(&["logs", "shop"]).stdout).into_owned();
    assert!(logs.contains("the disk is gone"), "{logs}");
}

#[test]
fn a_trace_tells_where_the_time_of_a_cold_start_goes() {
    let world = live();
    std::thread::sleep(Duration::from_secs(3));
    let out = world.func(&["trace", "shop", "--cold"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("shop.localhost/ answered 200 OK in "), "{text}");
    assert!(text.contains("claim ") && text.contains("first-byte "), "{text}");
    let out = world.func(&["trace", "nobody"]);
    assert!(!out.status.success() || String::from_utf8_lossy(&out.stdout).contains("404"));
}
