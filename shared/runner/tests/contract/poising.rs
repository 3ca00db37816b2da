//! Instances that are made ahead: held, seen, let go once, and never twice.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use func_model::{Claim, GateName, InstanceId, SeenState};
use func_runner::{
    Config, Docker, GateError, Hold, How, Look, Outbound, RunnerError, StartError, State, open_gate,
    until_ready,
};
use func_store::Manifests;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use crate::images::probe;
use crate::sweep::docker as cli;
use crate::world::{App, GRACE, LONG, World, claim, get, until, world};

/// The most that the process of an app at rest may use.
const GATE_KB_MAX: u64 = 300;

/// Makes a file older.
fn age(path: &Path, by: &str) {
    let touched = Command::new("touch").args(["--date", by]).arg(path).status().unwrap();
    assert!(touched.success());
}

fn fresh(gate: GateName) -> Option<SeenState> {
    Some(SeenState::Poised { gate, fresh: true })
}

fn stale(gate: GateName) -> Option<SeenState> {
    Some(SeenState::Poised { gate, fresh: false })
}

fn gates(world: &World) -> usize {
    fs::read_dir(world.data.gates()).map_or(0, Iterator::count)
}

#[tokio::test]
async fn what_is_made_ahead_is_held_and_let_go_by_a_start() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    assert_eq!(world.seen(&id).await, fresh(poised.gate));
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Stopped);
    let lines: Vec<String> =
        timeout(LONG, world.runner.logs(&id, 10, true).await.unwrap().collect()).await.unwrap();
    assert!(lines.is_empty(), "{lines:?}");
    let started = world.start(&id).await;
    assert_eq!((started.how, started.addr), (How::Opened, poised.addr));
    assert_eq!(get(started.addr, "/").await, "hello");
    assert_eq!(world.seen(&id).await, Some(SeenState::Running { addr: started.addr }));
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Running { addr: started.addr });
    assert_eq!(world.start(&id).await.how, How::Found);
    world.runner.stop(&id, GRACE).await.unwrap();
    assert!(world.kept(&id).contains("SIGTERM came"), "the app is process 1: {}", world.kept(&id));
    assert_eq!(gates(&world), 0);
}

#[tokio::test]
async fn a_process_at_its_gate_needs_little() {
    let world = world().await;
    let id = world.serving("blog");
    world.poise(&id).await;
    let pid = cli(&["inspect", "--format", "{{.State.Pid}}", &world.containers().await[0]]).remove(0);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the engine is on this machine");
    let value = |name: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().unwrap()
    };
    assert!(value("VmRSS") < GATE_KB_MAX, "{status}");
    assert_eq!(value("Threads"), 1);
    // The app inherits what is ignored. What is blocked is given back: `same` looks at the app.
    for signals in ["SigIgn", "SigCgt"] {
        assert_eq!(value(signals), 0, "{signals}");
    }
    assert!(world.runner.memory_bytes(&id).await.unwrap() < 4 * 1024 * 1024);
}

#[tokio::test]
async fn poising_twice_is_the_same_as_once() {
    let world = world().await;
    let id = world.release("blog", App { mode: "serve", health: Some("/healthz"), ..App::default() });
    let poised = world.poise(&id).await;
    assert_eq!(poised.health.as_deref(), Some("/healthz"));
    assert_eq!(world.poise(&id).await, poised);
    assert_eq!((world.containers().await.len(), gates(&world)), (1, 1));
}

#[tokio::test]
async fn a_gate_is_opened_by_who_has_no_engine_and_only_once() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    open_gate(&world.data.gates(), poised.gate).await.unwrap();
    until_ready(None, poised.addr, tokio::time::Instant::now() + LONG).await.unwrap();
    assert_eq!(get(poised.addr, "/").await, "hello");
    let again = open_gate(&world.data.gates(), poised.gate).await;
    assert!(matches!(again, Err(GateError::Opened)), "{again:?}");
    let started = world.start(&id).await;
    assert_eq!((started.how, started.addr), (How::Found, poised.addr));
    let error = world.runner.poise(&id).await.unwrap_err();
    assert!(matches!(error, StartError::Runner(RunnerError::Refused { .. })), "it runs: {error:?}");
}

#[tokio::test]
async fn an_opener_that_died_before_the_byte_is_seen_and_the_instance_made_anew() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    fs::write(world.gate(poised.gate).join("opened"), b"").unwrap();
    // It used to be taken for a running app, which could be adopted and paused.
    assert_eq!(world.seen(&id).await, stale(poised.gate));
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Stopped);
    assert_eq!(world.runner.pause(&id).await.unwrap(), None);
    let started = world.start(&id).await;
    assert_eq!(started.how, How::Made);
    assert_eq!(get(started.addr, "/").await, "hello");
    assert_eq!((world.containers().await.len(), gates(&world)), (1, 0));
}

