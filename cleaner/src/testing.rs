//! A world for the tests: the ledger in memory, manifests on disk, and an engine that only notes what it is told.

mod engine;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use func_ledger::{Cool, Enter, Memory, Promote, Restored, RestoredInstance, RestoredState, Watch};
use func_model::limits::{LEASE_MS, POISED_BYTES};
use func_model::{
    Claim, Entry, Freeze, GateName, InstanceId, LeaseId, Phase, Poised, Record, Release, Route, SeenState,
};
use func_store::{DataDir, Manifests};
use tokio::time::{advance, sleep};

use crate::{Cleaner, Config, reconcile};
use engine::Engine;

/// How many places the world has.
pub(crate) const PLACES: usize = 3;

pub(crate) fn blog() -> InstanceId {
    instance("blog")
}

/// The one instance of an app's first release.
pub(crate) fn instance(app: &str) -> InstanceId {
    format!("{app}-v1.1").parse().expect("an instance")
}

pub(crate) fn addr() -> SocketAddr {
    "10.0.0.2:80".parse().expect("an address")
}

pub(crate) fn poised(gate: u128) -> Poised {
    Poised { gate: GateName::new(gate), addr: addr(), health: None }
}

/// A cleaner, its ledger and its engine.
pub(crate) struct World {
    pub(crate) cleaner: Arc<Cleaner>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) ledger: Arc<Memory>,
    serial: AtomicU64,
    folder: PathBuf,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Half an MiB may be frozen, and three may be poised.
pub(crate) const FROZEN_BYTES_MAX: u64 = 512 * 1024;
pub(crate) const POISED_MAX: u64 = 3;

impl World {
    /// Makes a world whose ledger is lost, with these apps released.
    pub(crate) fn lost(apps: &[Release]) -> Self {
        static WORLDS: AtomicU64 = AtomicU64::new(0);
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("func-cleaner-world-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let data = DataDir::open(&folder).expect("opened");
        let manifests = Manifests::new(data.clone());
        for app in apps {
            manifests.add(app).expect("written");
            manifests.set_current(&app.id).expect("live");
        }
        let (engine, ledger) = (Arc::new(Engine::new()), Arc::new(Memory::new()));
        let config = Config {
            data,
            manifests,
            watch: ledger.clone(),
            promote: ledger.clone(),
            cool: ledger.clone(),
            enter: ledger.clone(),
            start: engine.clone(),
            stop: engine.clone(),
            hold: engine.clone(),
            look: engine.clone(),
            guard: engine.clone(),
            measure: engine.clone(),
            disk: func_model::DiskLimit::Percent(90),
            build_bytes_max: 0,
            holder: "cleaner".to_owned(),
            idle_ms: 60_000,
            drain_ms: 3_600_000,
            poised_bytes_max: POISED_MAX * POISED_BYTES,
            frozen_bytes_max: FROZEN_BYTES_MAX,
        };
        let cleaner = Cleaner::new(config, PLACES);
        Self { cleaner, engine, ledger, serial: AtomicU64::new(0), folder }
    }

    /// As `lost`, with a ledger in which every app is cold, after the quarantine.
    pub(crate) async fn cold(apps: &[Release]) -> Self {
        let world = Self::restored(apps).await;
        advance(Duration::from_millis(LEASE_MS)).await;
        world
    }

    /// As `cold`, in the quarantine.
    pub(crate) async fn restored(apps: &[Release]) -> Self {
        let world = Self::lost(apps);
        let cold = RestoredInstance { state: RestoredState::Cold, retired: false };
        let restored = Restored {
            routes: apps.iter().map(|app| (app.id.app.clone(), Route::of(app))).collect(),
            instances: apps.iter().map(|app| (app.id.instance(), cold.clone())).collect(),
        };
        world.ledger.restore(&restored).await.expect("restored");
        world
    }

    pub(crate) async fn record(&self, id: &InstanceId) -> Record {
        self.ledger.records().await.expect("known").0.remove(id).expect("a record")
    }

    pub(crate) async fn phase(&self, id: &InstanceId) -> &'static str {
        self.record(id).await.phase.name()
    }

    fn new_lease(&self) -> LeaseId {
        LeaseId { holder: "edge".into(), serial: self.serial.fetch_add(1, Ordering::Relaxed) }
    }

    /// Claims as an edge does.
    pub(crate) async fn claim(&self, id: &InstanceId) -> (Claim, LeaseId) {
        let lease = self.new_lease();
        match self.ledger.enter(id, &lease).await.expect("entered") {
            Entry::Claimed(claim) => (claim, lease),
            other => panic!("{id}: {other:?}"),
        }
    }

    /// Wakes as an edge does, whose request is over at once. Its app takes this long to start.
    pub(crate) async fn warm(&self, id: &InstanceId, start_ms: u64) {
        let (claim, lease) = self.claim(id).await;
        self.engine.state().containers.insert(id.clone(), SeenState::Running { addr: addr() });
        self.ledger.woken(&claim, addr(), &lease, Some(start_ms)).await.expect("woken");
        let leaving = func_ledger::Leaving { id: id.clone(), lease, idle_for_ms: 0 };
        self.ledger.keep(&[], &[leaving]).await.expect("left");
    }

    /// Plans once, and does it.
    pub(crate) async fn plan(&self) {
        reconcile::compare(&self.cleaner).await.expect("compared");
    }

    /// Waits until an instance is in a phase, for a minute.
    pub(crate) async fn until(&self, id: &InstanceId, phase: &str) {
        for _ in 0..600 {
            if self.phase(id).await == phase {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("{id} is {:?} after a minute, not {phase}", self.record(id).await);
    }

    /// Waits until what is under way has ended.
    pub(crate) async fn until_done(&self) {
        self.cleaner.tasks.close();
        self.cleaner.tasks.wait().await;
        self.cleaner.tasks.reopen();
    }

    pub(crate) async fn retire(&self, id: &InstanceId) {
        self.ledger.retire(id).await.expect("retired");
    }

    /// Whether nothing runs, and nothing is claimed.
    pub(crate) async fn rests(&self, id: &InstanceId) -> bool {
        self.record(id).await.phase == Phase::Cold
    }
}

/// The first release of an app, as a manifest has it.
pub(crate) fn release(app: &str) -> Release {
    let json = format!(
        r#"{{"release":"{app}-v1","revision":"{}","image":"sha256:{}","recipe":"dockerfile","port":80,"hosts":[],
        "env":{{}},"limits":{{"memory_bytes":1,"cpus_milli":1,"pids":1}},"idle_ms":60000,"health":null,
        "created_ms":0}}"#,
        "a".repeat(40),
        "b".repeat(64)
    );
    let release: Release = serde_json::from_str(&json).expect("a manifest");
    Release { freeze: Freeze::Auto, ..release }
}
