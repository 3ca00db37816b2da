//! Marks of the stops under way, on disk. A cleaner that is killed leaves them behind: the engine may still be stopping
//! what looks as if it ran, and if the ledger is lost as well, nobody else knows. The next cleaner ends those stops first,
//! and so does one that restores a lost ledger: of a stop that failed nobody else knows then either.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_model::InstanceId;
use func_model::limits::{COOLING_MS, STOP_GRACE_MS};
use func_runner::RunnerError;
use func_store::DataDir;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use crate::Cleaner;
use crate::turns::Turn;

/// How soon a stop that failed is tried again, for as long as a stop may take.
const TRY_AGAIN: Duration = Duration::from_secs(1);

fn folder(data: &DataDir) -> PathBuf {
    data.run("stopping")
}

/// Stops an instance, marked meanwhile, in the turn that the caller has.
///
/// # Errors
/// [`RunnerError`] as [`func_runner::Stop::stop`].
pub(crate) async fn stop_marked(cleaner: &Cleaner, id: &InstanceId) -> Result<(), RunnerError> {
    let mark = folder(&cleaner.config.data).join(id.to_string());
    told(id, make(&mark));
    point("after_mark");
    let stopped = cleaner.config.stop.stop(id, Duration::from_millis(STOP_GRACE_MS)).await;
    // A stop that failed may still be under way.
    if stopped.is_ok() {
        told(id, fs::remove_file(&mark));
        point("after_unmark");
    }
    stopped
}

fn make(mark: &Path) -> io::Result<()> {
    fs::create_dir_all(mark.parent().unwrap_or(Path::new(".")))?;
    File::create(mark).map(drop)
}

fn told(id: &InstanceId, done: io::Result<()>) {
    if let Err(e) = done {
        warn!(app.name = %id.release.app, "the stop of {id} is not noted on disk: {e}");
    }
}

/// Ends the stops that were marked and that nobody is at, in the background, each in its turn. At boot, and before a lost
/// ledger is filled: no instance of this name was started since.
///
/// # Errors
/// If the marks cannot be read.
pub(crate) fn end_old_stops(cleaner: &Arc<Cleaner>) -> io::Result<()> {
    let entries = match fs::read_dir(folder(&cleaner.config.data)) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let name = entry?.file_name();
        let id = name.to_str().and_then(|name| name.parse().ok());
        if let Some(mut turn) = id.and_then(|id| cleaner.turns.try_take(&id)) {
            // The stop is under way, whoever is in it.
            cleaner.vacate(&mut turn);
            cleaner.tasks.spawn(end(cleaner.clone(), turn));
        }
    }
    Ok(())
}

async fn end(cleaner: Arc<Cleaner>, turn: Turn) {
    let (id, until) = (turn.id(), Instant::now() + Duration::from_millis(COOLING_MS));
    while let Err(e) = stop_marked(&cleaner, id).await {
        if Instant::now() + TRY_AGAIN >= until {
            warn!(app.name = %id.release.app, release = %id.release, "{id} could not be stopped: {e}");
            // It is not under way any more: what runs now may be used.
            told(id, fs::remove_file(folder(&cleaner.config.data).join(id.to_string())));
            break;
        }
        sleep(TRY_AGAIN).await;
    }
    info!(app.name = %id.release.app, release = %id.release, "ended the stop of {id} that was under way");
    cleaner.changed.notify_one();
}

#[cfg(test)]
mod tests {
    use func_model::{Phase, SeenState};

    use super::*;
    use crate::testing::{World, addr, blog, release};

    #[tokio::test(start_paused = true)]
    async fn a_stop_under_way_is_marked_until_it_ends() {
        let world = World::cold(&[release("blog")]).await;
        world.warm(&blog(), 0).await;
        crate::cooling::cool(&world.cleaner, &blog(), 0).await.expect("cooled");
        tokio::task::yield_now().await;
        let mark = folder(&world.cleaner.config.data).join("blog-v1.1");
        assert!(mark.exists());
        world.until_done().await;
        assert!(!mark.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_of_a_killed_cleaner_is_not_restored_as_warm_and_is_ended() {
        let world = World::lost(&[release("blog")]);
        world.engine.state().containers.insert(blog(), SeenState::Running { addr: addr() });
        make(&folder(&world.cleaner.config.data).join("blog-v1.1")).expect("marked");
        end_old_stops(&world.cleaner).expect("begun");
        crate::restore::restore(&world.cleaner).await.expect("restored");
        assert_eq!(world.record(&blog()).await.phase, Phase::Cold);
        world.plan().await;
        assert_eq!(world.record(&blog()).await.phase, Phase::Cold, "it is left to the stop");
        world.until_done().await;
        assert_eq!(world.engine.told(), ["stop blog-v1.1"]);
        assert!(world.engine.state().containers.is_empty());
        end_old_stops(&world.cleaner).expect("nothing is left");
        assert!(world.cleaner.turns.taken().is_empty());
    }

    /// Found by `shared/races`: a stop whose answer was lost left its mark when the ledger forgot that it was cooling. What
    /// it stopped could be restored as warm, and the next cleaner stopped whoever used the name by then.
    #[tokio::test(start_paused = true)]
    async fn a_stop_that_failed_is_ended_before_a_lost_ledger_is_filled() {
        let world = World::lost(&[release("blog")]);
        world.engine.state().containers.insert(blog(), SeenState::Running { addr: addr() });
        let mark = folder(&world.cleaner.config.data).join("blog-v1.1");
        make(&mark).expect("marked");
        crate::restore::restore(&world.cleaner).await.expect("restored");
        assert_eq!(world.record(&blog()).await.phase, Phase::Cold);
        world.until_done().await;
        assert_eq!(world.engine.told(), ["stop blog-v1.1"]);
        assert!(!mark.exists());
    }
}
