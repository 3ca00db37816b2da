//! Schedules: the cron lines of an app's `warm-at`. The builder checks them, the cleaner follows them.

use std::str::FromStr;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use thiserror::Error;

/// Why a line is no schedule. `said` is for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{line}` is not a cron line: {said}")]
pub struct ScheduleError {
    pub line: String,
    pub said: String,
}

/// When something is due: a cron line of five fields (minute, hour, day of month, month, day of week), in UTC.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
}

impl Schedule {
    /// Gives the first time after `unix_ms` that is due, Unix ms; `None` if there is none any more.
    pub fn next_after(&self, unix_ms: u64) -> Option<u64> {
        let from = Timestamp::from_millisecond(i64::try_from(unix_ms).ok()?).ok()?.to_zoned(TimeZone::UTC);
        let next = self.cron.find_next_occurrence(&from, false).ok()?;
        u64::try_from(next.timestamp().as_millisecond()).ok()
    }
}

impl FromStr for Schedule {
    type Err = ScheduleError;
    fn from_str(line: &str) -> Result<Self, ScheduleError> {
        let wrong = |said: String| ScheduleError { line: line.chars().take(64).collect(), said };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(line).map_err(|e| wrong(e.to_string()))?;
        let schedule = Self { cron };
        match schedule.next_after(0) {
            Some(_) => Ok(schedule),
            None => Err(wrong("it is never due".to_owned())),
        }
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-01 00:00 UTC, a Thursday.
    const NEW_YEAR_MS: u64 = 1_767_225_600_000;
    const MINUTE_MS: u64 = 60_000;

    fn next(line: &str, from_ms: u64) -> Option<u64> {
        line.parse::<Schedule>().expect("a schedule").next_after(from_ms)
    }

    #[test]
    fn the_next_time_is_after_now_and_in_utc() {
        assert_eq!(next("*/5 * * * *", NEW_YEAR_MS), Some(NEW_YEAR_MS + 5 * MINUTE_MS));
        assert_eq!(next("0 7 * * MON-FRI", NEW_YEAR_MS), Some(NEW_YEAR_MS + 7 * 60 * MINUTE_MS));
        let sunday = NEW_YEAR_MS + 3 * 24 * 60 * MINUTE_MS;
        assert_eq!(next("0 0 * * 0", NEW_YEAR_MS + 1), Some(sunday));
    }

    #[test]
    fn what_is_no_line_or_never_due_is_refused() {
        for bad in ["", "* * * *", "61 * * * *", "* * * * * *", "every day", "0 0 31 2 *"] {
            let error = bad.parse::<Schedule>().expect_err(bad);
            assert!(error.to_string().starts_with(&format!("`{bad}` is not a cron line: ")), "{error}");
        }
    }
}
