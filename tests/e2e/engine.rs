//! A Docker Engine of a test's own, which may be restarted: with its own containerd, socket, folders and bridge.
//!
//! It leaves the machine's engine alone: it writes no iptables rules, has a bridge of its own by name, and is told no
//! address pool. (Told to have no bridge, or a pool, `dockerd` 20.10 removes `docker0`, whoever's that is.)

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::world::{docker, until};

/// The folders of all such engines begin so.
const FOLDERS: &str = "/tmp";
const PREFIX: &str = "func-engine-";
/// How long it gives its containers when it is asked to stop, in seconds.
const SHUTDOWN_S: &str = "3";

pub struct Engine {
    folder: tempfile::TempDir,
    /// The second number of its addresses: 10.<net>.0.0/16.
    net: u8,
    process: Option<Child>,
}

/// How it is ended.
#[derive(Debug, Clone, Copy)]
pub enum End {
    /// As `systemctl restart docker` does: it stops its containers.
    Terminated,
    /// Without a warning: its containers live on until it is back.
    Killed,
}

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("it can be run");
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

impl Engine {
    /// One that answers.
    ///
    /// # Panics
    /// If this machine cannot run a second engine: with what it said.
    pub fn new() -> Self {
        sweep();
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(FOLDERS).expect("a folder");
        fs::write(folder.path().join("owner"), std::process::id().to_string()).expect("written");
        fs::write(folder.path().join("daemon.json"), "{}").expect("written");
        let mut engine = Self { folder, net: free_net(), process: None };
        fs::write(engine.path("net"), engine.net.to_string()).expect("written");
        let bridge = bridge(engine.net);
        run("ip", &["link", "add", &bridge, "type", "bridge"]);
        run("ip", &["addr", "add", &format!("10.{}.255.1/24", engine.net), "dev", &bridge]);
        run("ip", &["link", "set", &bridge, "up"]);
        engine.start();
        engine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    /// Runs the Docker CLI against it.
    pub fn docker(&self, args: &[&str]) -> String {
        let host = format!("unix://{}", self.socket().display());
        docker(&[&["-H", &host][..], args].concat())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Makes an installation's network, as func would, with addresses that are free.
    pub fn make_network(&self, installation: &str) {
        let (subnet, label) =
            (format!("10.{}.0.0/24", self.net), format!("func.installation={installation}"));
        let alone = "com.docker.network.bridge.enable_icc=false";
        self.docker(&[
            "network",
            "create",
            "--subnet",
            &subnet,
            "--label",
            &label,
            "-o",
            alone,
            installation,
        ]);
    }

    /// Starts it, and waits until it answers.
    pub fn start(&mut self) {
        let before = machines_bridge();
        self.start_process();
        assert_eq!(before, machines_bridge(), "the machine's own bridge was touched");
    }

    fn start_process(&mut self) {
        let driver = docker(&["info", "--format", "{{.Driver}}"]);
        let log = fs::File::options().append(true).create(true).open(self.path("log")).expect("a log");
        // It ends with the thread that started it, also when that is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "dockerd", "--storage-driver", &driver]);
        for (flag, name) in
            [("config-file", "daemon.json"), ("data-root", "data"), ("exec-root", "exec"), ("pidfile", "pid")]
        {
            command.arg(format!("--{flag}={}", self.path(name).display()));
        }
        command.arg(format!("--host=unix://{}", self.socket().display()));
        command.arg(format!("--bridge={}", bridge(self.net)));
        command.args(
            ["iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy"]
                .map(|f| format!("--{f}=false")),
        );
        command.args(["--shutdown-timeout", SHUTDOWN_S]);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        self.process = Some(command.spawn().expect("setpriv (util-linux) runs"));
        until("the engine of the test's own answers", || {
            let process = self.process.as_mut().expect("it was started");
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "this machine runs no second Docker engine: {ended:?}\n{}", self.log());
            self.answers()
        });
    }

    fn answers(&self) -> bool {
        let host = format!("unix://{}", self.socket().display());
        let out =
            Command::new("docker").args(["-H", &host, "version", "--format", "{{.Server.Version}}"]).output();
        out.is_ok_and(|out| out.status.success())
    }

    /// Ends it, and waits until it has ended.
    pub fn end(&mut self, how: End) {
        let Some(mut process) = self.process.take() else { return };
        match how {
            End::Terminated => terminate(&mut process),
            End::Killed => {
                process.kill().expect("it is ours");
                process.wait().expect("it has ended");
                self.forget_containerd();
            }
        }
    }

    /// Its containerd dies with it. Where nobody buries the dead (a container's process 1 may not), the next start would
    /// take it for alive by the number in its file.
    fn forget_containerd(&self) {
        let file = self.path("exec/containerd/containerd.pid");
        let pid = fs::read_to_string(&file).expect("it had a containerd");
        let lives = |stat: String| !stat.rsplit(')').next().is_some_and(|rest| rest.trim().starts_with('Z'));
        let stat = format!("/proc/{}/stat", pid.trim());
        until("its containerd has ended", || !fs::read_to_string(&stat).is_ok_and(lives));
        fs::remove_file(file).expect("removed");
    }
}

/// Asks a process to end, and kills it when it does not.
fn terminate(process: &mut Child) {
    let _ = Command::new("kill").arg(process.id().to_string()).output();
    let began = Instant::now();
    while process.try_wait().ok().flatten().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            let _ = process.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("---- the engine's last lines");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        if let Some(process) = &mut self.process {
            terminate(process);
        }
        clear(self.folder.path());
    }
}

