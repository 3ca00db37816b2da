//! Settings: one table says what there is; flags, environment and file are read by it, in that order.

mod allowance;
#[cfg(test)]
mod fuzz_tests;
mod given;
mod kinds;
mod table;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use func_model::{Allowance, Destination, DiskLimit, Egress, HostName, SecretUrl};
use func_runner::Builds;

pub use given::Given;
pub use kinds::{LogFormat, SettingError};
#[cfg(test)]
pub use table::readme_rows;

/// The data folder unless it is said otherwise.
pub const DATA: &str = "/var/func";

/// Every setting, checked.
#[derive(Debug, Clone)]
pub struct Settings {
    pub data: PathBuf,
    pub domain: HostName,
    pub edge_listen: Vec<SocketAddr>,
    pub ssh_listen: Vec<SocketAddr>,
    pub http_listen: Vec<SocketAddr>,
    /// `None`: the ledger in memory.
    pub redis: Option<SecretUrl>,
    pub redis_prefix: String,
    pub docker: SecretUrl,
    pub branch: String,
    pub url: Option<String>,
    pub idle_ms: u64,
    /// 0: nothing is made ahead.
    pub poised_bytes_max: u64,
    /// 0: nothing is paused.
    pub frozen_bytes_max: u64,
    /// For all apps together.
    pub apps_bytes_max: u64,
    /// What apps get, and the most that they may ask for.
    pub allowance: Allowance,
    pub build_ms: u64,
    pub builds: Builds,
    pub from_apps: bool,
    pub push_bytes_max: u64,
    pub context_bytes_max: u64,
    /// `None`: as much as suits the disk.
    pub free_bytes_min: Option<u64>,
    pub disk: DiskLimit,
    pub retire_drain_ms: u64,
    pub drain_ms: u64,
    pub trusted_proxies: Vec<func_edge::Network>,
    pub egress: Egress,
    pub egress_allow: Vec<Destination>,
    /// None: the host's own.
    pub dns: Vec<IpAddr>,
    /// `None`: as many as there are file descriptors for.
    pub connections: Option<usize>,
    pub connections_per_address: usize,
    pub head_bytes_max: usize,
    pub head_ms: u64,
    pub keep_alive_ms: u64,
    pub body_bytes_per_s: u64,
    pub own_keys: bool,
    pub log: String,
    pub log_format: LogFormat,
}

impl Settings {
    /// Reads and checks every setting.
    ///
    /// # Errors
    /// [`SettingError`], for the first that is wrong: its name, its value, where it comes from, and what is allowed.
    pub fn read(given: &Given) -> Result<Self, SettingError> {
        let given = given.with_file()?;
        Ok(Self {
            data: given.value("data").text.clone().into(),
            domain: given.value("domain").host()?,
            edge_listen: given.value("edge-listen").addresses()?,
            ssh_listen: given.value("ssh-listen").addresses()?,
            http_listen: given.value("http-listen").addresses()?,
            redis: given.value("redis").redis()?,
            redis_prefix: given.value("redis-prefix").short_text()?,
            docker: given.value("docker").docker()?,
            branch: given.value("branch").branch()?,
            url: given.value("url").url()?,
            idle_ms: given
                .value("idle")
                .duration_ms(func_model::limits::IDLE_MS_MIN, func_model::limits::IDLE_MS_MAX)?,
            poised_bytes_max: given.value("poised-memory").memory_bytes()?,
            frozen_bytes_max: given.value("frozen-memory").memory_bytes()?,
            apps_bytes_max: given.value("apps-memory").apps_bytes()?,
            allowance: allowance::read(&given)?,
            build_ms: given.value("build-time").duration_ms(10_000, 24 * 3_600_000)?,
            builds: Builds {
                engine: given.value("build-engine").build_engine()?,
                memory_bytes: given.value("build-memory").build_bytes()?,
                disk_bytes: given.value("build-disk").size_bytes(100 * 1024 * 1024)?,
                egress: given.value("build-egress").egress()?,
                ..Builds::default()
            },
            from_apps: given.value("from-apps").yes_or_no()?,
            push_bytes_max: given.value("push-size").size_bytes(1024 * 1024)?,
            free_bytes_min: given.value("free-disk").size_or_auto()?,
            disk: given.value("disk").disk_limit()?,
            context_bytes_max: given.value("context-size").size_bytes(1024 * 1024)?,
            retire_drain_ms: given
                .value("retire-drain")
                .duration_ms(func_model::limits::DRAIN_MS_MIN, func_model::limits::DRAIN_MS_MAX)?,
            drain_ms: given.value("drain").duration_ms(0, 24 * 3_600_000)?,
            trusted_proxies: given.value("trusted-proxies").networks()?,
            egress: given.value("egress").egress()?,
            egress_allow: given.value("egress-allow").destinations()?,
            dns: given.value("dns").ips()?,
            connections: given.value("connections").number_or_auto()?,
            connections_per_address: given.value("connections-per-address").number()?,
            head_bytes_max: given.value("head-size").head_bytes()?,
            head_ms: given.value("head-time").duration_ms(1_000, 300_000)?,
            keep_alive_ms: given.value("keep-alive").duration_ms(1_000, 3_600_000)?,
            body_bytes_per_s: given.value("body-rate").size_bytes(0)?,
            own_keys: given.value("own-keys").yes_or_no()?,
            log: given.value("log").short_text()?,
            log_format: given.value("log-format").log_format()?,
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_readme_has_every_setting_as_it_is() {
        let readme =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("the README");
        let rows: Vec<&str> = readme.lines().filter(|line| line.contains("| `FUNC_")).collect();
        assert_eq!(rows, super::readme_rows());
    }

    /// What compose fixes: the engine's socket is mounted, and nobody's home folder is.
    const FIXED_IN_COMPOSE: [&str; 2] = ["docker", "own-keys"];

    #[test]
    fn compose_passes_every_setting_on() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/compose.yaml");
        let compose = std::fs::read_to_string(path).expect("the compose file");
        for setting in super::table::SETTINGS.iter().filter(|s| !FIXED_IN_COMPOSE.contains(&s.name)) {
            let line = format!("    {}:", setting.variable());
            assert!(compose.lines().any(|l| l.starts_with(&line)), "{line} is missing");
        }
    }
}
