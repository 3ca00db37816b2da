//! Content codings, and which of them a client wants.

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// How the bytes of a representation are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Brotli,
    Gzip,
    Identity,
}

/// All codings, the smallest answer first: the order in which equal wishes are granted.
const BY_SIZE: [Coding; 3] = [Coding::Brotli, Coding::Gzip, Coding::Identity];

/// The weight of an identity that is not mentioned: acceptable, but after all that was asked for.
const UNMENTIONED: u16 = 1;

impl Coding {
    /// What follows a file's name in the name of its copy in this coding: `.br`, `.gz`, or nothing.
    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Brotli => ".br",
            Self::Gzip => ".gz",
            Self::Identity => "",
        }
    }

    /// The coding's name in HTTP: `br`, `gzip` or `identity`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Gzip => "gzip",
            Self::Identity => "identity",
        }
    }

    fn is_named(self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.token()) || (self == Self::Gzip && name.eq_ignore_ascii_case("x-gzip"))
    }
}

/// Gives the codings to try, best first; identity is always the last of them.
///
/// A client that refuses identity and for which no other copy exists is still given identity: an answer
/// that it may be able to read is worth more than 406.
///
/// Source: RFC 9110, 12.5.3.
pub fn wanted(headers: &HeaderMap) -> Vec<Coding> {
    let mut weighed = BY_SIZE.map(|coding| (weight(headers, coding), coding));
    weighed.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));

    let acceptable = weighed.iter().filter(|(weight, _)| *weight > 0).map(|(_, coding)| *coding);
    acceptable.take_while(|coding| *coding != Coding::Identity).chain([Coding::Identity]).collect()
}

/// Gives the weight of a coding in thousandths; 0 means "not this one".
fn weight(headers: &HeaderMap, coding: Coding) -> u16 {
    let mut any = None;
    for (name, quality) in elements(headers) {
        if coding.is_named(name) {
            return quality;
        }
        if name == "*" {
            any = Some(quality);
        }
    }
    any.unwrap_or(if coding == Coding::Identity { UNMENTIONED } else { 0 })
}

/// Gives every `coding;q=weight` of the headers; what cannot be read is left out.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = (&str, u16)> {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(element)
}

fn element(text: &str) -> Option<(&str, u16)> {
    let (name, parameter) = text.split_once(';').unwrap_or((text, "q=1"));
    let (key, value) = parameter.split_once('=')?;
    let quality = key.trim().eq_ignore_ascii_case("q").then(|| quality(value.trim()))??;
    Some((name.trim(), quality))
}

/// Reads `0`, `1`, `0.25` or `1.000` as thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::Coding::{Brotli, Gzip, Identity};
    use super::*;
    use http::HeaderValue;

    fn wanted_by(line: &'static str) -> Vec<Coding> {
        wanted(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(line))]))
    }

    #[test]
    fn without_a_wish_there_is_only_identity() {
        assert_eq!(wanted(&HeaderMap::new()), [Identity]);
        assert_eq!(wanted_by(""), [Identity]);
    }

    #[test]
    fn of_equal_wishes_the_smallest_answer_wins() {
        assert_eq!(wanted_by("gzip, deflate, br, zstd"), [Brotli, Gzip, Identity]);
        assert_eq!(wanted_by("*"), [Brotli, Gzip, Identity]);
        assert_eq!(wanted_by("GZIP ; Q=0.5 , Br;q=0.500"), [Brotli, Gzip, Identity]);
    }

    #[test]
    fn a_higher_quality_wins() {
        assert_eq!(wanted_by("br;q=0.5, gzip;q=0.8"), [Gzip, Brotli, Identity]);
        assert_eq!(wanted_by("identity;q=1, br;q=0.5"), [Identity]);
        assert_eq!(wanted_by("gzip;q=0.001"), [Gzip, Identity]);
    }

    #[test]
    fn a_quality_of_zero_refuses() {
        assert_eq!(wanted_by("br;q=0, gzip"), [Gzip, Identity]);
        assert_eq!(wanted_by("br;q=0, *"), [Gzip, Identity]);
        assert_eq!(wanted_by("identity;q=1, *;q=0"), [Identity]);
        assert_eq!(wanted_by("gzip;q=0.000"), [Identity]);
    }

    #[test]
    fn identity_is_the_last_resort_even_where_it_is_refused() {
        assert_eq!(wanted_by("br, identity;q=0"), [Brotli, Identity]);
        assert_eq!(wanted_by("*;q=0"), [Identity]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        for line in
            ["br;q=2", "br;q=1.5", "br;q=-1", "br;q=", "br;q", "br;level=1", "br;q=0.1234", "br;q=0.x"]
        {
            assert_eq!(wanted_by(line), [Identity], "{line}");
        }
        assert_eq!(wanted_by(",;,=,;q=1,gzip"), [Gzip, Identity]);
    }
}
