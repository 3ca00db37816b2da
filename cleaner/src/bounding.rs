//! Bounding: ends running instances that have written more than their disk limit.

use std::sync::Arc;
use std::time::Duration;

use func_model::Phase;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::Cleaner;

/// Period of the measurement, and so how long an instance may exceed its limit.
const EVERY: Duration = Duration::from_secs(2);
/// The pause after each measurement, as a multiple of its duration: the engine walks all files of the instance.
const REST: u32 = 4;

/// Measures running instances for ever, one after the other.
pub(crate) async fn keep_bounded(cleaner: Arc<Cleaner>) {
    loop {
        sleep(EVERY).await;
        let records = match cleaner.config.watch.records().await {
            Ok((records, _)) => records,
            Err(e) => {
                debug!("cannot list running instances: {e}");
                continue;
            }
        };
        // Poised and frozen instances write nothing.
        for (id, _) in records.iter().filter(|(_, record)| matches!(record.phase, Phase::Warm { .. })) {
            let began = Instant::now();
            match cleaner.config.guard.end_if_over_disk(id).await {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let mib = bytes / (1024 * 1024);
                    warn!(app.name = %id.release.app, release = %id.release, bytes, "ended {id}: it wrote {mib} MiB");
                }
                Err(e) => debug!("cannot measure the disk usage of {id}: {e}"),
            }
            sleep(began.elapsed() * REST).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use func_model::limits::IDLE_MS;

    use super::*;
    use crate::testing::{World, release};

    #[tokio::test(start_paused = true)]
    async fn what_runs_is_measured_again_and_again_and_what_rests_is_not() {
        let (blog, shop) = (release("blog"), release("shop"));
        let world = World::cold(&[blog.clone(), shop]).await;
        world.warm(&blog.id.instance(), IDLE_MS).await;
        let bounding = tokio::spawn(keep_bounded(world.cleaner.clone()));
        sleep(EVERY * 3 + EVERY / 2).await;
        assert_eq!(world.engine.state().measured, vec![blog.id.instance(); 3]);
        bounding.abort();
    }
}
