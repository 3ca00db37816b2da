//! The pusher's side: a repository of an app, and the real git.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::world::World;

/// A git repository with an app in it.
pub struct Repo {
    folder: tempfile::TempDir,
    ssh_key: PathBuf,
}

/// What a push ended with.
pub struct Pushed {
    pub ok: bool,
    pub text: String,
}

impl Pushed {
    /// Fails the test unless the push did what it should.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert!(self.ok, "the push failed:\n{}", self.text);
        self.text
    }

    #[track_caller]
    pub fn failed(self) -> String {
        assert!(!self.ok, "the push succeeded:\n{}", self.text);
        self.text
    }
}

impl Repo {
    pub fn empty(world: &World) -> Self {
        // In the world's own folder, which is swept when its test was killed.
        let folder = tempfile::Builder::new().prefix("repo-").tempdir_in(world.path("")).expect("a folder");
        let repo = Self { folder, ssh_key: world.path("id_ed25519") };
        repo.git(&["init", "-q", "-b", "main"]);
        repo
    }

    /// A static site whose page says `text`.
    pub fn site(world: &World, text: &str) -> Self {
        let repo = Self::empty(world);
        repo.write("index.html", text);
        repo.commit("a site");
        repo
    }

    /// The test app behind a Dockerfile; it answers `hello <version>`.
    pub fn app(world: &World, version: &str) -> Self {
        let repo = Self::empty(world);
        repo.write("Dockerfile", "FROM scratch\nCOPY testapp version behave /\nCMD [\"/testapp\"]\n");
        repo.write("version", version);
        repo.write("behave", "");
        std::fs::copy(testapp(), repo.path().join("testapp")).expect("the test app");
        repo.commit("an app");
        repo
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    pub fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
    }

    pub fn use_key(&mut self, key: PathBuf) {
        self.ssh_key = key;
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = git_command(&self.ssh_key);
        command.args(args).current_dir(self.path());
        command
    }

    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        let out = self.command(args).output().expect("git runs");
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    pub fn try_git(&self, args: &[&str]) -> Pushed {
        let Output { status, stdout, stderr } = self.command(args).output().expect("git runs");
        let text = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        Pushed { ok: status.success(), text }
    }

    pub fn push(&self, url: &str) -> Pushed {
        self.try_git(&["push", url, "main"])
    }

    /// Pushes without waiting for the end.
    pub fn push_in_background(&self, url: &str) -> std::thread::JoinHandle<Pushed> {
        let mut command = self.command(&["push", url, "main"]);
        std::thread::spawn(move || {
            let out = command.output().expect("git runs");
            let text =
                format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            Pushed { ok: out.status.success(), text }
        })
    }
}

/// The test app behind a build step that takes `seconds`, every time: no cache knows it.
pub fn slow_dockerfile(seconds: u32) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos();
    format!(
        "FROM busybox:stable\nRUN sleep {seconds} && : {now}\nCOPY testapp version behave /\nCMD [\"/testapp\"]\n"
    )
}

/// git, with nothing of the machine's own configuration.
pub fn git_command(ssh_key: &Path) -> Command {
    let ssh = format!(
        "ssh -F /dev/null -i {} -o IdentitiesOnly=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null \
         -o LogLevel=ERROR -o BatchMode=yes",
        ssh_key.display()
    );
    let mut command = Command::new("git");
    command
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    command.env("GIT_AUTHOR_NAME", "A").env("GIT_AUTHOR_EMAIL", "a@example.org");
    command.env("GIT_COMMITTER_NAME", "A").env("GIT_COMMITTER_EMAIL", "a@example.org");
    command.env("GIT_SSH_COMMAND", ssh);
    command
}

/// The test app's program, without its debug symbols.
pub fn testapp() -> &'static Path {
    static STRIPPED: OnceLock<PathBuf> = OnceLock::new();
    STRIPPED.get_or_init(|| {
        let func = Path::new(env!("CARGO_BIN_EXE_func"));
        let built = func.parent().expect("a folder").join("examples/testapp");
        assert!(built.exists(), "{} is missing: `cargo build --example testapp` makes it", built.display());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (new, stripped) =
            (folder.join(format!("testapp.{}", std::process::id())), folder.join("testapp"));
        let out = Command::new("strip").arg("-o").arg(&new).arg(&built).output().expect("strip runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        std::fs::rename(&new, &stripped).expect("renamed");
        stripped
    })
}
