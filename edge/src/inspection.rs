//! Looks at the bytes of requests as they arrive, before pingora makes anything of them: what two readers of HTTP may take
//! differently is refused, so that nobody hides a request in another.
//!
//! Source: RFC 9112, sections 2.2, 6.1, 6.3, 7.1 and 11.2.

use func_model::Refusal;

/// The longest line of a chunk's size, with its extensions.
const SIZE_LINE_MAX: usize = 256;
/// How many bytes the trailers of a body may have.
const TRAILERS_MAX: usize = 8 * 1024;
/// How many hex digits a chunk's size may have: far more than anybody sends.
const SIZE_DIGITS_MAX: usize = 15;

/// Where the body of a request stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum At {
    /// Its length is announced, or there is none: every byte may come.
    #[default]
    Plain,
    /// In the hex digits of a chunk's size.
    Size {
        size: u64,
        digits: usize,
    },
    /// Behind them, up to the end of the line.
    Extension {
        size: u64,
        length: usize,
    },
    /// Behind the CR of that line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In the lines behind the last chunk; `line` is the length of this one.
    Trailer {
        line: usize,
        total: usize,
    },
    TrailerLf {
        line: usize,
        total: usize,
    },
    /// Behind the body.
    Done,
}

/// Inspects one connection's requests, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    at: At,
}

impl Inspection {
    /// Inspects a complete head, its final empty line included; the body of this request follows.
    ///
    /// # Errors
    /// The refusal to send to the client before the connection is closed.
    pub(crate) fn head(&mut self, head: &[u8]) -> Result<(), Refusal> {
        let text = head.strip_suffix(b"\r\n").ok_or(Refusal::Malformed)?;
        let mut lines = Vec::new();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r\n").ok_or(Refusal::Malformed)?;
            if line.iter().any(|byte| matches!(byte, b'\r' | b'\0')) {
                return Err(Refusal::Malformed);
            }
            lines.push(line);
        }
        let (first, fields) = lines.split_first().ok_or(Refusal::Malformed)?;
        check_request_line(first)?;
        let fields = fields.iter().map(|line| field(line)).collect::<Result<Vec<_>, _>>()?;
        self.at = framing(first, &fields)?;
        Ok(())
    }

    /// Inspects bytes after the head, as they are handed on: in any pieces.
    ///
    /// # Errors
    /// The refusal to send unless a response has begun; the connection is closed after it.
    pub(crate) fn body(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let mut rest = bytes;
        while let [byte, more @ ..] = rest {
            self.at = match self.at {
                At::Plain | At::Done => return Ok(()),
                At::Data { left } => {
                    let taken = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    rest = rest.get(taken..).unwrap_or_default();
                    self.at = match left - taken as u64 {
                        0 => At::DataCr,
                        left => At::Data { left },
                    };
                    continue;
                }
                at => next(at, *byte).ok_or(Refusal::Malformed)?,
            };
            rest = more;
        }
        Ok(())
    }
}

#[cfg(test)]
impl Inspection {
    pub(crate) fn is_chunked(&self) -> bool {
        self.at != At::Plain
    }

    pub(crate) fn is_done(&self) -> bool {
        self.at == At::Done
    }
}

/// Goes on by one byte of a chunked body's frame; `None` if it may not stand there.
fn next(at: At, byte: u8) -> Option<At> {
    Some(match (at, byte) {
        (At::Size { size, digits }, _) if byte.is_ascii_hexdigit() && digits < SIZE_DIGITS_MAX => {
            let digit = u64::from(char::from(byte).to_digit(16)?);
            At::Size { size: size * 16 + digit, digits: digits + 1 }
        }
        (At::Size { digits: 0, .. }, _) => return None,
        (At::Size { size, .. } | At::Extension { size, .. }, b'\r') => At::SizeEnd { size },
        (At::Size { size, .. }, b';' | b' ' | b'\t') => At::Extension { size, length: 1 },
        (At::Extension { size, length }, byte) if byte != b'\n' && length < SIZE_LINE_MAX => {
            At::Extension { size, length: length + 1 }
        }
        (At::SizeEnd { size: 0 }, b'\n') => At::Trailer { line: 0, total: 0 },
        (At::SizeEnd { size }, b'\n') => At::Data { left: size },
        (At::DataCr, b'\r') => At::DataLf,
        (At::DataLf, b'\n') => At::Size { size: 0, digits: 0 },
        (At::Trailer { line, total }, b'\r') => At::TrailerLf { line, total },
        (At::Trailer { line, total }, byte) if byte != b'\n' && total < TRAILERS_MAX => {
            At::Trailer { line: line + 1, total: total + 1 }
        }
        (At::TrailerLf { line: 0, .. }, b'\n') => At::Done,
        (At::TrailerLf { total, .. }, b'\n') => At::Trailer { line: 0, total: total + 1 },
        (
            At::Plain
            | At::Done
            | At::Data { .. }
            | At::Size { .. }
            | At::Extension { .. }
            | At::SizeEnd { .. }
            | At::DataCr
            | At::DataLf
            | At::Trailer { .. }
            | At::TrailerLf { .. },
            _,
        ) => return None,
    })
}

/// Checks that a request line is a method, a target and a version, with one blank between each.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, target, version) = (parts.next(), parts.next(), parts.next());
    let is_method = method.is_some_and(|method| !method.is_empty() && method.iter().all(|b| is_token(*b)));
    let is_target =
        target.is_some_and(|target| !target.is_empty() && !target.iter().any(u8::is_ascii_control));
    let is_version = version.is_some_and(|version| version.starts_with(b"HTTP/")) && parts.next().is_none();
    match is_method && is_target && is_version {
        true => Ok(()),
        false => Err(Refusal::Malformed),
    }
}

