//! The door: connections in, responses out, and the end of both.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use crate::answer::answer;
use crate::farewell::Farewell;
use crate::limits::{
    ACCEPT_PAUSE, BUFFER_BYTES_MAX, CONNECTIONS_MAX, DRAIN, FAREWELL, HEAD_BYTES_MAX, HEAD_TIMEOUT,
};
use crate::site::Site;

/// How much a server takes upon itself.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub connections: usize,
    /// Time for the head of a request, the idle time before it included.
    pub head: Duration,
    /// Time for what is in flight when the server is told to stop.
    pub drain: Duration,
    /// Time for a client to fetch the end of an answer.
    pub farewell: Duration,
}

impl Bounds {
    /// The bounds of the `limits` module.
    pub const USUAL: Self =
        Self { connections: CONNECTIONS_MAX, head: HEAD_TIMEOUT, drain: DRAIN, farewell: FAREWELL };
}

/// Serves a site until `stop` is done; then closes the door, and gives what is in flight its time to end.
///
/// Needs a tokio runtime of any kind, with IO and time.
pub async fn serve(listener: TcpListener, site: Arc<Site>, bounds: Bounds, stop: impl Future<Output = ()>) {
    let seats = Arc::new(Semaphore::new(bounds.connections));
    let protocol = protocol(bounds);
    let open = GracefulShutdown::new();
    let mut stop = pin!(stop);
    loop {
        let (stream, seat) = tokio::select! {
            () = &mut stop => break,
            guest = guest(&listener, &seats) => guest,
        };
        let site = Arc::clone(&site);
        let service = service_fn(move |request| answer(Arc::clone(&site), request));
        let connection = open
            .watch(protocol.serve_connection(TokioIo::new(Farewell::new(stream, bounds.farewell)), service));
        tokio::spawn(async move {
            // A client that leaves, is silent or speaks something else is no news.
            let _ = connection.await;
            drop(seat);
        });
    }
    drop(listener);
    // What is not done by then ends with the runtime.
    let _ = timeout(bounds.drain, open.shutdown()).await;
}

fn protocol(bounds: Bounds) -> http1::Builder {
    let mut protocol = http1::Builder::new();
    protocol
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_header_size(HEAD_BYTES_MAX)
        .max_buf_size(BUFFER_BYTES_MAX);
    protocol
}

/// Waits for a free seat, then for somebody to take it. Cancelled, it has taken nobody.
async fn guest(listener: &TcpListener, seats: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let seat = Arc::clone(seats).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written whole; without this the last packet of one waits for the client's confirmation.
                let _ = stream.set_nodelay(true);
                return (stream, seat);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Says whether an accept failed because of the one who came, and the next may be fine.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
