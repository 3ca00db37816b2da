//! Bytes to lines: whatever an app prints becomes lines of plain text, of a bounded length.

use std::borrow::Cow;

use func_model::limits::LOG_LINE_BYTES;
use func_model::plain_text;

/// Cuts one stream of bytes into lines without their ends. What is longer than `LOG_LINE_BYTES` is cut there and the
/// rest of that line is dropped; what is not UTF-8 is replaced, and what would steer a terminal is taken out ([`cut`]).
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    line: Vec<u8>,
    started: bool,
}

impl Splitter {
    /// Takes bytes, and gives the lines that they end.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            self.started = true;
            let room = LOG_LINE_BYTES - self.line.len();
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ended {
                lines.push(self.take());
            }
        }
        lines
    }

    /// Gives the last line, if it was begun and not ended.
    pub(crate) fn finish(&mut self) -> Option<String> {
        self.started.then(|| self.take())
    }

    fn take(&mut self) -> String {
        self.started = false;
        let bytes = std::mem::take(&mut self.line);
        cut(String::from_utf8_lossy(bytes.strip_suffix(b"\r").unwrap_or(&bytes)).into_owned())
    }
}

/// Makes plain text of a line ([`plain_text`]) and cuts it at `LOG_LINE_BYTES`. Lines are shown on the terminals of
/// operators and pushers, which an app must not steer.
pub(crate) fn cut(line: String) -> String {
    let mut line = match plain_text(&line) {
        Cow::Borrowed(_) => line,
        Cow::Owned(plain) => plain,
    };
    let mut end = line.len().min(LOG_LINE_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_come_in_pieces_are_put_together() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.push(b"one\ntw"), ["one"]);
        assert_eq!(splitter.push(b"o\r\n\nthree"), ["two", ""]);
        assert_eq!(splitter.finish().as_deref(), Some("three"));
        assert_eq!(splitter.finish(), None);
    }

    #[test]
    fn an_endless_line_is_cut_and_the_next_one_is_whole() {
        let mut splitter = Splitter::default();
        for _ in 0..100 {
            assert!(splitter.push(&[b'x'; 4096]).is_empty());
        }
        let lines = splitter.push(b"\nnext\n");
        assert_eq!(lines[0].len(), LOG_LINE_BYTES);
        assert_eq!(lines[1], "next");
    }

    #[test]
    fn what_is_no_text_is_replaced_and_stays_within_the_limit() {
        let mut splitter = Splitter::default();
        let mut bytes = vec![0xff; LOG_LINE_BYTES];
        bytes.push(b'\n');
        let lines = splitter.push(&bytes);
        assert!(lines[0].starts_with('\u{fffd}') && lines[0].len() <= LOG_LINE_BYTES);
    }

    #[test]
    fn an_apps_escape_sequences_reach_no_terminal() {
        let mut splitter = Splitter::default();
        let printed = "\u{1b}[1;31mred\u{1b}[0m\tand\u{1b}[2J\u{1b}]0;title\u{7} \u{1b}]8;;x\u{1b}\\so\u{1b}(B on\u{1b}c\n";
        assert_eq!(splitter.push(printed.as_bytes()), ["red\tand so on"]);
        let broken = "a\u{1b}\u{7}b\u{9b}2J\u{7f}c\rd\u{1b}]0;e\u{1b}[1;\u{1b}\r\n";
        let lines = splitter.push(broken.as_bytes());
        assert_eq!(lines, ["a\u{fffd}\u{fffd}b\u{fffd}2J\u{fffd}c\u{fffd}d\u{fffd}]0;e\u{fffd}[1;\u{fffd}"]);
        assert_eq!(cut("RUN \u{1b}[8mhidden".into()), "RUN hidden", "a step's name as well");
    }

    #[test]
    fn no_line_has_a_control_character_whatever_is_printed() {
        for introducer in ["\u{1b}", "\u{1b}[", "\u{1b}]", "\u{1b}P", "\u{9b}", ""] {
            for control in (0..0xa0).filter_map(char::from_u32).filter(|c| *c != '\n' && *c != '\t') {
                let line = cut(format!("{introducer}{control}{introducer}x"));
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }
}
