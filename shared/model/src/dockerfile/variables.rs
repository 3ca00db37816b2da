//! The variables that `FROM` may use: those of `ARG` before it, and BuildKit's own.

use std::collections::BTreeMap;

/// How long a value may become: variables in variables double it with each line.
const VALUE_BYTES_MAX: usize = 4_096;
/// How deep `${a:-${b:-...}}` is followed.
const DEPTH_MAX: usize = 8;

/// Names with their values; `None` is a value that cannot be told. A name that is not here has the empty value.
#[derive(Debug, Clone, Default)]
pub(super) struct Variables(BTreeMap<String, Option<String>>);

impl Variables {
    /// Those that BuildKit sets by itself: nobody builds for another machine than this one. What differs by the engine's
    /// own choice cannot be told.
    ///
    /// Source: Dockerfile reference, "Automatic platform ARGs in the global scope".
    pub(super) fn predefined() -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => Some("amd64"),
            "aarch64" => Some("arm64"),
            _ => None,
        };
        let platform = arch.map(|arch| format!("linux/{arch}"));
        let variant = match arch {
            Some("amd64") => Some(String::new()),
            Some(_) | None => None,
        };
        let of = |kind: &'static str| {
            [
                (format!("{kind}PLATFORM"), platform.clone()),
                (format!("{kind}OS"), Some("linux".to_owned())),
                (format!("{kind}ARCH"), arch.map(str::to_owned)),
                (format!("{kind}VARIANT"), variant.clone()),
            ]
        };
        Self(["TARGET", "BUILD"].into_iter().flat_map(of).collect())
    }

    /// `ARG a=1 b c="2 3"`; what is given no value keeps the one that it has.
    pub(super) fn define(&mut self, rest: &str) {
        for word in words(rest) {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name, self.expand(value)),
                None => (word.as_str(), self.value(&word)),
            };
            self.0.insert(name.to_owned(), value);
        }
    }

    /// Puts values in the place of variables and takes quotes away; `None` if a value cannot be told, or is asked for
    /// in a way that is not known.
    pub(super) fn expand(&self, word: &str) -> Option<String> {
        self.expand_at(word, 0)
    }

    fn expand_at(&self, word: &str, depth: usize) -> Option<String> {
        if depth > DEPTH_MAX || word.len() > VALUE_BYTES_MAX {
            return None;
        }
        let mut plain = String::new();
        let mut rest = word.chars().peekable();
        let mut raw = false;
        while let Some(c) = rest.next() {
            match c {
                '\'' => raw = !raw,
                '"' if !raw => {}
                '\\' if !raw => plain.extend(rest.next()),
                '$' if !raw && rest.peek() == Some(&'{') => {
                    let asked: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                    plain.push_str(&self.braced(&asked, depth)?);
                }
                '$' if !raw => {
                    let mut name = String::new();
                    while let Some(c) = rest.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        name.push(c);
                    }
                    plain.push_str(&self.value(&name)?);
                }
                c => plain.push(c),
            }
        }
        (plain.len() <= VALUE_BYTES_MAX).then_some(plain)
    }

    /// `name`, `name:-word` or `name:+word`.
    fn braced(&self, asked: &str, depth: usize) -> Option<String> {
        let end = asked.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(asked.len());
        let (name, how) = asked.split_at(end);
        let set = self.0.get(name).is_some_and(|value| value.as_deref() != Some(""));
        let other = |how: &str| self.expand_at(how.trim_start_matches(':').get(1..)?, depth + 1);
        match how {
            "" => self.value(name),
            _ if how.starts_with(":-") || how.starts_with('-') => {
                if set {
                    self.value(name)
                } else {
                    other(how)
                }
            }
            _ if how.starts_with(":+") || how.starts_with('+') => {
                if set {
                    other(how)
                } else {
                    Some(String::new())
                }
            }
            _ => None,
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned().unwrap_or_else(|| Some(String::new()))
    }
}

/// Splits at blanks that are not quoted. The quotes stay.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut quote, mut escaped) = (Vec::new(), String::new(), None, false);
    for c in text.chars() {
        if c.is_whitespace() && quote.is_none() && !escaped {
            words.push(std::mem::take(&mut word));
            continue;
        }
        match (quote, c) {
            (Some(open), c) if open == c && !escaped => quote = None,
            (None, '"' | '\'') if !escaped => quote = Some(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
        word.push(c);
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}