#[tokio::test]
async fn who_looks_whether_a_gate_is_read_does_not_open_it() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    let go = world.gate(poised.gate).join("go");
    for _ in 0..100 {
        // It has a reader at any time, and opening it waits for none.
        drop(fs::OpenOptions::new().write(true).open(&go).unwrap());
    }
    assert_eq!(world.seen(&id).await, fresh(poised.gate));
    assert_eq!(world.start(&id).await.how, How::Opened);
}

#[tokio::test]
async fn a_late_opener_finds_nobody() {
    let world = world().await;
    let id = world.serving("blog");
    let killed = world.poise(&id).await;
    cli(&["kill", &world.containers().await[0]]);
    until("it is over", || async { world.seen(&id).await == Some(SeenState::Exited) }).await;
    let error = open_gate(&world.data.gates(), killed.gate).await.unwrap_err();
    assert!(matches!(error, GateError::Closed), "{error:?}");
    let next = world.poise(&id).await;
    assert_ne!(next.gate, killed.gate);
    world.runner.stop(&id, GRACE).await.unwrap();
    for gate in [killed.gate, next.gate] {
        let error = open_gate(&world.data.gates(), gate).await.unwrap_err();
        assert!(matches!(error, GateError::Gone), "{error:?}");
    }
}

#[tokio::test]
async fn a_start_goes_on_when_what_was_made_ahead_is_gone() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    cli(&["kill", &world.containers().await[0]]);
    assert_eq!(world.start(&id).await.how, How::Made);
    assert!(!world.gate(poised.gate).exists());
    world.runner.stop(&id, GRACE).await.unwrap();
    let poised = world.poise(&id).await;
    fs::remove_dir_all(world.gate(poised.gate)).unwrap();
    assert_eq!(world.start(&id).await.how, How::Made, "its gate is gone");
    assert_eq!(world.containers().await.len(), 1);
}

/// It used to be taken for something left over, and made and started once more.
#[tokio::test]
async fn what_crashes_after_its_holder_let_it_go_is_told_and_not_started_again() {
    let world = world().await;
    let id = world.release("blog", App { mode: "exit", env: &[("STATUS", "3")], ..App::default() });
    let poised = world.poise(&id).await;
    let claim = Claim { poised: Some(poised.clone()), ..claim(&id) };
    open_gate(&world.data.gates(), poised.gate).await.unwrap();
    until("it is over", || async { world.seen(&id).await == Some(SeenState::Exited) }).await;
    let error = world.runner.start(&claim, LONG).await.unwrap_err();
    let StartError::Exited { status: 3, tail, .. } = error else { panic!("{error:?}") };
    assert!(!tail.is_empty());
    until("it is removed", || async { world.containers().await.is_empty() }).await;
}

#[tokio::test]
async fn other_settings_make_it_stale_and_it_is_replaced() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    let other = Docker::new(Config {
        data: world.data.clone(),
        manifests: Manifests::new(world.data.clone()),
        installation: world.installation.clone(),
        socket: None,
        outbound: Outbound::default(),
        max: func_model::Allowance::default().max,
        together_bytes: 1 << 40,
        from_apps: false,
        builds: func_runner::Builds::default(),
        labels: vec![("func.test".to_owned(), "2".to_owned())],
    });
    let seen = other.seen().await.unwrap().containers.remove(0).state;
    assert_eq!(Some(seen), stale(poised.gate));
    let next = other.poise(&id).await.unwrap();
    assert_ne!(next.gate, poised.gate);
    assert_eq!((world.seen(&id).await, gates(&world)), (stale(next.gate), 1));
}

#[tokio::test]
async fn what_is_a_day_old_is_stale_and_is_replaced() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    age(&world.gate(poised.gate).join("go"), "2 days ago");
    assert_eq!(world.seen(&id).await, stale(poised.gate));
    let next = world.poise(&id).await;
    assert_ne!(next.gate, poised.gate);
    assert_eq!((world.seen(&id).await, gates(&world)), (fresh(next.gate), 1));
}

#[tokio::test]
async fn a_release_that_is_gone_makes_it_stale() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    world.manifests.remove(&id.release).unwrap();
    assert_eq!(world.seen(&id).await, stale(poised.gate));
}

#[tokio::test]
async fn what_was_never_let_go_is_removed_at_once_and_leaves_no_log() {
    let world = world().await;
    let id = world.release("blog", App { mode: "deaf", ..App::default() });
    let poised = world.poise(&id).await;
    let container = world.containers().await.remove(0);
    world.runner.remove_container(&container, false).await.unwrap();
    assert_eq!(world.seen(&id).await, fresh(poised.gate), "it runs, and was not to be stopped");
    let begun = Instant::now();
    world.runner.stop(&id, GRACE).await.unwrap();
    assert!(begun.elapsed() < GRACE / 2, "it waited for the gate's process");
    assert_eq!((world.containers().await.len(), gates(&world)), (0, 0));
    assert_eq!(world.kept(&id), "");
    world.poise(&id).await;
    let container = world.containers().await.remove(0);
    world.runner.remove_container(&container, true).await.unwrap();
    assert_eq!((world.containers().await.len(), gates(&world)), (0, 0));
}

