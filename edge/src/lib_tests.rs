//! The whole edge on its own port: what clients are told about starts.

use std::net::SocketAddr;

use func_ledger::{Memory, Promote, RestoredState};
use func_model::{ReleaseId, Route};
use func_runner::How;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::*;
#[path = "pooling_tests.rs"]
mod pooling;

use crate::fake::{Cleaner, Gate, app, ledger, restore, silent, started};

struct World {
    addr: SocketAddr,
    cleaner: Arc<Cleaner>,
    gate: Gate,
    shutdown: CancellationToken,
    edge: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    async fn new(gate: Gate, state: RestoredState) -> Self {
        let world = Self::begun(gate, ledger(state).await);
        let until = Instant::now() + Duration::from_secs(5);
        while !world.told("/healthz").await.ends_with("ok\n") {
            assert!(Instant::now() < until, "the edge is not up");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world
    }

    /// One that has just begun.
    fn begun(gate: Gate, ledger: Arc<Memory>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("its address");
        let cleaner = Arc::new(Cleaner::default());
        let config = Config {
            listeners: vec![listener],
            predecessor: None,
            offer: None,
            domain: "localhost".parse().expect("a host"),
            holder: "edge".into(),
            enter: ledger.clone(),
            watch: ledger,
            start: cleaner.clone(),
            gates: gate.gates.path().to_owned(),
            occupancy: gate.occupancy(),
            socket: Some(gate.gates.path().join("edge.sock")),
            heed: None,
            trusted_proxies: vec![],
            limits: Limits::default(),
            drain: Duration::from_secs(5),
        };
        let shutdown = CancellationToken::new();
        let edge = tokio::spawn(run(config, shutdown.clone()));
        Self { addr, cleaner, gate, shutdown, edge }
    }

    /// Sends a request to blog and reads the answer to its end.
    async fn send(&self, request: &str, headers: &str) -> String {
        self.send_to("blog", request, headers).await
    }

    async fn send_to(&self, app: &str, request: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.addr).await.expect("connected");
        let fixed = format!("Host: {app}.localhost\r\nConnection: close\r\n");
        let head = format!("{request} HTTP/1.1\r\n{fixed}{headers}\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    /// Asks the edge's own socket.
    async fn told(&self, path: &str) -> String {
        let socket = self.gate.gates.path().join("edge.sock");
        let Ok(mut stream) = UnixStream::connect(socket).await else { return String::new() };
        let head = format!("GET {path} HTTP/1.1\r\nHost: func\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("answered");
        answer
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.edge.await.expect("no panic").expect("it left in peace");
    }
}

/// The values of a header, in their order.
fn values<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

/// The parts of a `Server-Timing` value, and their sum in ms.
fn parts(timing: &str) -> (Vec<&str>, f64) {
    let parts = timing.split(", ").map(|part| part.split_once(';').expect("a part"));
    let durations = parts.clone().filter_map(|(_, value)| value.strip_prefix("dur="));
    (parts.map(|(name, _)| name).collect(), durations.map(|d| d.parse::<f64>().expect("ms")).sum())
}

#[tokio::test]
async fn a_cold_request_is_told_where_its_time_went_and_a_warm_one_if_it_asks() {
    let gate = Gate::new();
    let poised = gate.poised(app().await);
    let world = World::new(gate, RestoredState::Poised(poised)).await;

    let began = Instant::now();
    let cold = world.send("GET /", "").await;
    let took_ms = began.elapsed().as_secs_f64() * 1_000.0;
    let timing = values(&cold, "server-timing");
    assert_eq!(timing.len(), 2, "{cold}");
    assert_eq!(timing[0], "db;dur=5", "the app's own is kept");
    let (names, sum_ms) = parts(timing[1]);
    assert_eq!(names, ["queue", "claim", "gate", "connect", "commit", "first-byte", "cold"]);
    assert!(timing[1].ends_with("cold;desc=poised"));
    assert!(sum_ms <= took_ms, "{sum_ms} of {took_ms}");

    let warm = world.send("GET /", "").await;
    assert_eq!(values(&warm, "server-timing"), ["db;dur=5"]);
    let traced = world.send("GET /", "X-Func-Trace: 1\r\n").await;
    let (names, _) = parts(values(&traced, "server-timing")[1]);
    assert_eq!(names, ["warm", "first-byte"]);

    let metrics = world.told("/metrics").await;
    for line in [
        "func_wakes_total{way=\"poised\"} 1",
        "func_wake_seconds_count{part=\"gate\",way=\"poised\"} 1",
        "func_wake_seconds_count{part=\"first-byte\",way=\"poised\"} 1",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    world.end().await;
}

#[tokio::test]
async fn an_edge_that_has_just_begun_keeps_requests_until_it_has_read_the_ledger() {
    let lost = Arc::new(Memory::new());
    let world = World::begun(Gate::new(), lost.clone());
    let (answer, ()) = tokio::join!(world.send("GET /", ""), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        restore(&lost, RestoredState::Warm(app().await)).await;
    });
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_plain_start_is_told_by_its_own_parts() {
    for (how, expected) in [
        (How::Made, &["queue", "claim", "create", "start", "connect", "commit", "first-byte", "cold"][..]),
        (
            How::Resumed,
            &["queue", "claim", "create", "resume", "connect", "commit", "first-byte", "cold"][..],
        ),
    ] {
        let world = World::new(Gate::new(), RestoredState::Cold).await;
        world.cleaner.will(Duration::from_millis(5), Ok(started(app().await, how)));
        let answer = world.send("GET /", "").await;
        assert_eq!(parts(values(&answer, "server-timing")[1]).0, expected);
        world.end().await;
    }
}

#[tokio::test]
async fn a_browser_is_shown_a_page_after_a_while_and_the_start_goes_on() {
    let (_silent, addr) = silent();
    let gate = Gate::new();
    let poised = gate.poised(addr);
    let world = World::new(gate, RestoredState::Poised(poised)).await;
    // Beyond the time after which a browser is shown the page.
    for _ in ["blog", "shop"] {
        world.cleaner.will(Duration::from_secs(4), Ok(started(app().await, How::Made)));
    }
    let browser = "Accept: text/html,*/*;q=0.8\r\n";
    let (page, api, head, unwanted) = tokio::join!(
        world.send("GET /", browser),
        world.send("GET /", "Accept: application/json\r\n"),
        world.send("HEAD /", browser),
        world.send_to("shop", "GET /", browser),
    );
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert_eq!(values(&page, "retry-after"), ["2"]);
    assert_eq!(values(&page, "cache-control"), ["no-store"]);
    assert_eq!(values(&page, "content-type"), ["text/html; charset=utf-8"]);
    assert!(page.contains("<title>blog is starting</title>"));
    assert!(api.starts_with("HTTP/1.1 200 "), "{api}");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(unwanted.starts_with("HTTP/1.1 200 "), "shop shows no page: {unwanted}");
    let again = world.send("GET /", browser).await;
    assert!(again.starts_with("HTTP/1.1 200 "), "{again}");
    assert_eq!(world.cleaner.starts(), 2, "one of each");
    world.end().await;
}

#[tokio::test]
async fn who_waited_for_a_start_meets_the_release_that_came_meanwhile() {
    let ledger = ledger(RestoredState::Cold).await;
    let world = World::begun(Gate::new(), ledger.clone());
    world.cleaner.will(Duration::from_millis(500), Ok(started(app().await, How::Made)));
    world.cleaner.will(Duration::ZERO, Ok(started(app().await, How::Made)));
    let pushed = async {
        while world.cleaner.starts() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let second: ReleaseId = "blog-v2".parse().expect("a release");
        let route = Route { number: second.number, hosts: vec![], waiting_page: false };
        ledger.promote(&second, &route).await.expect("it is there");
    };
    let (answer, ()) = tokio::join!(world.send("GET /", ""), pushed);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(world.cleaner.starts(), 2, "the first release, and then the second");
    world.end().await;
}
