//! A scene: an installation whose services are ended at points, and what has to be true afterwards.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::Once;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use func_crash::VARIABLE;

use crate::apart::Apart;
use crate::client::Repo;
use crate::load::{Habit, Load};
use crate::world::{ask_to_rest, docker, until};

/// The edges: each app has to answer at both.
pub const EDGES: [&str; 2] = ["edge", "edge2"];
/// The app that clients use all the time.
const STEADY: &str = "steady";

/// How long it may take after a restart until all is at rest or in service.
const REST: Duration = Duration::from_secs(10);
/// How long its clients wait between two requests: many scenes share the machine.
const PAUSE: Duration = Duration::from_millis(250);

/// A request under way: gives status and body.
pub type Asked = JoinHandle<(u16, String)>;

pub struct Scene {
    pub name: &'static str,
    pub apart: Apart,
    load: Option<Load>,
    /// What took longest until all was at rest or in service, since the restart's readiness.
    longest: (Duration, String),
    began: Instant,
}

impl Scene {
    /// An installation, and clients at `edges` that use an app of it all the time.
    pub fn new(name: &'static str, settings: &[(&str, &str)], edges: &[&str]) -> Self {
        static POINTS: Once = Once::new();
        POINTS.call_once(super::has_points);
        let began = Instant::now();
        let apart = Apart::new(&[&[("idle", "5s")], settings].concat());
        Repo::site(&apart.world, "hello").push(&apart.world.ssh_url(STEADY)).succeeded();
        let habit = |edge: &&str| Habit { pause: PAUSE, ..Habit::hello(apart.edge_addr(edge), STEADY) };
        let habits = edges.iter().map(habit).collect();
        let load = Some(Load::start(habits));
        Self { name, apart, load, longest: (Duration::ZERO, String::new()), began }
    }

    /// Asks an app for its page in the background.
    pub fn ask(&self, edge: &str, app: &str) -> Asked {
        ask(self.apart.edge_addr(edge), app)
    }

    /// Ends the point's service there, to which `cause` leads, and leaves it so. `cause` is called again and again, with
    /// the number of calls before.
    pub fn end_at(&mut self, point: &str, mut cause: impl FnMut(&Apart, u32)) {
        let service = service(point);
        // An edge would wait for the connections that its clients keep.
        match service.starts_with("edge") {
            true => self.apart.kill(service),
            false => self.apart.stop(service),
        }
        self.apart.start_with(service, &[(VARIABLE, point)]);
        self.apart.ready_or_ended(service);
        let mut calls = 0;
        until(&format!("{}: the {service} ends at {point}", self.name), || {
            if !self.apart.has_ended(service) {
                cause(&self.apart, calls);
                calls += 1;
            }
            self.apart.has_ended(service)
        });
        let status = self.apart.exit_status(service).expect("it has ended");
        assert_eq!(status.signal(), Some(9), "{point}: the {service} ended otherwise: {status}");
        self.apart.kill(service);
    }

    /// Starts the point's service again, and gives when it was ready.
    pub fn restart(&mut self, point: &str) -> Instant {
        self.apart.start(service(point));
        self.apart.ready();
        Instant::now()
    }

    /// Ends the point's service there, starts it again, and waits until all is at rest or in service.
    pub fn crash(&mut self, point: &str, cause: impl FnMut(&Apart, u32)) {
        self.end_at(point, cause);
        let ready = self.restart(point);
        self.settles(point, ready);
    }

