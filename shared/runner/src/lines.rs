//! Bytes to lines: whatever an app prints becomes lines of a bounded length.

use func_model::limits::LOG_LINE_BYTES;

/// Cuts one stream of bytes into lines without their ends. What is longer than `LOG_LINE_BYTES` is cut there and the
/// rest of that line is dropped; what is not UTF-8 is replaced.
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

/// Cuts a line at `LOG_LINE_BYTES`.
pub(crate) fn cut(mut line: String) -> String {
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
}
