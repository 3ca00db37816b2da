//! The public door: maps a request's host to a release, wakes it if it sleeps, streams both bodies through.
//!
//! A request reaches an instance only inside an `InFlight`, and an `InFlight` exists only under a lease. The fast path
//! makes no network call but the one to the instance; activity reaches the ledger through the lease keeper.

mod answer;
mod connection;
mod ctx;
mod door;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod fuzz_tests;
mod guard;
mod handover;
mod head;
mod identity;
mod inspection;
mod keeper;
mod limits;
mod metrics;
mod outage;
mod pace;
mod page;
mod patience;
mod peer;
mod proxy;
mod request;
mod rest;
mod roster;
mod routes;
mod slot;
mod starter;
mod trace;
mod turns;
mod upgrade;
mod wake;

#[cfg(feature = "testing")]
pub use proxy::inside;
#[cfg(feature = "testing")]
pub use starter::Gates;

use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use func_ledger::{Enter, Watch};
use func_model::HostName;
use func_runner::Start;
use func_store::Occupancy;
use pingora::services::Service;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

pub use handover::{Offer, Predecessor, take};
pub use identity::Network;
use keeper::Keeper;
pub use limits::Limits;
use metrics::Metrics;
use outage::Outage;
use proxy::Proxy;
use roster::Roster;
use routes::Routes;
use slot::Slots;
use starter::Folder;
use wake::Wake;

/// What an edge needs.
pub struct Config {
    /// Where requests come in; bound beforehand.
    pub listeners: Vec<TcpListener>,
    /// The edge that has them as well, and is relieved when this one serves.
    pub predecessor: Option<Predecessor>,
    /// How a later edge takes over from this one.
    pub offer: Option<Offer>,
    /// Apps answer at `<app>.<domain>`.
    pub domain: HostName,
    /// Names this edge's leases; another one each time that an edge starts.
    pub holder: String,
    pub enter: Arc<dyn Enter>,
    pub watch: Arc<dyn Watch>,
    /// Asked for what is not poised: the cleaner.
    pub start: Arc<dyn Start>,
    /// The folder of the gates' own folders: the edge opens what is poised itself.
    pub gates: PathBuf,
    /// Tells the cleaner what is in use here, also while the ledger does not answer.
    pub occupancy: Occupancy,
    /// Where metrics are told: `GET /metrics`, `GET /healthz`.
    pub socket: Option<PathBuf>,
    /// Where the builder says that a route has changed, and waits until it is known here: `POST /routes`. Its own, of each edge.
    pub heed: Option<PathBuf>,
    /// Proxies in front of this one, whose `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<Network>,
    /// What strangers may take.
    pub limits: Limits,
    /// How long requests in flight may take after `shutdown`, and connections without one stay open at the most.
    pub drain: Duration,
}

