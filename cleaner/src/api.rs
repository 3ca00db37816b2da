//! What the cleaner answers on its socket: the apps, and their logs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use func_ledger::LedgerError;
use func_model::call::AppStatus;
use func_model::{AppName, InstanceId, ReleaseId};
use func_store::tail;
use futures_util::StreamExt;
use http::StatusCode;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tracing::warn;

use crate::Cleaner;

/// How many lines of an app's log are given at the most.
const LINES_MAX: usize = 10_000;
const LINES: usize = 100;
/// How many lines wait for a slow reader.
const LINES_WAITING: usize = 256;
/// How often one who follows an app that sleeps is looked after.
const FOLLOW_AGAIN: Duration = Duration::from_millis(500);

pub(crate) fn router(cleaner: Arc<Cleaner>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/apps", get(apps))
        .route("/apps/{app}/logs", get(logs))
        .with_state(cleaner)
}

fn failed(error: &anyhow::Error) -> Response {
    warn!("a call failed: {error:#}");
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")).into_response()
}

async fn apps(State(cleaner): State<Arc<Cleaner>>) -> Response {
    match statuses(&cleaner).await {
        Ok(statuses) => Json(statuses).into_response(),
        Err(e) => failed(&e),
    }
}

async fn statuses(cleaner: &Cleaner) -> anyhow::Result<Vec<AppStatus>> {
    let records = match cleaner.config.watch.records().await {
        Ok((records, _)) => Some(records),
        Err(LedgerError::Lost | LedgerError::Away(_)) => None,
        Err(e) => return Err(e.into()),
    };
    let mut apps: BTreeSet<AppName> = cleaner.config.manifests.apps()?.into_iter().collect();
    apps.extend(cleaner.config.data.repositories()?);
    let mut statuses = Vec::with_capacity(apps.len());
    for app in apps {
        let number = cleaner.config.manifests.current(&app)?;
        let release = number.map(|number| ReleaseId { app: app.clone(), number });
        let hosts = release.as_ref().and_then(|id| cleaner.release(id)).map(|r| r.hosts).unwrap_or_default();
        let record = match (&release, &records) {
            (Some(release), Some(records)) => records.get(&release.instance()),
            (Some(_) | None, _) => None,
        };
        let phase = match (&release, &records) {
            (None, _) => "not deployed",
            (Some(_), None) => "unknown",
            (Some(_), Some(_)) => record.map_or("cold", |r| r.phase.name()),
        };
        statuses.push(AppStatus {
            app,
            release,
            phase: phase.into(),
            used_ms: record.map(|r| r.used_ms),
            hosts,
        });
    }
    Ok(statuses)
}

#[derive(Debug, Deserialize)]
struct LogsQuery {
    lines: Option<usize>,
    #[serde(default)]
    follow: bool,
}

async fn logs(
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
        let closed = tx.clone();
        tokio::select! {
            () = closed.closed() => {}
            done = send_logs(&cleaner, &app, lines, query.follow, &tx) => {
                if let Err(e) = done {
                    warn!(app.name = %app, "the logs of {app} cannot be read: {e:#}");
                    let _ = tx.send(format!("func: the logs cannot be read: {e:#}")).await;
                }
            }
        }
    });
    func_socket::line_stream(ReceiverStream::new(rx))
}

/// First what is on disk of instances that have ended, then what runs; if `follow`, each new instance as well.
async fn send_logs(
    cleaner: &Cleaner,
    app: &AppName,
    lines: usize,
    follow: bool,
    tx: &mpsc::Sender<String>,
) -> anyhow::Result<()> {
    let mut running = Vec::new();
    let mut instance = live_instance(cleaner, app).await?;
    if let Some(id) = &instance {
        running = cleaner.config.look.logs(id, lines, false).await?.collect::<Vec<_>>().await;
    }
    let old = tail(&cleaner.config.data.logs(app), "instance", lines.saturating_sub(running.len()))?;
    for line in old.into_iter().chain(running) {
        tx.send(line).await?;
    }
    if !follow {
        return Ok(());
    }
    // What runs now has been given up to here; what starts later is given from its first line.
    let mut given = 0;
    loop {
        if let Some(id) = &instance {
            let mut stream = cleaner.config.look.logs(id, given, true).await?;
            while let Some(line) = stream.next().await {
                tx.send(line).await?;
            }
        }
        given = LINES_MAX;
        tokio::time::sleep(FOLLOW_AGAIN).await;
        instance = live_instance(cleaner, app).await?;
    }
}

/// The instance of the live release, if the ledger says that it runs.
async fn live_instance(cleaner: &Cleaner, app: &AppName) -> anyhow::Result<Option<InstanceId>> {
    let Some(number) = cleaner.config.manifests.current(app)? else { return Ok(None) };
    let id = ReleaseId { app: app.clone(), number }.instance();
    match cleaner.config.watch.records().await {
        Ok((records, _)) => Ok(records.get(&id).is_some_and(|r| r.endpoint().is_some()).then_some(id)),
        Err(LedgerError::Lost | LedgerError::Away(_)) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
