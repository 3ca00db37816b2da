//! Starts, for those who hold a claim and have no engine.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use func_runner::{LookCall, StartCall, StartError, StartFailure};
use http::StatusCode;
use tracing::debug;

use crate::{Cleaner, start};

/// Answers with `Started`, or with a `StartFailure`.
pub(super) async fn start(State(cleaner): State<Arc<Cleaner>>, Json(call): Json<StartCall>) -> Response {
    let within = Duration::from_millis(call.within_ms);
    match start::start(&cleaner, &call.id, call.generation, within).await {
        Ok(started) => Json(started).into_response(),
        Err(e) => failed(&e),
    }
}

/// Answers with a `State`, or with a text.
pub(super) async fn look(State(cleaner): State<Arc<Cleaner>>, Json(call): Json<LookCall>) -> Response {
    match cleaner.config.start.look(&call.id).await {
        Ok(state) => Json(state).into_response(),
        Err(e) => (StatusCode::BAD_GATEWAY, format!("{e}\n")).into_response(),
    }
}

/// The caller handles it, and logs it.
fn failed(error: &StartError) -> Response {
    debug!("a start failed: {error}");
    let status = match error {
        StartError::Stale { .. } => StatusCode::CONFLICT,
        StartError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        StartError::Exited { .. }
        | StartError::Silent { .. }
        | StartError::Unhealthy { .. }
        | StartError::NoImage { .. }
        | StartError::NoCommand { .. }
        | StartError::Runner(_) => StatusCode::BAD_GATEWAY,
    };
    (status, Json(StartFailure::from(error))).into_response()
}

#[cfg(test)]
mod tests {
    use func_ledger::Enter;
    use func_runner::{How, Remote, START_SOCKET, Start, State};
    use func_socket::CallError;
    use http::Method;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::start_router;
    use crate::testing::{World, addr, blog, release};

    /// A world whose start socket is served; gives the power to start over it.
    async fn served() -> (World, Remote, CancellationToken) {
        let world = World::restored(&[release("blog")]).await;
        world.engine.state().takes = Duration::from_millis(10);
        let (socket, shutdown) = (world.cleaner.config.data.socket(START_SOCKET), CancellationToken::new());
        let (path, ended) = (socket.clone(), shutdown.clone().cancelled_owned());
        let router = start_router(world.cleaner.clone());
        tokio::spawn(async move { func_socket::serve(&path, router, ended).await });
        (world, Remote::new(socket), shutdown)
    }

    const WITHIN: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn who_holds_a_claim_starts_over_the_socket_and_who_does_not_is_told() {
        let (world, remote, shutdown) = served().await;
        assert_eq!(remote.look(&blog()).await.expect("told"), State::Stopped);
        let (claim, lease) = world.claim(&blog()).await;
        let started = remote.start(&claim, WITHIN).await.expect("started");
        assert_eq!((started.addr, started.how), (addr(), How::Made));
        assert_eq!(remote.look(&blog()).await.expect("told"), State::Running { addr: addr() });
        world.ledger.woken(&claim, addr(), &lease, started.start_ms()).await.expect("woken");
        assert!(matches!(remote.start(&claim, WITHIN).await, Err(StartError::Stale { .. })));
        shutdown.cancel();
    }

    #[tokio::test]
    async fn a_start_that_fails_is_told_with_its_facts() {
        let (world, remote, shutdown) = served().await;
        world.engine.state().failing_starts = 1;
        let (claim, _) = world.claim(&blog()).await;
        let error = remote.start(&claim, WITHIN).await.expect_err("it fails");
        assert!(matches!(error, StartError::Runner(_)), "{error:?}");
        assert_eq!(error.to_string(), "the Docker engine refused to start a container: it is broken");
        shutdown.cancel();
    }

    #[tokio::test]
    async fn nothing_else_can_be_asked_for() {
        let (world, remote, shutdown) = served().await;
        remote.look(&blog()).await.expect("it is served");
        let socket = world.cleaner.config.data.socket(START_SOCKET);
        for (method, uri, status) in [
            (Method::GET, "/apps", StatusCode::NOT_FOUND),
            (Method::POST, "/stop", StatusCode::NOT_FOUND),
            (Method::GET, "/start", StatusCode::METHOD_NOT_ALLOWED),
        ] {
            let refused = func_socket::call(&socket, method, uri, None::<&()>).await;
            let Err(CallError::Refused { status: told, .. }) = refused else { panic!("{uri} was answered") };
            assert_eq!(told, status, "{uri}");
        }
        shutdown.cancel();
    }
}
