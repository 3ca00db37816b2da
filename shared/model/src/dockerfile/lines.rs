//! The lines of a Dockerfile: directives, comments, continuations, here-documents.

/// How a version of BuildKit's reader takes what the others take otherwise.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// `RUN <<EOF` begins a here-document.
    documents: bool,
    /// Two escape characters at the end of a line are no continuation.
    doubled: bool,
}

impl Reading {
    pub(super) const ALL: [Self; 4] = [
        Self { documents: false, doubled: false },
        Self { documents: false, doubled: true },
        Self { documents: true, doubled: false },
        Self { documents: true, doubled: true },
    ];
}

/// Returns the value of a directive: `# syntax=docker/dockerfile:1` on the first lines.
pub(super) fn directive(text: &str, name: &str) -> Option<String> {
    for line in text.trim_start_matches('\u{feff}').lines() {
        let body = line.trim_start();
        // Newer readers take a line of `#!` and comments of other languages for a place of the directive as well.
        let body = body.strip_prefix("#!").map_or(body, |_| "#");
        let Some(body) = body.strip_prefix('#').or_else(|| body.strip_prefix("//")) else { break };
        let Some((key, value)) = body.split_once('=') else { continue };
        if key.trim().eq_ignore_ascii_case(name) {
            return value.split_whitespace().next().map(str::to_owned);
        }
    }
    None
}

/// Returns the instructions, each on one line, without comments.
pub(super) fn instructions(text: &str, reading: Reading) -> Vec<String> {
    let escape = match directive(text, "escape").as_deref() {
        Some("`") => '`',
        Some(_) | None => '\\',
    };
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let (mut found, mut whole) = (Vec::new(), String::new());
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with('#') || (line.trim().is_empty() && !whole.is_empty()) {
            continue;
        }
        if let Some(begun) = continued(line, escape, reading) {
            whole.push_str(begun);
            continue;
        }
        whole.push_str(line);
        let instruction = std::mem::take(&mut whole);
        if reading.documents {
            for end in document_ends(&instruction) {
                lines.by_ref().find(|line| line.trim_start_matches('\t') == end);
            }
        }
        found.push(instruction.trim().to_owned());
    }
    found.push(whole.trim().to_owned());
    found.retain(|instruction| !instruction.is_empty());
    found
}

/// Returns what a line begins, if it goes on with the next.
fn continued(line: &str, escape: char, reading: Reading) -> Option<&str> {
    let begun = line.trim_end_matches([' ', '\t']).strip_suffix(escape)?;
    (!(reading.doubled && begun.ends_with(escape))).then_some(begun)
}

/// Returns the words that end the here-documents of an instruction: `RUN <<A cat && <<"B"`.
fn document_ends(instruction: &str) -> Vec<String> {
    let keyword = instruction.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    if !["RUN", "COPY", "ADD", "ONBUILD"].contains(&keyword.as_str()) {
        return Vec::new();
    }
    let begins = instruction.split("<<").skip(1);
    let word = |begin: &str| {
        let begin = begin.strip_prefix('-').unwrap_or(begin);
        let word = begin.split(|c: char| c.is_whitespace() || c == ';' || c == '>').next()?;
        let word = word.trim_matches(['"', '\'']);
        (!word.is_empty() && !word.starts_with('<')).then(|| word.to_owned())
    };
    begins.filter_map(word).collect()
}
