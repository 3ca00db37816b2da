//! The time of day, for manifests and logs.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the Unix time in ms; 0 on a machine whose clock is before 1970.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
