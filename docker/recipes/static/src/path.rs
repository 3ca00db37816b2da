//! The path of a request as a name below the root.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// What a path keeps as it is when it is written into a `Location`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');

/// The one hidden folder that the web expects to see (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// A path whose every segment is a plain name: no `..`, no separator, nothing hidden.
#[derive(Debug, PartialEq, Eq)]
pub enum SitePath {
    /// `/a/b` as `a/b`.
    File(String),
    /// `/a/b/` as `a/b`, and `/` as the empty string.
    Folder(String),
}

/// Why a path names nothing here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    Malformed,
    Hidden,
}

impl SitePath {
    /// Reads the path of a request target, still percent-encoded and without its query.
    ///
    /// Segments are decoded one by one, so that an encoded `/` never separates; empty ones are left out.
    ///
    /// # Errors
    /// [`PathError::Malformed`] for broken escapes, text that is not UTF-8, control characters, `\`, `.` and `..`;
    /// [`PathError::Hidden`] if a name starts with a dot, but for `.well-known` at the top.
    pub fn parse(target: &str) -> Result<Self, PathError> {
        let path = target.strip_prefix('/').ok_or(PathError::Malformed)?;
        let mut name = String::with_capacity(path.len());
        for raw in path.split('/').filter(|raw| !raw.is_empty()) {
            let segment = decoded(raw)?;
            if segment.starts_with('.') && !(name.is_empty() && segment == WELL_KNOWN) {
                return Err(PathError::Hidden);
            }
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(&segment);
        }
        Ok(if path.is_empty() || path.ends_with('/') { Self::Folder(name) } else { Self::File(name) })
    }
}

/// Gives the path of a folder, encoded: `/a/b/`.
///
/// It starts with exactly one slash, so that a browser cannot take it for another host.
pub fn folder_location(name: &str) -> String {
    format!("/{}/", utf8_percent_encode(name, ESCAPED))
}

fn decoded(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !escapes_are_whole(raw) {
        return Err(PathError::Malformed);
    }
    let segment = percent_decode_str(raw).decode_utf8().map_err(|_| PathError::Malformed)?;
    let odd = |character: char| character.is_control() || character == '/' || character == '\\';
    if segment == "." || segment == ".." || segment.contains(odd) {
        return Err(PathError::Malformed);
    }
    Ok(segment)
}

fn escapes_are_whole(raw: &str) -> bool {
    raw.split('%').skip(1).all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> SitePath {
        SitePath::File(name.to_owned())
    }

    fn folder(name: &str) -> SitePath {
        SitePath::Folder(name.to_owned())
    }

    #[test]
    fn a_trailing_slash_names_a_folder() {
        assert_eq!(SitePath::parse("/"), Ok(folder("")));
        assert_eq!(SitePath::parse("/a/b/"), Ok(folder("a/b")));
        assert_eq!(SitePath::parse("/a/b"), Ok(file("a/b")));
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(SitePath::parse("/%C3%A9t%C3%A9%20!.html"), Ok(file("été !.html")));
        assert_eq!(SitePath::parse("/100%2525"), Ok(file("100%25")));
        assert_eq!(SitePath::parse("/a...b/c..d"), Ok(file("a...b/c..d")));
    }

    #[test]
    fn empty_segments_are_left_out() {
        assert_eq!(SitePath::parse("//evil.example"), Ok(file("evil.example")));
        assert_eq!(SitePath::parse("//a//b//"), Ok(folder("a/b")));
        assert_eq!(SitePath::parse("////"), Ok(folder("")));
    }

    #[test]
    fn what_could_leave_the_root_is_malformed() {
        let dots = ["/..", "/../a", "/a/../b", "/a/..", "/.", "/./a", "/%2e%2e/a", "/.%2E/a", "/a/%2e"];
        let separators = ["/a%2fb", "/..%2f..%2fetc", "/a%5cb", "/a\\b", "/..\\a", "/%5c%5cevil"];
        let others =
            ["", "a", "*", "/%00", "/a%00.html", "/%0d%0aSet-Cookie:x", "/%7f", "/%", "/%4", "/%zz", "/%ff"];
        for target in dots.into_iter().chain(separators).chain(others).chain(["/%+1", "/a%é"]) {
            assert_eq!(SitePath::parse(target), Err(PathError::Malformed), "{target}");
        }
    }

    #[test]
    fn dotfiles_are_hidden_but_for_the_well_known() {
        for target in [
            "/.env",
            "/.git/config",
            "/a/.htaccess",
            "/%2eenv",
            "/a/.well-known/x",
            "/.well-known/.x",
            "/...",
        ] {
            assert_eq!(SitePath::parse(target), Err(PathError::Hidden), "{target}");
        }
        assert_eq!(SitePath::parse("/.well-known/security.txt"), Ok(file(".well-known/security.txt")));
    }

    #[test]
    fn a_location_starts_with_one_slash_and_is_encoded() {
        assert_eq!(folder_location("evil.example"), "/evil.example/");
        assert_eq!(folder_location("a b/é?#%\"<"), "/a%20b/%C3%A9%3F%23%25%22%3C/");
        assert_eq!(folder_location("a:b@c"), "/a:b@c/");
    }
}
