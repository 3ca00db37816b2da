//! What this crate's own tests begin with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use func_ledger::Memory;
use func_model::RESOURCES;
use func_model::{Claim, ImageDigest, InstanceId, Release, ReleaseId, Revision};
use func_runner::{
    BuildFailed, BuildJob, BuildLines, ByteStream, ImageFacts, Make, RunnerError, Start, StartError, Started,
    State,
};
use func_store::{DataDir, Manifests};

use crate::Config;
use crate::deadline::Deadline;

/// An engine that is not there.
struct NoEngine;

fn away<T, E: From<RunnerError>>() -> Result<T, E> {
    Err(RunnerError::Away("there is none".into()).into())
}

#[async_trait::async_trait]
impl Make for NoEngine {
    async fn build(&self, _: &BuildJob, _: ByteStream, _: BuildLines) -> Result<ImageDigest, BuildFailed> {
        away()
    }
    async fn rest(&self, _: bool) -> Result<(), RunnerError> {
        Ok(())
    }
    async fn load(&self, _: ByteStream) -> Result<(), RunnerError> {
        away()
    }
    async fn facts(&self, _: &ImageDigest) -> Result<Option<ImageFacts>, RunnerError> {
        away()
    }
    async fn tag(&self, _: &ImageDigest, _: &ReleaseId) -> Result<(), RunnerError> {
        away()
    }
}

#[async_trait::async_trait]
impl Start for NoEngine {
    async fn start(&self, _: &Claim, _: Duration) -> Result<Started, StartError> {
        away()
    }
    async fn look(&self, _: &InstanceId) -> Result<State, RunnerError> {
        away()
    }
}

/// Settings of a builder without an engine.
pub fn config(root: &Path, ledger: Arc<Memory>) -> Config {
    let data = DataDir::open(root).expect("its folders");
    Config {
        manifests: Manifests::new(data.clone()),
        make: Arc::new(NoEngine),
        start: Arc::new(NoEngine),
        enter: ledger.clone(),
        promote: ledger,
        data,
        domain: "localhost".parse().expect("a host"),
        url: "http://{host}:8080".into(),
        branch: "main".into(),
        build_ms: 60_000,
        context_bytes_max: 1024 * 1024 * 1024,
        allowance: func_model::Allowance::default(),
        idle_ms: 60_000,
    }
}

/// A release by its name.
pub fn release(name: &str) -> Release {
    Release {
        id: name.parse().expect("a release"),
        revision: "a".repeat(40).parse().expect("a revision"),
        image: format!("sha256:{}", "b".repeat(64)).parse().expect("a digest"),
        recipe: "static".into(),
        port: 8080,
        hosts: vec![],
        env: BTreeMap::new(),
        limits: RESOURCES,
        capabilities: func_model::Capability::all(),
        read_only: false,
        idle_ms: 60_000,
        drain_ms: None,
        health: None,
        freeze: func_model::Freeze::Auto,
        min: 0,
        warm_at: Vec::new(),
        waiting_page: false,
        created_ms: 1,
    }
}

/// Time enough.
pub fn minute() -> Deadline {
    Deadline::new(Duration::from_secs(60), Default::default())
}

/// A bare repository with commits of given files.
pub struct Pushed {
    dir: tempfile::TempDir,
}

impl Pushed {
    pub fn new() -> Self {
        let pushed = Self { dir: tempfile::tempdir().expect("a temporary folder") };
        pushed.git(&["init", "-q", "--bare", "bare.git"]);
        pushed
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("bare.git")
    }

    fn git(&self, args: &[&str]) -> String {
        let out = Command::new("git")
            .args(["-c", "user.name=t", "-c", "user.email=t@t"])
            .args(args)
            .current_dir(self.dir.path())
            .output()
            .expect("git runs");
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// Puts all that there is into one pack.
    pub fn pack(&self, revision: &Revision) {
        self.git(&["--git-dir=bare.git", "update-ref", "refs/heads/main", revision.as_str()]);
        self.git(&["--git-dir=bare.git", "repack", "-q", "-a", "-d"]);
    }

    /// Commits exactly these files; `-> x` makes a link to x.
    pub fn commit(&self, files: &[(&str, &str)]) -> Revision {
        let tree = self.dir.path().join("tree");
        if tree.exists() {
            std::fs::remove_dir_all(&tree).expect("removed");
        }
        for (path, text) in files {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            match text.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
                None => std::fs::write(path, text).expect("written"),
            }
        }
        let index = ["--git-dir=bare.git", "--work-tree=tree"];
        self.git(&[&index[..], &["add", "-A", "."]].concat());
        let id = self.git(&[&index[..], &["write-tree"]].concat());
        self.git(&["--git-dir=bare.git", "commit-tree", "-m", "x", &id]).parse().expect("a revision")
    }
}
