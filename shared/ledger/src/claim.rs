//! Keeping a claim while something is started under it.

use std::time::Duration;

use func_model::Claim;
use func_model::limits::EXTEND_MS;
use tokio::time::sleep;
use tracing::debug;

use crate::{Enter, LedgerError};

/// Extends a claim again and again, and ends when it is over: then it is somebody else's to start the instance.
/// A holder that dies extends no more, so that others wait for [`CLAIM_MS`](func_model::limits::CLAIM_MS) at the most.
pub async fn keep_claim(enter: &dyn Enter, claim: &Claim) {
    loop {
        sleep(Duration::from_millis(EXTEND_MS)).await;
        match enter.extend(claim).await {
            Ok(()) => {}
            Err(LedgerError::Stale(_)) => return,
            Err(e @ (LedgerError::Lost | LedgerError::Away(_) | LedgerError::Corrupt(_))) => {
                debug!("the claim on {} was not extended: {e}", claim.id);
            }
        }
    }
}