/// Removes what the engines of dead test processes have left.
fn sweep() {
    for entry in fs::read_dir(FOLDERS).expect("a folder").flatten() {
        let is_engine = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let owner = fs::read_to_string(entry.path().join("owner")).unwrap_or_default();
        if is_engine && !owner.is_empty() && !Path::new(&format!("/proc/{owner}")).exists() {
            clear(&entry.path());
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Ends every process of an engine, and takes its mounts and bridges away.
fn clear(folder: &Path) {
    let began = Instant::now();
    loop {
        let processes = processes_of(folder);
        if processes.is_empty() || began.elapsed() > Duration::from_secs(30) {
            break;
        }
        for pid in processes {
            let _ = Command::new("kill").args(["-9", &pid]).output();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let ours =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|m| Path::new(m).starts_with(folder));
    for mount in ours.collect::<Vec<_>>().into_iter().rev() {
        let _ = Command::new("umount").args(["-l", mount]).output();
    }
    let net = fs::read_to_string(folder.join("net")).ok().and_then(|text| text.parse().ok());
    for device in net.map(devices_in).unwrap_or_default() {
        let _ = Command::new("ip").args(["link", "del", &device]).output();
    }
}

/// Every process that names the engine's folder: itself, its containerd, their shims; and what those run.
fn processes_of(folder: &Path) -> Vec<String> {
    let named = |pid: &str| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*folder.to_string_lossy())
    };
    let pids = fs::read_dir("/proc").expect("it is there").flatten();
    let pids = pids.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = pids.filter(|p| p.chars().all(|c| c.is_ascii_digit()) && named(p)).collect();
    let children = |pid: &String| {
        let out = Command::new("ps").args(["-o", "pid=", "--ppid", pid]).output();
        let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let theirs: Vec<String> = found.iter().flat_map(children).collect();
    found.splice(..0, theirs);
    found
}

/// The bridge of the machine's own engine, if it has one.
fn machines_bridge() -> Option<String> {
    fs::read_to_string("/sys/class/net/docker0/ifindex").ok()
}

fn bridge(net: u8) -> String {
    format!("func-test{net}")
}

/// The network devices that have an address in 10.<net>.0.0/16.
fn devices_in(net: u8) -> Vec<String> {
    let listed = run("ip", &["-o", "-4", "addr", "show"]);
    let ours = |line: &&str| line.contains(&format!(" inet 10.{net}."));
    listed.lines().filter(ours).filter_map(|line| line.split_whitespace().nth(1).map(str::to_owned)).collect()
}

/// A number such that nothing on this machine has addresses in 10.<number>.0.0/16.
fn free_net() -> u8 {
    let listed = format!("{}{}", run("ip", &["-o", "-4", "addr"]), run("ip", &["route"]));
    let first = std::process::id() % 50;
    let mut nets = (0..50).map(|n| 200 + ((first + n) % 50) as u8);
    let free = |net: &u8| !listed.contains(&Ipv4Addr::new(10, *net, 0, 0).to_string()[..7]);
    nets.find(free).expect("a free network")
}
