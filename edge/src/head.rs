//! Reads a whole request head before pingora sees any of it.
//!
//! pingora parses the head again after each read and has no deadline for it. Here each byte is scanned once, and an idle
//! connection has no buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use func_model::Refusal;
use tokio::io::{AsyncRead, ReadBuf};

use crate::connection::Phase;
use crate::guard::Guard;
use crate::limits::HEAD_LINES_MAX;
use crate::roster::{Heads, Roster};

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;

/// Why there is no request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The client left.
    Left,
    /// It timed out without a byte, or was evicted.
    Silent,
    /// The edge sends this refusal and closes the connection.
    Refused(Refusal),
}

/// A head and what came with it: the beginning of its body.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) bytes: BytesMut,
    /// Where the head ends in it.
    pub(crate) end: usize,
}

/// Finds the end of a head: an empty line after a line.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Bytes scanned so far.
    seen: usize,
    pub(crate) lines: usize,
}

impl Scan {
    /// Continues the scan, and returns the end of the head if it is complete. A bare LF ends a line here; the inspection
    /// refuses it.
    pub(crate) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        for at in memchr::memchr_iter(b'\n', bytes.get(self.seen..)?) {
            let at = self.seen + at;
            let line = bytes.get(..at)?;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            self.lines += 1;
            if line.is_empty() || line.ends_with(b"\n") {
                return Some(at + 1);
            }
        }
        self.seen = bytes.len();
        None
    }
}

/// Reads the next head of a connection and skips empty lines before it.
///
/// # Errors
/// [`Ended`] if none comes.
///
/// Source: RFC 9112, section 2.2.
pub(crate) async fn read(guard: &mut Guard, roster: &Roster) -> Result<Head, Ended> {
    let (mut bytes, mut scan) = (BytesMut::new(), Scan::default());
    let mut held = roster.heads();
    loop {
        let read = poll_fn(|cx| poll_read(guard, cx, &mut bytes)).await;
        match read {
            Ok(0) | Err(Lost::Left) => return Err(Ended::Left),
            Ok(_) => {}
            Err(Lost::Cut) if bytes.is_empty() => return Err(Ended::Silent),
            Err(Lost::Cut) => return Err(Ended::Refused(Refusal::SlowHead)),
        }
        if scan.seen == 0 {
            let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            bytes.advance(empty);
        }
        match scan.end(&bytes) {
            Some(end) if fits(end, scan.lines, roster) => return Ok(Head { bytes, end }),
            None if fits(bytes.len(), scan.lines, roster) => {}
            Some(_) | None => {
                return Err(Ended::Refused(Refusal::LargeHead { bytes_max: roster.limits().head_bytes }));
            }
        }
        hold(guard, roster, &bytes, &mut held)?;
    }
}

fn fits(bytes: usize, lines: usize, roster: &Roster) -> bool {
    bytes <= roster.limits().head_bytes && lines <= HEAD_LINES_MAX
}

/// Records part of a head: its deadline starts with the first byte, and its memory counts.
fn hold(guard: &Guard, roster: &Roster, bytes: &BytesMut, held: &mut Heads<'_>) -> Result<(), Ended> {
    if bytes.is_empty() {
        return Ok(());
    }
    if guard.connection().phase() != Phase::Head {
        guard.connection().enter(Phase::Head, roster.now());
    }
    match held.grow(bytes.capacity()) {
        true => Ok(()),
        false => Err(Ended::Refused(Refusal::Full)),
    }
}

enum Lost {
    Left,
    /// It timed out or was evicted.
    Cut,
}

/// Reads the available bytes, without a buffer while there are none.
fn poll_read(guard: &mut Guard, cx: &mut Context<'_>, bytes: &mut BytesMut) -> Poll<Result<usize, Lost>> {
    let mut space = [std::mem::MaybeUninit::uninit(); READ_BYTES];
    let mut buf = ReadBuf::uninit(&mut space);
    match Pin::new(guard.stream()).poll_read(cx, &mut buf) {
        Poll::Ready(Ok(())) => {
            bytes.extend_from_slice(buf.filled());
            Poll::Ready(Ok(buf.filled().len()))
        }
        Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::Interrupted => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        Poll::Ready(Err(_)) => Poll::Ready(Err(Lost::Left)),
        Poll::Pending => {
            guard.connection().served_by(cx);
            match guard.connection().is_cut() {
                true => Poll::Ready(Err(Lost::Cut)),
                false => Poll::Pending,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(text: &str) -> Option<usize> {
        Scan::default().end(text.as_bytes())
    }

    #[test]
    fn a_head_ends_with_an_empty_line() {
        assert_eq!(end("GET / HTTP/1.1\r\nHost: a\r\n\r\nbody"), Some(27));
        assert_eq!(end("GET / HTTP/1.1\nHost: a\n\nbody"), Some(24), "bare LF is refused later");
        assert_eq!(end("GET / HTTP/1.1\nHost: a\n\r\n"), Some(25));
        for unfinished in ["", "GET", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n\r", "\r", "a\r\r"]
        {
            assert_eq!(end(unfinished), None, "{unfinished:?}");
        }
    }

    #[test]
    fn a_head_in_single_bytes_ends_where_the_whole_does() {
        let text = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: b\r\n\r\n";
        let mut scan = Scan::default();
        for n in 1..text.len() {
            assert_eq!(scan.end(&text[..n]), None, "{n}");
        }
        assert_eq!(scan.end(text), Some(text.len()));
        assert_eq!(scan.lines, 4);
    }
}
