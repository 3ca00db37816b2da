//! A running func of a test's own: data in a temporary folder, ports chosen by the system, and nothing left behind.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Where each world writes down what it is, for the sweep.
const REGISTRY: &str = "/tmp/functest-e2e";
/// How long anything may take before a test gives up; far more than it takes.
pub const LIMIT: Duration = Duration::from_secs(90);

pub struct World {
    folder: tempfile::TempDir,
    server: Option<Child>,
    settings: Vec<(String, String)>,
    /// How many file descriptors its server may have; `None`: as many as this process.
    pub descriptors: Option<u32>,
    pub installation: String,
    pub token: String,
}

/// One running container.
pub struct Container {
    pub name: String,
    pub id: String,
    /// The name of its gate, if it was made ahead.
    pub gate: Option<String>,
}

/// Waits until `done` says so.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LIMIT, "still waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Keeps what compiles all of func apart from what measures how long answers take.
pub fn machine_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that nothing listens on now, and that the system gives nobody by itself: what it gives begins at 32768.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    loop {
        let next = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (next % 20_000) as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn docker(args: &[&str]) -> String {
    let out = Command::new("docker")
        .args(args)
        .output()
        .expect("the docker program; these tests need a Docker engine");
    assert!(out.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Removes everything that an installation has on the engine.
fn remove_all(installation: &str) {
    let filter = format!("label=func.installation={installation}");
    // What a test runs beside func; func itself does not know it.
    let beside = format!("label=functest.of={installation}");
    let each = |list: &[&str], remove: &[&str]| {
        let out = Command::new("docker").args(list).output();
        for id in String::from_utf8_lossy(&out.map(|o| o.stdout).unwrap_or_default()).lines() {
            let _ = Command::new("docker").args(remove).arg(id).output();
        }
    };
    each(&["ps", "-aq", "--filter", &filter], &["rm", "-fv"]);
    each(&["ps", "-aq", "--filter", &beside], &["rm", "-fv"]);
    each(&["network", "ls", "-q", "--filter", &filter], &["network", "rm"]);
    each(&["volume", "ls", "-q", "--filter", &filter], &["volume", "rm"]);
    remove_rules(installation);
    remove_rules(&format!("{installation}-builds"));
    func_runner::remove_group(installation);
    let tags = format!("{installation}/*");
    each(&["images", "--format", "{{.Repository}}:{{.Tag}}", &tags], &["rmi", "-f"]);
    each(&["images", "-aq", "--filter", &filter], &["rmi", "-f"]);
}

/// Removes an installation's rules from every firewall tool, on a thread of its own: a test may be in a runtime.
fn remove_rules(installation: &str) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let remove = || {
        let Ok(runtime) = runtime() else { return };
        for firewall in func_runner::Firewall::all() {
            // Absent is done, and without the right there are none.
            let _ = runtime.block_on(firewall.remove(installation));
        }
    };
    std::thread::scope(|scope| drop(scope.spawn(remove)));
}

/// Removes what the worlds of dead test processes have left.
fn sweep() {
    static SWEPT: Once = Once::new();
    SWEPT.call_once(|| {
        docker(&["version", "--format", "{{.Server.Version}}"]);
        std::fs::create_dir_all(REGISTRY).expect("a folder for the registry");
        for entry in std::fs::read_dir(REGISTRY).expect("the registry").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some((pid, installation)) = name.split_once('+') else { continue };
            if !Path::new(&format!("/proc/{pid}")).exists() {
                remove_all(installation);
                let folder = std::fs::read_to_string(entry.path()).unwrap_or_default();
                if folder.starts_with("/tmp/func-") {
                    // It may be a file system of a test's own.
                    let _ = Command::new("umount").arg("-lq").arg(format!("{folder}/data")).output();
                    let _ = std::fs::remove_dir_all(folder);
                }
                let _ = std::fs::remove_file(entry.path());
            }
        }
    });
}

/// Writes an installation and its folder down before it makes anything.
pub fn register(installation: &str, folder: &Path) {
    sweep();
    let entry = format!("{REGISTRY}/{}+{installation}", std::process::id());
    std::fs::write(entry, folder.as_os_str().as_encoded_bytes()).expect("written down");
}

pub fn unregister(installation: &str) {
    remove_all(installation);
    let _ = std::fs::remove_file(format!("{REGISTRY}/{}+{installation}", std::process::id()));
}

impl World {
    /// A func with the default settings but for the ports.
    pub fn new() -> Self {
        Self::with(&[])
    }

    /// A func with these settings besides.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        let mut world = Self::prepared(settings);
        world.start();
        world
    }

    /// A folder with a key, and no server yet.
    pub fn prepared(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::Builder::new().prefix("func-e2e-").tempdir().expect("a temporary folder");
        let data = func_store::DataDir::open(&folder.path().join("data")).expect("a data folder");
        let installation = data.installation();
        register(&installation, folder.path());
        let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let world =
            Self { folder, server: None, settings, descriptors: None, installation, token: String::new() };
        world.make_key("id_ed25519", "ed25519");
        let key = std::fs::read_to_string(world.path("id_ed25519.pub")).expect("the public key");
        std::fs::write(world.data().join("keys/authorized_keys"), key).expect("written");
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    pub fn make_key(&self, file: &str, kind: &str) {
        let file = self.path(file);
        let out = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", kind, "-f"]).arg(&file).output();
        assert!(out.expect("ssh-keygen runs").status.success());
    }

    /// Starts the server and waits until it says that it is ready.
    pub fn start(&mut self) {
        let before = self.log().len();
        let mut command = self.command("all", "127.0.0.1:0", "server");
        self.server = Some(command.spawn().expect("func starts"));
        until("func is ready", || {
            let server = self.server.as_mut().expect("it was started");
            assert!(server.try_wait().expect("its state").is_none(), "func ended:\n{}", self.log());
            self.log()[before.min(self.log().len())..].contains("func is ready")
        });
        self.read_token();
    }

    /// `func serve <role>` with this world's data and settings; it logs to `<name>.log`.
    pub fn command(&self, role: &str, edge_listen: &str, name: &str) -> Command {
        let log = self.path(&format!("{name}.log"));
        let log = std::fs::File::options().append(true).create(true).open(log).expect("a log");
        let program = env!("CARGO_BIN_EXE_func");
        let mut command = match self.descriptors {
            None => Command::new(program),
            Some(number) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nofile={number}")).arg(program);
                limited
            }
        };
        command
            .args(["serve", role, "--edge-listen", edge_listen, "--log", "debug", "--data"])
            .arg(self.data());
        // A second engine costs each test two seconds: `attacks::builds` has one.
        let own = [("ssh-listen", "127.0.0.1:0"), ("http-listen", "127.0.0.1:0"), ("build-engine", "shared")];
        for (name, value) in own.iter().filter(|(own, _)| !self.settings.iter().any(|(name, _)| name == own))
        {
            command.arg(format!("--{name}={value}"));
        }
        for (name, value) in &self.settings {
            command.arg(format!("--{name}={value}"));
        }
        for name in std::env::vars().map(|(n, _)| n).filter(|n| n.starts_with("FUNC_")) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        command
    }

    /// Reads git's token out of the file where a new installation leaves it.
    pub fn read_token(&mut self) {
        if let Ok(text) = std::fs::read_to_string(self.data().join("keys/token")) {
            self.token = text.trim().to_owned();
        }
    }

    /// Ends the server as `systemctl stop` would.
    pub fn stop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let _ = Command::new("kill").arg(server.id().to_string()).output();
        let began = Instant::now();
        while server.try_wait().ok().flatten().is_none() {
            if began.elapsed() > Duration::from_secs(60) {
                let _ = server.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server without a warning.
    pub fn kill(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.kill().expect("it is ours");
        server.wait().expect("it has ended");
    }

    pub fn pid(&self) -> u32 {
        self.server.as_ref().expect("it runs").id()
    }

    /// What the server has logged; of services that run apart, one after the other.
    pub fn log(&self) -> String {
        let mut logs: Vec<PathBuf> = std::fs::read_dir(self.folder.path())
            .expect("the world's folder")
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect();
        logs.sort();
        logs.iter().map(|log| std::fs::read_to_string(log).unwrap_or_default()).collect()
    }

    fn info(&self) -> serde_json::Value {
        let text = std::fs::read_to_string(self.data().join("run/githost/server.json"))
            .expect("the server wrote it");
        serde_json::from_str(&text).expect("JSON")
    }

    pub fn edge(&self) -> SocketAddr {
        let url = self.info()["url"].as_str().expect("a url").to_owned();
        let port: u16 = url.rsplit(':').next().and_then(|p| p.parse().ok()).expect("a port");
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    pub fn ssh_url(&self, app: &str) -> String {
        format!("{}/{app}.git", self.info()["ssh"].as_str().expect("a url"))
    }

    pub fn http_url(&self, app: &str) -> String {
        self.http_url_with(app, &self.token)
    }

    pub fn http_url_with(&self, app: &str, token: &str) -> String {
        let http = self.info()["http"].as_str().expect("a url").replace("http://", "");
        format!("http://func:{token}@{http}/{app}.git")
    }

    /// Runs a command of func's.
    pub fn func(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_func"));
        command.args(args).env("FUNC_DATA", self.data()).stdin(Stdio::null());
        command.output().expect("func runs")
    }

    /// The names of this installation's running instances: without those that are only made ahead.
    pub fn containers(&self) -> Vec<String> {
        let names = |c: &Container| (!self.is_poised(c)).then(|| c.name.clone());
        self.all_containers().iter().filter_map(names).collect()
    }

    /// The names of the instances that are made ahead, their gates closed.
    pub fn poised(&self) -> Vec<String> {
        let names = |c: &Container| self.is_poised(c).then(|| c.name.clone());
        self.all_containers().iter().filter_map(names).collect()
    }

    fn is_poised(&self, container: &Container) -> bool {
        container.gate.as_ref().is_some_and(|gate| !self.gate(gate).join("opened").exists())
    }

    /// The folder of a gate.
    pub fn gate(&self, gate: &str) -> PathBuf {
        self.data().join("run/poised").join(gate)
    }

    /// Every running instance of this installation.
    pub fn all_containers(&self) -> Vec<Container> {
        let filter = format!("label=func.installation={}", self.installation);
        let format = "{{.Names}} {{.ID}} {{.Label \"func.gate\"}}";
        let all = ["ps", "--no-trunc", "--filter", "label=func.instance", "--filter", &filter, "--format"];
        let listed = docker(&[&all[..], &[format]].concat());
        let read = |line: &str| {
            let mut fields = line.split(' ').map(str::to_owned);
            let (name, id) = (fields.next()?, fields.next()?);
            Some(Container { name, id, gate: fields.next().filter(|gate| !gate.is_empty()) })
        };
        listed.lines().filter_map(read).collect()
    }

    /// What `func apps` says that an app does.
    pub fn phase(&self, app: &str) -> String {
        let listed = String::from_utf8_lossy(&self.func(&["apps"]).stdout).into_owned();
        let line = listed.lines().find(|line| line.split_whitespace().next() == Some(app));
        let line = line.unwrap_or_default().to_owned();
        ["not deployed", "unknown", "cold", "poised", "waking", "warm", "frozen", "cooling", "broken"]
            .into_iter()
            .find(|phase| line.contains(&format!("  {phase}")))
            .unwrap_or_default()
            .to_owned()
    }

    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        self.curl(host, path, &[])
    }

    /// Asks with the real curl; gives status and body.
    pub fn curl(&self, host: &str, path: &str, args: &[&str]) -> (u16, String) {
        let url = format!("http://{}{path}", self.edge());
        let out = Command::new("curl")
            .args(["-sS", "--max-time", "120", "-w", "\n%{http_code}", "-H", &format!("Host: {host}")])
            .args(args)
            .arg(url)
            .output()
            .expect("curl runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(80).collect();
            eprintln!("---- the server's last lines");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
        unregister(&self.installation);
    }
}

/// Reads a process' resident memory now and at its highest, in bytes.
pub fn memory(pid: u32) -> (u64, u64) {
    let mut text = String::new();
    let status = std::fs::File::open(format!("/proc/{pid}/status"));
    status.and_then(|mut f| f.read_to_string(&mut text)).expect("the process lives");
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).expect("a field");
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a number") * 1024
    };
    (field("VmRSS:"), field("VmHWM:"))
}

/// Asks the cleaner of a data folder to send an app to rest as soon as it may; what it says is not heard.
pub fn ask_to_rest(data: &Path, app: &str) {
    let mut rest = Command::new("curl");
    rest.args(["-sS", "--max-time", "60", "-X", "POST", "--unix-socket"]).arg(data.join("run/cleaner.sock"));
    rest.arg(format!("http://cleaner/apps/{app}/rest")).output().expect("curl runs");
}
