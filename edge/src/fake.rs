//! What the tests run against: a ledger in memory, a cleaner that says what it is told to say, and real gates.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use func_ledger::{Cool, Memory, Restored, RestoredInstance, RestoredState, Watch};
use func_model::{Claim, GateName, InstanceId, Poised, Record, Route};

use func_runner::{How, RunnerError, Start, StartError, StartTimes, Started, State};
use func_store::{DataDir, Occupancy};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

type Answer = (Duration, Result<Started, StartError>);

/// A cleaner that answers what it was told to, and then never again.
#[derive(Default)]
pub(crate) struct Cleaner {
    answers: Mutex<VecDeque<Answer>>,
    pub(crate) starts: AtomicUsize,
    pub(crate) looks: AtomicUsize,
    /// Where it says that the instance runs.
    pub(crate) runs: Mutex<Option<SocketAddr>>,
}

impl Cleaner {
    /// Answers the next call that nothing is planned for.
    pub(crate) fn will(&self, after: Duration, answer: Result<Started, StartError>) {
        self.answers.lock().expect("no panic").push_back((after, answer));
    }

    pub(crate) fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    pub(crate) fn looks(&self) -> usize {
        self.looks.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Start for Cleaner {
    async fn start(&self, _: &Claim, _: Duration) -> Result<Started, StartError> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let answer = self.answers.lock().expect("no panic").pop_front();
        let Some((after, answer)) = answer else { return std::future::pending().await };
        tokio::time::sleep(after).await;
        answer
    }

    async fn look(&self, _: &InstanceId) -> Result<State, RunnerError> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        tokio::task::yield_now().await;
        let runs = *self.runs.lock().expect("no panic");
        Ok(runs.map_or(State::Stopped, |addr| State::Running { addr }))
    }
}

/// What a cleaner says that has started `addr`.
pub(crate) fn started(addr: SocketAddr, how: How) -> Started {
    let took = StartTimes { queue_us: 100, create_us: 200, start_us: 300, ready_us: 1_500 };
    Started { addr, how, took }
}

pub(crate) fn blog() -> InstanceId {
    "blog-v1.1".parse().expect("an instance")
}

/// A ledger that knows blog in one state, and shop, which is cold. Only blog shows a page to browsers.
pub(crate) async fn ledger(state: RestoredState) -> Arc<Memory> {
    let ledger = Arc::new(Memory::new());
    restore(&ledger, state).await;
    ledger
}

/// Tells a ledger that has lost its memory, or never had one, what there is.
pub(crate) async fn restore(ledger: &Memory, state: RestoredState) {
    let id = blog();
    let shop: InstanceId = "shop-v1.1".parse().expect("an instance");
    let route = |waiting_page| Route { number: id.release.number, hosts: vec![], waiting_page };
    let restored = Restored {
        routes: BTreeMap::from([
            (id.release.app.clone(), route(true)),
            (shop.release.app.clone(), route(false)),
        ]),
        instances: BTreeMap::from([
            (id, RestoredInstance { state, retired: false }),
            (shop, RestoredInstance { state: RestoredState::Cold, retired: false }),
        ]),
    };
    assert!(ledger.restore(&restored).await.expect("it is there"));
}

pub(crate) async fn record(ledger: &Memory) -> Record {
    ledger.records().await.expect("it is there").0.remove(&blog()).expect("it has a record")
}

/// The folder of a gate, with somebody who waits at it.
pub(crate) struct Gate {
    pub(crate) gates: TempDir,
    pub(crate) name: GateName,
    waiting: Option<File>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let (gates, name) = (tempfile::tempdir().expect("a folder"), GateName::new(7));
        let folder = gates.path().join(name.to_string());
        fs::create_dir(&folder).expect("a folder");
        mknodat(CWD, folder.join("go"), FileType::Fifo, Mode::from(0o644), 0).expect("a named pipe");
        let waiting = wait_at(&folder.join("go"));
        Self { gates, name, waiting: Some(waiting) }
    }

    fn folder(&self) -> std::path::PathBuf {
        self.gates.path().join(self.name.to_string())
    }

    /// The occupancy of a data folder in the gates' own.
    pub(crate) fn occupancy(&self) -> Occupancy {
        Occupancy::new(&DataDir::open(&self.gates.path().join("data")).expect("made"))
    }

    pub(crate) fn poised(&self, addr: SocketAddr) -> Poised {
        Poised { gate: self.name, addr, health: None }
    }

    /// Somebody has opened it before.
    pub(crate) fn mark(&self) {
        File::create_new(self.folder().join("opened")).expect("it was not opened");
    }

    /// Nobody waits at it any more.
    pub(crate) fn leave(&mut self) {
        self.waiting = None;
    }

    pub(crate) fn remove(&self) {
        fs::remove_dir_all(self.folder()).expect("it was there");
    }

    /// How many bytes it was given.
    pub(crate) fn bytes(&mut self) -> usize {
        let mut bytes = [0; 16];
        self.waiting.as_mut().map_or(0, |pipe| pipe.read(&mut bytes).unwrap_or(0))
    }
}

fn wait_at(pipe: &Path) -> File {
    let flags = OFlags::NONBLOCK.bits() as i32;
    OpenOptions::new().read(true).custom_flags(flags).open(pipe).expect("a named pipe")
}

/// An address that refuses connections until it is listened on.
pub(crate) fn silent() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let addr = socket.local_addr().expect("its address");
    (socket, addr)
}

/// An app that answers every request with its own timing.
pub(crate) async fn app() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut head, mut bytes) = (Vec::new(), [0; 1_024]);
                while let Ok(n @ 1..) = stream.read(&mut bytes).await {
                    head.extend_from_slice(&bytes[..n]);
                    if head.ends_with(b"\r\n\r\n") {
                        let answer =
                            "HTTP/1.1 200 OK\r\nServer-Timing: db;dur=5\r\nContent-Length: 2\r\n\r\nok";
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        head.clear();
                    }
                }
            });
        }
    });
    addr
}
