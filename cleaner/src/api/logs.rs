//! The logs of an app: what is on disk of lives that are over, then what runs.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use func_ledger::{LedgerError, Watch};
use func_model::{AppName, InstanceId, Record, ReleaseId};
use func_runner::{LineStream, Look};
use func_store::{DataDir, Manifests, tail};
use futures_util::{Stream, StreamExt, stream};
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use super::flood::{Budget, LINES_PER_SECOND, REST};
use crate::{Cleaner, Config};

/// How many lines of an app's log are given at the most.
pub(super) const LINES_MAX: usize = 10_000;
const LINES: usize = 100;
/// How many lines wait for a slow reader.
const LINES_WAITING: usize = 256;
/// How often one who follows an app that sleeps is looked after.
const FOLLOW_AGAIN: Duration = Duration::from_millis(500);
/// More lines than the engine keeps of one life: its log has less bytes.
const LINES_OF_A_LIFE: usize = 16 * 1024 * 1024;
/// How long the first line of a running instance that has printed some may take.
const FIRST_LINE: Duration = Duration::from_secs(2);
/// How many of the last lines are given behind a gap.
const LINES_BEHIND: usize = 20;
/// How often one who follows begins again because the instance ended just then.
const TRIES: usize = 3;

#[derive(Debug, Deserialize)]
pub(super) struct LogsQuery {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

/// Answers with lines; they end with their reader.
pub(super) async fn logs(
    State(cleaner): State<Arc<Cleaner>>,
    Path(app): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Response {
    let app: AppName = match app.parse() {
        Ok(app) => app,
        Err(e) => return (StatusCode::BAD_REQUEST, format!("{e}\n")).into_response(),
    };
    let known = cleaner.config.data.repository(&app).exists() || cleaner.config.data.logs(&app).exists();
    if !known {
        return (StatusCode::NOT_FOUND, format!("there is no app {app}: see `func apps`\n")).into_response();
    }
    let (tx, rx) = mpsc::channel(LINES_WAITING);
    let lines = query.lines.unwrap_or(LINES).min(LINES_MAX);
    // Ends with its reader: a line that cannot be sent ends it, and so does the closed channel while it waits.
    tokio::spawn(async move {
        let (closed, source) = (tx.clone(), source(&cleaner, &app));
        tokio::select! {
            () = closed.closed() => {}
            done = source.send(lines, query.follow, &tx) => {
                if let Err(e) = done {
                    warn!(app.name = %app, "the logs of {app} cannot be read: {e:#}");
                    let _ = tx.send(format!("func: the logs cannot be read: {e:#}")).await;
                }
            }
        }
    });
    func_socket::line_stream(ReceiverStream::new(rx))
}

fn source<'a>(cleaner: &'a Cleaner, app: &'a AppName) -> Source<'a> {
    let Config { data, manifests, watch, look, .. } = &cleaner.config;
    Source { app, data, manifests, watch: watch.as_ref(), look: look.as_ref() }
}

/// Where the lines of one app come from.
struct Source<'a> {
    app: &'a AppName,
    data: &'a DataDir,
    manifests: &'a Manifests,
    watch: &'a dyn Watch,
    look: &'a dyn Look,
}

/// One life of an instance, from its start to its end.
#[derive(Debug, PartialEq, Eq)]
struct Life {
    id: InstanceId,
    generation: u64,
}

impl Source<'_> {
    /// First what is on disk of lives that are over, then what runs; if `follow`, each new life as well, from its
    /// first line.
    async fn send(&self, lines: usize, follow: bool, tx: &mpsc::Sender<String>) -> anyhow::Result<()> {
        if !follow {
            return send_all(stream::iter(self.last(lines).await?), tx).await;
        }
        let mut budget = Budget::new();
        let mut given = self.send_first(lines, &mut budget, tx).await?;
        loop {
            sleep(FOLLOW_AGAIN).await;
            let Some(life) = self.life().await? else { continue };
            // A stream that ends while its instance lives is not read again: that would repeat it.
            if given.as_ref() != Some(&life) {
                let stream = self.look.logs(&life.id, LINES_OF_A_LIFE, true).await?;
                self.follow(&life, stream, &mut budget, tx).await?;
                given = Some(life);
            }
        }
    }

