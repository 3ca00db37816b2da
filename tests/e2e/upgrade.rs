//! A new edge takes over from the one that runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::apart::Apart;
use crate::client::Repo;
use crate::load::{Habit, Load};
use crate::long::{Socket, open, say};
use crate::world::until;

/// How long the old edge may take to leave.
const DRAIN: Duration = Duration::from_secs(7);

/// An edge that was replaced. It is ended at the latest with this.
struct Old(Child);

impl Drop for Old {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Old {
    fn has_left(&mut self) -> bool {
        let status = self.0.try_wait().expect("its state");
        assert!(status.is_none_or(|status| status.success()), "it left with {status:?}");
        status.is_some()
    }
}

/// One request on a connection of its own.
fn ask(edge: SocketAddr, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(edge).map_err(|e| format!("connect: {e}"))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(head.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    asked.map_err(|e| format!("{e}: {answer}"))?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(format!("not 200: {answer:?}")) }
}

/// Somebody who connects anew for each request, all the time.
struct Connecting {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<(u64, Vec<String>)>>,
}

impl Connecting {
    fn start(edge: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut asked, mut failures) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                asked += 1;
                failures.extend(ask(edge, "/").err());
                std::thread::sleep(Duration::from_millis(5));
            }
            (asked, failures)
        });
        Self { stop, thread: Some(thread) }
    }

    fn end(mut self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("once").join().expect("no panic")
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn live() -> Apart {
    let drain = format!("{}s", DRAIN.as_secs());
    let apart = Apart::new(&[("drain", &drain)]);
    Repo::app(&apart.world, "1").push(&apart.world.http_url("shop")).succeeded();
    apart
}

/// Upgrades the edge, and waits until the new one has taken over.
fn upgrade(apart: &mut Apart) -> Old {
    let times = || apart.world.log().matches("the edge that ran before leaves").count();
    let before = times();
    let old = Old(apart.replace("edge", &["--upgrade"]));
    until("the new edge has taken over", || {
        apart.world.log().matches("the edge that ran before leaves").count() > before
    });
    old
}

/// Talks until the WebSocket is closed; gives how long that took.
async fn talk(mut socket: Socket) -> Duration {
    let began = Instant::now();
    while say(&mut socket, "still there?").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    began.elapsed()
}

#[test]
fn no_connection_is_refused_and_no_request_fails_when_an_edge_is_upgraded_twice() {
    let mut apart = live();
    let edge = apart.edge_addr("edge");
    let kept = Load::start((0..20).map(|_| Habit::hello(edge, "shop")).collect());
    let connecting: Vec<_> = (0..4).map(|_| Connecting::start(edge)).collect();
    let stream = std::thread::spawn(move || ask(edge, "/tell?n=20&ms=100"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let socket = runtime.block_on(open(edge, "shop")).expect("opened");
    let began = Instant::now();
    let talking = runtime.spawn(talk(socket));
    let mut first = upgrade(&mut apart);
    let mut second = upgrade(&mut apart);
    assert!(!talking.is_finished(), "the WebSocket did not outlive two upgrades");
    let streamed = stream.join().expect("no panic").expect("the stream is whole");
    assert_eq!(streamed.lines().filter(|line| *line == "1").count(), 20, "{streamed}");
    runtime.block_on(talking).expect("no panic");
    assert!(began.elapsed() >= DRAIN, "the WebSocket was cut after {:?}", began.elapsed());
    until("both old edges have left", || first.has_left() & second.has_left());
    let asked: Vec<_> = connecting.into_iter().map(Connecting::end).collect();
    let counts = kept.end();
    println!(
        "{} on kept connections, {:?} on new ones",
        counts.answered(),
        asked.iter().map(|a| a.0).collect::<Vec<_>>()
    );
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures());
    for (asked, failures) in asked {
        assert!(asked > 0 && failures.is_empty(), "{} of {asked} failed: {failures:#?}", failures.len());
    }
    assert!(ask(edge, "/").is_ok(), "the newest has the port");
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_edge_serving() {
    let mut apart = live();
    let edge = apart.edge_addr("edge");
    let connecting = Connecting::start(edge);
    // One that does not even begin.
    let wrong = apart.command("edge").args(["--upgrade", "--idle=never"]).status().expect("func runs");
    assert!(!wrong.success());
    // One that has the doors, waits for a ledger that is not there, and is killed.
    let redis = apart.redis.url();
    apart.redis_at("edge", "redis://127.0.0.1:1");
    let mut hopeless = apart.command("edge");
    apart.redis_at("edge", &redis);
    let mut hopeless = Old(hopeless.arg("--upgrade").spawn().expect("func starts"));
    until("it has the doors", || apart.world.log().contains("has the doors of the edge that runs"));
    hopeless.0.kill().expect("it is ours");
    until("the old edge goes on", || apart.world.log().contains("did not take over"));
    assert!(!apart.has_ended("edge"));
    let (asked, failures) = connecting.end();
    assert!(asked > 0 && failures.is_empty(), "{} of {asked} failed: {failures:#?}", failures.len());
    // And the next can take over.
    let mut old = upgrade(&mut apart);
    until("the old edge has left", || old.has_left());
    assert!(ask(edge, "/").is_ok());
}

#[test]
fn what_cannot_be_upgraded_says_so_and_an_upgrade_of_nobody_is_a_start() {
    let mut apart = live();
    let refused = apart.world.command("all", "127.0.0.1:0", "all").arg("--upgrade").status();
    assert!(!refused.expect("func runs").success());
    assert!(apart.world.log().contains("--upgrade is for `func serve edge`"));
    apart.stop("edge");
    let edge = apart.edge_addr("edge");
    assert!(TcpStream::connect(edge).is_err(), "the port is free");
    let mut command = apart.command("edge");
    let _alone = Old(command.arg("--upgrade").spawn().expect("func starts"));
    until("it serves", || ask(edge, "/").is_ok());
}
