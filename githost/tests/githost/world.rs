//! A git host on ports of its own, and the programs of a developer beside it.

use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use func_githost::{Config, run};
use func_store::{DataDir, Token};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const LIMIT: Duration = Duration::from_secs(120);

/// The two doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Ssh,
    Http,
}

pub const WAYS: [Way; 2] = [Way::Ssh, Way::Http];

pub struct World {
    pub dir: TempDir,
    pub data: DataDir,
    pub token: String,
    pub ssh: SocketAddr,
    pub http: SocketAddr,
    pub shutdown: CancellationToken,
    pub running: Option<JoinHandle<anyhow::Result<()>>>,
    pub drain: Duration,
    pub push_bytes_max: u64,
    pub free_bytes_min: Option<u64>,
    pub command_within: Duration,
}

/// What a program printed, both streams together, and whether it ended with 0.
#[derive(Debug)]
pub struct Said {
    pub ok: bool,
    pub status: Option<i32>,
    pub text: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let both = [output.stdout, output.stderr].concat();
        Self {
            ok: output.status.success(),
            status: output.status.code(),
            text: String::from_utf8_lossy(&both).into_owned(),
        }
    }
}

/// Starts a git host that knows the ed25519 key `me` and whose hook does nothing.
pub async fn world() -> World {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = DataDir::open(&dir.path().join("data")).expect("its folders");
    fs::create_dir(dir.path().join("hooks")).expect("a folder");
    let (_, token) = Token::make(&data).expect("a token");
    let unknown = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut world = World {
        dir,
        data,
        token,
        ssh: unknown,
        http: unknown,
        shutdown: CancellationToken::new(),
        running: None,
        drain: Duration::from_secs(20),
        push_bytes_max: 1 << 33,
        free_bytes_min: Some(0),
        command_within: Duration::from_secs(3_600),
    };
    let key = world.key("me", "ed25519").await;
    fs::write(world.authorized_keys(), key).expect("written");
    world.start();
    world
}

impl World {
    /// Starts the host, on new ports.
    pub fn start(&mut self) {
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (ssh, http) = (bind(), bind());
        self.ssh = ssh.local_addr().expect("an address");
        self.http = http.local_addr().expect("an address");
        self.shutdown = CancellationToken::new();
        let config = Config {
            data: self.data.clone(),
            ssh: vec![ssh],
            http: vec![http],
            hooks: self.dir.path().join("hooks"),
            extra_keys: vec![self.dir.path().join("extra.pub")],
            push_bytes_max: self.push_bytes_max,
            free_bytes_min: self.free_bytes_min,
            connections_max: 256,
            command_within: self.command_within,
            search_path: std::env::var_os("PATH").expect("a PATH"),
            drain: self.drain,
        };
        self.running = Some(tokio::spawn(run(config, self.shutdown.clone())));
    }

    /// Waits until the host has left.
    pub async fn left(&mut self) {
        let running = self.running.take().expect("it runs");
        tokio::time::timeout(LIMIT, running).await.expect("in time").expect("no panic").expect("no error");
    }

    pub fn authorized_keys(&self) -> PathBuf {
        self.data.keys().join("authorized_keys")
    }

    /// Makes a key pair in a file of this name and gives the public half.
    pub async fn key(&self, name: &str, kind: &str) -> String {
        let mut command = self.command("ssh-keygen");
        command.args(["-q", "-N", "", "-t", kind, "-f", name]);
        let said = Said::from(command.output().await.expect("ssh-keygen"));
        assert!(said.ok, "{}", said.text);
        fs::read_to_string(self.dir.path().join(format!("{name}.pub"))).expect("the public key")
    }

    /// Makes the post-receive hook: a shell script.
    pub fn hook(&self, script: &str) {
        let path = self.dir.path().join("hooks/post-receive");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(path, Permissions::from_mode(0o755)).expect("made executable");
    }

