//! Writes into the audit log which public keys are let in now and were not before, or no longer are.
//!
//! The keys are files that anybody who may write to them edits with any editor, so func learns of a change by looking: at
//! its start, every [`KEYS_EVERY`], and whenever a client shows a key.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use func_model::{AuditAct, AuditEnd, plain_line};
use func_store::{Audit, DataDir, audited, local, replace};

use crate::error::io_error;
use crate::keys::{Key, listed};
use crate::limits::{KEY_LINES_MAX, KEYS_EVERY};
use crate::{HostError, ssh};

/// The longest comment of a key that is written down.
const COMMENT_CHARS: usize = 64;

/// The keys' fingerprints, each with its comment.
type Seen = BTreeMap<String, String>;

/// Compares the keys that are let in with those that were seen last, by this process or one before it.
#[derive(Debug)]
pub(crate) struct KeyWatch {
    files: Vec<PathBuf>,
    /// Where what was seen is kept.
    place: PathBuf,
    audit: Audit,
    /// `None` until the first look.
    seen: Mutex<Option<Seen>>,
}

impl KeyWatch {
    pub(crate) fn new(data: &DataDir, files: Vec<PathBuf>) -> Self {
        let place = data.keys().join("seen.json");
        Self { files, place, audit: Audit::new(data), seen: Mutex::new(None) }
    }

    /// Looks for ever.
    pub(crate) async fn watch(watch: std::sync::Arc<Self>) {
        loop {
            let looking = watch.clone();
            let _ = tokio::task::spawn_blocking(move || looking.look()).await;
            tokio::time::sleep(KEYS_EVERY).await;
        }
    }

    /// Writes down what has changed since the last look. What cannot be written now is tried again at the next look.
    pub(crate) fn look(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(e) = self.compare(&mut seen) {
            tracing::warn!("a change of keys is not in the audit log yet: {}", func_model::chain(&e));
        }
    }

    fn compare(&self, seen: &mut Option<Seen>) -> Result<(), HostError> {
        let before = match seen.take() {
            Some(before) => before,
            None => read(&self.place)?,
        };
        let before = seen.insert(before);
        let now: Seen = self.files.iter().flat_map(|file| listed(file)).map(named).collect();
        if now == *before {
            return Ok(());
        }
        let added = now.iter().filter(|(key, _)| !before.contains_key(*key)).map(|key| ("added", key));
        let removed = before.iter().filter(|(key, _)| !now.contains_key(*key)).map(|key| ("removed", key));
        let changes: Vec<_> = added.chain(removed).collect();
        let by = local(self.owner());
        for (verb, (fingerprint, comment)) in changes.iter().take(KEY_LINES_MAX) {
            let named = if comment.is_empty() { String::new() } else { format!(" {comment}") };
            self.write(&by, &format!("{verb} {fingerprint}{named}"))?;
        }
        if let Some(more @ 1..) = changes.len().checked_sub(KEY_LINES_MAX) {
            self.write(&by, &format!("{more} more added or removed"))?;
        }
        let text = serde_json::to_vec(&now).map_err(|e| io_error("write", &self.place)(e.into()))?;
        replace(&self.place, &text, 0o600)?;
        *before = now;
        Ok(())
    }

    fn write(&self, by: &func_model::Principal, detail: &str) -> Result<(), HostError> {
        tracing::info!("keys: {detail}");
        Ok(self.audit.record(&audited(AuditAct::Keys, None, by.clone(), AuditEnd::Done, detail))?)
    }

    /// The user whom the first file, or the folder that it was in, belongs to: who wrote to it nobody knows.
    fn owner(&self) -> u32 {
        let file = self.files.first().map_or(Path::new("/"), PathBuf::as_path);
        let found = file.metadata().or_else(|_| file.parent().unwrap_or(Path::new("/")).metadata());
        found.map_or(0, |found| found.uid())
    }
}

fn named((key, comment): (Key, String)) -> (String, String) {
    let comment = plain_line(&comment).chars().take(COMMENT_CHARS).collect();
    (ssh::fingerprint_of(&key), comment)
}

fn read(place: &Path) -> Result<Seen, HostError> {
    match std::fs::read(place) {
        // A file that is none is as good as none: every key is written down again.
        Ok(text) => Ok(serde_json::from_slice(&text).unwrap_or_default()),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Seen::new()),
        Err(e) => Err(io_error("read", place)(e)),
    }
}
