//! The parts: what the services share, each handed the power it needs, and the services themselves, as they run.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use func_ledger::{Cool, Enter, Memory, Promote, Redis, Watch};
use func_model::{BuildEngine, DiskBudget};
use func_runner::{
    Builds, Config as DockerConfig, Docker, Guard, Hold, Look, Make, Measure, Remote, Start, Stop,
};
use func_socket::descriptors::Shares;
use func_store::{DataDir, Manifests};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::HOOKS;
use super::doors::Doors;
use crate::cli::Role;
use crate::server_info::ServerInfo;
use crate::settings::Settings;

/// How often it is looked whether everything is ready.
const READY_AGAIN: Duration = Duration::from_millis(20);

/// How long it may take before it is told why.
const READY_TOLD: Duration = Duration::from_secs(5);

/// A push waits for its own build, and for those that go first: as many as may be reckoned with, at two at once.
const BUILDS_WAITED_FOR: u32 = 4;
/// How long the transfer of a push itself may take.
const TRANSFER: Duration = Duration::from_secs(3_600);

/// The ledger's powers over one ledger.
#[derive(Clone)]
struct Ledger {
    enter: Arc<dyn Enter>,
    watch: Arc<dyn Watch>,
    promote: Arc<dyn Promote>,
    cool: Arc<dyn Cool>,
}

impl Ledger {
    fn of<L: Enter + Watch + Promote + Cool + 'static>(ledger: Arc<L>) -> Self {
        Self { enter: ledger.clone(), watch: ledger.clone(), promote: ledger.clone(), cool: ledger }
    }
}

/// What the services share.
pub(super) struct Parts {
    data: DataDir,
    manifests: Manifests,
    settings: Settings,
    role: Role,
    ledger: Ledger,
    docker: Docker,
    builds: Builds,
    /// Another edge has taken over from this one.
    pub(super) relieved: CancellationToken,
}

impl Parts {
    /// Makes them, and asks the engine whether it is there, where a service needs it.
    pub(super) async fn make(settings: &Settings, role: Role, data: DataDir) -> anyhow::Result<Self> {
        let ledger = match &settings.redis {
            None => Ledger::of(Arc::new(Memory::new())),
            // It needs no ledger, and need not reach Redis.
            Some(_) if role == Role::Githost => Ledger::of(Arc::new(Memory::new())),
            Some(url) => {
                let redis = Redis::new(url.with_secrets(), &settings.redis_prefix);
                Ledger::of(Arc::new(
                    redis.with_context(|| format!("use the Redis {} (setting `redis`)", url))?,
                ))
            }
        };
        let manifests = Manifests::new(data.clone());
        let builds = builds(settings, &data)?;
        let docker = Docker::new(DockerConfig {
            data: data.clone(),
            manifests: manifests.clone(),
            installation: data.installation(),
            socket: Some(settings.docker.with_secrets().to_owned()),
            outbound: func_runner::Outbound {
                egress: settings.egress,
                allow: settings.egress_allow.clone(),
                dns: settings.dns.clone(),
            },
            max: settings.allowance.max,
            together_bytes: settings.apps_bytes_max,
            from_apps: settings.from_apps,
            builds: builds.clone(),
            labels: Vec::new(),
        });
        // The public doors do without the engine.
        if role.is(Role::Builder) || role.is(Role::Cleaner) {
            docker.prepare().await.with_context(|| {
                format!(
                    "use the Docker engine at {} (setting `docker`); func doctor says more",
                    settings.docker
                )
            })?;
        }
        Ok(Self {
            data,
            manifests,
            settings: settings.clone(),
            role,
            ledger,
            docker,
            builds,
            relieved: CancellationToken::new(),
        })
    }

    /// Waits until the services answer: their sockets are there, and the ledger knows what runs.
    pub(super) async fn ready(&self) {
        let sockets = [
            (Role::Builder, "builder"),
            (Role::Builder, "deploy"),
            (Role::Cleaner, "cleaner"),
            (Role::Cleaner, "start"),
            (Role::Edge, "edge"),
        ];
        let expected: Vec<PathBuf> = sockets
            .iter()
            .filter(|(role, _)| self.role.is(*role))
            .map(|(_, name)| self.data.socket(name))
            .collect();
        while !expected.iter().all(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok()) {
            tokio::time::sleep(READY_AGAIN).await;
        }
        let (began, mut told) = (std::time::Instant::now(), false);
        while let (true, Err(e)) = (self.role != Role::Githost, self.ledger.watch.routes().await) {
            if !told && began.elapsed() > READY_TOLD {
                told = true;
                tracing::warn!("not ready yet: {e}");
            }
            tokio::time::sleep(READY_AGAIN).await;
        }
    }

