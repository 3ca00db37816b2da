//! One installation of its own for each test: its folder, its network, its images, gone when the test ends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use func_model::RESOURCES;
use func_model::{
    Allowance, Asks, Capability, Claim, Freeze, GateName, ImageDigest, InstanceId, Poised, Release,
    Resources, SeenState,
};
use func_runner::{
    BuildFailed, BuildJob, Builds, ByteStream, Config, Docker, Guard, Hold, Look, Make, Measure, Outbound,
    Start, StartError, Started, Stop,
};
use func_store::{DataDir, Manifests};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::images::{archive, archive_of, bytes, probe, tar_of};
use crate::sweep::{remove_all, sweep_once};

/// Far longer than anything here takes: a test that needs it has failed.
pub const LONG: Duration = Duration::from_secs(60);
/// A grace that every app but a deaf one is far below.
pub const GRACE: Duration = Duration::from_secs(20);

/// What all instances of a world may use together.
pub const TOGETHER_BYTES: u64 = 96 * 1024 * 1024;

/// Everything that the contract is about.
pub trait Runner: Start + Make + Hold + Measure + Stop + Look + Measure + Guard {}
impl<T: Start + Make + Hold + Stop + Look + Measure + Guard> Runner for T {}

/// Gives the claim on an instance.
pub fn claim(id: &InstanceId) -> Claim {
    Claim { id: id.clone(), generation: 1, poised: None }
}

pub struct World {
    pub installation: String,
    pub runner: Box<dyn Runner>,
    pub data: DataDir,
    pub manifests: Manifests,
    pub image: ImageDigest,
    _dir: TempDir,
}

impl Drop for World {
    fn drop(&mut self) {
        remove_all(&self.installation);
    }
}

/// Gives an installation with the probe's image.
pub async fn world() -> World {
    sweep_once();
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let installation = format!("functest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let manifests = Manifests::new(data.clone());
    let docker = docker(&installation, &data, None);
    docker.prepare().await.expect("the contract suite needs a Docker engine that this user may use");
    let (image, tar) = archive(&installation, &["/probe"], &[("probe", probe())]);
    docker.load(bytes(tar)).await.expect("the probe's image");
    World { installation, runner: Box::new(docker), data, manifests, image, _dir: dir }
}

pub fn docker(installation: &str, data: &DataDir, socket: Option<String>) -> Docker {
    docker_of(installation, data, socket, Allowance::default().max)
}

/// Gives a runner whose instances get at most this.
pub fn docker_of(installation: &str, data: &DataDir, socket: Option<String>, max: Resources) -> Docker {
    Docker::new(Config { max, socket, ..config(installation, data) })
}

/// Gives the settings of a runner for tests.
pub fn config(installation: &str, data: &DataDir) -> Config {
    Config {
        data: data.clone(),
        manifests: Manifests::new(data.clone()),
        installation: installation.to_owned(),
        socket: None,
        outbound: Outbound::default(),
        max: Allowance::default().max,
        together_bytes: TOGETHER_BYTES,
        from_apps: false,
        builds: Builds::default(),
        labels: vec![("func.test".to_owned(), "1".to_owned())],
    }
}

/// How an app is made to differ from one that serves.
#[derive(Default)]
pub struct App<'a> {
    pub mode: &'a str,
    pub env: &'a [(&'a str, &'a str)],
    pub health: Option<&'a str>,
    pub memory_bytes: Option<u64>,
    pub image: Option<ImageDigest>,
    pub port: Option<u16>,
    pub capabilities: Option<Vec<Capability>>,
    pub read_only: bool,
}

impl World {
    /// Stores the manifest of version 1 of an app.
    pub fn release(&self, name: &str, app: App<'_>) -> InstanceId {
        let mut env: BTreeMap<String, String> =
            app.env.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        env.insert("MODE".to_owned(), app.mode.to_owned());
        let mut limits = RESOURCES;
        limits.memory_bytes = app.memory_bytes.unwrap_or(64 * 1024 * 1024);
        limits.pids = 64;
        limits.cpus_milli = 500;
        let release = Release {
            id: format!("{name}-v1").parse().unwrap(),
            revision: "a".repeat(40).parse().unwrap(),
            image: app.image.unwrap_or_else(|| self.image.clone()),
            recipe: "test".to_owned(),
            port: app.port.unwrap_or(8080),
            hosts: Vec::new(),
            env,
            limits,
            capabilities: app.capabilities.unwrap_or_else(Capability::all),
            read_only: app.read_only,
            idle_ms: 60_000,
            drain_ms: None,
            health: app.health.map(str::to_owned),
            freeze: Freeze::Auto,
            min: 0,
            warm_at: Vec::new(),
            waiting_page: false,
            created_ms: 1,
        };
        self.manifests.add(&release).unwrap();
        release.id.instance()
    }

