//! URLs as they may be shown: without the passwords and tokens in them.

use std::borrow::Cow;
use std::fmt;

/// What stands for a secret.
const HIDDEN: &str = "***";
/// The parameters of a URL whose values are secrets.
const SECRETS: [&str; 10] = [
    "pass",
    "password",
    "passwd",
    "pwd",
    "token",
    "access_token",
    "private_token",
    "secret",
    "api_key",
    "apikey",
];
/// What ends a URL in a text.
const URL_ENDS: [char; 7] = ['"', '\'', '`', '<', '>', '\\', '|'];

/// A URL that may hold a password: `Display` and `Debug` show it without.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// Returns the URL with its password, to connect with.
    pub fn with_secrets(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted_url(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redacted_url(&self.0))
    }
}

/// Returns a text with the credentials of every URL in it hidden: `redis://***@host`. A user name alone is one as well,
/// since tokens are given that way; only SSH's stays.
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !text.contains("://") {
        return Cow::Borrowed(text);
    }
    let is_end = |c: char| c.is_whitespace() || URL_ENDS.contains(&c);
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, from) = rest.split_at(at);
        let start =
            before.char_indices().rev().find(|(_, c)| is_end(*c)).map_or(0, |(i, c)| i + c.len_utf8());
        let end = from.find(is_end).map_or(rest.len(), |length| at + length);
        shown.push_str(&rest[..start]);
        shown.push_str(&hidden_parameters(&without_credentials(&rest[start..end])));
        rest = &rest[end..];
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// As [`redacted`], for a text that is meant to be one URL and nothing else, well-formed or not: whatever stands before
/// an `@` is hidden, so a URL that was mistyped shows nothing either.
pub fn redacted_url(url: &str) -> Cow<'_, str> {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    match rest.rsplit_once('@') {
        Some((user, host)) if !(is_ssh(scheme.trim_end_matches("://")) && is_name(user)) => {
            Cow::Owned(hidden_parameters(&format!("{scheme}{HIDDEN}@{host}")))
        }
        Some(_) | None => redacted(url),
    }
}

fn is_ssh(before: &str) -> bool {
    before.ends_with("ssh")
}

fn is_name(user: &str) -> bool {
    !user.contains(':')
}

/// Hides the credentials of a URL, and of those in its path and its query.
fn without_credentials(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (scheme, url) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
        let credentials = match authority.rfind('@') {
            Some(at) => Some(at),
            // A password with a slash in it, which is none that a URL may have.
            None if !is_host(authority) => url.rfind('@'),
            None => None,
        };
        rest = match credentials {
            Some(at) if !(is_ssh(&scheme[..scheme.len() - 3]) && is_name(&url[..at])) => {
                shown.push_str(HIDDEN);
                &url[at..]
            }
            Some(_) | None => {
                // The colon may belong to the next `://`.
                let authority = authority.trim_end_matches(':');
                shown.push_str(authority);
                &url[authority.len()..]
            }
        };
    }
    shown.push_str(rest);
    shown
}

/// Whether an authority is a host, with a port or without.
fn is_host(authority: &str) -> bool {
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    match after_address.split_once(':') {
        None => true,
        Some((host, port)) => {
            (!host.is_empty() || authority.ends_with(after_address) && authority.len() > after_address.len())
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

/// Hides the values of parameters that are secrets, in the query, in the fragment, and in what follows a URL in a query.
fn hidden_parameters(url: &str) -> String {
    let mut shown = String::with_capacity(url.len());
    for (index, piece) in url.split_inclusive(['?', '&', '#', ';']).enumerate() {
        let pair = piece.trim_end_matches(['?', '&', '#', ';']);
        match pair.split_once('=') {
            Some((name, _)) if index > 0 && SECRETS.contains(&name.to_ascii_lowercase().as_str()) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(HIDDEN);
                shown.push_str(&piece[pair.len()..]);
            }
            Some(_) | None => shown.push_str(piece),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_and_no_token_of_a_url_is_shown_wherever_it_stands() {
        for (text, shown) in [
            ("redis://:s3cret@host:6379", "redis://***@host:6379"),
            (
                "use the Redis redis://me:s3cret@host/1 (setting)",
                "use the Redis redis://***@host/1 (setting)",
            ),
            ("redis+unix:///run/r.sock?db=1&pass=s3cret", "redis+unix:///run/r.sock?db=1&pass=***"),
            ("fatal: 'https://s3cret@git.example/x.git/' and", "fatal: 'https://***@git.example/x.git/' and"),
            (
                "HTTP_PROXY=http://u:s3cret@proxy:3128 https://s3cret:x@b",
                "HTTP_PROXY=http://***@proxy:3128 https://***@b",
            ),
            ("redis://:s3c/ret@host", "redis://***@host"),
            ("redis://:s3c#ret@host", "redis://***@host"),
            ("http://a:s3cr@et@host/?token=s3cret", "http://***@host/?token=***"),
            ("http://proxy/https://u:s3cret@host/x", "http://proxy/https://***@host/x"),
            ("http://a/?next=b://u:s3cret@c&token=s3cret#x", "http://a/?next=b://***@c&token=***#x"),
            ("http://https://u:s3cret@host", "http://***@host"),
            ("ssh://u@a://u:s3cret@host", "ssh://u@a://***@host"),
            ("http://a/x#access_token=s3cret", "http://a/x#access_token=***"),
        ] {
            assert_eq!(redacted(text), shown);
        }
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        for text in [
            "no URL at all: a@b",
            "http://127.0.0.1:7080/blog.git",
            "ssh://func@127.0.0.1:7022/blog.git",
            "https://packages.example/@scope/name",
            "http://[::1]:8080/@x",
            "http://blog.localhost:8080/@x?a=b",
            "redis://host:6379",
        ] {
            assert_eq!(redacted(text), text);
        }
        assert_eq!(redacted("ssh://func:s3cret@host"), "ssh://***@host");
    }

    #[test]
    fn a_setting_that_is_no_url_shows_nothing_before_its_at() {
        for (text, shown) in [
            (":s3cret@host", "***@host"),
            ("redis://:s3 cr\"et@host?pass=s3cret", "redis://***@host?pass=***"),
            ("memory", "memory"),
            ("ssh://func@host", "ssh://func@host"),
        ] {
            assert_eq!(redacted_url(text), shown);
            assert_eq!(format!("{:?}", SecretUrl::new(text)), format!("{shown:?}"));
        }
    }
}
