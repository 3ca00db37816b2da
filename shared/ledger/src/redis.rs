//! The ledger in Redis: each act is one call of one script.

mod link;
mod reply;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use func_model::{
    AppName, Claim, CoolPermit, Endpoint, Entry, FreezePermit, InstanceId, LeaseId, NotYet, Record,
    ReleaseId, Route,
};
use tokio::sync::broadcast;

use crate::{Change, Cool, Enter, Leaving, LedgerError, Promote, Restored, RestoredState, Settle, Watch};
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

    async fn woken(
        &self,
        claim: &Claim,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
    ) -> Result<Endpoint, LedgerError> {
        let (id, generation) = (claim.id.to_string(), claim.generation.to_string());
        let start = start_ms.map(|ms| ms.to_string()).unwrap_or_default();
        let args = [&id, &generation, &addr.to_string(), &lease.to_string(), &start];
        let reply = self.call("woken", &args.map(String::as_str)).await?;
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

    async fn extend(&self, claim: &Claim) -> Result<(), LedgerError> {
        self.call("extend", &[&claim.id.to_string(), &claim.generation.to_string()]).await.map(drop)
    }

    async fn give_back(&self, claim: &Claim) -> Result<(), LedgerError> {
        self.call("give_back", &[&claim.id.to_string(), &claim.generation.to_string()]).await.map(drop)
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

    async fn record(&self, id: &InstanceId) -> Result<(Option<Record>, u64), LedgerError> {
        let (mut records, now_ms) = self.call("records", &[&id.to_string()]).await?.records()?;
        Ok((records.remove(id), now_ms))
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
        let route = json(route)?;
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
        let reply = self.call("cool", &[&id.to_string(), &idle_ms.to_string()]).await?;
        Ok(reply.granted()?.map(|generation| CoolPermit { id: id.clone(), generation }))
    }

    async fn cut(&self, id: &InstanceId, drain_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        let reply = self.call("cut", &[&id.to_string(), &drain_ms.to_string()]).await?;
        Ok(reply.granted()?.map(|generation| CoolPermit { id: id.clone(), generation }))
    }

    async fn freeze(
        &self,
        id: &InstanceId,
        after_ms: u64,
    ) -> Result<Result<FreezePermit, NotYet>, LedgerError> {
        let reply = self.call("freeze", &[&id.to_string(), &after_ms.to_string()]).await?;
        Ok(reply.granted()?.map(|generation| FreezePermit { id: id.clone(), generation }))
    }

    async fn frozen(&self, permit: &FreezePermit, addr: SocketAddr) -> Result<(), LedgerError> {
        let (id, generation) = (permit.id.to_string(), permit.generation.to_string());
        self.call("frozen", &[&id, &generation, &addr.to_string()]).await.map(drop)
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
        let (how, what) = match settle {
            Settle::Adopt(addr) => ("adopt", addr.to_string()),
            Settle::Reset => ("reset", String::new()),
            Settle::Gone => ("gone", String::new()),
            Settle::Poise(poised) => ("poise", json(&poised)?),
            Settle::Discard => ("discard", String::new()),
            Settle::Recool => ("recool", String::new()),
        };
        self.call("settle", &[&id.to_string(), &generation.to_string(), how, &what]).await?.permit(id)
    }

    async fn forget(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        self.call("forget", &[&id.to_string(), &generation.to_string()]).await.map(drop)
    }

    async fn restore(&self, restored: &Restored) -> Result<bool, LedgerError> {
        let mut args = vec![restored.routes.len().to_string()];
        for (app, route) in &restored.routes {
            args.extend([app.to_string(), json(route)?]);
        }
        for (id, instance) in &restored.instances {
            let (phase, what) = match &instance.state {
                RestoredState::Cold => ("cold", String::new()),
                RestoredState::Poised(poised) => ("cold", json(poised)?),
                RestoredState::Warm(addr) => ("warm", addr.to_string()),
                RestoredState::Frozen(addr) => ("frozen", addr.to_string()),
            };
            args.extend([id.to_string(), phase.to_owned(), what, u8::from(instance.retired).to_string()]);
        }
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(self.call("restore", &args).await?.kind() == "restored")
    }
}

fn json(value: &impl serde::Serialize) -> Result<String, LedgerError> {
    serde_json::to_string(value).map_err(|e| corrupt(e.to_string()))
}
