//! What a user gets when something outside of func breaks, and how long it takes until the app answers again.
//!
//! Each test tells its results to the table in docs/failure.md.

mod clock;
mod containers;
mod disk;
mod engine;
mod memory;
mod table;
mod vdso;

use std::time::{Duration, Instant};

use crate::world::{World, until};

/// What somebody who asks gets: the status, and the first line of what it says.
fn answer((status, body): (u16, String)) -> String {
    match status {
        0 => "no connection".to_owned(),
        status => format!("{status} {}", body.lines().next().unwrap_or_default()).trim_end().to_owned(),
    }
}

/// Asks until the app answers, and gives how long that took.
fn again(world: &World, app: &str) -> Duration {
    let began = Instant::now();
    until(&format!("{app} answers again"), || world.get(&format!("{app}.localhost"), "/").0 == 200);
    began.elapsed()
}

/// How often the app was started, by what it printed.
fn starts(world: &World, app: &str) -> usize {
    String::from_utf8_lossy(&world.func(&["logs", app]).stdout).matches("listening on").count()
}
