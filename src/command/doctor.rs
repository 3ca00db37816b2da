//! `func doctor`: what is wrong with the machine, and how to mend it.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use func_githost::FreeDisk;
use func_ledger::{LedgerError, Redis, Watch};
use func_model::{BuildEngine, PartReport, plain_text, redacted, size};
use func_runner::{Docker, Firewall, FirewallError};
use func_store::{DataDir, Manifests};
use tokio::time::timeout;

use crate::cli;
use crate::server_info::ServerInfo;
use crate::settings::Settings;

const ASK: Duration = Duration::from_secs(5);
/// For a cleaner that adds up the disk.
const MEASURE: Duration = Duration::from_secs(30);
/// A clock before the day that this was written is wrong.
const EPOCH_MIN_S: u64 = 1_763_000_000;
/// How far two clocks may differ.
const SKEW_S_MAX: u64 = 5;

/// What was found.
enum Finding {
    Fine(String),
    /// It works, but.
    Odd(String, String),
    /// It does not work; the second text says how to mend it.
    Wrong(String, String),
}
use Finding::{Fine, Odd, Wrong};

/// Prints every finding; fails if something is wrong.
pub async fn run(doctor: cli::Doctor) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(&doctor.given)?;
    println!("settings: fine");
    let mut wrong = 0;
    let (running, own) = (running(&settings.data), own_ports(&settings.data));
    let findings = [
        ("docker", docker(&settings).await),
        ("builds", builds(&settings).await),
        ("firewall", firewall(&settings.data, running).await),
        ("memory", memory(&settings.data, running)),
        ("dns", dns(&settings.dns)),
        ("git", git().await),
        ("data", data(&settings.data)),
        ("disk", disk(&settings)),
        ("budget", budget(&settings.data, running).await),
        ("server", server(&settings.data, running)),
        ("edge port", ports("edge-listen", &settings.edge_listen, &own)),
        ("ssh port", ports("ssh-listen", &settings.ssh_listen, &own)),
        ("http port", ports("http-listen", &settings.http_listen, &own)),
        ("redis", redis(&settings).await),
        ("clock", clock()),
    ];
    for (name, finding) in findings {
        match finding {
            Fine(what) => println!("{name}: fine, {}", plain_text(&what)),
            Odd(what, hint) => println!("{name}: {}\n    hint: {hint}", plain_text(&what)),
            Wrong(what, mend) => {
                wrong += 1;
                println!("{name}: WRONG, {}\n    mend: {mend}", plain_text(&what));
            }
        }
    }
    match wrong {
        0 => println!("Everything that func needs is there."),
        n => println!("{n} of these must be mended."),
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The chain of an error in one line.
fn chain(error: impl Into<anyhow::Error>) -> String {
    redacted(&format!("{:#}", error.into())).into_owned()
}

async fn docker(settings: &Settings) -> Finding {
    let asked = ask_engine(settings, async |docker| docker.version().await).await;
    match asked {
        Ok(Ok(version)) => Fine(format!("{version} at {}", settings.docker)),
        Ok(Err(e)) => {
            let mend = "install and start a Docker engine (apt-get install docker.io), be root or in the group docker, \
                        or name another socket with --docker";
            Wrong(chain(e), mend.into())
        }
        Err(wrong) => wrong,
    }
}

/// Asks the engine, for a few seconds.
async fn ask_engine<T>(settings: &Settings, ask: impl AsyncFnOnce(Docker) -> T) -> Result<T, Finding> {
    let data = tempfile::tempdir().map_err(anyhow::Error::from);
    let data = data.and_then(|folder| Ok((DataDir::open(folder.path())?, folder)));
    let (data, _folder) = data.map_err(|e| Wrong(chain(e), "make /tmp writable".into()))?;
    let config = func_runner::Config {
        manifests: Manifests::new(data.clone()),
        installation: "func-doctor".into(),
        data,
        socket: Some(settings.docker.with_secrets().to_owned()),
        outbound: Default::default(),
        max: func_model::Allowance::default().max,
        together_bytes: 1 << 40,
        from_apps: false,
        builds: settings.builds.clone(),
        labels: vec![],
    };
    let silent =
        |_| Wrong("the engine does not answer".into(), "restart it: systemctl restart docker".into());
    timeout(ASK, ask(Docker::new(config))).await.map_err(silent)
}

/// Whether builds are kept from the host.
async fn builds(settings: &Settings) -> Finding {
    let open = |what: &str| {
        format!("builds run on the engine that serves: they reach the host, and have no limits; {what}")
    };
    let make =
        "docker pull docker:dind, or make it: docker/offline/make-images docker:dind; then restart func";
    let is_needed = match settings.builds.engine {
        BuildEngine::Shared => {
            return Odd(open("the setting says so"), "leave `build-engine` at auto".into());
        }
        BuildEngine::Apart => true,
        BuildEngine::Auto => false,
    };
    if let Ok(why) = std::fs::read_to_string(settings.data.join("run/builds/shared")) {
        return Odd(open(&why), make.into());
    }
    match ask_engine(settings, async |docker| docker.has_build_image().await).await {
        Ok(Ok(true)) => Fine("in an engine of their own".into()),
        Ok(Ok(false)) if is_needed => Wrong("the image docker:dind is not there yet".into(), make.into()),
        Ok(Ok(false)) => Odd("the image docker:dind is not there yet".into(), make.into()),
        Ok(Err(_)) | Err(_) => Fine("not known without the engine".into()),
    }
}

async fn firewall(data: &Path, running: bool) -> Finding {
    let open = |what: String| format!("apps can reach the host and private networks: {what}");
    let firewall = match Firewall::find() {
        Ok(firewall) => firewall,
        Err(e) => return Odd(open(chain(e)), "install nftables: apt-get install nftables".into()),
    };
    if let Err(e) = firewall.check().await {
        let hint = match e {
            FirewallError::Denied { .. } => "run func's cleaner as root or with CAP_NET_ADMIN",
            FirewallError::NoTool | FirewallError::NoTool6 | FirewallError::Failed { .. } => {
                "install nftables, and a kernel that has it"
            }
        };
        return Odd(open(chain(e)), hint.into());
    }
    let installation = ServerInfo::read(data).filter(|_| running).map(|info| info.installation);
    match installation {
        Some(name) if !firewall.stands(&name).await => {
            Odd(open("the rules are not there".into()), "wait 5 s, then read what the cleaner logs".into())
        }
        Some(_) => Fine(format!("{firewall} keeps apps from the host")),
        None => Fine(format!("{firewall} can keep apps from the host")),
    }
}

/// Whether all apps together leave memory to the rest of the machine.
fn memory(data: &Path, running: bool) -> Finding {
    let Some(info) = ServerInfo::read(data).filter(|_| running) else {
        return Fine("limited when func runs".into());
    };
    match func_runner::memory_bound(&info.installation) {
        Some(bytes) => Fine(format!("all apps together use at most {} MiB", bytes >> 20)),
        None => Odd(
            "all apps together may use all of the machine's memory".into(),
            "run func's cleaner as root, with /sys/fs/cgroup writable".into(),
        ),
    }
}

fn dns(given: &[IpAddr]) -> Finding {
    let servers = func_runner::name_servers(given);
    if servers.is_empty() {
        let what =
            "this machine names no name server but itself, so apps ask Docker's, which names other apps";
        return Odd(what.into(), "set --dns to the addresses of name servers that apps may ask".into());
    }
    Fine(servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

async fn git() -> Finding {
    match crate::serve::git::check().await {
        Ok(version) => Fine(version),
        Err(e) => Wrong(chain(e), "install a newer git: apt-get install git".into()),
    }
}

fn data(path: &Path) -> Finding {
    let parent = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    match tempfile::Builder::new().prefix(".func-doctor-").tempfile_in(parent) {
        Ok(_) if path.exists() => Fine(path.display().to_string()),
        Ok(_) => Fine(format!("{} will be made", path.display())),
        Err(e) => Wrong(
            format!("{} cannot be written: {e}", parent.display()),
            format!(
                "chown {} to the user who runs func, or choose another folder with --data",
                parent.display()
            ),
        ),
    }
}

/// Whether pushes find room, by the setting `free-disk`.
fn disk(settings: &Settings) -> Finding {
    let existing = settings.data.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/"));
    match FreeDisk::of(existing, settings.free_bytes_min) {
        Ok(disk) => {
            let shown = format!("{} free at {}", size(disk.free), existing.display());
            if disk.is_low() {
                let what = format!("{shown}: with less than {} pushes are refused", size(disk.kept));
                return Odd(
                    what,
                    "make room: func df shows what func keeps, func rm removes an app; docker system df shows what else the engine keeps".into(),
                );
            }
            Fine(shown)
        }
        Err(e) => Wrong(format!("{}: {e}", existing.display()), "choose another folder with --data".into()),
    }
}

/// Whether what func keeps is within the setting `disk`, as a func that runs measures it.
async fn budget(data: &Path, running: bool) -> Finding {
    let Some(data) = DataDir::at(data).ok().filter(|_| running) else {
        return Fine("kept when func runs".into());
    };
    let report = match super::df::ask(&data, MEASURE).await {
        Ok(report) => report,
        Err(e) => return Odd(format!("not known: {}", chain(e)), "read what the cleaner logs".into()),
    };
    let part = |part: &PartReport| format!("{} of {}", size(part.used_bytes), size(part.budget_bytes));
    let used = report.parts.iter().map(part).collect::<Vec<_>>().join(" and ");
    match report.refusal() {
        Some(_) => Odd(
            format!("used up, {used}: pushes are refused"),
            "func df shows what takes it; func rm and func unpin make room, and the setting `disk` gives more".into(),
        ),
        None => Fine(format!("{used} used")),
    }
}

fn running(data: &Path) -> bool {
    ["builder", "cleaner"]
        .iter()
        .any(|s| std::os::unix::net::UnixStream::connect(data.join(format!("run/{s}.sock"))).is_ok())
}

fn server(data: &Path, running: bool) -> Finding {
    match (running, ServerInfo::read(data)) {
        (true, Some(info)) => Fine(format!("it runs, apps answer at {}", info.app_url("<app>"))),
        (true, None) => Odd("it runs without a git host".into(), "start it: func serve githost".into()),
        (false, _) => Odd("it does not run".into(), "start it: func serve all".into()),
    }
}

fn ports(name: &str, addresses: &[SocketAddr], own: &BTreeSet<u16>) -> Finding {
    if addresses.is_empty() {
        return Fine("off".into());
    }
    for address in addresses {
        let Err(e) = TcpListener::bind(address) else { continue };
        let port = address.port();
        let mend = match e.kind() {
            ErrorKind::AddrInUse if own.contains(&port) => continue,
            ErrorKind::AddrInUse => {
                format!("stop what listens there (ss -ltnp | grep :{port}), or choose another with --{name}")
            }
            ErrorKind::PermissionDenied => {
                format!(
                    "run func as root or with CAP_NET_BIND_SERVICE, or choose a port from 1024 with --{name}"
                )
            }
            _ => format!("choose an address of this machine with --{name}"),
        };
        return Wrong(format!("{address}: {e}"), mend);
    }
    Fine(addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

/// The ports on which the server that runs here listens; none if none runs.
fn own_ports(data: &Path) -> BTreeSet<u16> {
    let Some(info) = ServerInfo::read(data).filter(|_| running(data)) else { return BTreeSet::new() };
    let port = |url: &str| url.rsplit(':').next().and_then(|port| port.parse().ok());
    let urls = [info.ssh.as_deref(), info.http.as_deref(), Some(info.url.as_str())];
    urls.into_iter().flatten().filter_map(port).collect()
}

async fn redis(settings: &Settings) -> Finding {
    let Some(url) = &settings.redis else { return Fine("not used, the ledger is in memory".into()) };
    let mend = "start it, or correct --redis";
    let ledger = match Redis::new(url.with_secrets(), &settings.redis_prefix) {
        Ok(ledger) => ledger,
        Err(e) => return Wrong(chain(e), mend.into()),
    };
    match ledger.records().await {
        Ok((_, redis_ms)) => {
            let skew_s = (redis_ms / 1_000).abs_diff(now_s());
            if skew_s > SKEW_S_MAX {
                let what = format!("{url}, whose clock differs by {skew_s} s");
                return Odd(what, "set both clocks by NTP: only shown times depend on it".into());
            }
            Fine(url.to_string())
        }
        Err(LedgerError::Lost) => {
            Odd(format!("{url}, which has to be restored"), "start the cleaner: it restores".into())
        }
        Err(e) => Wrong(chain(e), mend.into()),
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs())
}

fn clock() -> Finding {
    match now_s() {
        now if now < EPOCH_MIN_S => Wrong("it is behind".into(), "set it: timedatectl set-ntp true".into()),
        _ => Fine("set".into()),
    }
}