    /// Gives the last lines as they are now.
    async fn last(&self, lines: usize) -> anyhow::Result<Vec<String>> {
        let running = match self.life().await? {
            Some(life) => self.look.logs(&life.id, lines, false).await?.collect().await,
            None => Vec::new(),
        };
        let mut all = self.old(lines.saturating_sub(running.len()))?;
        all.extend(running);
        Ok(all)
    }

    /// Sends the last lines and what follows, until the life that is found ends, and gives that life. Its lines come
    /// from one stream, so that none is lost or repeated between what was and what follows.
    async fn send_first(
        &self,
        lines: usize,
        budget: &mut Budget,
        tx: &mpsc::Sender<String>,
    ) -> anyhow::Result<Option<Life>> {
        for _ in 0..TRIES {
            let Some(life) = self.life().await? else { break };
            let printed = self.look.logs(&life.id, lines, false).await?.count().await;
            let old = self.old(lines.saturating_sub(printed))?;
            let mut rest = self.look.logs(&life.id, lines, true).await?;
            // The engine is asked when the stream is first polled.
            let first = match printed {
                0 => None,
                _ => match timeout(FIRST_LINE, rest.next()).await {
                    Ok(Some(line)) => Some(line),
                    // It has ended since it was counted: its lines go to the disk.
                    Ok(None) => {
                        sleep(FOLLOW_AGAIN).await;
                        continue;
                    }
                    Err(_) => None,
                },
            };
            let stream = Box::pin(stream::iter(old.into_iter().chain(first)).chain(rest));
            self.follow(&life, stream, budget, tx).await?;
            return Ok(Some(life));
        }
        send_all(stream::iter(self.old(lines)?), tx).await?;
        Ok(None)
    }

    /// Sends the lines of a life until it ends. One that prints more than is read is left alone for a while, and what it
    /// printed meanwhile is left out but for its last lines.
    async fn follow(
        &self,
        life: &Life,
        stream: LineStream,
        budget: &mut Budget,
        tx: &mpsc::Sender<String>,
    ) -> anyhow::Result<()> {
        let mut lines = stream;
        let mut flooded = false;
        loop {
            match lines.next().await {
                Some(line) if budget.take() => tx.send(line).await?,
                Some(_) => {
                    flooded = true;
                    // The engine reads for nobody meanwhile.
                    drop(lines);
                    sleep(REST).await;
                    let seconds = REST.as_secs();
                    let gap = format!(
                        "func: {seconds} s left out: more than {LINES_PER_SECOND} lines a second are printed"
                    );
                    tx.send(gap).await?;
                    lines = self.look.logs(&life.id, LINES_BEHIND, true).await?;
                }
                None if flooded => {
                    // Its last lines go to the disk.
                    sleep(FOLLOW_AGAIN).await;
                    return send_all(stream::iter(self.old(LINES_BEHIND)?), tx).await;
                }
                None => return Ok(()),
            }
        }
    }

    /// Gives the last lines of the lives that are over.
    fn old(&self, lines: usize) -> anyhow::Result<Vec<String>> {
        Ok(tail(&self.data.logs(self.app), "instance", lines)?)
    }

    /// The instance of the live release, if the ledger says that it runs.
    async fn life(&self) -> anyhow::Result<Option<Life>> {
        let Some(number) = self.manifests.current(self.app)? else { return Ok(None) };
        let id = ReleaseId { app: self.app.clone(), number }.instance();
        let endpoint = match self.watch.records().await {
            Ok((records, _)) => records.get(&id).and_then(Record::endpoint),
            Err(LedgerError::Lost | LedgerError::Away(_)) => None,
            Err(e) => return Err(e.into()),
        };
        Ok(endpoint.map(|endpoint| Life { id, generation: endpoint.generation }))
    }
}

async fn send_all(lines: impl Stream<Item = String>, tx: &mpsc::Sender<String>) -> anyhow::Result<()> {
    let mut lines = std::pin::pin!(lines);
    while let Some(line) = lines.next().await {
        tx.send(line).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "logs_tests.rs"]
mod tests;
