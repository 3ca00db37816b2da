//! Every process is ended at once after every effect of a push, a wake, a freeze and a stop, with load beside it, and
//! started again: nothing is lost, and soon all is at rest or in service.
//!
//! The points are in func-crash. Each scene is an installation of its own, and crashes one point after the other.

mod push;
mod scene;
mod stop;
mod wake;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use func_crash::{POINTS, VARIABLE};

/// Runs scenes at the same time: mostly they wait.
fn together(scenes: &[fn()]) {
    let one_fails = thread::scope(|scope| {
        let running: Vec<_> = scenes.iter().map(|scene| scope.spawn(scene)).collect();
        // Each is waited for, so that each removes what it made.
        running.into_iter().map(|scene| scene.join()).filter(Result::is_err).count()
    });
    assert_eq!(one_fails, 0, "scenes failed; what each saw is above");
}

#[test]
fn a_crash_after_any_effect_of_a_push_loses_neither_the_push_nor_a_request() {
    together(&[push::deploys, push::failures_rollbacks_and_removals, push::what_git_host_and_hook_do]);
}

#[test]
fn a_crash_after_any_effect_of_a_wake_costs_only_what_went_through_the_crashed_edge() {
    together(&[wake::edges, wake::starts, wake::what_is_made_ahead]);
}

#[test]
fn a_crash_after_any_effect_of_a_freeze_or_a_stop_costs_no_request() {
    together(&[stop::freezes, stop::stops]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// How often each text in `point("...")` stands in the files of these folders.
fn standing(folders: &[&str]) -> Vec<String> {
    let mut files = Vec::new();
    folders.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("a source")).collect();
    let names = text.split("point(\"").skip(1).filter_map(|rest| rest.split_once("\")"));
    names.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_crash_point_stands_once_in_the_sources_and_is_tried() {
    let roles = ["edge/src", "cleaner/src", "builder/src", "githost/src", "hooks/src", "shared/runner/src"];
    let mut standing = standing(&roles);
    standing.sort();
    let mut known: Vec<_> = POINTS.iter().map(|point| point.name.to_owned()).collect();
    known.sort();
    assert_eq!(standing, known, "the points in the sources, and those of the table");
    let tried = [push::tried(), wake::tried(), stop::tried()].concat();
    let untried: Vec<_> = POINTS.iter().filter(|point| !tried.contains(&point.name)).collect();
    assert!(untried.is_empty(), "no scene tries these: {untried:?}");
}

#[test]
fn what_is_released_has_no_crash_points() {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--locked", "--offline", "--workspace", "--edges", "normal,build,features"]);
    let out = tree.args(["--invert", "func-crash"]).current_dir(root()).output().expect("cargo runs");
    let shown = String::from_utf8_lossy(&out.stdout);
    assert!(
        out.status.success() && shown.contains("func-runner"),
        "{shown}{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(!shown.contains("\"points\""), "a normal build has crash points:\n{shown}");
}

/// Fails with the way out if the program has no crash points: it would never end where a test waits for it.
fn has_points() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_func")).expect("the program");
    let finder = VARIABLE.as_bytes();
    let has = program.windows(finder.len()).any(|window| window == finder);
    assert!(
        has,
        "{} has no crash points: `cargo build` alone has replaced it. `cargo test --test e2e --no-run` makes it anew",
        env!("CARGO_BIN_EXE_func")
    );
}
