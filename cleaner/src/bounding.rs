//! Bounding: what runs and has written more to its files than it may is ended.

use std::sync::Arc;
use std::time::Duration;

use func_model::Phase;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::Cleaner;

/// How often it is looked, and so how long an instance may write what it likes.
const EVERY: Duration = Duration::from_secs(2);
/// Adding up many files costs the engine time: so many times as long it is left alone afterwards.
const REST: u32 = 4;

/// Looks for ever, at one instance after the other.
pub(crate) async fn keep_bounded(cleaner: Arc<Cleaner>) {
    loop {
        sleep(EVERY).await;
        let records = match cleaner.config.watch.records().await {
            Ok((records, _)) => records,
            Err(e) => {
                debug!("nobody knows what may have written too much: {e}");
                continue;
            }
        };
        // What is held at a gate or paused writes nothing.
        for (id, _) in records.iter().filter(|(_, record)| matches!(record.phase, Phase::Warm { .. })) {
            let began = Instant::now();
            match cleaner.config.guard.end_if_over_disk(id).await {
                Ok(None) => {}
                Ok(Some(bytes)) => {
                    let mib = bytes / (1024 * 1024);
                    warn!(app.name = %id.release.app, release = %id.release, bytes, "ended {id}: it wrote {mib} MiB");
                }
                Err(e) => debug!("{id} does not tell what it has written: {e}"),
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