/// How often a socket for the metrics that is taken is tried again.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// How long a connection without a request stays open for one more after `shutdown`.
const LINGER: Duration = Duration::from_secs(5);
/// How long an edge that takes over may take to learn the routes.
const LEARNS: Duration = Duration::from_secs(30);
const LEARN_AGAIN: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then until nothing is in flight or `drain` is over; leases are kept to the end.
///
/// # Errors
/// If a listener cannot be used, or the routes cannot be learned before a predecessor is relieved.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let slots = Arc::new(Slots::new(config.holder));
    let routes = Arc::new(Routes::new(config.domain, config.watch.clone()));
    let keeper = Arc::new(Keeper::new(slots.clone(), config.enter.clone(), config.occupancy.clone()));
    let metrics = Arc::new(Metrics::new());
    let (enter, watching, start) = (config.enter, config.watch, config.start);
    let gates = Arc::new(Folder(config.gates));
    let outage = Outage::new(config.occupancy, start.clone(), gates.clone());
    let wake = Wake::new(slots.clone(), enter, watching, start, gates, outage, metrics.clone());
    let wake = Arc::new(wake);
    let helpers = TaskTracker::new();
    let done = CancellationToken::new();
    let mut following = helpers.spawn(done.clone().run_until_cancelled_owned(routes.clone().follow()));
    let mut keeping = helpers.spawn(done.clone().run_until_cancelled_owned(keeper.clone().keep_on()));

    let mut telling =
        helpers.spawn(tell(config.socket, metrics::router(metrics.clone(), routes.clone()), done.clone()));

    let mut heeding = helpers.spawn(tell(config.heed, routes::router(routes.clone()), done.clone()));

    let trusted = config.trusted_proxies.clone();
    let trusted = move |address| identity::is_of(&trusted, address);
    let roster = Arc::new(Roster::new(config.limits, trusted, metrics.clone()));
    helpers.spawn(done.clone().run_until_cancelled_owned(roster.clone().sweep_on()));
    let proxy = Proxy::new(
        routes.clone(),
        wake.clone(),
        slots.clone(),
        metrics,
        config.trusted_proxies,
        shutdown.clone(),
    );
    let (stop, stopped) = watch::channel(false);
    if config.predecessor.is_some() {
        learn(&routes, &shutdown).await?;
    }
    let offered = offered(&config.listeners, config.offer)?;
    let (mut service, fds) = door::service(proxy, roster, LINGER.min(config.drain), config.listeners)?;
    let mut serving = tokio::spawn(async move { service.start_service(Some(fds), stopped, 1).await });
    let successor = async {
        if let Some(predecessor) = config.predecessor {
            predecessor.relieve().await;
        }
        offered.await
    };
    helpers.spawn(shutdown.clone().run_until_cancelled_owned(successor));

    // Each of its parts goes on until it is told to end; one that ended by itself ends the edge, which is told.
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = &mut serving => bail!("the edge serves no more: {ended:?}"),
        ended = &mut following => bail!("the edge follows no routes any more: {ended:?}"),
        ended = &mut keeping => bail!("the edge keeps no leases any more: {ended:?}"),
        ended = &mut heeding => bail!("the edge hears of no routes any more: {ended:?}"),
        ended = &mut telling => bail!("the edge tells no metrics any more: {ended:?}"),
    }
    // The receivers are in the service; when it is gone already there is nothing to tell.
    let until = Instant::now() + config.drain;
    let _ = stop.send(true);
    serving.await.context("serve requests")?;
    let drained = tokio::time::timeout_at(until, slots.idle()).await.is_ok();
    match drained {
        true => info!("the edge has answered everything"),
        false => warn!(requests = slots.requests(), "the edge leaves with requests in flight"),
    }
    wake.close().await;
    done.cancel();
    helpers.close();
    helpers.wait().await;
    keeper.leave_all().await;
    Ok(())
}

/// Reads the routes before the first request is accepted: the predecessor knows them.
async fn learn(routes: &Routes, shutdown: &CancellationToken) -> anyhow::Result<()> {
    let until = Instant::now() + LEARNS;
    while let Err(e) = routes.refresh().await {
        if shutdown.is_cancelled() || Instant::now() + LEARN_AGAIN >= until {
            return Err(e).context("learn the routes; the edge that ran before goes on");
        }
        tokio::time::sleep(LEARN_AGAIN).await;
    }
    Ok(())
}

/// Gives what hands the listeners to a later edge; it holds them as well, until it is dropped.
fn offered(
    listeners: &[TcpListener],
    offer: Option<Offer>,
) -> anyhow::Result<impl Future<Output = ()> + use<>> {
    let copies: io::Result<Vec<_>> = listeners.iter().map(TcpListener::try_clone).collect();
    let copies = copies.context("copy a listener")?;
    Ok(async move {
        if let Some(offer) = offer {
            handover::offer(offer, copies).await;
        }
    })
}

/// Serves a socket until `done`. Another edge may have the socket, and leave it: the door does not wait for that.
async fn tell(socket: Option<PathBuf>, router: Router, done: CancellationToken) {
    let Some(path) = socket else { return done.cancelled().await };
    let mut told = false;
    while !done.is_cancelled() {
        match func_socket::serve(&path, router.clone(), done.cancelled()).await {
            Ok(()) => {}
            Err(e) if told => debug!("{} is not served: {e}", path.display()),
            Err(e) => warn!("{} is not served, which is tried again: {e}", path.display()),
        }
        told = true;
        let _ = tokio::time::timeout(TELL_AGAIN, done.cancelled()).await;
    }
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
