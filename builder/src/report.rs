//! What a deploy tells: to its pushers, and to the app's build log.

use std::sync::{Arc, Mutex, PoisonError};

use func_model::AppName;
use func_model::event::BuildEvent;
use func_store::{DataDir, LogFile, StoreError};
use tracing::warn;

use crate::clock::unix_ms;
use crate::feed::Feed;
use crate::text::{chain, clean};

/// The name of the log in `logs/<app>/`.
const LOG: &str = "build";

/// Where a deploy's events go.
#[derive(Debug)]
pub struct Report {
    feed: Arc<Feed>,
    /// `None` once it cannot be written: the deploy goes on without.
    log: Mutex<Option<LogFile>>,
}

impl Report {
    /// Opens the app's build log, and begins with a line that says what follows and when it began.
    pub fn open(data: &DataDir, app: &AppName, feed: Arc<Feed>, what: &str) -> Self {
        let log = LogFile::open(&data.logs(app), LOG);
        let report = Self { feed, log: Mutex::new(unless_failed(log)) };
        report.write(&[format!("==== {what}, {}", func_model::utc(unix_ms()))]);
        report
    }

    /// Gives a report that is not written down: the app's logs are about to go.
    pub fn unwritten(feed: Arc<Feed>) -> Self {
        Self { feed, log: Mutex::new(None) }
    }

    /// Tells an event.
    pub fn tell(&self, event: BuildEvent) {
        self.write(&event.lines());
        self.feed.tell(event);
    }

    /// Tells that a new part of the work begins.
    pub fn step(&self, text: impl Into<String>) {
        self.tell(BuildEvent::Step { text: text.into() });
    }

    /// Tells a line of the build's own output.
    pub fn line(&self, line: &str) {
        self.tell(BuildEvent::Log { line: clean(line) });
    }

    /// Tells what the pusher should know, though it is no failure.
    pub fn warn(&self, text: impl Into<String>) {
        self.tell(BuildEvent::Warning { text: text.into() });
    }

    fn write(&self, lines: &[String]) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(file) = log.as_mut() else { return };
        let written = lines.iter().try_for_each(|line| file.line(line));
        if unless_failed(written).is_none() {
            *log = None;
        }
    }
}

fn unless_failed<T>(result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(e) => {
            warn!(error = %chain(&e), "the build log cannot be written");
            None
        }
    }
}
