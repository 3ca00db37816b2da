//! `.dockerignore`: the engine leaves it to its clients, and here func is the client.

use crate::limits::IGNORE_PATTERNS;

/// The file's name, at the root of the repository.
pub const NAME: &str = ".dockerignore";

/// The patterns of a `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Debug, Clone)]
struct Pattern {
    parts: Vec<Vec<char>>,
    /// It began with `!`: what it matches is kept.
    keeps: bool,
}

impl Ignore {
    /// Reads the file's text: a pattern a line, `#` for comments, `!` for exceptions, `*`, `?`, `[a-z]` and `**`.
    ///
    /// Source: docs.docker.com, "Build context", .dockerignore files; Go's path/filepath.Match.
    pub fn parse(text: &str) -> Self {
        let patterns = text.lines().filter_map(pattern).take(IGNORE_PATTERNS).collect();
        Self { patterns }
    }

    /// Whether a file or folder, or one above it, is left out. The last pattern that matches says so.
    /// What the build itself reads always stays.
    pub fn leaves_out(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        if path == NAME || path == "Dockerfile" {
            return false;
        }
        let parts: Vec<Vec<char>> = path.split('/').map(|part| part.chars().collect()).collect();
        let hit =
            |pattern: &&Pattern| (1..=parts.len()).any(|upto| parts_match(&pattern.parts, &parts[..upto]));
        self.patterns.iter().rev().find(hit).is_some_and(|pattern| !pattern.keeps)
    }
}

fn pattern(line: &str) -> Option<Pattern> {
    let line = line.trim_start_matches('\u{feff}');
    if line.starts_with('#') {
        return None;
    }
    let line = line.trim();
    let (keeps, line) = match line.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, line),
    };
    let mut parts: Vec<Vec<char>> = Vec::new();
    for part in line.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part.chars().collect()),
        }
    }
    (!parts.is_empty()).then_some(Pattern { parts, keeps })
}

/// Walks back to the last `**` only, so that no pattern takes long.
fn parts_match(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && t == path.len() {
            return true;
        }
        if pattern.get(p).is_some_and(|part| part[..] == ['*', '*']) {
            star = Some((p, t));
            p += 1;
            continue;
        }
        let both = pattern.get(p).zip(path.get(t));
        if both.is_some_and(|(pattern, part)| part_matches(pattern, part)) {
            (p, t) = (p + 1, t + 1);
            continue;
        }
        match star {
            Some((at, from)) if from < path.len() => {
                star = Some((at, from + 1));
                (p, t) = (at + 1, from + 1);
            }
            Some(_) | None => return false,
        }
    }
}

/// Matches one part of a path: `*` any number of characters, `?` one, `[a-z]` and `[^a-z]` one of a set, `\` the next
/// one as it is. Walks back to the last `*` only, so that no pattern takes long.
fn part_matches(pattern: &[char], text: &[char]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && t == text.len() {
            return true;
        }
        if pattern.get(p) == Some(&'*') {
            star = Some((p, t));
            p += 1;
            continue;
        }
        match text.get(t).and_then(|c| one(&pattern[p..], *c)) {
            Some(used) => {
                p += used;
                t += 1;
            }
            None => match star {
                Some((at, from)) if from < text.len() => {
                    star = Some((at, from + 1));
                    (p, t) = (at + 1, from + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}

/// Matches one character; gives how much of the pattern that took.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '\\' => (pattern.get(1) == Some(&c)).then_some(2),
        '[' => set(pattern, c),
        literal => (*literal == c).then_some(1),
    }
}

fn set(pattern: &[char], c: char) -> Option<usize> {
    let end = pattern.iter().skip(2).position(|x| *x == ']')? + 2;
    let negated = pattern[1] == '^';
    let inside = &pattern[1 + usize::from(negated)..end];
    let mut found = false;
    let mut at = 0;
    while at < inside.len() {
        match inside.get(at + 1..at + 3) {
            Some(['-', high]) => {
                found |= (inside[at]..=*high).contains(&c);
                at += 3;
            }
            Some(_) | None => {
                found |= inside[at] == c;
                at += 1;
            }
        }
    }
    (found != negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out(text: &str, path: &str) -> bool {
        Ignore::parse(text).leaves_out(path)
    }

    #[test]
    fn patterns_leave_out_what_docker_leaves_out() {
        for (text, path) in [
            ("node_modules", "node_modules/a/b.js"),
            ("/target/", "target/debug"),
            ("*.md", "README.md"),
            ("**/*.md", "a/b/README.md"),
            ("**/*.md", "README.md"),
            ("a/**/z", "a/b/c/z"),
            ("temp?", "tempa"),
            ("[a-c]x", "bx"),
            ("# no\n\n  spaced  ", "spaced"),
            ("*\n!src\nsrc/secret", "src/secret"),
            ("*", "Makefile"),
        ] {
            assert!(left_out(text, path), "{text:?} {path}");
        }
    }

    #[test]
    fn patterns_keep_what_docker_keeps() {
        for (text, path) in [
            ("*.md", "docs/README.md"),
            ("node_modules", "src/node_modules.rs"),
            ("*\n!src", "src/main.rs"),
            ("temp?", "temp"),
            ("[^a-c]x", "bx"),
            ("*", "Dockerfile"),
            ("*", ".dockerignore"),
            ("", "a"),
        ] {
            assert!(!left_out(text, path), "{text:?} {path}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let text = "*a".repeat(500) + "b";
        assert!(!left_out(&text, &"a".repeat(5_000)));
        assert!(!left_out(&format!("{}x", "**/a/".repeat(500)), &"a/".repeat(1_000)));
    }
}
