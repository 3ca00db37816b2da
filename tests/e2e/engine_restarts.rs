//! The Docker engine is restarted under running, made-ahead and paused instances.

use std::net::SocketAddr;
use std::time::Instant;

use crate::agreement;
use crate::apart::{Apart, SERVICES};
use crate::client::Repo;
use crate::engine::{End, Engine};
use crate::load::{Habit, Load};
use crate::world::until;

const EDGES: [&str; 2] = ["edge", "edge2"];
/// One that is asked all the time, one that is paused, one that rests and is made ahead.
const APPS: [&str; 3] = ["busy", "icy", "dozy"];

fn deployed(engine: &Engine) -> Apart {
    let socket = engine.socket();
    let mut apart = Apart::prepared(&[("idle", "5s"), ("docker", socket.to_str().expect("a path"))]);
    engine.make_network(&apart.world.installation);
    SERVICES.iter().for_each(|name| apart.start(name));
    apart.ready();
    let pushes = APPS.map(|app| {
        let repo = Repo::app(&apart.world, "1");
        if app == "icy" {
            repo.write("func.toml", "freeze = \"3s\"\nidle = \"1h\"\n");
            repo.commit("it freezes");
        }
        let push = repo.push_in_background(&apart.world.ssh_url(app));
        (repo, push)
    });
    for (_repo, push) in pushes {
        push.join().expect("git ran").succeeded();
    }
    apart
}

fn answers(edge: SocketAddr, app: &str) -> bool {
    let out = std::process::Command::new("curl")
        .args([
            "-sS",
            "--max-time",
            "90",
            "-H",
            &format!("Host: {app}.localhost"),
            &format!("http://{edge}/"),
        ])
        .output();
    out.expect("curl runs").stdout == b"hello 1"
}

/// The container that was made ahead for dozy: its id.
fn made_ahead(engine: &Engine, apart: &Apart) -> String {
    until("one runs, one is paused, one is made ahead", || {
        ["warm", "frozen", "poised"] == APPS.map(|app| apart.world.phase(app)).each_ref().map(String::as_str)
    });
    agreement::agrees(&apart.world, Some(&engine.socket()));
    let name = format!("{}-dozy-v1.1", apart.world.installation);
    engine.docker(&["inspect", "--format", "{{.Id}}", &name])
}

/// Restarts the engine; afterwards all is as it was, and only requests of meanwhile may have failed.
fn survives(engine: &mut Engine, apart: &Apart, end: End) {
    let mut habits = EDGES.map(|name| Habit::hello(apart.edge_addr(name), "busy")).to_vec();
    habits.extend(habits.clone().into_iter().map(|habit| {
        let (path, says) = ("/sse?n=20&ms=200".to_owned(), "data: 0".to_owned());
        Habit { path, says, ..habit }
    }));
    let load = Load::start(habits);
    let before = made_ahead(engine, apart);
    assert_eq!(load.counts().failed(), 0, "{:#?}", load.counts().failures());
    let ended = Instant::now();
    engine.end(end);
    engine.start();
    let back = Instant::now();
    for app in APPS {
        for edge in EDGES.map(|name| apart.edge_addr(name)) {
            until(&format!("{app} answers again"), || answers(edge, app));
        }
    }
    let answered = Instant::now();
    let after = made_ahead(engine, apart);
    assert_ne!(before, after, "what was made ahead before is thrown away");
    let answered_before = load.counts().answered();
    until("busy goes on answering", || load.counts().answered() > answered_before + 20);
    let counts = load.end();
    let other = counts.unexcused(|failure| failure.failed >= ended && failure.asked <= answered);
    eprintln!(
        "{end:?}: away for {} ms, all answered {} ms later; {} answered, {} failed meanwhile",
        (back - ended).as_millis(),
        (answered - back).as_millis(),
        counts.answered(),
        counts.failed(),
    );
    assert!(other.is_empty(), "{other:#?}");
}

#[test]
fn an_engine_that_is_restarted_or_killed_takes_no_app_with_it() {
    let mut engine = Engine::new();
    let apart = deployed(&engine);
    survives(&mut engine, &apart, End::Terminated);
    survives(&mut engine, &apart, End::Killed);
    agreement::agrees(&apart.world, Some(&engine.socket()));
}
