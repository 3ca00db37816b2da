//! Places: how many containers are made at the same time.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Gives how many places this machine has: making a container keeps one CPU busy (the engine, runc, the file system), and
/// one CPU is left to what is warm. Measured with two: three places at once make 1.6 times as many containers as one in
/// the same time, but a warm app's p99 is 13 ms instead of 2 ms.
pub(crate) fn places_here() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get().saturating_sub(1).max(1))
}

/// How many may wait for a place: more than can be made in the time that a caller has, and half of the calls that the
/// cleaner's socket serves at once, so that those who only look are served.
pub(crate) const WAITING_MAX: usize = 256;

/// The places: first come, first served. An app has one start at a time, so that the order is fair among apps.
#[derive(Debug)]
pub(crate) struct Places {
    free: Arc<Semaphore>,
    line: Arc<Semaphore>,
    /// A place has become free, or one who waited for it has left.
    changed: Notify,
}

impl Places {
    pub(crate) fn new(places: usize) -> Self {
        let line = Arc::new(Semaphore::new(WAITING_MAX));
        Self { free: Arc::new(Semaphore::new(places)), line, changed: Notify::new() }
    }

    /// Gives the right to wait for a place until it is dropped; `None` if as many wait as may.
    pub(crate) fn join(&self) -> Option<OwnedSemaphorePermit> {
        self.line.clone().try_acquire_owned().ok()
    }

    /// Waits for a place, for somebody's start.
    pub(crate) async fn take(self: &Arc<Self>) -> Place {
        // Made before, so that one who gives up is told of.
        let mut place = Place { places: self.clone(), permit: None };
        let permit = self.free.clone().acquire_owned().await;
        place.permit = Some(permit.expect("the semaphore is never closed"));
        place
    }

    /// Waits until a place is free that nobody waits for: for what is made ahead, which keeps it for no longer than it takes
    /// to see whether it is still wanted. One at a time may wait so.
    pub(crate) async fn take_idle(self: &Arc<Self>) -> Place {
        loop {
            // A place that becomes free belongs to whoever waits for it.
            if let Ok(permit) = self.free.clone().try_acquire_owned() {
                return Place { places: self.clone(), permit: Some(permit) };
            }
            self.changed.notified().await;
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.places.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_made_ahead_waits_until_no_start_waits() {
        let places = Arc::new(Places::new(1));
        let first = places.take().await;
        let (start, ahead) = (places.clone(), places.clone());
        let ahead = tokio::spawn(async move { ahead.take_idle().await });
        sleep(Duration::from_secs(1)).await;
        let start = tokio::spawn(async move { start.take().await });
        sleep(Duration::from_secs(1)).await;
        drop(first);
        let start = start.await.expect("a place");
        sleep(Duration::from_secs(1)).await;
        assert!(!ahead.is_finished(), "it came first, and goes last");
        drop(start);
        ahead.await.expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_gives_up_just_when_it_has_its_place_gives_it_to_what_is_made_ahead() {
        let places = Arc::new(Places::new(1));
        let first = places.take().await;
        let mut start = Box::pin(places.take());
        assert!(timeout(Duration::from_secs(1), start.as_mut()).await.is_err());
        let ahead = tokio::spawn({
            let places = places.clone();
            async move { places.take_idle().await }
        });
        sleep(Duration::from_secs(1)).await;
        drop(first);
        sleep(Duration::from_secs(1)).await;
        assert!(!ahead.is_finished(), "the place is the start's, which has not noticed yet");
        drop(start);
        timeout(Duration::from_secs(1), ahead).await.expect("told").expect("a place");
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_gives_up_lets_what_is_made_ahead_go_on() {
        let places = Arc::new(Places::new(1));
        let first = places.take().await;
        let patience = Duration::from_secs(1);
        assert!(timeout(patience, places.take()).await.is_err());
        drop(first);
        assert!(timeout(patience, places.take_idle()).await.is_ok());
    }
}
