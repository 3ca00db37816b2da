//! Upkeep: what builds leave on the engine is kept within a limit, once an hour.

use std::sync::Arc;
use std::time::Duration;

use func_runner::Stop;
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// How large the engine's build cache may be between builds: the layers of some dozens of apps and their base images.
const CACHE_BYTES_MAX: u64 = 10 * 1024 * 1024 * 1024;
/// How long after the start is the first time: what matters at boot goes first.
const FIRST: Duration = Duration::from_secs(5 * 60);
const EVERY: Duration = Duration::from_secs(3600);

/// Prunes, for ever. What fails is tried again an hour later.
pub(crate) async fn keep_small(stop: Arc<dyn Stop>) {
    sleep(FIRST).await;
    loop {
        match stop.prune(CACHE_BYTES_MAX).await {
            Ok(0) => debug!("builds left nothing to remove"),
            Ok(bytes) => {
                info!(bytes, "removed {} MiB that builds had left on the engine", bytes / (1024 * 1024));
            }
            Err(e) => warn!("what builds left on the engine could not be removed: {e}"),
        }
        sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use func_model::InstanceId;
    use func_runner::RunnerError;
    use futures_util::future::BoxFuture;

    use super::*;

    /// Notes each limit that it is called with, and fails.
    #[derive(Default)]
    struct Pruned(Mutex<Vec<u64>>);

    // As `async_trait` writes it.
    impl Stop for Pruned {
        fn prune<'a, 'f>(&'a self, cache_bytes_max: u64) -> BoxFuture<'f, Result<u64, RunnerError>>
        where
            'a: 'f,
            Self: 'f,
        {
            self.0.lock().expect("unbroken").push(cache_bytes_max);
            let said = "it is busy".to_owned();
            Box::pin(async { Err(RunnerError::Refused { verb: "prune the build cache", said }) })
        }

        fn stop<'a, 'b, 'f>(
            &'a self,
            _: &'b InstanceId,
            _: Duration,
        ) -> BoxFuture<'f, Result<(), RunnerError>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            unreachable!("upkeep stops nothing")
        }

        fn remove_container<'a, 'b, 'f>(
            &'a self,
            _: &'b str,
            _: bool,
        ) -> BoxFuture<'f, Result<(), RunnerError>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            unreachable!("upkeep removes no container")
        }

        fn remove_image<'a, 'b, 'f>(&'a self, _: &'b str) -> BoxFuture<'f, Result<(), RunnerError>>
        where
            'a: 'f,
            'b: 'f,
            Self: 'f,
        {
            unreachable!("upkeep removes no tag")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn builds_leftovers_are_pruned_soon_after_the_start_and_every_hour_also_after_a_failure() {
        let pruned = Arc::new(Pruned::default());
        let upkeep = tokio::spawn(keep_small(pruned.clone()));
        let times = || pruned.0.lock().expect("unbroken").len();
        sleep(FIRST / 2).await;
        assert_eq!(times(), 0, "nothing at boot");
        sleep(FIRST).await;
        assert_eq!(times(), 1);
        sleep(EVERY * 2).await;
        assert_eq!(*pruned.0.lock().expect("unbroken"), [CACHE_BYTES_MAX; 3]);
        upkeep.abort();
    }
}
