//! Refused clients, in the audit log: so many lines a minute, and how many more there were.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use func_model::{AuditAct, AuditEnd, AuditRecord, Principal};
use func_store::{Audit, audited};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::limits::{REFUSALS_BURST, REFUSALS_PER_MINUTE};

/// What both doors write refusals with.
#[derive(Clone)]
pub(crate) struct Refusals {
    audit: Audit,
    shared: Arc<Shared>,
}

struct Shared {
    pace: DefaultDirectRateLimiter,
    unlisted: AtomicU64,
}

impl Refusals {
    pub(crate) fn new(audit: Audit) -> Self {
        let pace = RateLimiter::direct(quota(REFUSALS_PER_MINUTE, REFUSALS_BURST));
        Self { audit, shared: Arc::new(Shared { pace, unlisted: AtomicU64::new(0) }) }
    }

    /// Writes that a client was not let in, unless too many were; those are counted in the next line.
    pub(crate) async fn refused(&self, by: Principal, detail: &'static str) {
        if self.shared.pace.check().is_err() {
            self.shared.unlisted.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlisted = self.shared.unlisted.swap(0, Ordering::Relaxed);
        let record = audited(AuditAct::Login, None, by, AuditEnd::Refused, detail);
        let (audit, record) = (self.audit.clone(), AuditRecord { unlisted, ..record });
        match tokio::task::spawn_blocking(move || audit.record(&record)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => tracing::error!("the audit log lacks a line: {}", func_model::chain(&e)),
            Err(e) => tracing::error!("the audit log lacks a line: {e}"),
        }
    }
}

fn quota(per_minute: NonZeroU32, burst: NonZeroU32) -> Quota {
    Quota::per_minute(per_minute).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use func_store::DataDir;

    use super::*;

    #[tokio::test]
    async fn a_crowd_of_strangers_writes_a_few_lines() {
        let dir = tempfile::tempdir().expect("a folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        let refusals = Refusals::new(Audit::new(&data));
        for _ in 0..REFUSALS_BURST.get() * 3 {
            refusals.refused(Principal::Token { address: [127, 0, 0, 1].into() }, "a wrong token").await;
        }
        let written = Audit::new(&data).last(usize::MAX, None).expect("read").len();
        let burst = usize::try_from(REFUSALS_BURST.get()).expect("it fits");
        assert!((burst..burst * 2).contains(&written), "{written} lines");
        assert!(refusals.shared.unlisted.load(Ordering::Relaxed) > 0);
    }
}
