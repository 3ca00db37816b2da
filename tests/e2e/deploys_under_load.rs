//! Deploys and rollbacks of an app that is used all the time: nothing fails, and what is new goes to the new release.
//!
//! `E2E_SWITCHES=50` does it 50 times each way; CI does fewer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::apart::Apart;
use crate::client::Repo;
use crate::load::{Client, Habit, Load};
use crate::long::{Versions, open, say, sockets, streams};
use crate::world::{World, until};

/// How many deploys, and as many rollbacks, CI does.
const SWITCHES: u32 = 6;
/// Clients of each kind: a hundred in all.
const SHORT: usize = 40;
const STREAMS: usize = 30;
const SOCKETS: usize = 30;

fn switches() -> u32 {
    std::env::var("E2E_SWITCHES").map_or(SWITCHES, |n| n.parse().expect("a number"))
}

/// A release whose only difference to the last is a file of a few bytes.
fn release(repo: &Repo, number: u32) {
    repo.write("version", &number.to_string());
    repo.commit("the next");
}

/// The very first request after a switch, at each edge.
#[track_caller]
fn answers(apart: &Apart, number: u32) {
    for edge in ["edge", "edge2"] {
        let url = format!("http://{}/", apart.edge_addr(edge));
        let args = ["-sS", "--max-time", "60", "-H", "Host: shop.localhost", &url];
        let out = std::process::Command::new("curl").args(args).output().expect("curl runs");
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("hello {number}"), "at {edge}");
    }
}

fn clients(apart: &Apart, versions: &Arc<Versions>) -> Vec<Client> {
    let edge = |n: usize| apart.edge_addr(["edge", "edge2"][n % 2]);
    let short = |n| Habit { pause: Duration::from_millis(250), ..Habit::hello(edge(n), "shop") }.client();
    let mut clients: Vec<Client> = (0..SHORT).map(short).collect();
    clients.extend((0..STREAMS).map(|n| streams(edge(n), "shop", versions.clone())));
    clients.extend((0..SOCKETS).map(|n| sockets(edge(n), "shop", versions.clone())));
    clients
}

#[test]
fn no_request_fails_while_an_app_is_deployed_and_rolled_back_again_and_again() {
    let apart = Apart::new(&[]);
    let (repo, url) = (Repo::app(&apart.world, "1"), apart.world.http_url("shop"));
    repo.write("Dockerfile", "FROM scratch\nCOPY testapp behave /\nCOPY version /\nCMD [\"/testapp\"]\n");
    repo.commit("what never changes in a layer of its own");
    repo.push(&url).succeeded();
    let versions = Arc::new(Versions::default());
    versions.set_live("1");
    let load = Load::of(clients(&apart, &versions));
    let (began, mut deploys, mut rollbacks) = (Instant::now(), Duration::ZERO, Duration::ZERO);
    for number in 2..2 + switches() {
        release(&repo, number);
        let at = Instant::now();
        let said = repo.push(&url).text;
        assert!(said.contains(&format!("shop-v{number} is live")), "{said}");
        versions.set_live(&number.to_string());
        answers(&apart, number);
        deploys += at.elapsed();
        let at = Instant::now();
        let out = apart.world.func(&["rollback", "shop"]);
        assert!(out.status.success(), "{out:?}");
        versions.set_live(&(number - 1).to_string());
        answers(&apart, number - 1);
        rollbacks += at.elapsed();
    }
    let took = began.elapsed();
    let counts = load.end();
    println!(
        "{} deploys ({deploys:?}) and as many rollbacks ({rollbacks:?}) in {took:?}: {} requests answered, {} failed; \
         {} long ones ended on a release that was replaced",
        switches(),
        counts.answered(),
        counts.failed(),
        versions.crossed()
    );
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures());
    assert!(versions.crossed() > 0, "no long request met a switch");
    until("only the live release runs", || {
        let live = format!("shop-v{}.1", switches());
        apart.world.containers().iter().all(|name| name.ends_with(&live))
    });
}

#[test]
fn a_stream_without_an_end_keeps_a_replaced_release_no_longer_than_its_drain() {
    let world = World::with(&[("retire-drain", "3s")]);
    let (short, long) = (Repo::app(&world, "1"), Repo::app(&world, "1"));
    long.write("func.toml", "drain = \"1h\"\n");
    long.commit("patience");
    short.push(&world.http_url("short")).succeeded();
    long.push(&world.http_url("long")).succeeded();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut endless = open(world.edge(), "short").await.expect("opened");
        let mut patient = open(world.edge(), "long").await.expect("opened");
        assert_eq!(say(&mut endless, "version?").await, Ok("1".into()));
        assert_eq!(say(&mut patient, "version?").await, Ok("1".into()));
        let began = Instant::now();
        for (app, repo) in [("long", &long), ("short", &short)] {
            release(repo, 2);
            repo.push(&world.http_url(app)).succeeded();
            assert_eq!(world.get(&format!("{app}.localhost"), "/"), (200, "hello 2".into()));
        }
        while say(&mut endless, "still there?").await.is_ok() {
            assert!(began.elapsed() < Duration::from_secs(90), "it is never cut");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began.elapsed() > Duration::from_secs(3), "it was cut after {:?}", began.elapsed());
        assert_eq!(say(&mut patient, "version?").await, Ok("1".into()));
        let runs = |instance: &str| world.containers().iter().any(|name| name.contains(instance));
        until("it is removed", || !runs("short-v1"));
        assert!(runs("long-v1"));
    });
    let log = String::from_utf8_lossy(&world.func(&["logs", "short"]).stdout).into_owned();
    assert!(log.contains("asked to stop"), "it was told to stop, not killed: {log}");
}