    fn githost(&self, doors: &mut Doors) -> anyhow::Result<func_githost::Config> {
        let own = if self.settings.own_keys { own_keys() } else { Vec::new() };
        Ok(func_githost::Config {
            data: self.data.clone(),
            ssh: std::mem::take(&mut doors.ssh),
            http: std::mem::take(&mut doors.http),
            hooks: hooks(&self.data)?,
            extra_keys: own,
            push_bytes_max: self.settings.push_bytes_max,
            free_bytes_min: self.settings.free_bytes_min,
            connections_max: Shares::of_this_process().git,
            search_path: std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into()),
            drain: Duration::from_millis(self.settings.drain_ms),
            command_within: Duration::from_millis(self.settings.build_ms).saturating_mul(BUILDS_WAITED_FOR)
                + TRANSFER,
        })
    }

    fn builder(&self, info: &ServerInfo) -> func_builder::Config {
        func_builder::Config {
            data: self.data.clone(),
            manifests: self.manifests.clone(),
            make: Arc::new(self.docker.clone()) as Arc<dyn Make>,
            start: self.starter(),
            enter: self.ledger.enter.clone(),
            promote: self.ledger.promote.clone(),
            domain: self.settings.domain.clone(),
            url: info.url.clone(),
            branch: self.settings.branch.clone(),
            build_ms: self.settings.build_ms,
            allowance: self.settings.allowance,
            context_bytes_max: self.settings.context_bytes_max,
            idle_ms: self.settings.idle_ms,
        }
    }

    fn edge(&self, doors: &mut Doors) -> func_edge::Config {
        let holder = format!("edge-{:016x}", unique());
        // Whoever runs other parts as well cannot leave when the edge may.
        let socket = doors.handover(&self.data).filter(|_| self.role == Role::Edge);
        func_edge::Config {
            predecessor: doors.predecessor.take(),
            offer: socket.map(|socket| func_edge::Offer { socket, relieved: self.relieved.clone() }),
            listeners: std::mem::take(&mut doors.edge),
            domain: self.settings.domain.clone(),
            heed: Some(self.data.edges().join(format!("{holder}.sock"))),
            holder,
            enter: self.ledger.enter.clone(),
            watch: self.ledger.watch.clone(),
            start: self.starter(),
            gates: self.data.gates(),
            occupancy: func_store::Occupancy::new(&self.data),
            socket: Some(self.data.socket("edge")),
            trusted_proxies: self.settings.trusted_proxies.clone(),
            limits: limits(&self.settings),
            drain: Duration::from_millis(self.settings.drain_ms),
        }
    }

    /// Whoever holds a claim asks the cleaner to start.
    fn starter(&self) -> Arc<dyn Start> {
        Arc::new(Remote::new(self.data.socket("start")))
    }

    fn cleaner(&self) -> func_cleaner::Config {
        func_cleaner::Config {
            data: self.data.clone(),
            manifests: self.manifests.clone(),
            watch: self.ledger.watch.clone(),
            promote: self.ledger.promote.clone(),
            cool: self.ledger.cool.clone(),
            stop: Arc::new(self.docker.clone()) as Arc<dyn Stop>,
            look: Arc::new(self.docker.clone()) as Arc<dyn Look>,
            guard: Arc::new(self.docker.clone()) as Arc<dyn Guard>,
            measure: Arc::new(self.docker.clone()) as Arc<dyn Measure>,
            disk: self.settings.disk,
            build_bytes_max: match self.builds.engine {
                BuildEngine::Shared => 0,
                BuildEngine::Auto | BuildEngine::Apart => self.builds.cache_bytes,
            },
            start: Arc::new(self.docker.clone()) as Arc<dyn Start>,
            hold: Arc::new(self.docker.clone()) as Arc<dyn Hold>,
            enter: self.ledger.enter.clone(),
            holder: format!("cleaner-{:016x}", unique()),
            idle_ms: self.settings.idle_ms,
            drain_ms: self.settings.retire_drain_ms,
            poised_bytes_max: self.settings.poised_bytes_max,
            frozen_bytes_max: self.settings.frozen_bytes_max,
        }
    }
}

/// The build engine's cache gets at most this fraction of the setting `disk`.
const CACHE_PART: u64 = 4;

fn builds(settings: &Settings, data: &DataDir) -> anyhow::Result<Builds> {
    let volume = func_store::volume(data.root()).context("look at the data folder's disk")?;
    let budget = match settings.disk.budget(volume, None) {
        DiskBudget::Whole(bytes) | DiskBudget::Split { engine: bytes, data: _ } => bytes,
    };
    let builds = settings.builds.clone();
    Ok(Builds { cache_bytes: builds.cache_bytes.min(budget / CACHE_PART), ..builds })
}

/// How many connections an edge has at the most unless it is said otherwise: each costs some kilobytes.
const CONNECTIONS: usize = 20_000;

