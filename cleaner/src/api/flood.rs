//! How fast an app's lines are read for somebody who follows them: what an app prints without end costs the engine as much
//! again for each reader.

use std::time::Duration;

use tokio::time::Instant;

/// How many lines a second are read over a longer time.
pub(super) const LINES_PER_SECOND: usize = 2_000;
/// How many are read at once: all that anybody may ask for.
const LINES_AT_ONCE: usize = super::logs::LINES_MAX;
/// How long nothing is read once there were more.
pub(super) const REST: Duration = Duration::from_secs(1);

/// How many lines may be read now.
#[derive(Debug)]
pub(super) struct Budget {
    lines: f64,
    at: Instant,
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
impl Budget {
    pub(super) fn new() -> Self {
        Self { lines: LINES_AT_ONCE as f64, at: Instant::now() }
    }

    /// Takes a line from the budget; `false` if there is none.
    pub(super) fn take(&mut self) -> bool {
        let now = Instant::now();
        let more = (now - self.at).as_secs_f64() * LINES_PER_SECOND as f64;
        self.lines = (self.lines + more).min(LINES_AT_ONCE as f64);
        self.at = now;
        let is_left = self.lines >= 1.0;
        self.lines -= f64::from(u8::from(is_left));
        is_left
    }
}
