//! Names: each is parsed once, at the door, and correct from then on.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not the name it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("`{0}` is not an app name: use 1 to 40 of a-z, 0-9 and `-`, with a letter or digit at both ends")]
    App(String),
    #[error("`{0}` is not a host name")]
    Host(String),
    #[error("`{0}` is not a commit id: 40 or 64 hex digits")]
    Revision(String),
    #[error("`{0}` is not an image digest: `sha256:` and 64 hex digits")]
    Digest(String),
    #[error("`{0}` is not a release: write v7, or blog-v7")]
    Release(String),
    #[error("`{0}` is not an instance: write blog-v7.1")]
    Instance(String),
    #[error("`{0}` is not the name of a gate: 32 hex digits")]
    Gate(String),
}

/// Shortens what a stranger sent before it is put into an error.
pub(crate) fn excerpt(text: &str) -> String {
    let shown: String = text.chars().take(64).flat_map(char::escape_default).collect();
    if text.chars().count() > 64 { format!("{shown}...") } else { shown }
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $parse:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Gives the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                $parse(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_type!(
    /// The name of an app: one DNS label of 1 to 40 lower-case letters, digits and inner hyphens.
    AppName,
    app_name
);
text_type!(
    /// A host name in lower case, without port and final dot, up to 253 bytes.
    ///
    /// Source: RFC 1123, section 2.1; underscores are let through, as browsers do.
    HostName,
    host_name
);
text_type!(
    /// A commit id: 40 (SHA-1) or 64 (SHA-256) hex digits in lower case.
    Revision,
    revision
);
text_type!(
    /// The id of an image's configuration: `sha256:` and 64 hex digits.
    ImageDigest,
    image_digest
);

impl Revision {
    /// Gives the first 7 digits, as git prints them.
    pub fn short(&self) -> &str {
        &self.0[..7]
    }
}

fn app_name(text: &str) -> Result<String, NameError> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let bytes = text.as_bytes();
    let ends = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
    if (1..=40).contains(&bytes.len()) && ends && bytes.iter().all(|b| inner(*b)) {
        return Ok(text.to_owned());
    }
    Err(NameError::App(excerpt(text)))
}

fn host_name(text: &str) -> Result<String, NameError> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.len() <= 253 && !name.is_empty() && name.split('.').all(label) {
        return Ok(name);
    }
    Err(NameError::Host(excerpt(text)))
}

fn hex(text: &str, lengths: &[usize]) -> bool {
    lengths.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn revision(text: &str) -> Result<String, NameError> {
    if hex(text, &[40, 64]) { Ok(text.to_owned()) } else { Err(NameError::Revision(excerpt(text))) }
}

fn image_digest(text: &str) -> Result<String, NameError> {
    match text.strip_prefix("sha256:") {
        Some(digits) if hex(digits, &[64]) => Ok(text.to_owned()),
        _ => Err(NameError::Digest(excerpt(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_name_is_one_dns_label() {
        for good in ["a", "blog", "my-app2", "7up", &"a".repeat(40)] {
            assert_eq!(good.parse::<AppName>().map(String::from), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "../x", "a/b", "a b", "ä", "a_b", &"a".repeat(41)] {
            assert!(bad.parse::<AppName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_host_name_ignores_case_and_the_final_dot() {
        assert_eq!("Blog.LOCALHOST.".parse::<HostName>().map(String::from), Ok("blog.localhost".to_owned()));
        for bad in ["", ".", "a..b", "-a.b", "a b", "a/b", &"a.".repeat(200), &"a".repeat(64)] {
            assert!(bad.parse::<HostName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_error_shows_only_the_start_of_what_was_sent() {
        let error = "x\n".repeat(5_000).parse::<HostName>().expect_err("a line break is in it").to_string();
        assert!(error.len() < 250 && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_revision_is_hex_of_a_known_length() {
        assert!("a".repeat(40).parse::<Revision>().is_ok());
        assert!("0".repeat(64).parse::<Revision>().is_ok());
        assert!("g".repeat(40).parse::<Revision>().is_err());
        assert!("A".repeat(40).parse::<Revision>().is_err());
        assert!("a".repeat(41).parse::<Revision>().is_err());
    }
}
