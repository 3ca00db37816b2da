//! Every process of func's, and Redis, is killed at random under load: no request and no push is lost to it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::agreement;
use crate::apart::Apart;
use crate::chance::Chance;
use crate::client::Repo;
use crate::killer::Killer;
use crate::load::{Habit, Load};
use crate::pusher::Pusher;
use crate::reckoning;
use crate::world::{LIMIT, ask_to_rest};

/// How many are killed, unless `KILLS_ROUNDS` says otherwise; `KILLS_SEED` chooses the same again.
const ROUNDS: u32 = 100;
/// From one kill to the next: restarts overlap.
const ROUND: Duration = Duration::from_millis(500);
const EDGES: [&str; 2] = ["edge", "edge2"];
/// Those that are asked now and then, and sent to rest in between: a cleaner waits 15 s before it stops anything by itself,
/// and none lives that long.
const SLEEPERS: [&str; 8] = ["sleepy", "dozy", "weary", "lazy", "drowsy", "tired", "slack", "idle"];
/// How often they are asked: what a killed edge leased has ended by then.
const SLEEP: Duration = Duration::from_secs(18);
/// The other apps that there are.
const OTHERS: [&str; 5] = ["busy", "plain", "icy", "pushed", "shoved"];

fn apps() -> impl Iterator<Item = &'static str> {
    OTHERS.into_iter().chain(SLEEPERS)
}

fn rounds() -> u32 {
    std::env::var("KILLS_ROUNDS").map_or(ROUNDS, |text| text.parse().expect("rounds are a number"))
}

/// A repository whose app says `hello 1`.
fn repo(apart: &Apart, app: &str) -> Repo {
    if ["plain", "sleepy", "weary", "lazy", "tired", "slack", "idle", "pushed"].contains(&app) {
        return Repo::site(&apart.world, "hello 1");
    }
    let repo = Repo::app(&apart.world, "1");
    if app == "icy" {
        repo.write("func.toml", "freeze = \"3s\"\nidle = \"20s\"\n");
        repo.commit("it freezes");
    }
    repo
}

/// Deploys every app, and gives the two that are pushed again and again.
fn deployed(apart: &Apart) -> Vec<Pusher> {
    let deploy = |app: &'static str| {
        let repo = repo(apart, app);
        let url = match app {
            "shoved" => apart.world.http_url(app),
            _ => apart.world.ssh_url(app),
        };
        let push = repo.push_in_background(&url);
        (app, repo, url, push)
    };
    let pushes: Vec<_> = apps().map(deploy).collect();
    let mut pushers = Vec::new();
    for (app, repo, url, push) in pushes {
        push.join().expect("git ran").succeeded();
        if ["pushed", "shoved"].contains(&app) {
            pushers.push(Pusher::new(&apart.world, app, repo, url));
        }
    }
    pushers
}

/// Apps that are asked all the time, that sleep and are woken, that freeze and go on, and streams.
fn habits(apart: &Apart) -> Vec<Habit> {
    let mut habits = Vec::new();
    for edge in EDGES.map(|name| apart.edge_addr(name)) {
        habits.extend(["busy", "plain", "pushed", "shoved"].map(|app| Habit::hello(edge, app)));
        let (path, says) = ("/sse?n=12&ms=250".to_owned(), "data: 0".to_owned());
        habits.push(Habit { path, says, ..Habit::hello(edge, "busy") });
    }
    let now_and_then =
        |edge: &str, app: &str, pause| Habit { pause, ..Habit::hello(apart.edge_addr(edge), app) };
    for (n, app) in SLEEPERS.iter().enumerate() {
        habits.push(now_and_then(EDGES[n / 4], app, SLEEP));
    }
    habits.push(now_and_then("edge", "icy", Duration::from_secs(13)));
    habits
}

/// Sends the sleepers to rest again and again.
fn to_rest(data: PathBuf, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            SLEEPERS.iter().for_each(|app| ask_to_rest(&data, app));
            std::thread::sleep(Duration::from_millis(500));
        }
    })
}

#[test]
fn whatever_is_killed_at_random_costs_only_the_requests_of_an_edge_that_was_killed() {
    let mut apart = Apart::new(&[("idle", "5s")]);
    let pushers = deployed(&apart);
    let load = Load::start(habits(&apart));
    let stop = Arc::new(AtomicBool::new(false));
    let resting = to_rest(apart.world.data(), stop.clone());
    let pushers: Vec<_> =
        pushers.into_iter().map(|p| p.go_on(stop.clone(), Duration::from_secs(1))).collect();
    // Some may rest already, and are woken before anything is killed.
    std::thread::sleep(Duration::from_secs(1));
    let woken = load.counts().woken.load(Ordering::Relaxed);
    let (mut killer, began) = (Killer::new(Chance::new("KILLS_SEED")), Instant::now());
    for _ in 0..rounds() {
        killer.round(&mut apart, ROUND);
    }
    eprintln!("{} rounds took {} s", rounds(), began.elapsed().as_secs());
    killer.end(&mut apart);
    stop.store(true, Ordering::Relaxed);
    let mut pushers: Vec<Pusher> = pushers.into_iter().map(|p| p.join().expect("it pushed")).collect();
    resting.join().expect("it sent them to rest");
    let counts = load.end();
    let postponed = reckoning::only_their_own_edges_failed(&counts, &killer);
    assert!(postponed.is_empty(), "no deadline was over, and they were told to come back: {postponed:#?}");
    let woken = counts.woken.load(Ordering::Relaxed) - woken;
    assert!(woken > 0 || began.elapsed() < 2 * SLEEP, "nothing had to be woken");
    reckoning::pushes_are_kept(&apart, &mut pushers);
    reckoning::all_answer(&apart, &apps().collect::<Vec<_>>());
    agreement::agrees(&apart.world, None);
    agreement::rests(&apart.world, None, LIMIT);
}