/// Gives the exit status of what was made ahead, after these words of `docker` with its container.
async fn status_after(world: &World, id: &InstanceId, words: &[&str]) -> String {
    world.poise(id).await;
    let container = world.containers().await.remove(0);
    cli(&[words, &[container.as_str()]].concat());
    until("it is over", || async { world.seen(id).await == Some(SeenState::Exited) }).await;
    cli(&["inspect", "--format", "{{.State.ExitCode}}", &container]).remove(0)
}

/// It used to ignore SIGTERM, as process 1 does: who stopped the engine waited until it may kill.
#[tokio::test]
async fn what_was_made_ahead_ends_when_it_is_told_to_stop() {
    let world = world().await;
    let id = world.serving("blog");
    for (words, status) in [
        (&["stop", "-t", "10"][..], "143"),
        (&["kill", "-s", "INT"], "130"),
        (&["kill", "-s", "QUIT"], "131"),
        (&["kill", "-s", "RTMIN+3"], "165"),
    ] {
        assert_eq!(status_after(&world, &id, words).await, status, "{words:?}");
    }
    assert_eq!(world.start(&id).await.how, How::Made);
    assert_eq!((world.kept(&id), gates(&world)), (String::new(), 0));
}

#[tokio::test]
async fn a_signal_that_does_not_end_it_leaves_it_at_its_gate() {
    let world = world().await;
    let id = world.serving("blog");
    let poised = world.poise(&id).await;
    let container = world.containers().await.remove(0);
    for signal in ["CHLD", "CONT", "URG", "ALRM"] {
        cli(&["kill", "-s", signal, &container]);
    }
    assert_eq!(world.seen(&id).await, fresh(poised.gate));
    assert_eq!(world.start(&id).await.how, How::Opened);
}

#[tokio::test]
async fn the_end_of_what_was_made_ahead_is_told() {
    let world = world().await;
    let id = world.serving("blog");
    world.poise(&id).await;
    let mut exits = world.runner.exits().await.unwrap();
    cli(&["kill", &world.containers().await[0]]);
    assert_eq!(timeout(LONG, exits.next()).await.unwrap(), Some(id));
}

#[tokio::test]
async fn what_cannot_be_made_ahead_is_told() {
    let world = world().await;
    let error = world.runner.poise(&"blog-v9.1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, StartError::Runner(RunnerError::NoManifest { .. })), "{error:?}");
    let absent = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let id = world.release("blog", App { image: Some(absent), ..App::default() });
    let error = world.runner.poise(&id).await.unwrap_err();
    assert!(matches!(error, StartError::NoImage { .. }), "{error:?}");
    assert_eq!((world.containers().await.len(), gates(&world)), (0, 0));
}

#[tokio::test]
async fn an_images_own_labels_make_no_gate() {
    let world = world().await;
    let theirs = world.release("shop", App { mode: "serve", ..App::default() });
    let poised = world.poise(&theirs).await;
    let labels = json!({ "func.gate": poised.gate, "func.made": "x" });
    let config = json!({ "Cmd": ["/probe"], "Labels": labels });
    let id = world.release_of(config, &[("probe", &probe(), 0o755)], App::default()).await;
    let started = world.start(&id).await;
    assert_eq!(world.seen(&id).await, Some(SeenState::Running { addr: started.addr }));
    world.runner.stop(&id, GRACE).await.unwrap();
    assert_eq!(world.seen(&theirs).await, fresh(poised.gate));
    assert_eq!(world.start(&theirs).await.how, How::Opened);
}

#[tokio::test]
async fn only_old_gates_without_a_container_are_tidied_up() {
    let world = world().await;
    let id = world.serving("blog");
    let used = world.poise(&id).await;
    let made = |name: u128| {
        let folder = world.gate(GateName::new(name));
        fs::create_dir(&folder).unwrap();
        folder
    };
    let (old, young) = (made(1), made(2));
    age(&old, "1 hour ago");
    age(&world.gate(used.gate), "1 hour ago");
    world.runner.tidy().await.unwrap();
    assert!(!old.exists() && young.exists());
    assert_eq!(world.start(&id).await.how, How::Opened);
}

#[tokio::test]
async fn the_gates_programs_of_other_versions_go_with_their_last_container() {
    let world = world().await;
    let id = world.serving("blog");
    world.poise(&id).await;
    let run = world.data.root().join("run");
    let [unused, used] = ["gate-0000000000000000", "gate-1111111111111111"].map(|name| run.join(name));
    for program in [&unused, &used] {
        fs::write(program, b"older").unwrap();
    }
    let label = format!("func.installation={}", world.installation);
    let mount = format!("type=bind,source={},target=/gate,readonly", used.display());
    let older = cli(&["create", "--label", &label, "--mount", &mount, world.image.as_str()]).remove(0);
    world.runner.tidy().await.unwrap();
    assert!(!unused.exists() && used.exists());
    cli(&["rm", &older]);
    world.runner.tidy().await.unwrap();
    assert!(!used.exists());
    assert_eq!(world.start(&id).await.how, How::Opened, "the present one is still there");
}
