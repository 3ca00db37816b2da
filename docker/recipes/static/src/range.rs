//! Byte ranges: one part of a file instead of all of it.

use http::HeaderMap;
use http::header::RANGE;

/// What a `Range` header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    From(u64),
    /// First and last byte, both included.
    Between(u64, u64),
    Last(u64),
}

/// A part of a file that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub bytes: u64,
}

impl ByteRange {
    /// Reads the one range of `Range: bytes=...`.
    ///
    /// Several ranges, other units and whatever cannot be read give `None`: the client then gets the whole file.
    ///
    /// Source: RFC 9110, 14.2.
    pub fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(RANGE).iter();
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::parse(line.to_str().ok()?),
            _ => None,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (unit, range) = text.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Between(first, last))
            }
        }
    }

    /// Gives the part of a file of `len` bytes; `None` if it has no such part (416).
    pub fn within(self, len: u64) -> Option<Span> {
        let (start, end) = match self {
            Self::From(first) => (first, len),
            Self::Between(first, last) => (first, last.saturating_add(1).min(len)),
            Self::Last(count) => (len.saturating_sub(count), len),
        };
        (start < end).then(|| Span { start, bytes: end - start })
    }
}

/// Reads digits; a number beyond all files stays beyond all files.
fn number(digits: &str) -> Option<u64> {
    let well_formed = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(text: &str, len: u64) -> Option<(u64, u64)> {
        ByteRange::parse(text)?.within(len).map(|span| (span.start, span.bytes))
    }

    #[test]
    fn a_range_names_its_first_and_last_byte() {
        assert_eq!(part("bytes=0-0", 10), Some((0, 1)));
        assert_eq!(part("bytes=2-5", 10), Some((2, 4)));
        assert_eq!(part("Bytes = 2-5", 10), Some((2, 4)));
    }

    #[test]
    fn a_range_ends_where_the_file_ends() {
        assert_eq!(part("bytes=2-", 10), Some((2, 8)));
        assert_eq!(part("bytes=2-99", 10), Some((2, 8)));
        assert_eq!(part("bytes=9-99999999999999999999999", 10), Some((9, 1)));
    }

    #[test]
    fn a_suffix_counts_from_the_end() {
        assert_eq!(part("bytes=-3", 10), Some((7, 3)));
        assert_eq!(part("bytes=-99", 10), Some((0, 10)));
    }

    #[test]
    fn a_range_beyond_the_file_has_no_part() {
        for text in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(ByteRange::parse(text).expect("it is well formed").within(10), None, "{text}");
        }
        assert_eq!(part("bytes=0-", 0), None);
        assert_eq!(part("bytes=-5", 0), None);
    }

    #[test]
    fn what_is_not_one_range_is_no_range() {
        let odd = ["", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1"];
        for text in odd.into_iter().chain(["bytes=+1-2", "bytes=1--2", "bytes=0x1-", "bytes=1 - 2", "=0-1"]) {
            assert_eq!(ByteRange::parse(text), None, "{text}");
        }
    }
}
