//! Guarding: the firewall's rules and the limit of all apps' memory are made at the start, and made again when something
//! has taken them away.

use std::sync::Arc;
use std::time::Duration;

use func_model::chain;
use func_runner::{Guard, GuardError, Kept};
use tokio::time::sleep;
use tracing::{debug, info, warn};

/// How often the rules are looked at: so long may what somebody else has removed be away.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps what apps share guarded, and says once what changes about it.
pub(crate) struct Guarding {
    guard: Arc<dyn Guard>,
    /// How the last look at the network ended; `None` before the first.
    stood: Option<bool>,
    /// The same of the memory.
    bounded: Option<bool>,
}

impl Guarding {
    pub(crate) fn new(guard: Arc<dyn Guard>) -> Self {
        Self { guard, stood: None, bounded: None }
    }

    /// Guards for ever.
    pub(crate) async fn keep(mut self) {
        loop {
            sleep(EVERY).await;
            self.once().await;
        }
    }

    /// Guards once. What fails is tried again: func goes on without, and says so.
    pub(crate) async fn once(&mut self) {
        self.network().await;
        let bounded = self.guard.bound_memory().await;
        match (&bounded, self.bounded) {
            (Err(error), None | Some(true)) => warn!(
                "all apps together may use all of the machine's memory: {}; func doctor says how to mend it",
                chain(error)
            ),
            (Err(error), Some(false)) => debug!("the memory of all apps has no limit: {}", chain(error)),
            (Ok(()), Some(false)) => info!("the memory of all apps together has its limit"),
            (Ok(()), None | Some(true)) => {}
        }
        self.bounded = Some(bounded.is_ok());
    }

    async fn network(&mut self) {
        let kept = self.guard.guard().await;
        match (&kept, self.stood) {
            (Ok(Kept::Made), Some(true)) => warn!("the firewall's rules were gone, and are made again"),
            (Ok(_), Some(true)) => {}
            (Ok(_), None | Some(false)) => info!("the firewall guards the network of the apps"),
            (Err(error), Some(false)) => debug!("the apps' network is not guarded: {}", chain(error)),
            (Err(error), None | Some(true)) => unguarded(error),
        }
        self.stood = Some(kept.is_ok());
    }
}

fn unguarded(error: &GuardError) {
    warn!(
        "apps can reach the host and private networks, since their network is not guarded: {}; \
         func doctor says how to mend it",
        chain(error)
    );
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use func_model::InstanceId;
    use func_runner::{BoundError, FirewallError, RunnerError};

    use super::*;

    /// Fails every other time, and counts.
    #[derive(Default)]
    struct Flaky(Mutex<usize>);

    #[async_trait]
    impl Guard for Flaky {
        async fn guard(&self) -> Result<Kept, GuardError> {
            let mut times = self.0.lock().expect("unbroken");
            *times += 1;
            if times.is_multiple_of(2) { Err(FirewallError::NoTool.into()) } else { Ok(Kept::Made) }
        }

        async fn bound_memory(&self) -> Result<(), BoundError> {
            Ok(())
        }

        async fn end_if_over_disk(&self, _: &InstanceId) -> Result<Option<u64>, RunnerError> {
            Ok(None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_network_is_guarded_again_and_again_also_after_a_failure() {
        let flaky = Arc::new(Flaky::default());
        let guarding = tokio::spawn(Guarding::new(flaky.clone()).keep());
        sleep(EVERY * 4 + EVERY / 2).await;
        assert_eq!(*flaky.0.lock().expect("unbroken"), 4);
        guarding.abort();
    }
}
