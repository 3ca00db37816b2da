//! Times for people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Gives the time now, Unix ms.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64)
}

/// Says how long ago a moment was: `12 s ago`, `3 min ago`, `2 h ago`, `5 d ago`.
pub(super) fn ago(then_ms: u64, now_ms: u64) -> String {
    let seconds = now_ms.saturating_sub(then_ms) / 1_000;
    match seconds {
        0..120 => format!("{seconds} s ago"),
        120..7_200 => format!("{} min ago", seconds / 60),
        7_200..172_800 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

/// Prints rows in columns, each as wide as its widest cell.
pub(super) fn print_table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", func_model::plain_line(cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        let told = |s: u64| ago(0, s * 1_000);
        assert_eq!(
            [told(5), told(180), told(7_200), told(200_000)],
            ["5 s ago", "3 min ago", "2 h ago", "2 d ago"]
        );
        assert_eq!(ago(2_000, 1_000), "0 s ago", "a clock that is behind");
    }
}
