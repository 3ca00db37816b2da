//! The soak: a hundred apps are asked, pushed, put to sleep and woken while everything is killed at random; at the end
//! the ledger, the engine and the answers are compared, and all is counted. `make soak` runs it.
//!
//! `SOAK_MINUTES`: how long; `SOAK_APPS`: how many apps; `SOAK_SEED`: to choose the same again.

#[path = "../e2e/agreement.rs"]
#[allow(dead_code)]
mod agreement;
#[path = "../e2e/apart.rs"]
#[allow(dead_code)]
mod apart;
#[path = "../e2e/chance.rs"]
mod chance;
#[path = "../e2e/client.rs"]
#[allow(dead_code)]
mod client;
#[path = "../e2e/killer.rs"]
mod killer;
#[path = "../e2e/load.rs"]
#[allow(dead_code)]
mod load;
#[path = "../e2e/pusher.rs"]
mod pusher;
#[path = "../e2e/reckoning.rs"]
mod reckoning;
#[path = "../e2e/world.rs"]
#[allow(dead_code)]
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use apart::{Apart, SERVICES};
use chance::Chance;
use client::Repo;
use killer::Killer;
use load::{Habit, Load};
use pusher::Pusher;
use world::memory;

/// From one kill to the next, on average: the machine has other things to do as well.
const ROUND_MS: u64 = 4_000;
/// How many apps are pushed again and again, and how many are pushed at once at the beginning.
const PUSHED: usize = 8;
const AT_ONCE: usize = 4;
/// How long it may take until all rest: each next start is made ahead before that, one after the other.
const REST: Duration = Duration::from_secs(600);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn name(n: usize) -> String {
    format!("app{n:03}")
}

/// Every fourth is an app with a Dockerfile, every eighth of all freezes; the others are sites.
fn repo(apart: &Apart, n: usize) -> Repo {
    if !n.is_multiple_of(4) {
        return Repo::site(&apart.world, "hello 1");
    }
    let repo = Repo::app(&apart.world, "1");
    if n.is_multiple_of(8) {
        repo.write("func.toml", "freeze = \"3s\"\nidle = \"40s\"\n");
        repo.commit("it freezes");
    }
    repo
}

/// Deploys the apps, and gives those that are pushed again and again.
fn deployed(apart: &Apart, apps: usize) -> Vec<Pusher> {
    let mut pushers = Vec::new();
    for some in (0..apps).collect::<Vec<_>>().chunks(AT_ONCE) {
        let pushes: Vec<_> = some
            .iter()
            .map(|n| {
                let (repo, url) = (repo(apart, *n), apart.world.ssh_url(&name(*n)));
                let push = repo.push_in_background(&url);
                (*n, repo, url, push)
            })
            .collect();
        for (n, repo, url, push) in pushes {
            push.join().expect("git ran").succeeded();
            if n % (apps / PUSHED).max(1) == 0 && pushers.len() < PUSHED {
                pushers.push(Pusher::new(&apart.world, &name(n), repo, url));
            }
        }
    }
    pushers
}

/// One client for each app, some at it all the time and most now and then, so that two cores can bear it: each wake is
/// also a stop, and a next start made ahead. And streams.
fn habits(apart: &Apart, apps: usize, chance: &mut Chance) -> Vec<Habit> {
    let edges = ["edge", "edge2"].map(|name| apart.edge_addr(name));
    let mut habits = Vec::new();
    for n in 0..apps {
        let pause_ms = *chance.one_of(&[200, 2_000, 40_000, 60_000, 90_000, 120_000, 180_000]);
        let pause = Duration::from_millis(pause_ms + chance.below(1_000));
        habits.push(Habit { pause, ..Habit::hello(*chance.one_of(&edges), &name(n)) });
    }
    for n in (0..apps).step_by(20) {
        let (path, says) = ("/sse?n=40&ms=250".to_owned(), "data: 0".to_owned());
        let pause = Duration::from_secs(10);
        habits.push(Habit { path, says, pause, ..Habit::hello(*chance.one_of(&edges), &name(n)) });
    }
    habits
}

fn main() {
    let (minutes, apps) = (number("SOAK_MINUTES", 30), number("SOAK_APPS", 100) as usize);
    let mut chance = Chance::new("SOAK_SEED");
    let mut apart = Apart::new(&[("idle", "8s")]);
    let began = Instant::now();
    let pushers = deployed(&apart, apps);
    eprintln!(
        "{apps} apps were deployed in {} s; it goes on for {minutes} minutes",
        began.elapsed().as_secs()
    );
    let load = Load::start(habits(&apart, apps, &mut chance));
    let stop = Arc::new(AtomicBool::new(false));
    let pushers: Vec<_> =
        pushers.into_iter().map(|pusher| pusher.go_on(stop.clone(), Duration::from_secs(20))).collect();
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let mut pauses = Chance::new("SOAK_SEED");
    let (mut killer, mut peaks) = (Killer::new(chance), BTreeMap::<&str, u64>::new());
    while Instant::now() < until {
        killer.round(&mut apart, Duration::from_millis(ROUND_MS / 2 + pauses.below(ROUND_MS)));
        for name in SERVICES {
            if !apart.has_ended(name) {
                let peak = peaks.entry(name).or_default();
                *peak = (*peak).max(memory(apart.pid(name)).1);
            }
        }
    }
    killer.end(&mut apart);
    stop.store(true, Ordering::Relaxed);
    let mut pushers: Vec<Pusher> = pushers.into_iter().map(|p| p.join().expect("it pushed")).collect();
    let counts = load.end();
    let stops = apart.world.log().lines().filter(|line| line.contains(" stopped app")).count();
    let mib: BTreeMap<_, _> = peaks.iter().map(|(name, bytes)| (*name, bytes / 1024 / 1024)).collect();
    eprintln!("{stops} were stopped when idle; most memory in MiB: {mib:?}");
    // That a start had to be waited for too long is counted, not forbidden: the machine may have other work.
    let postponed = reckoning::only_their_own_edges_failed(&counts, &killer);
    eprintln!("the first that were told to come back: {postponed:#?}");
    reckoning::pushes_are_kept(&apart, &mut pushers);
    reckoning::all_answer(&apart, &(0..apps).map(name).collect::<Vec<_>>());
    agreement::rests(&apart.world, None, REST);
    let left = apart.world.all_containers().len();
    eprintln!("{left} containers are left, all made ahead, for {apps} apps; nothing else runs");
}
