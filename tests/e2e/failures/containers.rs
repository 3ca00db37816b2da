//! Containers that end when nobody asked them to, and one that does not end when it is asked.

use std::time::Instant;

use super::table::tell;
use super::{again, answer, starts};
use crate::client::Repo;
use crate::load::{Habit, Load};
use crate::world::{World, docker, until};

const DROPPED: &str =
    "502 shop ended the connection without an answer. Its owner sees why with: func logs shop";

#[test]
fn who_asked_what_died_is_told_once_and_the_next_is_answered() {
    let world = World::new();
    let repo = Repo::app(&world, "one");
    repo.write("func.toml", "[limits]\nmemory = \"32M\"\n");
    repo.commit("little memory");
    repo.push(&world.ssh_url("shop")).succeeded();
    for (case, path, status) in [
        ("a container dies under a request", "/exit", "exit status 4"),
        ("an app uses more than its memory under a request", "/eat?mb=1000000", "exit status 137"),
    ] {
        assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
        let before = starts(&world, "shop");
        let said = answer(world.curl("shop.localhost", path, &["-X", "POST"]));
        let took = again(&world, "shop");
        assert_eq!(said, DROPPED);
        assert_eq!(starts(&world, "shop"), before + 1, "the request was sent again");
        until("its owner can see why", || {
            String::from_utf8_lossy(&world.func(&["logs", "shop"]).stdout).contains(status)
        });
        tell(case, &said, took);
    }
}

#[test]
fn an_app_that_ignores_sigterm_is_killed_and_who_asks_meanwhile_is_answered() {
    let world = World::with(&[("idle", "5s")]);
    let repo = Repo::app(&world, "one");
    repo.write("behave", "stubborn");
    repo.commit("it does not want to go");
    repo.push(&world.ssh_url("shop")).succeeded();
    let (_, first) = world.get("shop.localhost", "/start");
    let container = format!("{}-shop-v1.1", world.installation);
    until("it is asked to stop", || docker(&["logs", &container]).contains("asked to stop"));
    let began = Instant::now();
    let said = answer(world.get("shop.localhost", "/"));
    let took = began.elapsed();
    assert_eq!(said, "200 hello one");
    assert_ne!(world.get("shop.localhost", "/start").1, first, "it was killed, and started anew");
    tell("an app ignores SIGTERM: a request during its stop", &said, took);
}

#[test]
fn what_is_removed_under_load_is_made_again_and_only_what_was_in_flight_is_lost() {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    Repo::site(&world, "hello").push(&world.ssh_url("blog")).succeeded();
    let habits: Vec<Habit> = (0..8).map(|n| Habit::hello(world.edge(), ["shop", "blog"][n % 2])).collect();
    let clients = habits.len() as u64;
    let load = Load::start(habits);
    until("all is answered", || load.counts().answered() > 40);
    let (said, took) = std::thread::scope(|scope| {
        let in_flight =
            scope.spawn(|| answer(world.curl("shop.localhost", "/slow?ms=60000", &["-X", "POST"])));
        until("it is in flight", || has_slow(&world));
        let ids: Vec<String> = world.all_containers().into_iter().map(|c| c.id).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        docker(&[&["rm", "-f"][..], &ids].concat());
        let took = again(&world, "shop").max(again(&world, "blog"));
        (in_flight.join().expect("curl ran"), took)
    });
    let before = load.counts().answered();
    until("all is answered again", || load.counts().answered() > before + 40);
    let counts = load.end();
    assert!(counts.failed() <= clients, "{:#?}", counts.failures());
    assert!(counts.failures().iter().all(|f| f.contains(": 502: ")), "{:#?}", counts.failures());
    assert_eq!(said, DROPPED);
    tell("every container is removed under load: what was in flight", &said, took);
    tell(
        "every container is removed under load: who comes then",
        &answer(world.get("shop.localhost", "/")),
        took,
    );
}

/// Whether the slow request has reached the app.
fn has_slow(world: &World) -> bool {
    String::from_utf8_lossy(&world.func(&["logs", "shop"]).stdout).contains("slow")
}
