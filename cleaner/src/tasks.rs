//! Tasks: what the cleaner has under way in the background.

use std::future::Future;

use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

/// Starts, stops and the like under way; each ends by itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    /// So that a test can end a cleaner as a kill does: none of its tasks goes on.
    #[cfg(feature = "testing")]
    ends: std::sync::Arc<std::sync::Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl Tasks {
    pub(crate) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let spawned = self.tracker.spawn(task);
        #[cfg(feature = "testing")]
        self.ends().push(spawned.abort_handle());
        spawned
    }

    /// Lets `wait` end when the last one has ended.
    pub(crate) fn close(&self) {
        self.tracker.close();
    }

    #[cfg(test)]
    pub(crate) fn reopen(&self) {
        self.tracker.reopen();
    }

    pub(crate) async fn wait(&self) {
        self.tracker.wait().await;
    }

    #[cfg(feature = "testing")]
    fn ends(&self) -> std::sync::MutexGuard<'_, Vec<tokio::task::AbortHandle>> {
        let mut ends = self.ends.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ends.retain(|task| !task.is_finished());
        ends
    }

    #[cfg(feature = "testing")]
    pub(crate) fn kill(&self) {
        self.ends().drain(..).for_each(|task| task.abort());
    }
}
