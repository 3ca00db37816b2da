//! The cleaner: stops what is idle, removes what is over, restores what was lost.
//!
//! It is the only one who stops, and the only one who restores. One cleaner at a time works on a data folder.

mod ahead;
mod api;
mod bounding;
mod budget;
mod cooling;
mod execute;
mod freezing;
mod guarding;
#[cfg(feature = "testing")]
pub mod inside;
mod older;
mod places;
mod poising;
mod reconcile;
mod restore;
mod start;
mod stops;
mod tasks;
#[cfg(test)]
mod testing;
mod turns;
mod upkeep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use func_ledger::{Cool, Enter, Promote, Watch};
use func_model::{DiskLimit, LeaseId, NotYet, Release, ReleaseId};
use func_runner::{Guard, Hold, Look, Measure, START_SOCKET, Start, Stop};
use func_store::{DataDir, Lock, Manifests, Occupancy, Part};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use budget::Budget;
use guarding::Guarding;
use places::{Places, places_here};
use poising::Poises;
use tasks::Tasks;
use turns::{Turn, Turns};

/// What a cleaner needs.
pub struct Config {
    pub data: DataDir,
    pub manifests: Manifests,
    pub watch: Arc<dyn Watch>,
    pub promote: Arc<dyn Promote>,
    pub cool: Arc<dyn Cool>,
    /// For what is woken ahead of time.
    pub enter: Arc<dyn Enter>,
    /// The engine's own: what edges and the builder ask for is done here.
    pub start: Arc<dyn Start>,
    pub stop: Arc<dyn Stop>,
    pub hold: Arc<dyn Hold>,
    pub look: Arc<dyn Look>,
    pub guard: Arc<dyn Guard>,
    pub measure: Arc<dyn Measure>,
    /// The name under which leases are held: another one for every process.
    pub holder: String,
    /// The idle time of releases whose manifest cannot be read.
    pub idle_ms: u64,
    /// How long the last requests of a retired release may take that says nothing of it.
    pub drain_ms: u64,
    /// How much memory may be spent on what is made ahead; 0: nothing is.
    pub poised_bytes_max: u64,
    /// How much func may keep on disk.
    pub disk: DiskLimit,
    /// How much of that is set aside for the build engine, in bytes.
    pub build_bytes_max: u64,
    /// How much memory frozen instances may keep together; 0: nothing is frozen.
    pub frozen_bytes_max: u64,
}

/// What its parts share.
struct Cleaner {
    config: Config,
    /// Starts, stops and the like under way; each ends by itself.
    tasks: Tasks,
    turns: Arc<Turns>,
    occupancy: Occupancy,
    places: Arc<Places>,
    poises: Poises,
    budget: Budget,
    /// Something has changed, or the ledger is lost: plan at once.
    changed: Notify,
    serial: AtomicU64,
}

impl Cleaner {
    fn new(config: Config, places: usize) -> Arc<Self> {
        Arc::new(Self {
            occupancy: Occupancy::new(&config.data),
            config,
            tasks: Tasks::default(),
            turns: Arc::default(),
            places: Arc::new(Places::new(places)),
            poises: Poises::default(),
            budget: Budget::default(),
            changed: Notify::new(),
            serial: AtomicU64::new(0),
        })
    }

    /// Reads a release's manifest; a spoilt one counts as none, and is told.
    fn release(&self, id: &ReleaseId) -> Option<Release> {
        self.config.manifests.release(id).unwrap_or_else(|e| {
            warn!(release = %id, "the manifest of {id} cannot be read: {e}");
            None
        })
    }

    /// Something was left half done: plans soon, and not every 30 s, for whoever waits for it.
    fn retry_soon(&self) {
        self.changed.notify_one();
    }

    /// What was warm just now and is not: perhaps it was granted to us, and only the answer was lost.
    fn retry_if_lost(&self, reason: NotYet) {
        match reason {
            NotYet::NotWarm => self.retry_soon(),
            NotYet::Leased | NotYet::Used | NotYet::Quarantine => {}
        }
    }

    /// Sees to it that no edge is in an instance, nor gets in while the turn lasts; false if one is. Asked before whatever
    /// may stop or pause it: an edge that is cut off from the ledger has requests in it and no lease.
    fn vacate(&self, turn: &mut Turn) -> bool {
        match self.occupancy.vacate(turn.id()) {
            Ok(Some(vacant)) => {
                turn.keep_vacant(vacant);
                true
            }
            Ok(None) => false,
            Err(e) => {
                warn!("{} is left alone, since nobody can say who is in it: {e}", turn.id());
                false
            }
        }
    }

    /// Gives a lease that nobody had before.
    fn lease(&self) -> LeaseId {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        LeaseId { holder: self.config.holder.clone(), serial }
    }
}

/// Cleans until `shutdown`, then lets the starts and stops under way end.
///
/// # Errors
/// If another cleaner works on the same folder, or a socket cannot be made.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(_lock) = Lock::try_take(&config.data.run("cleaner.lock")).context("lock the data folder")?
    else {
        bail!("another cleaner works on {}: stop it first", config.data.root().display());
    };
    let (socket, starts) = (config.data.socket("cleaner"), config.data.socket(START_SOCKET));
    let edge = config.data.user(Part::Edge);
    older::link_start(&config.data).context("link the socket for starts")?;
    let cleaner = Cleaner::new(config, places_here());
    stops::end_old_stops(&cleaner).context("look for stops that were under way")?;
    let mut guarding = Guarding::new(cleaner.config.guard.clone());
    // Before anything starts.
    guarding.once().await;
    let ended = || shutdown.clone().cancelled_owned();
    let serve = async {
        tokio::try_join!(
            func_socket::serve(&socket, api::router(cleaner.clone()), ended()),
            func_socket::serve_also(&starts, edge, api::start_router(cleaner.clone()), ended()),
        )
    };
    let served = tokio::select! {
        served = serve => served.map(drop).context("serve the cleaner's sockets"),
        () = work(&cleaner) => Ok(()),
        () = guarding.keep() => Ok(()),
        () = bounding::keep_bounded(cleaner.clone()) => Ok(()),
        () = budget::keep_within(cleaner.clone()) => Ok(()),
    };
    cleaner.tasks.close();
    cleaner.tasks.wait().await;
    served
}

/// Does all that nobody asks for, for ever.
async fn work(cleaner: &Arc<Cleaner>) {
    tokio::join!(
        cooling::keep_cool(cleaner.clone()),
        reconcile::keep_right(cleaner.clone()),
        poising::keep_poised(cleaner.clone()),
        ahead::keep_ahead(cleaner.clone()),
        upkeep::keep_small(cleaner.config.stop.clone())
    );
}
