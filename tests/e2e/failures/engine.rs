//! What is func's on the engine, removed by somebody else.

use std::time::Instant;

use super::answer;
use super::table::tell;
use crate::client::Repo;
use crate::world::{World, docker, until};

#[test]
fn an_image_that_is_deleted_is_told_and_a_network_that_is_removed_is_made_again() {
    std::thread::scope(|scope| {
        scope.spawn(image_deleted);
        scope.spawn(network_removed);
    });
}

fn image_deleted() {
    let world = World::with(&[("idle", "5s"), ("poised-memory", "0")]);
    let repo = Repo::site(&world, "one");
    repo.push(&world.ssh_url("shop")).succeeded();
    repo.write("index.html", "two");
    repo.commit("the second");
    repo.push(&world.ssh_url("shop")).succeeded();
    until("it sleeps", || world.phase("shop") == "cold");
    docker(&["rmi", "-f", &format!("{}/shop:v2", world.installation)]);
    let said = answer(world.get("shop.localhost", "/"));
    assert_eq!(said, "503 shop did not start. Its owner sees why with: func logs shop");
    let logs = String::from_utf8_lossy(&world.func(&["logs", "shop"]).stdout).into_owned();
    assert!(logs.contains("shop-v2.1 did not start: the image of shop-v2 is gone; push again"), "{logs}");

    let began = Instant::now();
    let rolled = world.func(&["rollback", "shop"]);
    assert!(rolled.status.success(), "{rolled:?}");
    let after_rollback = answer(world.get("shop.localhost", "/"));
    let rollback_took = began.elapsed();
    assert_eq!(after_rollback, "200 one");

    repo.commit("nothing changed");
    let began = Instant::now();
    repo.push(&world.ssh_url("shop")).succeeded();
    let after_push = answer(world.get("shop.localhost", "/"));
    let push_took = began.elapsed();
    assert_eq!(after_push, "200 two");
    tell(
        "the image of a sleeping app is deleted",
        &format!("{said} (which says: push again, or roll back)"),
        rollback_took,
    );
    tell("the image is deleted: a rollback", &after_rollback, rollback_took);
    tell("the image is deleted: a push", &after_push, push_took);
}

/// Makes a network with addresses of the test's own: the engine gives those of a removed one to the next, which may be
/// another test's, and its app would answer.
fn make_network(world: &World, name: &str) {
    let number = u32::from_str_radix(world.installation.rsplit('-').next().unwrap_or_default(), 16);
    let number = number.expect("an installation ends with hex digits") % 512;
    let subnet = format!("198.{}.{}.0/24", 18 + number / 256, number % 256);
    let label = format!("func.installation={}", world.installation);
    let icc = "com.docker.network.bridge.enable_icc=false";
    docker(&["network", "create", "--subnet", &subnet, "--label", &label, "-o", icc, name]);
}

fn network_removed() {
    let mut world = World::prepared(&[("idle", "10s")]);
    make_network(&world, &world.installation);
    world.start();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    Repo::site(&world, "hello").push(&world.ssh_url("blog")).succeeded();
    until("one sleeps", || world.phase("blog") == "poised");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    for container in world.all_containers() {
        docker(&["network", "disconnect", "-f", &world.installation, &container.id]);
    }
    docker(&["network", "rm", &world.installation]);
    // Otherwise what is sent to the old addresses leaves the machine.
    make_network(&world, &format!("{}-instead", world.installation));
    // Not on a connection from before: what is sent there has gone nowhere, and nobody says so.
    let ask = |host: &str, path: &str, method: &str| {
        let began = Instant::now();
        (answer(world.curl(host, path, &["-X", method])), began.elapsed())
    };
    let (running, sleeping) = std::thread::scope(|scope| {
        let running = scope.spawn(|| ask("shop.localhost", "/slow", "POST"));
        let sleeping = scope.spawn(|| ask("blog.localhost", "/", "GET"));
        (running.join().expect("curl ran"), sleeping.join().expect("curl ran"))
    });
    assert_eq!((running.0.as_str(), sleeping.0.as_str()), ("200 done", "200 hello"));
    tell("the network is removed: a running app", &running.0, running.1);
    tell("the network is removed: a sleeping app", &sleeping.0, sleeping.1);
}