    /// Waits until all is at rest or in service, and notes how long that took.
    pub fn settles(&mut self, point: &str, since: Instant) {
        let mut why = None;
        let began = Instant::now();
        loop {
            match self.unsettled() {
                None => break,
                unsettled => why = unsettled,
            }
            assert!(began.elapsed() < crate::world::LIMIT, "{}: after {point}: {why:?}", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        let took = since.elapsed();
        assert!(took < REST, "{}: after {point}: {} ms, last {why:?}", self.name, took.as_millis());
        eprintln!("{} {point}: {} ms, last {}", self.name, took.as_millis(), why.unwrap_or_default());
        if took > self.longest.0 {
            self.longest = (took, point.to_owned());
        }
    }

    /// What is neither at rest nor in service: an app that starts or stops, a container that is not what the ledger
    /// says, or that nobody knows.
    fn unsettled(&self) -> Option<String> {
        let known = self.ids();
        let filter = format!("label=func.installation={}", self.apart.world.installation);
        let format = "{{.Label \"func.instance\"}} {{.State}}";
        let containers = docker(&["ps", "-a", "--filter", &filter, "--format", format]);
        let stranger = containers.lines().find(|c| !known.iter().any(|id| c.split(' ').next() == Some(id)));
        if let Some(stranger) = stranger {
            return Some(format!("nobody knows the container {stranger}"));
        }
        let apps = String::from_utf8_lossy(&self.apart.world.func(&["apps"]).stdout).into_owned();
        if apps.is_empty() {
            return Some("the apps are not told".to_owned());
        }
        apps.lines().skip(1).find_map(|row| {
            let mut fields = row.split_whitespace();
            let (app, release, phase) = (fields.next()?, fields.next()?, fields.next()?);
            let instance = format!("{app}-{release}.1 ");
            let states: Vec<_> = containers.lines().filter_map(|c| c.strip_prefix(&instance)).collect();
            let fits = match phase {
                "warm" | "poised" => states == ["running"],
                "frozen" => states == ["paused"],
                "cold" | "broken" => states.is_empty(),
                "not" => true,
                _ => false,
            };
            (!fits).then(|| format!("{app} {release} is {phase}, its containers are {states:?}"))
        })
    }

    /// The instances that the ledger knows.
    fn ids(&self) -> Vec<String> {
        let mut redis = TcpStream::connect(self.apart.redis.addr()).expect("Redis answers");
        redis.write_all(b"SMEMBERS func:ids\r\nQUIT\r\n").expect("sent");
        let mut said = String::new();
        redis.read_to_string(&mut said).expect("answered");
        said.lines().filter(|line| !line.starts_with(['*', '$', '+'])).map(str::to_owned).collect()
    }

    /// Checks that an app answers at both edges.
    pub fn answers(&self, app: &str, says: &str) {
        for edge in EDGES {
            let answer = self.ask(edge, app).join().expect("curl ran");
            assert_eq!(answer, (200, says.to_owned()), "{}: {app} at the {edge}", self.name);
        }
    }

    /// Waits until both edges say so.
    pub fn serves(&self, app: &str, says: &str) {
        for edge in EDGES {
            until(&format!("{}: {app} says {says} at the {edge}", self.name), || {
                self.ask(edge, app).join().expect("curl ran") == (200, says.to_owned())
            });
        }
    }

    /// Sends an app to rest as soon as it may: `cause` of a stop.
    pub fn rest(apart: &Apart, app: &str) {
        ask_to_rest(&apart.world.data(), app);
    }

    /// Waits until `func apps` says so of an app.
    pub fn until_phase(&self, app: &str, phase: &str) {
        until(&format!("{}: {app} is {phase}", self.name), || self.apart.world.phase(app) == phase);
    }

    /// The end: no client of an edge that was not crashed has seen a failure, and only what is live is left.
    pub fn ends(mut self) {
        let counts = self.load.take().expect("it runs").end();
        assert_eq!(counts.failed(), 0, "{}: {:#?}", self.name, counts.failures());
        assert!(counts.answered() > 0, "nobody was answered");
        let (took, point) = &self.longest;
        eprintln!(
            "{}: {} requests, none failed; longest {} ms after {point}; all in {} s",
            self.name,
            counts.answered(),
            took.as_millis(),
            self.began.elapsed().as_secs()
        );
    }
}

/// The service that ends at a point.
fn service(point: &str) -> &'static str {
    func_crash::POINTS.iter().find(|known| known.name == point).expect("a point of the table").of
}

/// Asks an app for its page in the background.
pub fn ask(edge: SocketAddr, app: &str) -> Asked {
    let (host, url) = (format!("Host: {app}.localhost"), format!("http://{edge}/"));
    std::thread::spawn(move || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "120", "-w", "\n%{http_code}", "-H", &host, &url]);
        let out = curl.output().expect("curl runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or(("", "0"));
        (status.parse().unwrap_or(0), body.to_owned())
    })
}
