//! The public door: maps a request's host to a release, wakes it if it sleeps, streams both bodies through.
//!
//! A request reaches an instance only inside an `InFlight`, and an `InFlight` exists only under a lease. The fast path
//! makes no network call but the one to the instance; activity reaches the ledger through the lease keeper.

mod answer;
#[cfg(test)]
mod fake;
mod keeper;
mod metrics;
mod outage;
mod page;
mod proxy;
mod request;
mod routes;
mod slot;
mod starter;
mod trace;
mod upgrade;
mod wake;

use std::net::{IpAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use func_ledger::{Enter, Watch};
use func_model::HostName;
use func_model::limits::RETRIES_MAX;
use func_runner::Start;
use func_store::Occupancy;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::ProxyServiceBuilder;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use keeper::Keeper;
use metrics::Metrics;
use outage::Outage;
use proxy::Proxy;
use routes::Routes;
use slot::Slots;
use wake::Wake;

/// What an edge needs.
pub struct Config {
    /// Where requests come in; bound beforehand.
    pub listeners: Vec<TcpListener>,
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
    /// Proxies in front of this one, whose `X-Forwarded-*` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// How long requests in flight may take after `shutdown`.
    pub drain: Duration,
}

/// How often a socket for the metrics that is taken is tried again.
const TELL_AGAIN: Duration = Duration::from_secs(5);

/// How a client that has vanished is noticed: a silent WebSocket would hold its app awake for ever.
const CLIENT_ALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 6,
    user_timeout: Duration::from_secs(120),
};

/// Serves until `shutdown`, then until nothing is in flight or `drain` is over; leases are kept to the end.
///
/// # Errors
/// If a listener cannot be used.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let slots = Arc::new(Slots::new(config.holder));
    let routes = Arc::new(Routes::new(config.domain, config.watch.clone()));
    let keeper = Arc::new(Keeper::new(slots.clone(), config.enter.clone(), config.occupancy.clone()));
    let metrics = Arc::new(Metrics::new());
    let (enter, watching, start) = (config.enter, config.watch, config.start);
    let outage = Outage::new(config.occupancy, start.clone());
    let wake = Wake::new(slots.clone(), enter, watching, start, config.gates, outage, metrics.clone());
    let wake = Arc::new(wake);
    let helpers = TaskTracker::new();
    let done = CancellationToken::new();
    let mut following = helpers.spawn(done.clone().run_until_cancelled_owned(routes.clone().follow()));
    let mut keeping = helpers.spawn(done.clone().run_until_cancelled_owned(keeper.clone().keep_on()));

    let mut telling =
        helpers.spawn(tell(config.socket, metrics::router(metrics.clone(), routes.clone()), done.clone()));

    let proxy =
        Proxy::new(routes, wake.clone(), slots.clone(), metrics, config.trusted_proxies, shutdown.clone());
    let (stop, stopped) = watch::channel(false);
    let mut service = service(proxy);
    let fds = adopt(config.listeners, &mut service)?;
    let mut serving = tokio::spawn(async move { service.start_service(Some(fds), stopped, 1).await });

    // Each of its parts goes on until it is told to end; one that ended by itself ends the edge, which is told.
    tokio::select! {
        () = shutdown.cancelled() => {}
        ended = &mut serving => bail!("the edge serves no more: {ended:?}"),
        ended = &mut following => bail!("the edge follows no routes any more: {ended:?}"),
        ended = &mut keeping => bail!("the edge keeps no leases any more: {ended:?}"),
        ended = &mut telling => bail!("the edge tells no metrics any more: {ended:?}"),
    }
    // The receivers are in the service; when it is gone already there is nothing to tell.
    let _ = stop.send(true);
    serving.await.context("serve requests")?;
    let drained = tokio::time::timeout(config.drain, slots.idle()).await.is_ok();
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

/// Serves the metrics until `done`. Another edge may have the socket, and leave it: the door does not wait for that.
async fn tell(socket: Option<PathBuf>, router: Router, done: CancellationToken) {
    let Some(path) = socket else { return done.cancelled().await };
    let mut told = false;
    while !done.is_cancelled() {
        match func_socket::serve(&path, router.clone(), done.cancelled()).await {
            Ok(()) => {}
            Err(e) if told => debug!("the metrics are not served: {e}"),
            Err(e) => warn!("the metrics are not served, which is tried again: {e}"),
        }
        told = true;
        let _ = tokio::time::timeout(TELL_AGAIN, done.cancelled()).await;
    }
}

type ProxyService = pingora::services::listening::Service<pingora::proxy::HttpProxy<Proxy>>;

fn service(proxy: Proxy) -> ProxyService {
    // Each retry is decided by `Proxy::fail_to_connect`; this is the frame around it.
    let conf = ServerConf {
        max_retries: RETRIES_MAX + 2,
        upstream_keepalive_pool_size: 1_024,
        ..ServerConf::default()
    };
    let mut options = HttpServerOptions::default();
    options.h2c = false;
    ProxyServiceBuilder::new(&Arc::new(conf), proxy).name("func edge").server_options(options).build()
}

/// Hands bound listeners over to pingora, which finds them by their address.
fn adopt(listeners: Vec<TcpListener>, service: &mut ProxyService) -> anyhow::Result<ListenFds> {
    let mut fds = Fds::new();
    for listener in listeners {
        let address = listener.local_addr().context("read a listener's address")?.to_string();
        listener.set_nonblocking(true).context("set up a listener")?;
        // What an app drips has to reach the client as it comes: no write buffer of ours before the socket.
        let unbuffered = L4BufferSettings { write: Some(0), ..L4BufferSettings::default() };
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(CLIENT_ALIVE);
        service.add_listener(ListenerConfig::tcp(&address).tcp_socket_options(options).l4_buffer(unbuffered));
        fds.add(address, listener.into_raw_fd());
    }
    Ok(Arc::new(parking_lot::Mutex::new(fds)))
}

#[cfg(test)]
#[path = "lib_tests.rs"]
mod tests;