    /// A program in the world's folder, with nothing of this machine's settings.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").expect("a PATH")).env("HOME", self.dir.path());
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").env("LANG", "C");
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "A Tester");
            command.env(format!("GIT_{role}_EMAIL"), "tester@localhost");
        }
        command.env("GIT_SSH_COMMAND", self.ssh_line(&["me"]));
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// The ssh program with these keys, without the host's address.
    pub fn ssh_line(&self, keys: &[&str]) -> String {
        let quiet = "-F /dev/null -o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o IdentitiesOnly=yes \
                     -o BatchMode=yes -o LogLevel=ERROR";
        let keys: String =
            keys.iter().map(|key| format!(" -i {}", self.dir.path().join(key).display())).collect();
        format!("ssh {quiet}{keys}")
    }

    /// Runs ssh with the key `me`; the arguments come after the host.
    pub async fn ssh(&self, arguments: &str) -> Said {
        self.shell(&format!("{} {} {arguments}", self.ssh_line(&["me"]), self.ssh_target())).await
    }

    pub fn ssh_target(&self) -> String {
        format!("-p {} anybody@127.0.0.1", self.ssh.port())
    }

    pub async fn shell(&self, line: &str) -> Said {
        let mut command = self.command("sh");
        command.args(["-c", line]);
        finished(command).await
    }

    /// Runs git in a folder of the world.
    pub async fn git(&self, folder: &str, arguments: &[&str]) -> Said {
        finished(self.git_command(folder, arguments)).await
    }

    pub fn git_command(&self, folder: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("git");
        command.current_dir(self.dir.path().join(folder)).args(arguments);
        command
    }

    /// Runs git, which must end with 0, and gives what it said.
    pub async fn must(&self, folder: &str, arguments: &[&str]) -> String {
        let said = self.git(folder, arguments).await;
        assert!(said.ok, "git {arguments:?}: {}", said.text);
        said.text
    }

    pub fn url(&self, way: Way, path: &str) -> String {
        match way {
            Way::Ssh => format!("ssh://anybody@{}/{path}", self.ssh),
            Way::Http => format!("http://anybody:{}@{}/{path}", self.token, self.http),
        }
    }

    /// Makes a repository with one commit on main.
    pub async fn project(&self, folder: &str) {
        self.must(".", &["init", "--quiet", "--initial-branch=main", folder]).await;
        self.commit(folder, "index.html", "hello").await;
    }

    pub async fn commit(&self, folder: &str, file: &str, text: &str) {
        fs::write(self.dir.path().join(folder).join(file), text).expect("written");
        self.must(folder, &["add", "."]).await;
        self.must(folder, &["commit", "--quiet", "--message", text]).await;
    }

    /// Commits a file that does not compress.
    pub async fn noise(&self, folder: &str, bytes: u32) {
        let words = (0..bytes / 4).scan(1_u32, |state, _| {
            // xorshift32
            *state ^= *state << 13;
            *state ^= *state >> 17;
            *state ^= *state << 5;
            Some(*state)
        });
        let noise: Vec<u8> = words.flat_map(u32::to_be_bytes).collect();
        fs::write(self.dir.path().join(folder).join("noise"), noise).expect("written");
        self.commit(folder, "more", "more").await;
    }

    /// The id of a ref in a folder of the world, or in an app's repository.
    pub async fn id(&self, folder: &Path, name: &str) -> Option<String> {
        let folder = folder.to_str().expect("utf-8");
        let said = self.git(".", &["-C", folder, "rev-parse", "--verify", "--quiet", name]).await;
        said.ok.then(|| said.text.trim().to_owned())
    }

    pub fn repository(&self, app: &str) -> PathBuf {
        self.data.repository(&app.parse().expect("a name"))
    }

    /// How many processes run that the host started, and their children.
    pub fn processes(&self) -> usize {
        let mark = format!("FUNC_DATA={}\0", self.data.root().display());
        let environments = fs::read_dir("/proc").expect("proc").flatten().map(|p| p.path().join("environ"));
        environments
            .filter_map(|path| fs::read(path).ok())
            .filter(|text| text.windows(mark.len()).any(|part| part == mark.as_bytes()))
            .count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn finished(mut command: Command) -> Said {
    tokio::time::timeout(LIMIT, command.output()).await.expect("in time").expect("it starts").into()
}

/// Waits until something holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
