//! Text that others made, before a person's terminal shows it.

use func_model::limits::LOG_LINE_BYTES;
use func_model::plain_text;

/// Makes plain text of a line ([`plain_text`]), and cuts it at `LOG_LINE_BYTES`.
pub fn clean(line: &str) -> String {
    let mut text = plain_text(line.trim_end_matches(['\r', '\n'])).into_owned();
    let mut end = text.len().min(LOG_LINE_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Gives an error with its causes in one line, for the log: no control characters, whoever made the text.
pub fn chain(error: &dyn std::error::Error) -> String {
    clean(&func_model::chain(error).replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_and_control_characters_do_not_reach_a_terminal() {
        assert_eq!(clean("\u{1b}[1;31mred\u{1b}[0m\tend\u{7}\r"), "red\tend\u{fffd}");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "ab");
        assert_eq!(clean("a\u{1b}[31"), "a\u{fffd}[31");
    }

    #[test]
    fn an_error_in_the_log_is_one_line_without_control_characters() {
        let error = std::io::Error::other("no such key `a\u{1b}[2J`\nINFO all is well\u{7}");
        assert_eq!(chain(&error), "no such key `a` INFO all is well\u{fffd}");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let cut = clean(&"ä".repeat(LOG_LINE_BYTES));
        assert_eq!(cut.len(), LOG_LINE_BYTES);
        assert!(clean(&"x".repeat(100_000)).len() == LOG_LINE_BYTES);
    }
}