type Field<'a> = (&'a [u8], &'a [u8]);

/// Splits a line of the head at its colon. A name is a token: no blank before the colon, no line that goes on with the
/// one before.
fn field(line: &[u8]) -> Result<Field<'_>, Refusal> {
    let colon = memchr::memchr(b':', line).ok_or(Refusal::Malformed)?;
    let (name, value) = line.split_at(colon);
    match !name.is_empty() && name.iter().all(|byte| is_token(*byte)) {
        true => Ok((name, trimmed(value.get(1..).unwrap_or_default()))),
        false => Err(Refusal::Malformed),
    }
}

/// Takes off the blanks that belong to no value: nothing else does, a form feed neither.
///
/// Source: RFC 9110, section 5.6.3.
fn trimmed(value: &[u8]) -> &[u8] {
    let is_ink = |byte: &u8| !matches!(byte, b' ' | b'\t');
    match (value.iter().position(is_ink), value.iter().rposition(is_ink)) {
        (Some(first), Some(last)) => value.get(first..=last).unwrap_or_default(),
        (_, _) => &[],
    }
}

/// Source: RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Says how the body is framed. One frame, said once: `Transfer-Encoding: chunked` in HTTP/1.1, or a length in digits.
fn framing(first: &[u8], fields: &[Field<'_>]) -> Result<At, Refusal> {
    let of = |name: &'static str| {
        fields.iter().filter(move |field| field.0.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.1)
    };
    // As large as the least of the readers behind takes: others would wrap, or stop at their largest.
    let is_number = |value: &[u8]| {
        let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
        digits.is_some_and(|digits| digits.parse::<i64>().is_ok())
    };
    let mut lengths = of("content-length");
    let length = lengths.next();
    // Two equal lengths are refused too, as nginx does.
    if length.is_some_and(|length| !is_number(length)) || lengths.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let mut codings = of("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(At::Plain),
        (Some(coding), None)
            if coding.eq_ignore_ascii_case(b"chunked")
                && length.is_none()
                && first.ends_with(b" HTTP/1.1") =>
        {
            Ok(At::Size { size: 0, digits: 0 })
        }
        (Some(_), _) => Err(Refusal::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Result<Inspection, Refusal> {
        let mut inspection = Inspection::default();
        inspection.head(format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes()).map(|()| inspection)
    }

    /// Inspects a chunked body whole, and byte by byte; both say the same.
    fn chunked(body: &str) -> Result<At, Refusal> {
        let fresh = || head("Transfer-Encoding: chunked\r\n").expect("an ordinary head");
        let mut whole = fresh();
        let at = whole.body(body.as_bytes()).map(|()| whole.at);
        let mut single = fresh();
        let pieces = body.as_bytes().chunks(1).try_for_each(|byte| single.body(byte)).map(|()| single.at);
        assert_eq!(at, pieces, "{body:?}");
        at
    }

    #[test]
    fn ordinary_heads_are_let_through() {
        for fields in [
            "",
            "Content-Length: 5\r\n",
            "content-length:0\r\n",
            "Transfer-Encoding: Chunked\r\n",
            "X-Empty:\r\nX-Odd: \u{e9} \"a\"\t;=\r\n",
        ] {
            assert!(head(fields).is_ok(), "{fields:?}");
        }
    }

    #[test]
    fn heads_that_two_readers_may_take_differently_are_refused() {
        for fields in [
            "X: a\n",
            "X: a\rb\r\n",
            "X: a\0b\r\n",
            "X : a\r\n",
            " X: a\r\n",
            "X: a\r\n folded\r\n",
            "X\r\n",
            ": a\r\n",
            "X\u{e9}: a\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length: 0x5\r\n",
            "Content-Length:\r\n",
            "Content-Length: -1\r\n",
            "Content-Length: \u{c}5\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Transfer-Encoding: chunked\u{c}\r\n",
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: xchunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding:\r\n",
            "Transfer-Encoding: \u{b}chunked\r\n",
        ] {
            assert_eq!(head(fields).err(), Some(Refusal::Malformed), "{fields:?}");
        }
        let mut inspection = Inspection::default();
        for whole in [
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "\r\n",
            "GET  /x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /x\tHTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /x\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(inspection.head(whole.as_bytes()), Err(Refusal::Malformed), "{whole:?}");
        }
    }

    #[test]
    fn chunks_are_followed_to_the_end_of_the_body() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\n0123456789\r\n00\r\nX-Trailer: a\r\nY: b\r\n\r\n",
            "5;name=\"v\";x\r\nhe\nlo\r\n0 \r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\n",
        ] {
            assert_eq!(chunked(body), Ok(At::Done), "{body:?}");
        }
        assert_eq!(chunked("5\r\nhel"), Ok(At::Data { left: 2 }));
    }

    #[test]
    fn chunks_that_two_readers_may_take_differently_are_refused() {
        let long = format!("5;{}\r\nhello\r\n", "x".repeat(SIZE_LINE_MAX));
        let trailers = format!("0\r\nX: {}\r\n\r\n", "x".repeat(TRAILERS_MAX));
        for body in [
            "5\nhello\r\n0\r\n\r\n",
            "5;a\nb\r\nhello\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhellooo\r\n",
            "5\r\nhello0\r\n\r\n",
            "0x5\r\nhello\r\n",
            "-5\r\nhello\r\n",
            " 5\r\nhello\r\n",
            "\r\nhello",
            ";a\r\n",
            "5\rhello",
            "1000000000000000\r\n",
            "0\r\nX: a\n\r\n",
            "0\r\n\n",
            &long,
            &trailers,
        ] {
            assert_eq!(chunked(body), Err(Refusal::Malformed), "{body:?}");
        }
    }
}
