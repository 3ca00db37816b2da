//! The clock of func's processes, moved by an hour while they run.

use std::time::{Duration, Instant};

use super::answer;
use super::table::tell;
use super::vdso::Clock;
use crate::apart::{Apart, SERVICES};
use crate::client::Repo;
use crate::load::{Habit, Load};
use crate::world::{World, until};

const HOUR: i64 = 3_600;

/// The time of day of the last line that the edge has logged, in seconds.
fn logged(world: &World) -> i64 {
    let logs =
        ["server.log", "edge.log"].map(|name| std::fs::read_to_string(world.path(name)).unwrap_or_default());
    let log = logs.concat();
    let stamp = log.lines().rev().find_map(|line| line.split(' ').next().filter(|word| word.ends_with('Z')));
    let time = stamp.and_then(|stamp| stamp.split_once('T')).expect("a line with its time").1;
    let number = |at: usize| time[at..at + 2].parse::<i64>().expect("a number");
    number(0) * HOUR + number(3) * 60 + number(6)
}

fn is_moved(world: &World, by: i64) -> bool {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_secs();
    let day = 24 * HOUR;
    let off = (logged(world) - now as i64 % day - by).rem_euclid(day);
    off < 300 || off > day - 300
}

/// Moves the clock under traffic, forward and back, and then lets the app sleep and wake; gives what was answered.
fn moved(world: &World, pids: &[u32]) -> [(String, Duration); 2] {
    let clocks: Vec<Clock> = pids.iter().map(|pid| Clock::of(*pid)).collect();
    let load = Load::start((0..4).map(|_| Habit::hello(world.edge(), "shop")).collect());
    until("it is answered", || load.counts().answered() > 10);
    let (_, before) = world.get("shop.localhost", "/start");
    let answers = [HOUR, -HOUR].map(|by| {
        clocks.iter().for_each(|clock| clock.move_by(by));
        let began = Instant::now();
        let said = answer(world.get("shop.localhost", "/"));
        let took = began.elapsed();
        until("func's clock is moved", || is_moved(world, by));
        // Longer than the idle time: who would stop it does so within that.
        std::thread::sleep(Duration::from_secs(7));
        assert_eq!(world.get("shop.localhost", "/start").1, before, "it was stopped under traffic");
        (said, took)
    });
    let counts = load.end();
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures());
    until("it sleeps", || ["poised", "cold"].contains(&world.phase("shop").as_str()));
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    answers
}

#[test]
fn the_clock_goes_forward_and_back_and_nobody_notices() {
    std::thread::scope(|scope| {
        scope.spawn(with_a_ledger_in_memory);
        scope.spawn(with_redis);
    });
}

fn with_a_ledger_in_memory() {
    let world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let answers = moved(&world, &[world.pid()]);
    let cases = ["the clock goes forward by an hour", "the clock goes back by an hour"];
    for (case, (said, took)) in cases.into_iter().zip(answers) {
        assert_eq!(said, "200 hello one");
        tell(case, &said, took);
    }
}

/// Redis' own clock, which the ledger goes by there, is not moved.
fn with_redis() {
    let apart = Apart::new(&[("idle", "5s")]);
    let world = &apart.world;
    Repo::app(world, "one").push(&world.ssh_url("shop")).succeeded();
    let pids: Vec<u32> = SERVICES.iter().map(|name| apart.pid(name)).collect();
    for (said, _) in moved(world, &pids) {
        assert_eq!(said, "200 hello one");
    }
}
