//! Text that others made, before a person's terminal shows it.

use func_model::limits::LOG_LINE_BYTES;

/// Takes escape sequences and control characters out of a line, and cuts it at `LOG_LINE_BYTES`.
pub fn clean(line: &str) -> String {
    let mut text = String::with_capacity(line.len().min(LOG_LINE_BYTES));
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            skip_sequence(&mut chars);
        } else if c == '\t' || !c.is_control() {
            if text.len() + c.len_utf8() > LOG_LINE_BYTES {
                break;
            }
            text.push(c);
        }
    }
    text
}

/// Skips `[...m` and `]...BEL` after an escape.
fn skip_sequence(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    match chars.next() {
        Some('[') => {
            for c in chars.by_ref() {
                if ('@'..='~').contains(&c) {
                    return;
                }
            }
        }
        Some(']') => {
            for c in chars.by_ref() {
                if c == '\u{7}' || c == '\u{9c}' {
                    return;
                }
            }
        }
        Some(_) | None => {}
    }
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
        assert_eq!(clean("\u{1b}[1;31mred\u{1b}[0m\tend\r\u{7}"), "red\tend");
        assert_eq!(clean("a\u{1b}]0;title\u{7}b"), "ab");
        assert_eq!(clean("a\u{1b}[31"), "a");
    }

    #[test]
    fn an_error_in_the_log_is_one_line_without_control_characters() {
        let error = std::io::Error::other("no such key `a\u{1b}[2J`\nINFO all is well\u{7}");
        assert_eq!(chain(&error), "no such key `a` INFO all is well");
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let cut = clean(&"ä".repeat(LOG_LINE_BYTES));
        assert_eq!(cut.len(), LOG_LINE_BYTES);
        assert!(clean(&"x".repeat(100_000)).len() == LOG_LINE_BYTES);
    }
}
