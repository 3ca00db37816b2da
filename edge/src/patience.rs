//! Patience: how long a ledger that is away is asked again.

use std::time::Duration;

use func_ledger::LedgerError;
use tokio::time::Instant;

/// How often a ledger that went away during a start is told again that the instance is warm.
pub(crate) const TELL_AGAIN: Duration = Duration::from_millis(200);
/// How long a request waits for a ledger that is away, or has yet to be restored: a Redis and a cleaner that were killed
/// together are back by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a ledger that does not answer is told how a start ended: others wait for that.
const TELL: Duration = Duration::from_secs(3);

/// How long somebody goes on asking.
pub(crate) struct Patience {
    until: Instant,
}

impl Patience {
    pub(crate) fn of(time: Duration) -> Self {
        Self { until: Instant::now() + time }
    }

    /// Waits a little; false when it is over.
    pub(crate) async fn lasts(&mut self) -> bool {
        tokio::time::sleep(TELL_AGAIN).await;
        Instant::now() < self.until
    }
}

/// Tells the ledger, again for a while if it is away.
pub(crate) async fn tell<T, F>(call: impl Fn() -> F) -> Result<T, LedgerError>
where
    F: Future<Output = Result<T, LedgerError>>,
{
    let mut patience = Patience::of(TELL);
    loop {
        match call().await {
            Err(LedgerError::Away(_)) if patience.lasts().await => {}
            told => return told,
        }
    }
}
