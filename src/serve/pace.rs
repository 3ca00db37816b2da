//! How many lines libraries may log: a stranger decides how often pingora fails to answer.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The lines of libraries at once.
const LINES_MAX: u32 = 50;
/// How soon as many may follow.
const EVERY: Duration = Duration::from_secs(60);
/// The target of everything that comes by the crate `log`, which func itself does not use.
const LIBRARIES: &str = "log";

/// Leaves out errors and warnings of libraries beyond `LINES_MAX` in `EVERY`. What an operator asks for at lower levels is
/// not limited.
#[derive(Debug, Default)]
pub(super) struct Pace {
    period: Mutex<Option<(Instant, u32)>>,
}

impl Pace {
    fn has_room(&self, now: Instant) -> bool {
        let mut period = self.period.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (begin, lines) =
            period.filter(|(begin, _)| now.duration_since(*begin) < EVERY).unwrap_or((now, 0));
        *period = Some((begin, lines.saturating_add(1)));
        lines < LINES_MAX
    }
}

impl<S: Subscriber> Layer<S> for Pace {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        metadata.target() != LIBRARIES || *metadata.level() > Level::WARN || self.has_room(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_so_many_lines_a_minute() {
        let (pace, now) = (Pace::default(), Instant::now());
        let lines = |now| (0..1_000).filter(|_| pace.has_room(now)).count();
        assert_eq!(lines(now), 50);
        assert_eq!(lines(now + EVERY / 2), 0);
        assert_eq!(lines(now + EVERY), 50);
    }
}
