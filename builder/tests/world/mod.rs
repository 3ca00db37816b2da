//! A builder with real repositories, the ledger in memory, and an engine of a few lines where the engine is not the
//! point.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use func_builder::Config;
use func_ledger::{Cool, Memory, Restored};
use func_model::call::{BuildCall, RemoveCall, RollbackCall};
use func_model::event::BuildEvent;
use func_model::{AppName, Claim, ImageDigest, InstanceId, ReleaseId, ReleaseNumber, Revision};
use func_runner::{
    BuildFailed, BuildJob, BuildLines, ByteStream, How, ImageFacts, Make, RunnerError, Start, StartError,
    StartTimes, Started, State,
};
use func_store::{DataDir, Manifests};
use futures_util::StreamExt;
use http::Method;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// An engine that remembers what it was asked.
pub struct Engine {
    pub contexts: Mutex<Vec<BTreeSet<String>>>,
    pub images: Mutex<BTreeMap<ImageDigest, ImageFacts>>,
    pub tags: Mutex<Vec<String>>,
    /// Each build takes a permit.
    pub gate: Semaphore,
    pub builds_fail: Mutex<bool>,
    /// What the next starts fail with.
    pub failures: Mutex<VecDeque<StartError>>,
    pub building: AtomicUsize,
    pub building_max: AtomicUsize,
    pub loads: AtomicUsize,
}

impl Engine {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            contexts: Mutex::default(),
            images: Mutex::default(),
            tags: Mutex::default(),
            gate: Semaphore::new(1_000),
            builds_fail: Mutex::default(),
            failures: Mutex::default(),
            building: AtomicUsize::new(0),
            building_max: AtomicUsize::new(0),
            loads: AtomicUsize::new(0),
        })
    }

    fn keep(&self, digest: &ImageDigest, ports: &[u16]) {
        let facts =
            ImageFacts { digest: digest.clone(), ports: ports.to_vec(), has_command: true, size_bytes: 1 };
        self.images.lock().expect("unbroken").insert(digest.clone(), facts);
    }
}

pub async fn bytes(mut stream: ByteStream) -> std::io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = stream.next().await {
        all.extend_from_slice(&chunk?);
    }
    Ok(all)
}

pub fn entries(tar: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(tar);
    let mut found = BTreeMap::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("read");
        found.insert(path, content);
    }
    found
}

#[async_trait]
impl Make for Engine {
    async fn build(
        &self,
        job: &BuildJob,
        context: ByteStream,
        lines: BuildLines,
    ) -> Result<ImageDigest, BuildFailed> {
        let now = self.building.fetch_add(1, Ordering::SeqCst) + 1;
        self.building_max.fetch_max(now, Ordering::SeqCst);
        let tar = bytes(context).await.map_err(BuildFailed::Context)?;
        lines.send("Step 1/1 : \u{1b}[1mFROM\u{1b}[0m scratch".to_owned()).await.expect("somebody reads");
        self.gate.acquire().await.expect("open").forget();
        self.building.fetch_sub(1, Ordering::SeqCst);
        self.contexts.lock().expect("unbroken").push(entries(&tar).into_keys().collect());
        if *self.builds_fail.lock().expect("unbroken") {
            return Err(BuildFailed::Step { said: "RUN false: exit status 1".into() });
        }
        let digits =
            format!("{:0>64}", format!("{:x}{:x}", job.release.number.0, job.release.app.as_str().len()));
        let digest: ImageDigest = format!("sha256:{digits}").parse().expect("a digest");
        self.keep(&digest, &[3000]);
        Ok(digest)
    }

    async fn rest(&self, _: bool) -> Result<(), RunnerError> {
        Ok(())
    }

    async fn load(&self, archive: ByteStream) -> Result<(), RunnerError> {
        let tar = bytes(archive).await.expect("an archive");
        let files = entries(&tar);
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("json");
        let config = manifest[0]["Config"].as_str().expect("a path");
        let digest = config.replace("blobs/sha256/", "sha256:").parse().expect("a digest");
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.keep(&digest, &[8080]);
        Ok(())
    }

    async fn facts(&self, digest: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError> {
        Ok(self.images.lock().expect("unbroken").get(digest).cloned())
    }

    async fn tag(&self, _: &ImageDigest, release: &ReleaseId) -> Result<(), RunnerError> {
        self.tags.lock().expect("unbroken").push(release.to_string());
        Ok(())
    }
}

#[async_trait]
impl Start for Engine {
    async fn start(&self, _: &Claim, _: Duration) -> Result<Started, StartError> {
        match self.failures.lock().expect("unbroken").pop_front() {
            Some(error) => Err(error),
            None => {
                let addr = "127.0.0.1:9".parse().expect("an address");
                Ok(Started { addr, how: How::Made, took: StartTimes::default() })
            }
        }
    }

