//! The calls that the builder answers, each with the lines of its events.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use func_crash::point;
use func_model::call::{BuildCall, Pin, PinCall, RemoveCall, RollbackCall};
use func_model::event::BuildEvent;
use func_model::{AppName, AuditAct, AuditEnd};
use func_socket::{Caller, line_stream};
use func_store::{Audit, audited, local};
use tracing::{debug, error, info};

use crate::builder::Builder;
use crate::feed::Feed;
use crate::report::Report;
use crate::text::chain;

/// Gives the router of the socket for commands.
pub fn router(builder: Arc<Builder>) -> Router {
    Router::new()
        .route("/builds", post(build))
        .route("/rollbacks", post(roll_back))
        .route("/removals", post(remove))
        .route("/pins", post(pin))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(|| async { (StatusCode::NOT_FOUND, "the builder knows no such call\n") })
        .with_state(builder)
}

/// Gives the router of the socket for git's hooks. They can ask for nothing else.
pub fn builds(builder: Arc<Builder>) -> Router {
    Router::new().route("/builds", post(build)).with_state(builder)
}

fn heard(feed: &Arc<Feed>) -> Response {
    line_stream(feed.listen().into_lines())
}

/// A revision that the branch has left already is not built: its hook came late, and a newer push goes first.
async fn build(State(builder): State<Arc<Builder>>, Json(call): Json<BuildCall>) -> Response {
    let BuildCall { app, revision, by } = call;
    if !builder.config.data.repository(&app).exists() {
        return (StatusCode::NOT_FOUND, format!("there is no app {app}\n")).into_response();
    }
    let head = match builder.head(&app).await {
        Ok(head) => head.unwrap_or_else(|| revision.clone()),
        Err(e) => {
            debug!(app.name = %app, error = %chain(&e), "the head of {app} is not known");
            revision.clone()
        }
    };
    if let Some(by) = by {
        info!(app.name = %app, "{by} pushed {} of {app}", revision.short());
    }
    let feed = Feed::new();
    let queued = builder.queue.push(&app, &head);
    point("after_queued");
    match queued {
        Ok(queued) if head == revision => return heard(&queued),
        Ok(_) => feed.tell(BuildEvent::Superseded { by: head.short().to_owned() }),
        Err(full) => feed.tell(BuildEvent::Failed {
            reason: full.to_string(),
            hint: Some("push again later (git commit --allow-empty makes something to push)".to_owned()),
            tail: Vec::new(),
            stays: builder.config.manifests.current(&app).unwrap_or_default(),
        }),
    }
    heard(&feed)
}

async fn roll_back(
    State(builder): State<Arc<Builder>>,
    Extension(caller): Extension<Caller>,
    Json(call): Json<RollbackCall>,
) -> Response {
    let RollbackCall { app, to } = call;
    let feed = Feed::new();
    let told = feed.clone();
    let work = builder.clone();
    builder.tasks.spawn(async move {
        let what = to.map_or_else(|| "rollback".to_owned(), |to| format!("rollback to {to}"));
        // An app that nobody knows gets no folder of logs.
        let report = match work.config.data.repository(&app).exists() {
            true => Report::open(&work.config.data, &app, told, &what),
            false => Report::unwritten(told),
        };
        let ended = work.roll_back(&app, to, &report).await;
        let detail = to.map_or_else(|| "the release before".to_owned(), |to| to.to_string());
        write_down(&work, caller, AuditAct::Rollback, &app, ended.is_ok(), &detail).await;
        work.end(&app, &report, ended);
    });
    heard(&feed)
}

async fn pin(
    State(builder): State<Arc<Builder>>,
    Extension(caller): Extension<Caller>,
    Json(call): Json<PinCall>,
) -> Response {
    let feed = Feed::new();
    let told = feed.clone();
    let work = builder.clone();
    builder.tasks.spawn(async move {
        let PinCall { release, pin } = call;
        let report = Report::unwritten(told);
        let ended = work.pin(&release, pin).await;
        let act = match pin {
            Pin::Keep => AuditAct::Pin,
            Pin::Lift => AuditAct::Unpin,
        };
        let detail = release.number.to_string();
        write_down(&work, caller, act, &release.app, ended.is_ok(), &detail).await;
        work.end(&release.app, &report, ended);
    });
    heard(&feed)
}

async fn remove(
    State(builder): State<Arc<Builder>>,
    Extension(caller): Extension<Caller>,
    Json(call): Json<RemoveCall>,
) -> Response {
    let feed = Feed::new();
    let told = feed.clone();
    let work = builder.clone();
    builder.tasks.spawn(async move {
        let report = Report::unwritten(told);
        let ended = work.remove(&call.app).await;
        write_down(&work, caller, AuditAct::Remove, &call.app, ended.is_ok(), "").await;
        work.end(&call.app, &report, ended);
    });
    heard(&feed)
}

/// Writes a local user's request to the audit log. A failed write does not undo the request.
async fn write_down(
    builder: &Builder,
    caller: Caller,
    act: AuditAct,
    app: &AppName,
    is_done: bool,
    detail: &str,
) {
    let (audit, app, detail) = (Audit::new(&builder.config.data), app.clone(), detail.to_owned());
    let end = if is_done { AuditEnd::Done } else { AuditEnd::Failed };
    let write = move || audit.record(&audited(act, Some(&app), local(caller.uid), end, &detail));
    match tokio::task::spawn_blocking(write).await {
        Ok(Ok(())) => {}
        Ok(Err(e)) => error!(error = %chain(&e), "the audit log lacks a line"),
        Err(e) => error!(error = %e, "the audit log lacks a line"),
    }
}
