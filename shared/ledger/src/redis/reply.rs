//! What the script answers, read field by field.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::vec::IntoIter;

use func_model::{
    AppName, Claim, CoolPermit, Endpoint, Entry, InstanceId, LeaseId, NotYet, Phase, Poised, Record, Route,
    Stale,
};

use crate::LedgerError;

pub(super) fn corrupt(what: impl Into<String>) -> LedgerError {
    LedgerError::Corrupt(what.into())
}

/// A reply: its kind, and the fields behind it.
#[derive(Debug)]
pub(super) struct Fields {
    kind: String,
    rest: IntoIter<String>,
}

impl Fields {
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Stale`] if the script said so.
    pub(super) fn new(reply: Vec<String>) -> Result<Self, LedgerError> {
        let mut rest = reply.into_iter();
        let kind = rest.next().ok_or_else(|| corrupt("an empty reply"))?;
        match kind.as_str() {
            "lost" => Err(LedgerError::Lost),
            "stale" => Err(Stale.into()),
            _ => Ok(Self { kind, rest }),
        }
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    fn text(&mut self) -> Result<String, LedgerError> {
        self.rest.next().ok_or_else(|| corrupt(format!("the reply `{}` is too short", self.kind)))
    }

    fn parsed<T: FromStr>(&mut self) -> Result<T, LedgerError> {
        let text = self.text()?;
        text.parse().map_err(|_| corrupt(format!("`{text}` in the reply `{}`", self.kind)))
    }

    pub(super) fn entry(mut self, id: &InstanceId) -> Result<Entry, LedgerError> {
        match self.kind.as_str() {
            "warm" => Ok(Entry::Warm(Endpoint { addr: self.parsed()?, generation: self.parsed()? })),
            "wait" => Ok(Entry::Wait),
            "claimed" => {
                let (generation, poised) = (self.parsed()?, poised(&self.text()?)?);
                Ok(Entry::Claimed(Claim { id: id.clone(), generation, poised }))
            }
            "retired" => Ok(Entry::Retired),
            "broken" => Ok(Entry::Broken { retry_ms: self.parsed()? }),
            other => Err(corrupt(format!("the reply `{other}`"))),
        }
    }

    pub(super) fn endpoint(&mut self) -> Result<Option<Endpoint>, LedgerError> {
        let addr = self.text()?;
        let generation = self.parsed()?;
        if addr.is_empty() {
            return Ok(None);
        }
        let addr = addr.parse().map_err(|_| corrupt(format!("`{addr}` is no address")))?;
        Ok(Some(Endpoint { addr, generation }))
    }

    /// Reads the answer to one who wants to stop or pause: the generation of the right to.
    pub(super) fn granted(mut self) -> Result<Result<u64, NotYet>, LedgerError> {
        match self.kind.as_str() {
            "granted" => Ok(Ok(self.parsed()?)),
            "not_warm" => Ok(Err(NotYet::NotWarm)),
            "quarantine" => Ok(Err(NotYet::Quarantine)),
            "leased" => Ok(Err(NotYet::Leased)),
            "used" => Ok(Err(NotYet::Used)),
            other => Err(corrupt(format!("the reply `{other}`"))),
        }
    }

    pub(super) fn permit(&mut self, id: &InstanceId) -> Result<Option<CoolPermit>, LedgerError> {
        match self.kind.as_str() {
            "granted" => Ok(Some(CoolPermit { id: id.clone(), generation: self.parsed()? })),
            "done" => Ok(None),
            other => Err(corrupt(format!("the reply `{other}`"))),
        }
    }

    pub(super) fn routes(mut self) -> Result<BTreeMap<AppName, Route>, LedgerError> {
        let mut routes = BTreeMap::new();
        while self.rest.len() > 0 {
            let app = self.parsed()?;
            let json = self.text()?;
            let route =
                serde_json::from_str(&json).map_err(|e| corrupt(format!("the route of {app}: {e}")))?;
            routes.insert(app, route);
        }
        Ok(routes)
    }

    pub(super) fn records(mut self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError> {
        let now_ms = self.parsed()?;
        let mut records = BTreeMap::new();
        while self.rest.len() > 0 {
            let id = self.parsed()?;
            let record = self.record()?;
            records.insert(id, record);
        }
        Ok((records, now_ms))
    }

    fn record(&mut self) -> Result<Record, LedgerError> {
        let generation = self.parsed()?;
        let name = self.text()?;
        let until_ms = self.parsed()?;
        let addr = self.text()?;
        let owner = self.text()?;
        let phase = match name.as_str() {
            "cold" => Phase::Cold,
            "waking" => Phase::Waking { owner: lease_id(&owner)?, until_ms },
            "warm" => Phase::Warm { addr: parse::<SocketAddr>(&addr)? },
            "frozen" => Phase::Frozen { addr: parse::<SocketAddr>(&addr)? },
            "cooling" => Phase::Cooling { until_ms },
            "broken" => Phase::Broken { until_ms },
            other => return Err(corrupt(format!("the phase `{other}`"))),
        };
        let (used_ms, failures) = (self.parsed()?, self.parsed()?);
        let (retired, retired_ms) = (self.text()? == "1", self.parsed()?);
        let (poised, start_ms) = (poised(&self.text()?)?, self.parsed()?);
        let count: usize = self.parsed()?;
        let mut leases = BTreeMap::new();
        for _ in 0..count {
            let lease = lease_id(&self.text()?)?;
            leases.insert(lease, self.parsed()?);
        }
        Ok(Record { generation, phase, leases, used_ms, poised, start_ms, failures, retired, retired_ms })
    }
}

fn parse<T: FromStr>(text: &str) -> Result<T, LedgerError> {
    text.parse().map_err(|_| corrupt(format!("`{text}`")))
}

/// Reads what was made ahead: its JSON, or nothing.
fn poised(text: &str) -> Result<Option<Poised>, LedgerError> {
    if text.is_empty() {
        return Ok(None);
    }
    serde_json::from_str(text).map(Some).map_err(|e| corrupt(format!("`{text}`: {e}")))
}

fn lease_id(text: &str) -> Result<LeaseId, LedgerError> {
    let (holder, serial) = text.rsplit_once('#').ok_or_else(|| corrupt(format!("the lease `{text}`")))?;
    Ok(LeaseId { holder: holder.to_owned(), serial: parse(serial)? })
}
