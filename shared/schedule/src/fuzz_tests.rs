//! Fuzz target: cron lines of people who push.

use crate::Schedule;

/// 2026-01-01 00:00 UTC.
const NEW_YEAR_MS: u64 = 1_767_225_600_000;

#[test]
fn what_is_a_schedule_is_due_after_now_and_again_after_that() {
    let seeds = ["0 7 * * MON-FRI", "*/5 * * * *", "0 0 29 2 *", "0 0 L * 5#1", "1,2,3-9/2 0 15W 1-12 SUN"];
    let tokens =
        [" ", "*", "/", "-", ",", "?", "L", "W", "#", "0", "1", "31", "59", "MON", "JAN", "@daily", "29 2"];
    func_fuzz::texts(&seeds, &tokens, |text| {
        let Ok(schedule) = text.parse::<Schedule>() else { return };
        let Some(first) = schedule.next_after(NEW_YEAR_MS) else { return };
        assert!(first > NEW_YEAR_MS && first.is_multiple_of(60_000), "{first}");
        assert!(schedule.next_after(first).is_none_or(|second| second > first));
        schedule.next_after(u64::MAX);
    });
}
