//! A developer who pushes one app again and again, and remembers what each push was told.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Repo, git_command};
use crate::world::World;

/// How long one push may take before it counts as stuck, in seconds.
const STUCK_S: &str = "120";

/// What became of an app's pushes.
#[derive(Debug, Default)]
pub struct Pushes {
    pub sent: u64,
    pub acknowledged: u64,
    /// Told that they failed, or broken off.
    pub interrupted: u64,
    /// Nothing was left to send: the push before had arrived, and its client was not told.
    pub repeated: u64,
    /// The version of the last push that was acknowledged.
    pub acknowledged_version: u64,
    pub stuck: Vec<String>,
}

/// One app that is pushed.
pub struct Pusher {
    pub app: String,
    repo: Repo,
    url: String,
    ssh_key: PathBuf,
    version: u64,
    pushes: Pushes,
}

impl Pusher {
    /// One who has pushed the first version of `repo`: a site or an app that says `hello <version>`.
    pub fn new(world: &World, app: &str, repo: Repo, url: String) -> Self {
        let ssh_key = world.path("id_ed25519");
        let pushes = Pushes { acknowledged_version: 1, ..Pushes::default() };
        Self { app: app.to_owned(), repo, url, ssh_key, version: 1, pushes }
    }

    /// What was told so far.
    pub fn pushes(&self) -> &Pushes {
        &self.pushes
    }

    /// Pushes until it is told to stop, with a pause in between.
    pub fn go_on(mut self, stop: Arc<AtomicBool>, pause: Duration) -> JoinHandle<Self> {
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                self.change();
                while !self.push() && !stop.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(500));
                }
                std::thread::sleep(pause);
            }
            self
        })
    }

    /// Commits the next version.
    pub fn change(&mut self) {
        self.version += 1;
        let site = self.repo.path().join("index.html").exists();
        match site {
            true => self.repo.write("index.html", &format!("hello {}", self.version)),
            false => self.repo.write("version", &self.version.to_string()),
        }
        self.repo.commit(&format!("version {}", self.version));
    }

    /// Pushes the last version; false if it has to be repeated.
    pub fn push(&mut self) -> bool {
        self.pushes.sent += 1;
        let git = git_command(&self.ssh_key);
        let env = git.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let args = ["-k", "5", STUCK_S, "git", "push", &self.url, "main"];
        let out = Command::new("timeout").args(args).envs(env).current_dir(self.repo.path()).output();
        let out = out.expect("timeout and git run");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.code() == Some(124) || out.status.code() == Some(137) {
            self.pushes.stuck.push(format!("{} {}: {said}", self.app, self.version));
        }
        if said.contains(" is live") {
            self.pushes.acknowledged += 1;
            self.pushes.acknowledged_version = self.version;
            return true;
        }
        if out.status.success() && said.contains("Everything up-to-date") {
            self.pushes.repeated += 1;
            return true;
        }
        eprintln!("{} {} was not acknowledged ({}):\n{said}", self.app, self.version, out.status);
        self.pushes.interrupted += 1;
        false
    }

    /// The version of the commit that the server's branch is at.
    pub fn arrived(&self, world: &World) -> u64 {
        let folder = world.data().join(format!("projects/{}.git", self.app));
        let out =
            Command::new("git").arg("-C").arg(folder).args(["log", "-1", "--format=%s", "main"]).output();
        let subject = String::from_utf8_lossy(&out.expect("git runs").stdout).trim().to_owned();
        // The first commit has another subject.
        subject.strip_prefix("version ").map_or(1, |version| version.parse().expect("a number"))
    }

    /// The version that answers.
    pub fn served(&self, world: &World) -> Option<u64> {
        let (status, text) = world.get(&format!("{}.localhost", self.app), "/");
        let version = text.strip_prefix("hello ")?.trim().parse().ok();
        version.filter(|_| status == 200)
    }
}
