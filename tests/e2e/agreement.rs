//! The ledger against reality: what `func apps` says, and what the engine shows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::world::{LIMIT, World, docker};

/// What every container of an installation is doing, by its name.
fn containers(world: &World, engine: Option<&Path>) -> Vec<(String, String)> {
    let host = engine.map(|socket| format!("unix://{}", socket.display()));
    let filter = format!("label=func.installation={}", world.installation);
    let format = "{{.Names}} {{.State}} {{.Label \"func.gate\"}}";
    let mut args = vec!["ps", "-a", "--filter", &filter, "--format", format];
    if let Some(host) = &host {
        args.splice(..0, ["-H", host]);
    }
    let listed = docker(&args);
    let read = |line: &str| {
        let mut fields = line.split(' ');
        let (name, state) = (fields.next()?, fields.next()?);
        let gate = fields.next().filter(|gate| !gate.is_empty());
        let held = gate.is_some_and(|gate| !world.gate(gate).join("opened").exists());
        let state = if held && state == "running" { "poised" } else { state };
        Some((name.to_owned(), state.to_owned()))
    };
    listed.lines().filter_map(read).collect()
}

/// What `func apps` says of each deployed app: its live instance's container, and its phase.
fn apps(world: &World) -> Vec<(String, String)> {
    let out = world.func(&["apps"]);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let read = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (app, release, phase) = (fields.first()?, fields.get(1)?, fields.get(2)?);
        Some((format!("{}-{app}-{release}.1", world.installation), (*phase).to_owned()))
    };
    text.lines().skip(1).filter(|line| !line.contains("not deployed")).filter_map(read).collect()
}

/// Says in which ways the ledger and the engine disagree; empty if nothing is between two states either.
fn disagreements(world: &World, engine: Option<&Path>) -> Vec<String> {
    let (apps, containers) = (apps(world), containers(world, engine));
    let mut found = Vec::new();
    if apps.is_empty() {
        found.push("func apps lists nothing".to_owned());
    }
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, state) in &containers {
        if seen.insert(name, state).is_some() {
            found.push(format!("{name} is there twice"));
        }
    }
    for (name, phase) in &apps {
        let expected = match phase.as_str() {
            "cold" | "broken" => None,
            "warm" => Some("running"),
            "frozen" => Some("paused"),
            "poised" => Some("poised"),
            other => {
                found.push(format!("{name} is {other}"));
                continue;
            }
        };
        let there = seen.remove(name.as_str());
        if there != expected {
            found.push(format!("{name} is {phase}, and its container {}", there.unwrap_or("is not there")));
        }
    }
    found.extend(seen.iter().map(|(name, state)| format!("nobody knows {name}, which is {state}")));
    found
}

/// Waits until nothing is left to be complained of.
fn until_none(what: &str, limit: Duration, complaints: impl Fn() -> Vec<String>) {
    let began = Instant::now();
    loop {
        let found = complaints();
        if found.is_empty() {
            return;
        }
        assert!(began.elapsed() < limit, "{what}: {found:#?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Waits until the ledger and the engine agree about everything.
pub fn agrees(world: &World, engine: Option<&Path>) {
    until_none("the ledger and the engine disagree", LIMIT, || disagreements(world, engine));
}

/// Waits until nothing runs and nothing is paused: what there is was made ahead, and the ledger says so.
pub fn rests(world: &World, engine: Option<&Path>, limit: Duration) {
    until_none("not all rest", limit, || {
        let awake = containers(world, engine).into_iter().filter(|(_, state)| state != "poised");
        let awake = awake.map(|(name, state)| format!("{name} is {state}"));
        disagreements(world, engine).into_iter().chain(awake).collect()
    });
}
