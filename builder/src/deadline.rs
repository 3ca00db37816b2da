//! Until when work that blocks may go on.

use std::time::{Duration, Instant};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// The time is over, or nobody waits for the work any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the packing took longer than {} s", .within.as_secs())]
pub struct Overdue {
    pub within: Duration,
}

/// When work must end; the work asks it again and again.
#[derive(Debug, Clone)]
pub struct Deadline {
    began: Instant,
    within: Duration,
    left: CancellationToken,
}

impl Deadline {
    /// Gives a deadline from now on; `left` is set when nobody waits any more.
    pub fn new(within: Duration, left: CancellationToken) -> Self {
        Self { began: Instant::now(), within, left }
    }

    /// Says whether to go on.
    ///
    /// # Errors
    /// [`Overdue`] if not.
    pub fn check(&self) -> Result<(), Overdue> {
        if self.left.is_cancelled() || self.began.elapsed() >= self.within {
            return Err(Overdue { within: self.within });
        }
        Ok(())
    }
}