    pub fn serving(&self, name: &str) -> InstanceId {
        self.release(name, App { mode: "serve", ..App::default() })
    }

    pub async fn started(&self, name: &str) -> (InstanceId, SocketAddr) {
        let id = self.serving(name);
        let addr = self.start(&id).await.addr;
        (id, addr)
    }

    /// Starts what must start.
    pub async fn start(&self, id: &InstanceId) -> Started {
        self.runner.start(&claim(id), LONG).await.unwrap()
    }

    /// Waits until nothing of this installation is there.
    pub async fn is_empty(&self) {
        until("all containers are removed", || async { self.containers().await.is_empty() }).await;
    }

    /// Makes ahead what can be made ahead.
    pub async fn poise(&self, id: &InstanceId) -> Poised {
        self.runner.poise(id).await.unwrap()
    }

    /// Loads an image of these files and this configuration, and stores a release of it.
    pub async fn release_of(
        &self,
        mut config: Value,
        files: &[(&str, &[u8], u32)],
        app: App<'_>,
    ) -> InstanceId {
        config["Labels"]["func.installation"] = Value::from(self.installation.as_str());
        let (image, tar) = archive_of(config, tar_of(files));
        self.runner.load(bytes(tar)).await.unwrap();
        self.release("blog", App { image: Some(image), ..app })
    }

    /// Gives the state of an instance's container; `None` if there is none.
    pub async fn seen(&self, id: &InstanceId) -> Option<SeenState> {
        let seen = self.runner.seen().await.unwrap();
        seen.containers.into_iter().find(|c| c.instance.as_ref() == Some(id)).map(|c| c.state)
    }

    /// Gives the folder of a gate.
    pub fn gate(&self, gate: GateName) -> PathBuf {
        self.data.gates().join(gate.to_string())
    }

    /// Starts what must not start.
    pub async fn start_fails(&self, id: &InstanceId, within: Duration) -> StartError {
        self.runner.start(&claim(id), within).await.expect_err("it must not start")
    }

    /// Gives what is kept of the app's output.
    pub fn kept(&self, id: &InstanceId) -> String {
        func_store::tail(&self.data.logs(&id.release.app), "instance", 10_000).unwrap().join("\n")
    }

    /// Gives the engine's ids of all containers of this installation.
    pub async fn containers(&self) -> Vec<String> {
        self.runner.seen().await.unwrap().containers.into_iter().map(|c| c.container).collect()
    }

    /// Builds, and gives the lines as well.
    pub async fn build(
        &self,
        context: ByteStream,
        within: Duration,
    ) -> (Result<ImageDigest, BuildFailed>, Vec<String>) {
        let (tx, mut rx) = mpsc::channel(8);
        let job = BuildJob {
            release: "blog-v1".parse().unwrap(),
            dockerfile: "Dockerfile".to_owned(),
            asks: Asks::default(),
            within,
        };
        let read = async {
            let mut lines = Vec::new();
            while let Some(line) = rx.recv().await {
                lines.push(line);
            }
            lines
        };
        tokio::join!(self.runner.build(&job, context, tx), read)
    }
}

/// Asks an app for a path, and gives the body.
pub async fn get(addr: SocketAddr, path: &str) -> String {
    let asked = async {
        let mut connection = TcpStream::connect(addr).await?;
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = timeout(LONG, asked).await.expect("an answer in time").expect("an answer");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let deadline = Instant::now() + LONG;
    while !so().await {
        assert!(Instant::now() < deadline, "waited {} s until {what}", LONG.as_secs());
        sleep(Duration::from_millis(20)).await;
    }
}
