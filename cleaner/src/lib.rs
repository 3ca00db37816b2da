//! The cleaner: stops what is idle, removes what is over, restores what was lost.
//!
//! It is the only one who stops, and the only one who restores. One cleaner at a time works on a data folder.

mod api;
mod cooling;
mod execute;
mod reconcile;
mod restore;
mod upkeep;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, bail};
use func_ledger::{Cool, Promote, Watch};
use func_model::{InstanceId, Release, ReleaseId};
use func_runner::{Look, Stop};
use func_store::{DataDir, Lock, Manifests};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// What a cleaner needs.
pub struct Config {
    pub data: DataDir,
    pub manifests: Manifests,
    pub watch: Arc<dyn Watch>,
    pub promote: Arc<dyn Promote>,
    pub cool: Arc<dyn Cool>,
    pub stop: Arc<dyn Stop>,
    pub look: Arc<dyn Look>,
    /// The idle time of releases whose manifest cannot be read.
    pub idle_ms: u64,
}

/// What its parts share.
struct Cleaner {
    config: Config,
    /// Stops under way; each ends by itself.
    stops: TaskTracker,
    /// The instances that they stop.
    stopping: Mutex<BTreeSet<InstanceId>>,
    /// Somebody saw that the ledger is lost.
    lost: Notify,
}

impl Cleaner {
    fn stopping(&self) -> MutexGuard<'_, BTreeSet<InstanceId>> {
        // Each change is one call.
        self.stopping.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the turn of stopping an instance, before the ledger is asked for the right to: `None` if it is taken.
    fn take_turn(self: &Arc<Self>, id: &InstanceId) -> Option<Turn> {
        let free = self.stopping().insert(id.clone());
        free.then(|| Turn { cleaner: self.clone(), id: id.clone() })
    }

    /// Reads a release's manifest; a spoilt one counts as none, and is told.
    fn release(&self, id: &ReleaseId) -> Option<Release> {
        self.config.manifests.release(id).unwrap_or_else(|e| {
            warn!(release = %id, "the manifest of {id} cannot be read: {e}");
            None
        })
    }
}

/// The turn of stopping one instance. Two stops of the same instance must not overlap: the later one could meet its
/// successor.
struct Turn {
    cleaner: Arc<Cleaner>,
    id: InstanceId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.cleaner.stopping().remove(&self.id);
    }
}

/// Cleans until `shutdown`, then lets the stops under way end.
///
/// # Errors
/// If another cleaner works on the same folder, or the socket cannot be made.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(_lock) = Lock::try_take(&config.data.run("cleaner.lock")).context("lock the data folder")?
    else {
        bail!("another cleaner works on {}: stop it first", config.data.root().display());
    };
    let socket = config.data.socket("cleaner");
    let cleaner = Arc::new(Cleaner {
        config,
        stops: TaskTracker::new(),
        stopping: Mutex::default(),
        lost: Notify::new(),
    });
    let router = api::router(cleaner.clone());
    let serve = func_socket::serve(&socket, router, shutdown.clone().cancelled_owned());
    let work = async {
        tokio::join!(
            cooling::keep_cool(cleaner.clone()),
            reconcile::keep_right(cleaner.clone()),
            upkeep::keep_small(cleaner.config.stop.clone())
        );
    };
    let served = tokio::select! {
        served = serve => served.context("serve the cleaner's socket"),
        () = work => Ok(()),
    };
    cleaner.stops.close();
    cleaner.stops.wait().await;
    served
}
