//! func itself is stopped, killed and started again.

use std::time::Duration;

use crate::apart::Apart;
use crate::client::{Repo, slow_dockerfile};
use crate::load::{Habit, Load};
use crate::world::{World, docker, until};

#[test]
fn apps_live_on_when_func_is_restarted_and_when_it_is_killed() {
    let mut world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let (_, first) = world.get("shop.localhost", "/start");
    world.stop();
    world.start();
    assert_eq!(world.get("shop.localhost", "/start"), (200, first.clone()), "its instance was adopted");
    world.kill();
    world.start();
    assert_eq!(world.get("shop.localhost", "/start"), (200, first), "its instance was adopted");
}

#[test]
fn what_ran_while_func_was_away_is_still_stopped_when_idle() {
    let mut world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world.kill();
    world.start();
    until("it sleeps", || world.containers().is_empty());
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_push_whose_build_was_cut_off_is_built_at_the_next_start() {
    let mut world = World::new();
    let repo = Repo::app(&world, "one");
    repo.write("Dockerfile", &slow_dockerfile(5));
    repo.commit("a slow build");
    let push = repo.push_in_background(&world.ssh_url("shop"));
    until("the build runs", || {
        world.log().contains("sleep 5") || world.data().join("logs/shop/build.log").exists()
    });
    std::thread::sleep(Duration::from_secs(1));
    world.kill();
    assert!(!push.join().expect("git ran").ok, "the pusher is told");
    world.start();
    until("it is built and live", || world.get("shop.localhost", "/") == (200, "hello one".into()));
}

#[test]
fn what_nobody_knows_is_removed_and_what_is_foreign_is_not() {
    let mut world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world.kill();
    let image = docker(&["inspect", "-f", "{{.Image}}", &format!("{}-shop-v1.1", world.installation)]);
    let label = format!("func.installation={}", world.installation);
    let stray = format!("{}-stray-v1.1", world.installation);
    let foreign = format!("{}-foreign", world.installation);
    docker(&[
        "run",
        "-d",
        "--name",
        &stray,
        "-l",
        &label,
        "-l",
        "func.instance=stray-v1.1",
        "-e",
        "PORT=80",
        &image,
    ]);
    docker(&["run", "-d", "--name", &foreign, "-e", "PORT=80", &image]);
    world.start();
    until("the stray is removed", || !world.containers().contains(&stray));
    assert_eq!(docker(&["inspect", "-f", "{{.State.Running}}", &foreign]), "true");
    docker(&["rm", "-f", &foreign]);
}

#[test]
fn old_releases_and_their_images_are_removed() {
    let mut world = World::with(&[("idle", "5s")]);
    let repo = Repo::site(&world, "0");
    for n in 1..=7 {
        repo.write("index.html", &n.to_string());
        repo.commit("next");
        repo.push(&world.ssh_url("blog")).succeeded();
    }
    // The plan is made at once when it starts.
    world.stop();
    world.start();
    until("five are kept", || {
        let tags = docker(&["images", "--format", "{{.Tag}}", &format!("{}/blog", world.installation)]);
        let manifests = std::fs::read_dir(world.data().join("manifest/blog")).expect("a folder");
        let manifests =
            manifests.flatten().filter(|e| e.path().extension().is_some_and(|e| e == "json")).count();
        tags.lines().count() == 5 && manifests == 5
    });
    assert_eq!(world.get("blog.localhost", "/"), (200, "7".into()));
}

#[test]
fn a_second_func_on_the_same_folder_is_refused() {
    let world = World::new();
    let out =
        world.func(&["serve", "all", "--edge-listen=127.0.0.1:0", "--ssh-listen=off", "--http-listen=off"]);
    assert!(!out.status.success());
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(said.contains("another") || said.contains("twice"), "{said}");
}

#[test]
fn requests_that_wait_for_a_start_are_answered_before_func_leaves() {
    let mut world = World::with(&[("idle", "5s")]);
    let repo = Repo::app(&world, "one");
    repo.write("behave", "slow");
    repo.commit("a slow start");
    repo.push(&world.ssh_url("shop")).succeeded();
    until("it sleeps", || world.containers().is_empty());
    let url = format!("http://{}/", world.edge());
    let ask = || {
        std::process::Command::new("curl")
            .args(["-sS", "--max-time", "60", "-H", "Host: shop.localhost", &url])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("curl runs")
    };
    let asked: Vec<_> = (0..10).map(|_| ask()).collect();
    until("it starts", || !world.containers().is_empty());
    // Half of the time that it takes: all have asked by now.
    std::thread::sleep(Duration::from_secs(3));
    world.stop();
    for curl in asked {
        let out = curl.wait_with_output().expect("curl ran");
        assert_eq!(String::from_utf8_lossy(&out.stdout), "hello one");
    }
}

#[test]
fn an_app_that_is_removed_while_it_is_used_does_not_answer_for_the_next_of_its_name() {
    let world = World::new();
    Repo::app(&world, "old").push(&world.ssh_url("shop")).succeeded();
    let url = format!("http://{}/sse?n=60&ms=500", world.edge());
    let mut stream = std::process::Command::new("curl")
        .args(["-sSN", "-H", "Host: shop.localhost", &url])
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("curl runs");
    std::thread::sleep(Duration::from_secs(1));
    assert!(world.func(&["rm", "shop", "--yes"]).status.success());
    let said = Repo::app(&world, "new").push(&world.ssh_url("shop")).succeeded();
    assert!(said.contains("shop-v2 is live"), "a name is never used twice: {said}");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello new".into()));
    assert!(stream.try_wait().expect("its state").is_none(), "what was in flight goes on");
    stream.kill().expect("it is ours");
    stream.wait().expect("it has ended");
    let of = |label: &str, value: &str| format!("label=func.{label}={value}");
    let (installation, old) = (of("installation", &world.installation), of("instance", "shop-v1.1"));
    until("the old one is gone", || {
        docker(&["ps", "-aq", "--filter", &installation, "--filter", &old]).is_empty()
    });
    let logs = String::from_utf8_lossy(&world.func(&["logs", "shop"]).stdout).into_owned();
    assert!(!logs.contains("shop-v1.1"), "the next of its name shows what it printed: {logs}");
}

#[test]
fn services_that_run_apart_answer_alike_at_two_edges() {
    let mut apart = Apart::new(&[]);
    Repo::app(&apart.world, "one").push(&apart.world.ssh_url("shop")).succeeded();
    let habits = ["edge", "edge2"].map(|name| Habit::hello(apart.edge_addr(name), "shop"));
    let load = Load::start(habits.into());
    until("both answer", || load.counts().answered() > 20);
    for name in ["cleaner", "builder", "githost"] {
        apart.kill(name);
        apart.start(name);
    }
    apart.ready();
    let before = load.counts().answered();
    until("both still answer", || load.counts().answered() > before + 20);
    let counts = load.end();
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures());
}