/// What strangers may take of the edge.
fn limits(settings: &Settings) -> func_edge::Limits {
    let share = Shares::of_this_process().edge;
    let connections = settings.connections.unwrap_or(CONNECTIONS).min(share);
    if settings.connections.is_some_and(|wanted| wanted > share) {
        tracing::warn!(
            "the setting `connections` is more than the {share} that there are file descriptors for: raise their \
             limit (LimitNOFILE in systemd, ulimits in compose)"
        );
    }
    func_edge::Limits {
        connections,
        // With few of them one address still leaves some to others.
        connections_per_address: settings.connections_per_address.min((connections / 2).max(1)),
        head_bytes: settings.head_bytes_max,
        head_time: Duration::from_millis(settings.head_ms),
        keep_alive: Duration::from_millis(settings.keep_alive_ms),
        body_bytes_per_s: settings.body_bytes_per_s,
    }
}

/// A number that no other process of this machine has at any time: the standard library's hash seeds are random.
fn unique() -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(std::process::id())
}

/// The public keys of the user who runs func.
pub(super) fn own_keys() -> Vec<PathBuf> {
    let Some(home) = std::env::home_dir() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(home.join(".ssh")) else { return Vec::new() };
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    files.filter(|path| path.extension().is_some_and(|e| e == "pub")).collect()
}

/// Makes the folder for `core.hooksPath`: links to this program, by the names of the hooks.
fn hooks(data: &DataDir) -> anyhow::Result<PathBuf> {
    let folder = data.git().join("hooks");
    let program = std::env::current_exe().context("find this program's file")?;
    let make = |hook: &str| {
        let new = folder.join(format!(".{hook}.new"));
        std::fs::create_dir_all(&folder)?;
        let _ = std::fs::remove_file(&new);
        symlink(&program, &new)?;
        std::fs::rename(&new, folder.join(hook))
    };
    HOOKS
        .into_iter()
        .try_for_each(make)
        .with_context(|| format!("make the hooks in {}", folder.display()))?;
    Ok(folder)
}

type Ended = (&'static str, anyhow::Result<()>);

/// The services as they run.
pub(super) struct Running {
    /// In the order in which they are stopped: who brings work first, who clears up last.
    groups: Vec<(CancellationToken, JoinSet<Ended>)>,
}

impl Running {
    /// Starts the services of `role`.
    pub(super) fn start(
        parts: &Arc<Parts>,
        doors: Doors,
        info: &ServerInfo,
        role: Role,
    ) -> anyhow::Result<Self> {
        let mut doors = doors;
        let (mut front, mut middle, mut back) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        let (no_more, no_builds, no_stops) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        if role.is(Role::Githost) {
            let (config, shutdown) = (parts.githost(&mut doors)?, no_more.clone());
            front.spawn(async move { ("git host", func_githost::run(config, shutdown).await) });
        }
        if role.is(Role::Edge) {
            let (config, shutdown) = (parts.edge(&mut doors), no_more.clone());
            front.spawn(async move { ("edge", func_edge::run(config, shutdown).await) });
        }
        if role.is(Role::Builder) {
            let (config, shutdown) = (parts.builder(info), no_builds.clone());
            middle.spawn(async move { ("builder", func_builder::run(config, shutdown).await) });
        }
        if role.is(Role::Cleaner) {
            let (config, shutdown) = (parts.cleaner(), no_stops.clone());
            back.spawn(async move { ("cleaner", func_cleaner::run(config, shutdown).await) });
        }
        Ok(Self { groups: vec![(no_more, front), (no_builds, middle), (no_stops, back)] })
    }

    /// Waits for the first service that ends by itself, and says which.
    ///
    /// # Errors
    /// The error it ended with.
    pub(super) async fn first_ended(&mut self) -> anyhow::Result<&'static str> {
        let ends = self.groups.iter_mut().map(|(_, group)| Box::pin(next(group)));
        let (ended, ..) = futures_util::future::select_all(ends).await;
        let (name, result) = ended?;
        result.map(|()| name).with_context(|| format!("the {name} ended"))
    }

    /// Stops them, each group when the one before it has ended.
    pub(super) async fn stop(mut self) {
        for (shutdown, group) in &mut self.groups {
            shutdown.cancel();
            while let Some(ended) = group.join_next().await {
                match ended {
                    Ok((name, Ok(()))) => info!("the {name} has ended"),
                    Ok((name, Err(e))) => error!("the {name} ended: {e:#}"),
                    Err(e) => error!("a service ended: {e}"),
                }
            }
        }
    }
}

async fn next(group: &mut JoinSet<Ended>) -> anyhow::Result<Ended> {
    match group.join_next().await {
        Some(ended) => ended.context("run a service"),
        None => std::future::pending().await,
    }
}
