//! A compromised part attacks the others, from inside its container. The compose test calls this.

use std::process::{Command, Output};

use crate::compose::Compose;
use crate::world::docker;

/// The users and groups of the two public doors.
const EDGE: &str = "7001:7001";
const GITHOST: &str = "7002:7002";
const ROOT: &str = "0:0";

/// Runs a command in a part's container, as a user and group.
fn inside(compose: &Compose, service: &str, user: &str, command: &[&str]) -> Output {
    let mut docker = Command::new("docker");
    docker.args(["exec", "-u", user, &compose.container(service)]).args(command);
    docker.output().expect("docker runs")
}

#[track_caller]
fn can(compose: &Compose, service: &str, user: &str, command: &[&str]) -> String {
    let out = inside(compose, service, user, command);
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{service} as {user}: {command:?}: {said}");
    said
}

#[track_caller]
fn cannot(compose: &Compose, service: &str, user: &str, command: &[&str]) {
    let out = inside(compose, service, user, command);
    assert!(!out.status.success(), "{service} as {user} can {command:?}");
}

/// The users of a container's processes of func, and their effective capabilities.
fn users(compose: &Compose, service: &str) -> Vec<(String, String)> {
    let top = docker(&["top", &compose.container(service), "-o", "pid,comm"]);
    let pids = top.lines().skip(1).filter(|line| line.ends_with("func"));
    let pids = pids.filter_map(|line| line.split_whitespace().next());
    pids.map(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("its state");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
            line.split_whitespace().next().expect("a value").to_owned()
        };
        (field("Uid:"), field("CapBnd:"))
    })
    .collect()
}

/// Tries, from inside each public door, what only another part may; `shop` is an app that was pushed.
pub fn try_one_another(compose: &Compose) {
    // NET_BIND_SERVICE alone can be had.
    let door = |user: &str| vec![(user.to_owned(), "0000000000000400".to_owned())];
    assert_eq!(users(compose, "edge"), door("7001"));
    assert_eq!(users(compose, "githost"), door("7002"));
    for service in ["builder", "cleaner"] {
        assert_eq!(users(compose, service)[0].0, "0", "{service} holds the engine's socket");
    }
    let data = compose.world.data();
    let at = |name: &str| data.join(name).display().to_string();
    for service in ["edge", "githost"] {
        for user in [EDGE, GITHOST, ROOT] {
            cannot(compose, service, user, &["test", "-e", "/var/run/docker.sock"]);
            for name in ["manifest", "logs", "run/builder.sock", "run/cleaner.sock", "run/deploy-shop.lock"] {
                cannot(compose, service, user, &["test", "-e", &at(name)]);
            }
        }
    }
    try_as_edge(compose, at);
    try_as_githost(compose, at);
}

fn try_as_edge(compose: &Compose, at: impl Fn(&str) -> String) {
    for user in [EDGE, ROOT] {
        for name in ["projects", "keys", "audit", "run/deploy", "run/githost"] {
            cannot(compose, "edge", user, &["test", "-e", &at(name)]);
        }
        for name in ["run/start", "run/redis", "func-server.toml"] {
            cannot(compose, "edge", user, &["touch", &at(name)]);
        }
    }
    can(compose, "edge", EDGE, &["touch", &at("run/edge/of-its-own")]);
    can(compose, "edge", EDGE, &["rm", &at("run/edge/of-its-own")]);
    let start = ["-sS", "--max-time", "5", "--unix-socket", &at("run/start/start.sock")];
    let said = can(compose, "edge", EDGE, &[&["curl"], &start[..], &["http://func/apps"]].concat());
    assert_eq!(said, "", "starts are all that it can ask for");
}

fn try_as_githost(compose: &Compose, at: impl Fn(&str) -> String) {
    for user in [GITHOST, ROOT] {
        for name in ["run/start", "run/redis", "run/occupied", "run/poised", "run/edge"] {
            cannot(compose, "githost", user, &["test", "-e", &at(name)]);
        }
        cannot(compose, "githost", user, &["touch", &at("run/deploy/x")]);
    }
    can(compose, "githost", GITHOST, &["test", "-r", &at("projects/shop.git/HEAD")]);
    let socket = at("run/deploy/deploy.sock");
    for (path, code) in [("/removals", "404"), ("/rollbacks", "404"), ("/builds", "422")] {
        let url = format!("http://func{path}");
        let body = ["-d", "{\"app\":\"shop\"}", "-H", "content-type: application/json", &url];
        let show = ["-sS", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}"];
        let command = [&["curl", "--unix-socket", &socket], &show[..], &body].concat();
        assert_eq!(can(compose, "githost", GITHOST, &command), code, "{path}");
    }
    // The group opens the socket; whom it is for is the kernel's word about who calls.
    let get = ["curl", "-sS", "--max-time", "5", "--unix-socket", &socket, "http://func/builds"];
    can(compose, "githost", "7002:7002", &get);
    cannot(compose, "githost", "7001:7002", &get);
}
