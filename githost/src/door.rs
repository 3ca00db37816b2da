//! Accepts connections for both doors.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::places::{Place, Places};

/// What the listeners of one door share.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) places: Arc<Places>,
    /// Sent to a client that finds no place.
    pub(crate) full: &'static str,
    pub(crate) tasks: TaskTracker,
}

/// Accepts on each listener until the shutdown, and serves each connection in a task of its own.
///
/// # Errors
/// If a listener cannot be used.
pub(crate) fn open<F: Future<Output = ()> + Send + 'static>(
    door: Door,
    listeners: Vec<std::net::TcpListener>,
    serve: impl Fn(TcpStream, Arc<Place>) -> F + Clone + Send + Sync + 'static,
    shutdown: &CancellationToken,
) -> io::Result<()> {
    for bound in listeners {
        bound.set_nonblocking(true)?;
        let accepting = accept(door.clone(), TcpListener::from_std(bound)?, serve.clone());
        let shutdown = shutdown.clone();
        door.tasks.spawn(async move { shutdown.run_until_cancelled(accepting).await });
    }
    Ok(())
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    door: Door,
    listener: TcpListener,
    serve: impl Fn(TcpStream, Arc<Place>) -> F,
) {
    loop {
        let (mut stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of files, most likely: others have to end first.
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Without it, a line of a hook may wait for the next.
        let _ = stream.set_nodelay(true);
        let Some(place) = door.places.take(address.ip(), rand::random_range(0..100)) else {
            // Its address holds its share, or makes a crowd: a line for each would be another way to fill the disk.
            tracing::debug!("no place for a connection from {}", address.ip());
            // A new socket takes so few bytes without waiting.
            let telling = stream.write_all(door.full.as_bytes());
            let _ = tokio::time::timeout(Duration::from_millis(10), telling).await;
            continue;
        };
        let place = Arc::new(place);
        let serving = serve(stream, place.clone());
        door.tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    }
}
