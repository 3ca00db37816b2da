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
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after.find(|c: char| c.is_whitespace() || URL_ENDS.contains(&c)).unwrap_or(after.len());
        let (url, more) = after.split_at(end);
        shown.push_str(before);
        shown.push_str(&without_secrets(url, is_ssh(&before[..at])));
        rest = more;
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
            Cow::Owned(format!("{scheme}{HIDDEN}@{}", hidden_parameters(host)))
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

/// Hides the secrets of a URL, of which everything up to `://` is taken off.
fn without_secrets(url: &str, ssh: bool) -> String {
    let authority = &url[..url.find(['/', '?', '#']).unwrap_or(url.len())];
    let credentials = match authority.rfind('@') {
        Some(at) => Some(at),
        // A password with a slash in it, which is none that a URL may have.
        None if !is_host(authority) => url.rfind('@'),
        None => None,
    };
    match credentials {
        Some(at) if !(ssh && is_name(&url[..at])) => {
            format!("{HIDDEN}@{}", hidden_parameters(&url[at + 1..]))
        }
        Some(_) | None => hidden_parameters(url),
    }
}

/// Whether an authority is a host, with a port or without.
fn is_host(authority: &str) -> bool {
    let after_address = authority.rsplit_once(']').map_or(authority, |(_, rest)| rest);
    match after_address.split_once(':') {
        None => true,
        Some((host, port)) => {
            (!host.is_empty() || authority.ends_with(after_address) && authority.len() > after_address.len())
                && port.bytes().all(|b| b.is_ascii_digit())
        }
    }
}

fn hidden_parameters(url: &str) -> String {
    let Some((path, query)) = url.split_once('?') else { return url.to_owned() };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if SECRETS.contains(&name.to_ascii_lowercase().as_str()) => {
            format!("{name}={HIDDEN}")
        }
        Some(_) | None => pair.to_owned(),
    });
    format!("{path}?{}", shown.collect::<Vec<_>>().join("&"))
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
