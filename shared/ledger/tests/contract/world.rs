//! Ledgers to test: one in memory, whose time is paused, and one in a real Redis in a container.

use std::process::Command;
use std::sync::{Arc, Once};
use std::time::Duration;

use func_ledger::{Cool, Enter, Memory, Promote, Redis, Restored, Watch};
use func_model::{AppName, Entry, GateName, InstanceId, LeaseId, Poised, ReleaseId, ReleaseNumber, Route};
use testcontainers::core::{IntoContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, GenericImage, ImageExt};

/// All powers at once: only tests hold them together.
pub trait Ledger: Enter + Watch + Promote + Cool {}
impl<T: Enter + Watch + Promote + Cool> Ledger for T {}

const PID_LABEL: &str = "func.test.pid";

pub struct World {
    pub ledger: Arc<dyn Ledger>,
    paused: bool,
    _redis: Option<RedisServer>,
}

pub struct RedisServer {
    container: ContainerAsync<GenericImage>,
    pub url: String,
}

impl RedisServer {
    pub async fn start() -> Self {
        sweep();
        let container = GenericImage::new("redis", "7-alpine")
            .with_exposed_port(6379.tcp())
            .with_wait_for(WaitFor::message_on_stdout("Ready to accept connections"))
            .with_label(PID_LABEL, std::process::id().to_string())
            .start()
            .await
            .expect("a Docker engine with the image redis:7-alpine; docker/offline/make-images makes it");
        let port = container.get_host_port_ipv4(6379).await.expect("its port");
        Self { container, url: format!("redis://127.0.0.1:{port}") }
    }

    /// Runs redis-cli inside.
    pub fn cli(&self, args: &[&str]) -> String {
        let out = Command::new("docker").args(["exec", self.container.id(), "redis-cli"]).args(args).output();
        String::from_utf8_lossy(&out.expect("docker runs").stdout).trim().to_owned()
    }
}

/// Removes what a test process that is dead has left.
fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{PID_LABEL}\"}}}}");
        let filter = format!("label={PID_LABEL}");
        let out =
            Command::new("docker").args(["ps", "-a", "--filter", &filter, "--format", &format]).output();
        let out = out.expect("the docker program runs; these tests need a Docker engine");
        for line in String::from_utf8_lossy(&out.stdout).lines() {
            let (id, pid) = line.split_once(' ').unwrap_or((line, "0"));
            if !std::path::Path::new(&format!("/proc/{pid}")).exists() {
                let _ = Command::new("docker").args(["rm", "-fv", id]).output();
            }
        }
    });
}

impl World {
    pub async fn memory() -> Self {
        let world = Self { ledger: Arc::new(Memory::new()), paused: true, _redis: None };
        world.restored().await
    }

    /// As `memory`, on real time, its quarantine over.
    pub async fn memory_now() -> Self {
        let ledger = Memory::new();
        ledger.restore(&Restored::default()).await.expect("it answers");
        let world = Self { ledger: Arc::new(ledger), paused: false, _redis: None };
        world.pass(func_model::limits::LEASE_MS + 100).await;
        world
    }

    pub async fn redis() -> Self {
        let server = RedisServer::start().await;
        let ledger = Redis::new(&server.url, "func:").expect("a good url");
        Self { ledger: Arc::new(ledger), paused: false, _redis: Some(server) }.restored().await
    }

    /// Restores it with nothing, and lets the quarantine pass where time is free.
    async fn restored(self) -> Self {
        assert!(self.ledger.restore(&Restored::default()).await.expect("it answers"));
        if self.paused {
            self.pass(20_000).await;
        } else if let Some(server) = &self._redis {
            server.cli(&["DEL", "func:quarantine"]);
        }
        self
    }

    pub async fn pass(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    /// An app whose first release is live and cold.
    pub async fn live(&self, app: &str) -> InstanceId {
        self.release(app, 1).await
    }

    pub async fn release(&self, app: &str, number: u32) -> InstanceId {
        let release = ReleaseId { app: app_name(app), number: ReleaseNumber(number) };
        let route = Route { number: release.number, hosts: vec![], waiting_page: false };
        self.ledger.promote(&release, &route).await.expect("promoted");
        release.instance()
    }

    /// As `live`, and warm, with the lease `edge#1` on it.
    pub async fn warm(&self, app: &str) -> (InstanceId, LeaseId) {
        let id = self.live(app).await;
        let first = lease("edge", 1);
        let Entry::Claimed(claim) = self.ledger.enter(&id, &first).await.expect("it answers") else {
            panic!("a cold instance is claimed");
        };
        self.ledger.woken(&claim, addr(), &first, None).await.expect("the claim stands");
        (id, first)
    }

    pub async fn phase(&self, id: &InstanceId) -> &'static str {
        let (records, _) = self.ledger.records().await.expect("it answers");
        records.get(id).map_or("absent", |r| r.phase.name())
    }

    pub async fn generation(&self, id: &InstanceId) -> u64 {
        let (records, _) = self.ledger.records().await.expect("it answers");
        records.get(id).map_or(0, |r| r.generation)
    }
}

pub fn app_name(text: &str) -> AppName {
    text.parse().expect("an app name")
}

pub fn lease(holder: &str, serial: u64) -> LeaseId {
    LeaseId { holder: holder.to_owned(), serial }
}

pub fn addr() -> std::net::SocketAddr {
    "10.0.0.2:8080".parse().expect("an address")
}

pub fn poised() -> Poised {
    Poised { gate: GateName::new(7), addr: addr(), health: Some("/healthz?a=\"b\"".into()) }
}
