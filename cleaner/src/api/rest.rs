//! Sending an app to rest before its idle time is over.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use func_model::call::AppStatus;
use func_model::{AppName, NotYet, ReleaseId};
use http::StatusCode;
use tokio::time::timeout;

use super::apps::{failed, statuses};
use crate::Cleaner;
use crate::cooling::stop;

/// How long somebody else's turn is waited for.
const TURN: Duration = Duration::from_secs(5);
const IN_USE: &str = "is in use: try again 3 s after its last request";

/// Stops the app's live instance if nobody uses it, and answers with what the app does then.
pub(super) async fn rest(State(cleaner): State<Arc<Cleaner>>, Path(app): Path<String>) -> Response {
    let app: AppName = match app.parse() {
        Ok(app) => app,
        Err(e) => return (StatusCode::BAD_REQUEST, format!("{e}\n")).into_response(),
    };
    match stop_unused(&cleaner, &app).await {
        Ok(Ok(())) => {}
        Ok(Err(why)) => return (StatusCode::CONFLICT, format!("{app} {why}\n")).into_response(),
        Err(e) => return failed(&e),
    }
    let status = match statuses(&cleaner).await {
        Ok(statuses) => statuses.into_iter().find(|status: &AppStatus| status.app == app),
        Err(e) => return failed(&e),
    };
    match status {
        Some(status) => Json(status).into_response(),
        None => (StatusCode::NOT_FOUND, format!("there is no app {app}: see `func apps`\n")).into_response(),
    }
}

/// `Err` inside: why it may not be stopped now. What does not run is at rest already.
async fn stop_unused(cleaner: &Arc<Cleaner>, app: &AppName) -> anyhow::Result<Result<(), &'static str>> {
    let Some(number) = cleaner.config.manifests.current(app)? else { return Ok(Ok(())) };
    let release = ReleaseId { app: app.clone(), number };
    if cleaner.release(&release).is_some_and(|release| release.min > 0) {
        return Ok(Err("is kept warm: func.toml says `min = 1`"));
    }
    let id = release.instance();
    let Ok(Some(mut turn)) = timeout(TURN, cleaner.turns.take(&id)).await else {
        return Ok(Err("is being started or stopped: try again"));
    };
    if !cleaner.vacate(&mut turn) {
        return Ok(Err(IN_USE));
    }
    match cleaner.config.cool.cool(&id, 0).await? {
        Ok(permit) => {
            // It goes on if the caller leaves.
            let stopping = cleaner.clone();
            let stopped = cleaner.tasks.spawn(async move {
                stop(&stopping, &permit).await;
                drop(turn);
            });
            stopped.await?;
            Ok(Ok(()))
        }
        Err(NotYet::NotWarm) => Ok(Ok(())),
        Err(NotYet::Leased | NotYet::Used) => Ok(Err(IN_USE)),
        Err(NotYet::Quarantine) => Ok(Err("may be in use: the ledger was lost less than 15 s ago")),
    }
}
