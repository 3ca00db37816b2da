//! The ledger in Redis: each act is one call of one script.

mod link;
mod reply;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use func_model::{
    AppName, Claim, CoolPermit, Endpoint, Entry, InstanceId, LeaseId, NotYet, Record, ReleaseId, Route,
};
use tokio::sync::broadcast;

use crate::{Change, Cool, Enter, Leaving, LedgerError, Promote, Restored, Settle, Watch};
use link::Link;
use reply::{Fields, corrupt};

/// The ledger in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
}

impl Redis {
    /// Makes the ledger for a Redis at `url` (`redis://host:port`, `redis+unix:///path`), every key under `prefix`.
    /// Connects with the first call, and again whenever the connection is lost; belongs into a tokio runtime.
    ///
    /// # Errors
    /// [`LedgerError::Away`] if `url` is not one of Redis.
    pub fn new(url: &str, prefix: &str) -> Result<Self, LedgerError> {
        Ok(Self { link: Link::new(url, prefix)? })
    }

    /// Whether `url` names a Redis in a form that can be used. Connects to nothing.
    pub fn is_address(url: &str) -> bool {
        redis::Client::open(url).is_ok()
    }

    async fn call(&self, act: &str, args: &[&str]) -> Result<Fields, LedgerError> {
        Fields::new(self.link.call(act, args).await?)
    }
}

#[async_trait]
impl Enter for Redis {
    async fn enter(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        let reply = self.call("enter", &[&id.to_string(), &lease.to_string()]).await?;
        reply.entry(id)
    }

    async fn woken(&self, claim: &Claim, addr: SocketAddr, lease: &LeaseId) -> Result<Endpoint, LedgerError> {
        let (id, generation) = (claim.id.to_string(), claim.generation.to_string());
        let reply = self.call("woken", &[&id, &generation, &addr.to_string(), &lease.to_string()]).await?;
        match reply.entry(&claim.id)? {
            Entry::Warm(endpoint) => Ok(endpoint),
            other => Err(corrupt(format!("woken was answered with {other:?}"))),
        }
    }

    async fn failed(&self, claim: &Claim) -> Result<u64, LedgerError> {
        let reply = self.call("failed", &[&claim.id.to_string(), &claim.generation.to_string()]).await?;
        match reply.entry(&claim.id)? {
            Entry::Broken { retry_ms } => Ok(retry_ms),
            other => Err(corrupt(format!("failed was answered with {other:?}"))),
        }
    }

    async fn gone(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        self.call("settle", &[&id.to_string(), &generation.to_string(), "gone", ""]).await.map(drop)
    }

    async fn keep(
        &self,
        renew: &[(InstanceId, LeaseId)],
        leave: &[Leaving],
    ) -> Result<Vec<Option<Endpoint>>, LedgerError> {
        let mut args = vec![renew.len().to_string()];
        for (id, lease) in renew {
            args.extend([id.to_string(), lease.to_string()]);
        }
        for leaving in leave {
            args.extend([leaving.id.to_string(), leaving.lease.to_string(), leaving.idle_for_ms.to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut reply = self.call("keep", &args).await?;
        (0..renew.len()).map(|_| reply.endpoint()).collect()
    }
}

#[async_trait]
impl Watch for Redis {
    async fn routes(&self) -> Result<BTreeMap<AppName, Route>, LedgerError> {
        self.call("routes", &[]).await?.routes()
    }

    async fn records(&self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError> {
        self.call("records", &[]).await?.records()
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.link.changes()
    }
}

#[async_trait]
impl Promote for Redis {
    async fn introduce(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        self.call("introduce", &[&id.to_string(), &lease.to_string()]).await?.entry(id)
    }

    async fn promote(&self, release: &ReleaseId, route: &Route) -> Result<(), LedgerError> {
        let route = serde_json::to_string(route).map_err(|e| corrupt(e.to_string()))?;
        self.call("promote", &[release.app.as_str(), &release.instance().to_string(), &route]).await.map(drop)
    }

    async fn retire(&self, id: &InstanceId) -> Result<(), LedgerError> {
        self.call("retire", &[&id.to_string()]).await.map(drop)
    }

    async fn drop_route(&self, app: &AppName) -> Result<(), LedgerError> {
        self.call("drop_route", &[app.as_str()]).await.map(drop)
    }
}

#[async_trait]
impl Cool for Redis {
    async fn cool(&self, id: &InstanceId, idle_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        let mut reply = self.call("cool", &[&id.to_string(), &idle_ms.to_string()]).await?;
        match reply.kind() {
            "not_warm" => Ok(Err(NotYet::NotWarm)),
            "quarantine" => Ok(Err(NotYet::Quarantine)),
            "leased" => Ok(Err(NotYet::Leased)),
            "used" => Ok(Err(NotYet::Used)),
            _ => reply.permit(id)?.map(Ok).ok_or_else(|| corrupt("cool gave no permit")),
        }
    }

    async fn cooled(&self, permit: &CoolPermit) -> Result<(), LedgerError> {
        self.call("cooled", &[&permit.id.to_string(), &permit.generation.to_string()]).await.map(drop)
    }

    async fn settle(
        &self,
        id: &InstanceId,
        generation: u64,
        settle: Settle,
    ) -> Result<Option<CoolPermit>, LedgerError> {
        let (how, addr) = match settle {
            Settle::Adopt(addr) => ("adopt", addr.to_string()),
            Settle::Reset => ("reset", String::new()),
            Settle::Gone => ("gone", String::new()),
            Settle::Discard => ("discard", String::new()),
            Settle::Recool => ("recool", String::new()),
        };
        self.call("settle", &[&id.to_string(), &generation.to_string(), how, &addr]).await?.permit(id)
    }

    async fn forget(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        self.call("forget", &[&id.to_string(), &generation.to_string()]).await.map(drop)
    }

    async fn restore(&self, restored: &Restored) -> Result<bool, LedgerError> {
        let mut args = vec![restored.routes.len().to_string()];
        for (app, route) in &restored.routes {
            args.extend([app.to_string(), serde_json::to_string(route).map_err(|e| corrupt(e.to_string()))?]);
        }
        for (id, instance) in &restored.instances {
            let addr = instance.addr.map(|a| a.to_string()).unwrap_or_default();
            args.extend([id.to_string(), addr, u8::from(instance.retired).to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(self.call("restore", &args).await?.kind() == "restored")
    }
}
