//! Races between the processes, on the real code: two edges (routes, wake, slots, lease keeper, starter), the cleaner (all
//! of its loops) and a builder's switch share a ledger and an engine, in an order that a seed decides.
//!
//! Why neither turmoil nor shuttle nor loom: our races are between processes that exchange messages, not between threads
//! over atomics, so loom and shuttle would look at the wrong thing (and want their own locks in pingora and tokio).
//! turmoil is made for this, and its hosts are runtimes of their own that advance together in small steps: a minute of
//! leases and idle times in steps of 1 ms is some hundred thousand steps, a hundred times more than there are events;
//! and its network would stay unused, since what edges and cleaner say to each other goes through traits here (the
//! sockets have tests of their own). So it is tokio's own scheduler: one thread, a paused clock that jumps to the next
//! event, and dice in every adapter. `select!` is biased where the order matters.
//!
//! - The ledger is the real one in memory, which a contract suite holds to Redis. Every call takes its time, is lost
//!   before or after its effect, or arrives when its caller has given it up (`line`).
//! - The engine is a map of containers; what is wrong is noticed there (`engine`). Every call takes its time, fails,
//!   or goes on after its caller (`powers`).
//! - Edges and the cleaner are killed at any await, and come back; containers die; the ledger is lost, or away, or out of
//!   reach for one edge alone, for longer than its leases (`hosts`, `story`).
//!
//! What must never be: an instance is stopped, paused or killed while a request is in it; a request comes to what is being
//! stopped; a gate is opened twice; a request is told nothing; without faults, a request is not answered; after the
//! faults, an app does not answer, or something does not come to rest. One process per name is what the engine gives.
//!
//! Not met here: a kill by a start that outlives its cleaner (the model checker in `shared/model/tests/protocol` says why).
//!
//! `FUNC_SEED=123 cargo test -p func-races -- --nocapture` tells the story of one seed.
//! `FUNC_SEEDS=100000` tries so many.

mod dice;
mod engine;
mod hosts;
mod liar;
mod line;
mod powers;
mod story;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use story::{Ended, folder, tell};
use world::{Counts, Without};

/// How many seeds are tried.
const SEEDS: u64 = 2_000;
/// How many are tried at the most until a rule that was taken out is missed.
const SEEDS_WITHOUT: u64 = 1_000;

/// Tries seeds until one is wrong, on every CPU; gives the first, and what happened in all.
fn search(without: Without, seeds: u64) -> (Option<(u64, Ended)>, Counts) {
    let (next, found) = (AtomicU64::new(1), Mutex::new(None::<(u64, Ended)>));
    let counts = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let root = tempfile::tempdir().expect("a folder");
                let folder = folder(root.path());
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds || found.lock().expect("unbroken").is_some() {
                        return;
                    }
                    let ended = tell(seed, without, false, &folder);
                    counts.lock().expect("unbroken").add(&ended.counts);
                    if !ended.wrongs.is_empty() {
                        let mut found = found.lock().expect("unbroken");
                        if found.as_ref().is_none_or(|(other, _)| *other > seed) {
                            *found = Some((seed, ended));
                        }
                    }
                }
            });
        }
    });
    (found.into_inner().expect("unbroken"), counts.into_inner().expect("unbroken"))
}

fn one(seed: u64, without: Without) -> Ended {
    let root = tempfile::tempdir().expect("a folder");
    tell(seed, without, true, &folder(root.path()))
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_stopped_under_traffic_and_everything_rests_whatever_the_order() {
    if let Some(seed) = setting("FUNC_SEED") {
        let ended = one(seed, Without::Nothing);
        println!("{}", ended.trace.join("\n"));
        assert!(ended.wrongs.is_empty(), "seed {seed}: {:#?}", ended.wrongs);
        return;
    }
    let seeds = setting("FUNC_SEEDS").unwrap_or(SEEDS);
    let (found, counts) = search(Without::Nothing, seeds);
    println!("{seeds} seeds: {counts:?}");
    if let Some((seed, ended)) = found {
        let again = format!("FUNC_SEED={seed} cargo test -p func-races -- --nocapture nothing_is_stopped");
        panic!("seed {seed}: {:#?}\nall of it: {again}", ended.wrongs);
    }
    let met = [counts.opened, counts.frozen, counts.stopped, counts.crashes, counts.deaths];
    let met = met.into_iter().chain([counts.losses, counts.switches, counts.calls_lost, counts.cut_off]);
    assert!(met.min() >= Some(seeds / 20), "too little happened: {counts:?}");
}

#[test]
fn the_same_seed_tells_the_same_story() {
    for seed in 1..=20 {
        let [first, second] = [(); 2].map(|()| {
            // Which of those that were woken in the same moment goes first may differ.
            let mut trace = one(seed, Without::Nothing).trace;
            trace.sort();
            trace
        });
        for (n, (one, other)) in first.iter().zip(&second).enumerate() {
            assert_eq!(one, other, "seed {seed}, line {n}");
        }
        assert_eq!(first.len(), second.len(), "seed {seed}");
    }
}

#[test]
fn a_rule_that_is_taken_out_is_missed() {
    let rules = [Without::LeaseCheck, Without::PutBack, Without::Serial, Without::FirstLease, Without::Lock];
    for without in rules {
        let (found, _) = search(without, SEEDS_WITHOUT);
        let (seed, ended) = found.unwrap_or_else(|| panic!("without {without:?} nothing goes wrong"));
        println!("without {without:?}: seed {seed}: {}", ended.wrongs[0]);
    }
}
