//! Accepts connections for both doors, and counts them.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::ADDRESS_CONNECTIONS_MAX;

/// The places for connections at one door: so many in all, and so many for one address.
#[derive(Debug)]
pub(crate) struct Places {
    taken: Mutex<HashMap<IpAddr, usize>>,
    max: usize,
}

/// One taken place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: Mutex::new(HashMap::new()), max })
    }

    /// Takes a place; `None` if there is none left, in all or for this address.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().sum::<usize>() >= self.max {
            return None;
        }
        let mine = taken.entry(address).or_default();
        if *mine >= ADDRESS_CONNECTIONS_MAX {
            return None;
        }
        *mine += 1;
        Some(Place { places: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(mine) = taken.get_mut(&self.address) {
            *mine -= 1;
            if *mine == 0 {
                taken.remove(&self.address);
            }
        }
    }
}

/// What the listeners of one door share.
#[derive(Debug, Clone)]
pub(crate) struct Door {
    pub(crate) places: Arc<Places>,
    /// Told to who finds no place.
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
    serve: impl Fn(TcpStream) -> F + Clone + Send + Sync + 'static,
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
    serve: impl Fn(TcpStream) -> F,
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
        let Some(place) = door.places.take(address.ip().to_canonical()) else {
            tracing::warn!("no place for a connection from {}", address.ip());
            // A new socket takes so few bytes without waiting.
            let telling = stream.write_all(door.full.as_bytes());
            let _ = tokio::time::timeout(Duration::from_millis(10), telling).await;
            continue;
        };
        let serving = serve(stream);
        door.tasks.spawn(async move {
            serving.await;
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_never_takes_all_places() {
        let places = Places::new(ADDRESS_CONNECTIONS_MAX + 1);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let held: Vec<_> = (0..ADDRESS_CONNECTIONS_MAX).map(|_| places.take(one).expect("a place")).collect();
        assert!(places.take(one).is_none());
        let last = places.take(other).expect("a place for another address");
        assert!(places.take(IpAddr::from([10, 0, 0, 3])).is_none(), "no more than the places in all");
        drop((held, last));
        assert!(places.take(one).is_some());
        assert!(places.taken.lock().expect("a lock").is_empty(), "who left is forgotten");
    }
}
