//! The ledger, and what it says when a rule is taken out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use func_ledger::{Cool, Enter, Leaving, LedgerError, Memory, Watch};
use func_model::{Claim, CoolPermit, Endpoint, Entry, FreezePermit, InstanceId, LeaseId, NotYet, Record};

use crate::world::Without;

#[derive(Clone)]
pub struct Liar {
    pub ledger: Arc<Memory>,
    pub without: Without,
}

impl Liar {
    fn named(&self, lease: &LeaseId) -> LeaseId {
        let serial = if self.without == Without::Serial { 0 } else { lease.serial };
        LeaseId { serial, ..lease.clone() }
    }

    async fn drop_leases(&self, id: &InstanceId) {
        if self.without != Without::LeaseCheck {
            return;
        }
        let Ok((Some(record), _)) = self.ledger.record(id).await else { return };
        let leave = |lease: LeaseId| Leaving { id: id.clone(), lease, idle_for_ms: u64::MAX };
        let all: Vec<_> = record.leases.into_keys().map(leave).collect();
        let _ = self.ledger.keep(&[], &all).await;
    }

    /// The cleaner's look: without the check it sees nobody use anything.
    pub async fn records(&self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError> {
        let (mut records, now_ms) = self.ledger.records().await?;
        if self.without == Without::LeaseCheck {
            for record in records.values_mut() {
                record.leases.clear();
            }
        }
        Ok((records, now_ms))
    }

    pub async fn enter(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        self.ledger.enter(id, &self.named(lease)).await
    }

    pub async fn woken(
        &self,
        claim: &Claim,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
    ) -> Result<Endpoint, LedgerError> {
        let lease = self.named(lease);
        let woken = self.ledger.woken(claim, addr, &lease, start_ms).await?;
        if self.without == Without::FirstLease {
            let leave = Leaving { id: claim.id.clone(), lease, idle_for_ms: u64::MAX };
            self.ledger.keep(&[], &[leave]).await?;
        }
        Ok(woken)
    }

    pub async fn keep(
        &self,
        renew: &[(InstanceId, LeaseId)],
        leave: &[Leaving],
    ) -> Result<Vec<Option<Endpoint>>, LedgerError> {
        let renew: Vec<_> = renew.iter().map(|(id, lease)| (id.clone(), self.named(lease))).collect();
        let named = |leaving: &Leaving| Leaving { lease: self.named(&leaving.lease), ..leaving.clone() };
        let leave: Vec<_> = leave.iter().map(named).collect();
        if self.without != Without::PutBack {
            return self.ledger.keep(&renew, &leave).await;
        }
        self.ledger.keep(&[], &leave).await?;
        let mut kept = Vec::new();
        for (id, lease) in renew {
            let (record, _) = self.ledger.record(&id).await?;
            match record {
                Some(record) if record.leases.contains_key(&lease) => {
                    kept.extend(self.ledger.keep(&[(id, lease)], &[]).await?);
                }
                record => kept.push(record.and_then(|record| record.endpoint())),
            }
        }
        Ok(kept)
    }

    pub async fn cool(
        &self,
        id: &InstanceId,
        idle_ms: u64,
    ) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        self.drop_leases(id).await;
        self.ledger.cool(id, idle_ms).await
    }

    pub async fn freeze(
        &self,
        id: &InstanceId,
        after_ms: u64,
    ) -> Result<Result<FreezePermit, NotYet>, LedgerError> {
        self.drop_leases(id).await;
        self.ledger.freeze(id, after_ms).await
    }
}
