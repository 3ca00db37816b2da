//! func as in the compose deployment: each service a process of its own, a Redis between them, and two edges.

use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use crate::world::{World, docker, free_port, until};

/// The processes, in the order in which they are started.
pub const SERVICES: [&str; 5] = ["cleaner", "builder", "githost", "edge", "edge2"];

/// One service: its role is its name without a number.
struct Service {
    name: &'static str,
    listen: SocketAddr,
    redis: String,
    process: Option<Child>,
}

/// All services of one installation, each apart.
pub struct Apart {
    pub world: World,
    pub redis: Redis,
    http: SocketAddr,
    services: Vec<Service>,
}

impl Apart {
    /// All services, ready.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let mut apart = Self::prepared(settings);
        SERVICES.iter().for_each(|name| apart.start(name));
        apart.ready();
        apart
    }

    /// A Redis that answers, and services that are not started yet.
    pub fn prepared(settings: &[(&str, &str)]) -> Self {
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let (edge, ssh, http) = (local(free_port()), local(free_port()), local(free_port()));
        let doors = [("ssh-listen", ssh.to_string()), ("http-listen", http.to_string())];
        let doors = doors.iter().map(|(name, addr)| (*name, addr.as_str()));
        let world = World::prepared(&settings.iter().copied().chain(doors).collect::<Vec<_>>());
        let redis = Redis::new(&world.installation);
        let service = |name: &'static str| {
            let listen = if name == "edge2" { local(free_port()) } else { edge };
            Service { name, listen, redis: redis.url(), process: None }
        };
        let services = SERVICES.map(service).into();
        Self { world, redis, http, services }
    }

    fn service(&mut self, name: &str) -> &mut Service {
        self.services.iter_mut().find(|s| s.name == name).expect("one of SERVICES")
    }

    /// Lets a service find the ledger somewhere else, from its next start on.
    pub fn redis_at(&mut self, name: &str, url: &str) {
        self.service(name).redis = url.to_owned();
    }

    pub fn start(&mut self, name: &str) {
        self.start_with(name, &[]);
    }

    /// Starts another process of a service, with these flags besides, and gives the one that ran until now.
    pub fn replace(&mut self, name: &str, flags: &[&str]) -> Child {
        let old = self.service(name).process.take().expect("it runs");
        let mut command = self.command(name);
        self.service(name).process = Some(command.args(flags).spawn().expect("func starts"));
        old
    }

    /// Starts a service with more in its environment, and does not wait for it.
    pub fn start_with(&mut self, name: &str, env: &[(&str, &str)]) {
        let mut command = self.command(name);
        self.service(name).process = Some(command.envs(env.iter().copied()).spawn().expect("func starts"));
    }

    /// What starts a service.
    pub fn command(&mut self, name: &str) -> Command {
        let role = name.trim_end_matches(char::is_numeric).to_owned();
        let (listen, redis) = (self.service(name).listen.to_string(), self.service(name).redis.clone());
        let mut command = self.world.command(&role, &listen, name);
        command.arg(format!("--redis={redis}"));
        command
    }

    pub fn edge_addr(&self, name: &str) -> SocketAddr {
        self.services.iter().find(|s| s.name == name).expect("one of SERVICES").listen
    }

    pub fn pid(&self, name: &str) -> u32 {
        let service = self.services.iter().find(|s| s.name == name).expect("one of SERVICES");
        service.process.as_ref().expect("it runs").id()
    }

    /// Whether a service's process has ended by itself.
    pub fn has_ended(&mut self, name: &str) -> bool {
        let process = self.service(name).process.as_mut();
        process.is_none_or(|p| p.try_wait().expect("its state").is_some())
    }

    /// How a service's process has ended, if it has.
    pub fn exit_status(&mut self, name: &str) -> Option<ExitStatus> {
        self.service(name).process.as_mut()?.try_wait().expect("its state")
    }

    /// Waits until a service is well, or has ended by itself.
    pub fn ready_or_ended(&mut self, name: &str) {
        until(&format!("the {name} is ready"), || self.has_ended(name) || self.is_well(name));
    }

    /// Ends a service without a warning.
    pub fn kill(&mut self, name: &str) {
        let Some(mut process) = self.service(name).process.take() else { return };
        process.kill().expect("it is ours");
        process.wait().expect("it has ended");
    }

    /// Ends a service as `systemctl stop` would, and waits until it has.
    pub fn stop(&mut self, name: &str) {
        let Some(process) = self.service(name).process.take() else { return };
        terminate(process);
    }

    /// Waits until every service that was started is well, and git's token is known.
    pub fn ready(&mut self) {
        for name in SERVICES.iter().filter(|name| self.service(name).process.is_some()).collect::<Vec<_>>() {
            until(&format!("the {name} is ready"), || {
                assert!(!self.has_ended(name), "the {name} ended:\n{}", self.world.log());
                self.is_well(name)
            });
        }
        self.world.read_token();
    }

    fn is_well(&self, name: &str) -> bool {
        let connects = |addr: SocketAddr| std::net::TcpStream::connect(addr).is_ok();
        match name {
            "githost" => connects(self.http),
            "edge" | "edge2" => connects(self.edge_addr(name)),
            role => self.world.func(&["health", role]).status.success(),
        }
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // The cleaner last: the others may still ask it for something.
        for service in self.services.iter_mut().rev() {
            if let Some(process) = service.process.take() {
                terminate(process);
            }
        }
    }
}

/// Ends a process in good order, or after a while without.
fn terminate(mut process: Child) {
    let _ = Command::new("kill").arg(process.id().to_string()).output();
    let began = Instant::now();
    while process.try_wait().ok().flatten().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            let _ = process.kill();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A real Redis in a container of its own, as the compose deployment sets it up: nothing is kept on disk.
pub struct Redis {
    name: String,
    port: u16,
}

impl Redis {
    fn new(installation: &str) -> Self {
        let redis = Self { name: format!("{installation}-redis"), port: free_port() };
        let (label, publish) =
            (format!("functest.of={installation}"), format!("127.0.0.1:{}:6379", redis.port));
        let args = ["run", "-d", "--name", &redis.name, "--label", &label, "-p", &publish, "redis:7-alpine"];
        docker(&[&args[..], &["redis-server", "--save", "", "--appendonly", "no"]].concat());
        redis.answers();
        redis
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Waits until it answers.
    pub fn answers(&self) {
        until("Redis answers", || {
            let out = Command::new("docker").args(["exec", &self.name, "redis-cli", "ping"]).output();
            out.is_ok_and(|out| out.stdout.starts_with(b"PONG"))
        });
    }

    /// Runs a command of redis-cli's.
    pub fn cli(&self, args: &[&str]) -> String {
        docker(&[&["exec", &self.name, "redis-cli"][..], args].concat())
    }

    /// Ends it without a warning.
    pub fn kill(&self) {
        docker(&["kill", &self.name]);
    }

    /// Starts it again, empty.
    pub fn start(&self) {
        docker(&["start", &self.name]);
    }

    /// Lets it stand still, and go on.
    pub fn pause(&self) {
        docker(&["kill", "--signal=STOP", &self.name]);
    }

    pub fn resume(&self) {
        docker(&["kill", "--signal=CONT", &self.name]);
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        docker(&["logs", &self.name])
    }
}
