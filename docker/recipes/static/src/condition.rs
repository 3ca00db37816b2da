//! Conditional requests: whether the client already has what it asks for.

use std::time::SystemTime;

use http::header::{
    HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE,
};

/// What tells one state of a representation from another.
#[derive(Clone, Debug)]
pub struct Validators {
    /// A strong entity tag, with its quotes.
    pub tag: String,
    /// The time of the last change, in whole seconds, where the file has a believable one.
    pub modified: Option<SystemTime>,
}

/// What the conditions of a request come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Proceed,
    /// The client has it: 304.
    NotModified,
    /// The client wanted another state: 412.
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Weighs the conditions of a GET or HEAD in the order of RFC 9110, 13.2.2.
///
/// `If-Modified-Since` holds only for the very second that was sent as `Last-Modified`, not for later ones:
/// a rollback puts older files in the place of newer ones, and they must not pass for what the client has.
pub fn judge(headers: &HeaderMap, validators: &Validators) -> Verdict {
    if headers.contains_key(IF_MATCH) {
        if !lists(headers, IF_MATCH, validators, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let (Some(at), Some(modified)) = (date(headers, IF_UNMODIFIED_SINCE), validators.modified)
        && modified > at
    {
        return Verdict::Failed;
    }

    let known = if headers.contains_key(IF_NONE_MATCH) {
        lists(headers, IF_NONE_MATCH, validators, Comparison::Weak)
    } else {
        validators.modified.is_some() && date(headers, IF_MODIFIED_SINCE) == validators.modified
    };
    if known { Verdict::NotModified } else { Verdict::Proceed }
}

/// Says whether a range may be answered: without `If-Range`, or when it names this very state.
pub fn allows_range(headers: &HeaderMap, validators: &Validators) -> bool {
    let Some(condition) = headers.get(IF_RANGE) else { return true };
    if condition.as_bytes() == validators.tag.as_bytes() {
        return true;
    }
    validators.modified.is_some() && date(headers, IF_RANGE) == validators.modified
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn lists(headers: &HeaderMap, name: HeaderName, validators: &Validators, comparison: Comparison) -> bool {
    headers.get_all(name).iter().any(|line| line_lists(line, &validators.tag, comparison))
}

/// Looks for a tag in `"a", W/"b", "c"`, or for `*`; reads up to the first thing that is no tag.
///
/// A tag may hold commas, so the line cannot simply be split at them.
fn line_lists(line: &HeaderValue, tag: &str, comparison: Comparison) -> bool {
    let Ok(mut rest) = line.to_str() else { return false };
    if rest.trim() == "*" {
        return true;
    }
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (strength, opaque) = match rest.strip_prefix("W/") {
            Some(opaque) => (Comparison::Weak, opaque),
            None => (Comparison::Strong, rest),
        };
        let Some(end) = opaque.strip_prefix('"').and_then(|inner| inner.find('"')) else { return false };
        let (candidate, after) = opaque.split_at(end + 2);
        if candidate == tag && (comparison == Comparison::Weak || strength == Comparison::Strong) {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const EARLIER: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn state() -> Validators {
        let modified = Some(UNIX_EPOCH + Duration::from_secs(784_111_777));
        Validators { tag: "\"a,b\"".to_owned(), modified }
    }

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn verdict(name: HeaderName, value: &'static str) -> Verdict {
        judge(&headers(&[(name, value)]), &state())
    }

    #[test]
    fn a_known_tag_is_not_modified() {
        for value in ["\"a,b\"", "W/\"a,b\"", "\"x\", \"a,b\"", ",, \"x\",W/\"y\"\t,\"a,b\" junk", "*", " * "]
        {
            assert_eq!(verdict(IF_NONE_MATCH, value), Verdict::NotModified, "{value}");
        }
    }

    #[test]
    fn an_unknown_or_broken_tag_proceeds() {
        for value in ["\"a\"", "a,b", "\"a,b", "", ",", "W/", "w/\"a,b\"", "\"x\" junk \"a,b\"", "**"] {
            assert_eq!(verdict(IF_NONE_MATCH, value), Verdict::Proceed, "{value}");
        }
    }

    #[test]
    fn only_the_very_second_is_not_modified() {
        assert_eq!(verdict(IF_MODIFIED_SINCE, THEN), Verdict::NotModified);
        for value in [EARLIER, LATER, "yesterday", ""] {
            assert_eq!(verdict(IF_MODIFIED_SINCE, value), Verdict::Proceed, "{value}");
        }
    }

    #[test]
    fn a_tag_outweighs_a_date() {
        let both = headers(&[(IF_NONE_MATCH, "\"other\""), (IF_MODIFIED_SINCE, THEN)]);
        assert_eq!(judge(&both, &state()), Verdict::Proceed);
    }

    #[test]
    fn a_file_without_a_date_is_never_unmodified_since() {
        let undated = Validators { modified: None, ..state() };
        assert_eq!(judge(&headers(&[(IF_MODIFIED_SINCE, "nonsense")]), &undated), Verdict::Proceed);
        assert!(!allows_range(&headers(&[(IF_RANGE, "nonsense")]), &undated));
    }

    #[test]
    fn another_state_than_the_wanted_one_fails() {
        assert_eq!(verdict(IF_MATCH, "\"a,b\""), Verdict::Proceed);
        assert_eq!(verdict(IF_MATCH, "*"), Verdict::Proceed);
        assert_eq!(verdict(IF_MATCH, "\"x\""), Verdict::Failed);
        assert_eq!(verdict(IF_MATCH, "W/\"a,b\""), Verdict::Failed);
        assert_eq!(verdict(IF_UNMODIFIED_SINCE, THEN), Verdict::Proceed);
        assert_eq!(verdict(IF_UNMODIFIED_SINCE, EARLIER), Verdict::Failed);
    }

    #[test]
    fn a_range_needs_the_very_state_it_names() {
        assert!(allows_range(&HeaderMap::new(), &state()));
        for (value, allowed) in
            [("\"a,b\"", true), (THEN, true), ("W/\"a,b\"", false), (LATER, false), ("", false)]
        {
            assert_eq!(allows_range(&headers(&[(IF_RANGE, value)]), &state()), allowed, "{value}");
        }
    }
}
