//! What a pusher is told while a push is built and released.

use serde::{Deserialize, Serialize};

use crate::{ReleaseId, ReleaseNumber, plain_text, redacted};

/// One line of progress; the lines of one deploy end with `Live`, `Failed` or `Superseded`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BuildEvent {
    /// Waits for a place; `ahead` builds go first.
    Queued { ahead: usize },
    /// A newer push of the same app took its place in the queue.
    Superseded { by: String },
    /// A new part of the work begins.
    Step { text: String },
    /// A line of the build's own output.
    Log { line: String },
    /// Something that the pusher should know, though it is no failure.
    Warning { text: String },
    /// The release serves.
    Live { release: ReleaseId, urls: Vec<String>, took_ms: u64 },
    /// The deploy failed; `stays` serves as before.
    Failed { reason: String, hint: Option<String>, tail: Vec<String>, stays: Option<ReleaseNumber> },
    /// What was asked for is done (a removal).
    Done { text: String },
}

impl BuildEvent {
    /// Whether no more lines follow.
    pub fn is_last(&self) -> bool {
        match self {
            Self::Live { .. } | Self::Failed { .. } | Self::Superseded { .. } | Self::Done { .. } => true,
            Self::Queued { .. } | Self::Step { .. } | Self::Log { .. } | Self::Warning { .. } => false,
        }
    }

    /// Gives the lines that a person reads, on a terminal: without what others could hide in them, or passwords of URLs.
    pub fn lines(&self) -> Vec<String> {
        let shown = |line: &String| plain_text(&redacted(&line.replace('\n', " "))).into_owned();
        self.written().iter().map(shown).collect()
    }

    fn written(&self) -> Vec<String> {
        match self {
            Self::Queued { ahead } => vec![format!("-----> waiting: {ahead} before this one")],
            Self::Superseded { by } => {
                vec![format!("-----> superseded by the newer push {by}: this one is not built")]
            }
            Self::Step { text } => vec![format!("-----> {text}")],
            Self::Log { line } => vec![format!("       {line}")],
            Self::Warning { text } => vec![format!(" !     {text}")],
            Self::Live { release, urls, took_ms } => {
                let took = format!("{}.{} s", took_ms / 1_000, took_ms % 1_000 / 100);
                let mut lines = vec![format!("-----> {release} is live ({took})")];
                lines.extend(urls.iter().map(|url| format!("       {url}")));
                lines
            }
            Self::Failed { reason, hint, tail, stays } => failed_lines(reason, hint.as_deref(), tail, *stays),
            Self::Done { text } => vec![format!("-----> {text}")],
        }
    }
}

fn failed_lines(
    reason: &str,
    hint: Option<&str>,
    tail: &[String],
    stays: Option<ReleaseNumber>,
) -> Vec<String> {
    let mut lines = Vec::new();
    if !tail.is_empty() {
        lines.push(" !     the last lines:".to_owned());
        lines.extend(tail.iter().map(|line| format!("       | {line}")));
    }
    let stays = stays.map(|number| format!("; {number} stays live")).unwrap_or_default();
    lines.push(format!(" !     {reason}{stays}"));
    lines.extend(hint.map(|hint| format!(" !     hint: {hint}")));
    lines
}