    async fn look(&self, _: &InstanceId) -> Result<State, RunnerError> {
        Ok(State::Stopped)
    }
}

/// A world's folder: its own, or one that outlives it.
pub enum Dir {
    Own(tempfile::TempDir),
    Lent(PathBuf),
}

impl Dir {
    pub fn path(&self) -> &Path {
        match self {
            Self::Own(dir) => dir.path(),
            Self::Lent(path) => path,
        }
    }
}

pub struct World {
    pub dir: Dir,
    pub data: DataDir,
    pub manifests: Manifests,
    pub ledger: Arc<Memory>,
    pub engine: Arc<Engine>,
    pub stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub fn app(name: &str) -> AppName {
    name.parse().expect("a name")
}

pub fn git(dir: &Path, args: &[&str]) -> String {
    let out = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false"])
        .args(args)
        .current_dir(dir)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git runs");
    assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Commits exactly these files to an app's `main`, and gives the commit.
pub fn commit(data: &DataDir, work: &Path, app: &str, files: &[(&str, &str)]) -> Revision {
    let repository = data.projects().join(format!("{app}.git"));
    if !repository.exists() {
        git(work, &["init", "-q", "--bare", repository.to_str().expect("text")]);
    }
    let tree = work.join(format!("work-{app}"));
    if !tree.exists() {
        git(work, &["init", "-q", "-b", "main", tree.to_str().expect("text")]);
    }
    for entry in std::fs::read_dir(&tree).expect("read") {
        let path = entry.expect("an entry").path();
        if path.file_name().is_some_and(|name| name != ".git") {
            if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }
                .expect("removed");
        }
    }
    for (path, text) in files {
        let path = tree.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        match text.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
            None => std::fs::write(path, text).expect("written"),
        }
    }
    git(&tree, &["add", "-A"]);
    git(&tree, &["commit", "-q", "--allow-empty", "-m", "x"]);
    git(&tree, &["push", "-q", "-f", repository.to_str().expect("text"), "HEAD:refs/heads/main"]);
    git(&tree, &["rev-parse", "HEAD"]).parse().expect("a revision")
}

impl World {
    /// A world whose builder does not run yet.
    pub fn asleep() -> Self {
        Self::at(Dir::Own(tempfile::tempdir().expect("a temporary folder")))
    }

    /// As `asleep`, in a given folder.
    pub fn at(dir: Dir) -> Self {
        let data = DataDir::open(&dir.path().join("data")).expect("its folders");
        Self {
            manifests: Manifests::new(data.clone()),
            data,
            dir,
            ledger: Arc::new(Memory::new()),
            engine: Engine::new(),
            stop: CancellationToken::new(),
        }
    }

    pub async fn new() -> Self {
        let mut world = Self::asleep();
        world.restore().await;
        world.run().await;
        world
    }

    pub async fn restore(&self) {
        self.ledger.restore(&Restored::default()).await.expect("restored");
    }

    pub fn config(&self) -> Config {
        Config {
            data: self.data.clone(),
            manifests: self.manifests.clone(),
            make: self.engine.clone(),
            start: self.engine.clone(),
            enter: self.ledger.clone(),
            promote: self.ledger.clone(),
            domain: "localhost".parse().expect("a host"),
            url: "http://{host}:8080".into(),
            branch: "main".into(),
            build_ms: 60_000,
            context_bytes_max: 1024 * 1024 * 1024,
            allowance: func_model::Allowance::default(),
            idle_ms: 60_000,
        }
    }

    pub async fn run(&mut self) {
        self.run_with(self.config()).await;
    }

    pub async fn run_with(&mut self, config: Config) {
        self.stop = CancellationToken::new();
        tokio::spawn(func_builder::run(config, self.stop.clone()));
        let socket = self.socket();
        until("the builder is up", || std::os::unix::net::UnixStream::connect(&socket).is_ok()).await;
    }

    pub async fn halt(&self) {
        self.stop.cancel();
        let socket = self.socket();
        until("the builder is down", || !socket.exists()).await;
    }

    pub fn socket(&self) -> PathBuf {
        self.data.socket("builder")
    }

    pub fn commit(&self, app: &str, files: &[(&str, &str)]) -> Revision {
        commit(&self.data, self.dir.path(), app, files)
    }

    pub async fn call(&self, uri: &str, body: &(impl Serialize + Sync)) -> Lines {
        Lines(func_socket::call(&self.socket(), Method::POST, uri, Some(body)).await.expect("an answer"))
    }

    pub async fn build(&self, name: &str, revision: &Revision) -> Lines {
        self.call("/builds", &BuildCall { app: app(name), revision: revision.clone(), by: None }).await
    }

    /// Commits, has it built, and gives the events.
    pub async fn push(&self, name: &str, files: &[(&str, &str)]) -> Vec<BuildEvent> {
        let revision = self.commit(name, files);
        self.build(name, &revision).await.all().await
    }

    pub async fn roll_back(&self, name: &str, to: Option<u32>) -> Vec<BuildEvent> {
        let to = to.map(ReleaseNumber);
        self.call("/rollbacks", &RollbackCall { app: app(name), to }).await.all().await
    }

    pub async fn remove(&self, name: &str) -> Vec<BuildEvent> {
        self.call("/removals", &RemoveCall { app: app(name) }).await.all().await
    }

    pub fn current(&self, name: &str) -> Option<u32> {
        self.manifests.current(&app(name)).expect("read").map(|n| n.0)
    }

    pub fn fail_next_start(&self, error: StartError) {
        self.engine.failures.lock().expect("unbroken").push_back(error);
    }
}

pub struct Lines(pub func_socket::Lines);

impl Lines {
    pub async fn next(&mut self) -> Option<BuildEvent> {
        let line = tokio::time::timeout(Duration::from_secs(60), self.0.next()).await.expect("in time");
        line.expect("unbroken").map(|line| serde_json::from_str(&line).expect("an event"))
    }

    pub async fn all(mut self) -> Vec<BuildEvent> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

/// Gives the lines that a pusher reads.
pub fn text(events: &[BuildEvent]) -> String {
    events.iter().flat_map(BuildEvent::lines).collect::<Vec<_>>().join("\n")
}

pub fn is_live(events: &[BuildEvent], release: &str) -> bool {
    matches!(events.last(), Some(BuildEvent::Live { release: live, .. }) if live.to_string() == release)
}

pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("not within 10 s: {what}");
}

pub const SITE: &[(&str, &str)] = &[("index.html", "<h1>hello</h1>")];
pub const DOCKERFILE: &[(&str, &str)] =
    &[("Dockerfile", "FROM scratch\nCMD [\"/x\"]\n"), ("main.c", "int x;")];
