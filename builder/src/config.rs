//! What the builder is given.

use std::fmt;
use std::sync::Arc;

use func_ledger::{Enter, Promote};
use func_model::{AppName, HostName};
use func_runner::{Make, Start};
use func_store::{DataDir, Manifests};

/// The builder's places, powers and settings.
#[derive(Clone)]
pub struct Config {
    pub data: DataDir,
    pub manifests: Manifests,
    pub make: Arc<dyn Make>,
    pub start: Arc<dyn Start>,
    pub enter: Arc<dyn Enter>,
    pub promote: Arc<dyn Promote>,
    /// Apps answer at `<app>.<domain>`.
    pub domain: HostName,
    /// How a URL is printed, `http://{host}:8080`.
    pub url: String,
    /// The branch that is deployed.
    pub branch: String,
    /// How long one build may take.
    pub build_ms: u64,
    /// The largest commit that is built, as a tar.
    pub context_bytes_max: u64,
    /// What apps get, and the most that they may ask for.
    pub allowance: func_model::Allowance,
    /// The `idle` of an app that sets none.
    pub idle_ms: u64,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("data", &self.data)
            .field("domain", &self.domain)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Gives `<app>.<domain>`, without checking its length: an app's name and a domain that is a host name make a
    /// host name unless the domain fills all of it.
    pub(crate) fn own_host(&self, app: &AppName) -> String {
        format!("{app}.{}", self.domain)
    }

    pub(crate) fn urls(&self, app: &AppName, hosts: &[HostName]) -> Vec<String> {
        let own = self.own_host(app);
        std::iter::once(own.as_str())
            .chain(hosts.iter().map(HostName::as_str))
            .map(|host| self.url.replace("{host}", host))
            .collect()
    }
}
