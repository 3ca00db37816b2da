//! The answering side.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener as StdListener, UnixStream as StdStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router};
use func_model::limits::CALL_BYTES;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::ServeError;
use crate::address::Address;
use crate::limits::{CALLS_MAX, DRAIN_WITHIN, HEAD_WITHIN};

/// The owner and its group may open the socket; who may call is asked of the kernel.
const MODE: u32 = 0o660;
/// The wait after a failed accept: out of descriptors is over soon, or not at all.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Who calls, by the kernel's word: an extension of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    pub uid: u32,
}

/// Serves `router` on a unix socket at `path` until `shutdown`, then lets calls end for a short while.
///
/// A socket file that nobody listens on is replaced. Callers other than the own user and root are turned away,
/// bodies are limited to `limits::CALL_BYTES`, one call a connection.
///
/// # Errors
/// [`ServeError::Taken`] if somebody listens there already, [`ServeError::Listen`] if it cannot be made.
pub async fn serve(
    path: &Path,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_also(path, None, router, shutdown).await
}

/// As [`serve`]; the user `also` may call as well, if its group may open the socket.
///
/// # Errors
/// As [`serve`].
pub async fn serve_also(
    path: &Path,
    also: Option<u32>,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = listen(path)?;
    let router = router.layer(DefaultBodyLimit::max(CALL_BYTES));
    let places = Arc::new(Semaphore::new(CALLS_MAX));
    let closing = CancellationToken::new();
    let mut calls = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = calls.join_next(), if !calls.is_empty() => {
                if let Err(e) = ended {
                    error!(error = %e, "a call ended badly");
                }
                continue;
            }
            accepted = accept(&listener, also, &places) => accepted,
        };
        let Some((stream, caller, place)) = accepted else { continue };
        let (router, closing) = (router.clone().layer(Extension(caller)), closing.clone());
        calls.spawn(async move {
            answer(stream, router, closing).await;
            drop(place);
        });
    }
    drop(listener);
    if let Err(e) = fs::remove_file(path) {
        debug!(error = %e, "the socket was gone already");
    }
    closing.cancel();
    let drained = async { while calls.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_WITHIN, drained).await.is_err() {
        debug!("calls were cut at the end");
    }
    Ok(())
}

fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen { path: path.to_owned(), source };
    let address = Address::of(path).map_err(failed)?;
    let listener = match StdListener::bind(address.path()) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => {
            if StdStream::connect(address.path()).is_ok() {
                return Err(ServeError::Taken { path: path.to_owned() });
            }
            fs::remove_file(path).map_err(failed)?;
            StdListener::bind(address.path()).map_err(failed)?
        }
        bound => bound.map_err(failed)?,
    };
    fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    UnixListener::from_std(listener).map_err(failed)
}

/// Waits for a place, then for a caller who may call.
async fn accept(
    listener: &UnixListener,
    also: Option<u32>,
    places: &Arc<Semaphore>,
) -> Option<(UnixStream, Caller, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.expect("the semaphore is never closed");
    let stream = match listener.accept().await {
        Ok((stream, _)) => stream,
        Err(e) => {
            warn!(error = %e, "a call could not be accepted");
            tokio::time::sleep(ACCEPT_AGAIN).await;
            return None;
        }
    };
    let own = geteuid().as_raw();
    match stream.peer_cred() {
        Ok(peer) if may_call(peer.uid(), own, also) => Some((stream, Caller { uid: peer.uid() }, place)),
        Ok(peer) => {
            warn!(uid = peer.uid(), "turned away a call of another user");
            None
        }
        Err(e) => {
            warn!(error = %e, "turned away a call of nobody known");
            None
        }
    }
}

/// Admits root, the service's own user, and the user that the socket is for.
fn may_call(caller: u32, own: u32, also: Option<u32>) -> bool {
    caller == 0 || caller == own || also == Some(caller)
}

async fn answer(stream: UnixStream, router: Router, closing: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = ended {
        debug!(error = %e, "a caller left");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_root_the_services_own_user_and_the_one_that_it_is_for_may_call() {
        for (caller, own, also, may) in [
            (0, 1000, None, true),
            (1000, 1000, None, true),
            (1001, 1000, None, false),
            (1000, 0, None, false),
            (1001, 0, Some(1001), true),
            (1002, 0, Some(1001), false),
        ] {
            assert_eq!(may_call(caller, own, also), may, "{caller} calls {own}");
        }
    }
}
