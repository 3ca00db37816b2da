//! Starting by asking the cleaner: its answers come over, and its absence for a moment is not noticed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use func_model::InstanceId;
use func_runner::{
    How, LookCall, Remote, RunnerError, Start, StartCall, StartError, StartFailure, StartTimes, Started,
    State,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::world::{LONG, claim};

const SHORT: Duration = Duration::from_millis(300);

fn id() -> InstanceId {
    "blog-v1.1".parse().unwrap()
}

fn started() -> Started {
    let took = StartTimes { queue_us: 1, create_us: 2, start_us: 3, ready_us: 4 };
    Started { addr: "172.18.0.2:8080".parse().unwrap(), how: How::Resumed, took }
}

fn socket() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("start.sock");
    (dir, path)
}

/// Answers calls until it is aborted.
fn cleaner(path: &Path, router: Router) -> JoinHandle<()> {
    let path = path.to_owned();
    tokio::spawn(async move { func_socket::serve(&path, router, std::future::pending()).await.unwrap() })
}

async fn answer(Json(call): Json<StartCall>) -> Response {
    assert!(call.within_ms <= LONG.as_millis() as u64 && call.generation == 1);
    match call.id == id() {
        true => Json(started()).into_response(),
        false => {
            let failure = StartFailure::from(&StartError::Stale { id: call.id });
            (StatusCode::CONFLICT, Json(failure)).into_response()
        }
    }
}

#[tokio::test]
async fn a_start_and_its_failure_come_over() {
    let (_dir, path) = socket();
    let look = async |Json(call): Json<LookCall>| {
        assert_eq!(call.id, id());
        Json(State::Running { addr: started().addr })
    };
    let _cleaner = cleaner(&path, Router::new().route("/start", post(answer)).route("/look", post(look)));
    let remote = Remote::new(path);
    assert_eq!(remote.start(&claim(&id()), LONG).await.unwrap(), started());
    let error = remote.start(&claim(&"shop-v1.1".parse().unwrap()), LONG).await.unwrap_err();
    assert!(matches!(&error, StartError::Stale { id } if id.release.app.as_str() == "shop"), "{error:?}");
    assert_eq!(remote.look(&id()).await.unwrap(), State::Running { addr: started().addr });
}

#[tokio::test]
async fn a_cleaner_that_comes_late_is_waited_for() {
    let (_dir, path) = socket();
    let remote = Remote::new(path.clone());
    let _cleaner = tokio::spawn(async move {
        sleep(SHORT).await;
        let router = Router::new().route("/start", post(answer));
        func_socket::serve(&path, router, std::future::pending()).await.unwrap();
    });
    let told = remote.start(&claim(&id()), LONG).await;
    assert_eq!(told.unwrap(), started());
}

#[tokio::test]
async fn a_call_that_breaks_off_is_made_again() {
    let (_dir, path) = socket();
    let calls = Arc::new(AtomicU32::new(0));
    let breaks = async |Shared(calls): Shared<Arc<AtomicU32>>| {
        if calls.fetch_add(1, Ordering::Relaxed) < 3 {
            panic!("the cleaner is killed");
        }
        Json(started())
    };
    let _cleaner = cleaner(&path, Router::new().route("/start", post(breaks)).with_state(calls.clone()));
    assert_eq!(Remote::new(path).start(&claim(&id()), LONG).await.unwrap(), started());
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_cleaner_that_does_not_come_is_told() {
    let (_dir, path) = socket();
    let remote = Remote::new(path);
    let error = remote.start(&claim(&id()), SHORT).await.unwrap_err();
    let StartError::Runner(RunnerError::Cleaner(source)) = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("the cleaner does not run"), "{source}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_told() {
    let (_dir, path) = socket();
    let broken = async || (StatusCode::INTERNAL_SERVER_ERROR, "the disk is full");
    let _cleaner = cleaner(&path, Router::new().route("/start", post(broken)));
    let error = Remote::new(path).start(&claim(&id()), LONG).await.unwrap_err();
    let StartError::Runner(RunnerError::Cleaner(source)) = error else { panic!("{error:?}") };
    assert_eq!(source.to_string(), "the disk is full");
}
