//! Calls over real sockets.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::routing::{get, post};
use axum::{Json, Router};
use func_socket::{CallError, ServeError, call, call_json, line_stream, serve};
use futures_util::{StreamExt, stream};
use http::Method;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

const NOTHING: Option<&()> = None;

fn router() -> Router {
    Router::new()
        .route("/echo", post(|Json(value): Json<Value>| async { Json(value) }))
        .route(
            "/lines",
            get(|| async {
                line_stream(stream::iter(["one", "two"]).map(ToOwned::to_owned).chain(stream::once(async {
                    std::future::pending::<()>().await;
                    String::new()
                })))
            }),
        )
        .route("/long", get(|| async { line_stream(stream::iter(["x".repeat(2 * 1024 * 1024)])) }))
}

struct Service {
    _dir: tempfile::TempDir,
    path: PathBuf,
    _stop: DropGuard,
}

async fn up(path: &Path) {
    for _ in 0..200 {
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the socket does not answer");
}

async fn service() -> Service {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("builder.sock");
    let stop = CancellationToken::new();
    let (at, stopped) = (path.clone(), stop.clone());
    tokio::spawn(async move { serve(&at, router(), stopped.cancelled_owned()).await.expect("it serves") });
    up(&path).await;
    Service { _dir: dir, path, _stop: stop.drop_guard() }
}

#[tokio::test]
async fn a_call_is_answered_with_json() {
    let service = service().await;
    let body = json!({"app": "blog"});
    let answer: Value =
        call_json(&service.path, Method::POST, "/echo", Some(&body)).await.expect("an answer");
    assert_eq!(answer, body);
}

#[tokio::test]
async fn lines_come_before_the_answer_is_over() {
    let service = service().await;
    let mut lines = call(&service.path, Method::GET, "/lines", NOTHING).await.expect("an answer");
    assert_eq!(lines.next().await.expect("a line"), Some("one".into()));
    assert_eq!(lines.next().await.expect("a line"), Some("two".into()));
    let third = tokio::time::timeout(Duration::from_millis(50), lines.next()).await;
    assert!(third.is_err(), "the third line never comes");
}

#[tokio::test]
async fn a_line_without_end_is_refused() {
    let service = service().await;
    let mut lines = call(&service.path, Method::GET, "/long", NOTHING).await.expect("an answer");
    assert!(matches!(lines.next().await, Err(CallError::Long { .. })));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused() {
    let service = service().await;
    let body = json!({"text": "x".repeat(100_000)});
    let refused = call_json::<Value>(&service.path, Method::POST, "/echo", Some(&body)).await;
    assert!(
        matches!(refused, Err(CallError::Refused { status, .. }) if status.as_u16() == 413),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_service_that_does_not_run_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let missing = call(&dir.path().join("builder.sock"), Method::GET, "/", NOTHING).await;
    assert_eq!(
        missing.expect_err("nobody listens").to_string(),
        "the builder does not run: start it with `func serve all`"
    );
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let service = service().await;
    let second = serve(&service.path, router(), std::future::pending()).await;
    assert!(matches!(second, Err(ServeError::Taken { .. })));
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("builder.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("bound, and left behind"));
    let at = path.clone();
    tokio::spawn(async move { serve(&at, router(), std::future::pending()).await });
    up(&path).await;
}

#[tokio::test]
async fn a_socket_in_a_very_long_folder_is_served_and_called() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let deep = dir.path().join("x".repeat(100));
    std::fs::create_dir(&deep).expect("made");
    let path = deep.join("builder.sock");
    let at = path.clone();
    tokio::spawn(async move { serve(&at, router(), std::future::pending()).await });
    for _ in 0..200 {
        if path.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let answer: Value = call_json(&path, Method::POST, "/echo", Some(&json!(1))).await.expect("an answer");
    assert_eq!(answer, json!(1));
}

#[tokio::test]
async fn the_socket_is_gone_after_the_end_and_a_hanging_call_does_not_hold_it_up() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("builder.sock");
    let stop = CancellationToken::new();
    let (at, stopped) = (path.clone(), stop.clone());
    let served = tokio::spawn(async move { serve(&at, router(), stopped.cancelled_owned()).await });
    up(&path).await;
    let mut lines = call(&path, Method::GET, "/lines", NOTHING).await.expect("an answer");
    lines.next().await.expect("a line");
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(5), served).await.expect("in time");
    ended.expect("no panic").expect("served");
    assert!(!path.exists());
}
