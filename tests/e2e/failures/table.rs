//! The table in docs/failure.md: a row for each case, made of what the tests saw.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The cases, in the order of the table.
const CASES: [&str; 17] = [
    "the disk is full: a push",
    "the disk is full: a running app",
    "the disk is full: a sleeping app",
    "there is space again: the same push",
    "an app uses more than its memory under a request",
    "func uses more than its memory and is killed",
    "the clock goes forward by an hour",
    "the clock goes back by an hour",
    "an app ignores SIGTERM: a request during its stop",
    "a container dies under a request",
    "the image of a sleeping app is deleted",
    "the image is deleted: a rollback",
    "the image is deleted: a push",
    "every container is removed under load: what was in flight",
    "every container is removed under load: who comes then",
    "the network is removed: a running app",
    "the network is removed: a sleeping app",
];

const HEAD: &str = "# What happens when something breaks

Made by `make failure-docs` out of the end-to-end tests in `tests/e2e/failures/`: do not edit it. The tests check that what
a user gets is what stands here. The times were measured once, with a debug build on 2 cores with Docker 20.10, while
other tests ran; each is from the failure, or from the request after it, until the app answered again.

| what happens | what a user gets | answers again after |
|---|---|---|
";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/failure.md")
}

/// A row without its time.
fn start(case: &str, answer: &str) -> String {
    format!("| {case} | {} | ", answer.replace('|', "\\|"))
}

fn time(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1_000 => format!("{ms} ms"),
        ms => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

/// Checks a result against the committed table, or writes it there if `WRITE_DOCS` is set.
#[track_caller]
pub fn tell(case: &str, answer: &str, again: Duration) {
    assert!(CASES.contains(&case), "{case:?} is none of the cases");
    println!("{}{} |", start(case, answer), time(again));
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    if std::env::var_os("WRITE_DOCS").is_none() {
        let told = text.lines().any(|line| line.starts_with(&start(case, answer)));
        assert!(told, "docs/failure.md has no row `{}`: make failure-docs", start(case, answer));
        return;
    }
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let text = std::fs::read_to_string(path()).unwrap_or_default();
    let row = format!("{}{} |", start(case, answer), time(again));
    let of = |wanted: &str| match wanted == case {
        true => Some(row.clone()),
        false => text.lines().find(|line| line.starts_with(&format!("| {wanted} | "))).map(str::to_owned),
    };
    let rows: Vec<String> = CASES.iter().filter_map(|case| of(case)).collect();
    std::fs::write(path(), format!("{HEAD}{}\n", rows.join("\n"))).expect("written");
}

#[test]
fn the_table_has_a_row_for_each_case() {
    if std::env::var_os("WRITE_DOCS").is_some() {
        return;
    }
    let text = std::fs::read_to_string(path()).expect("docs/failure.md");
    let rows = text.strip_prefix(HEAD).expect("the table's own head: make failure-docs");
    let told: Vec<&str> =
        rows.lines().filter_map(|line| line.split(" | ").next()?.strip_prefix("| ")).collect();
    assert_eq!(told, CASES);
}
