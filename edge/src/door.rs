//! The public door: pingora's service around the proxy, and how it is closed without losing a request.
//!
//! pingora closes every connection without a request the moment it stops to accept: also one on which a request is on its
//! way, or that was accepted just now. Here such a connection stays for a while: its next request is answered, with
//! `Connection: close`.

use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use func_model::limits::RETRIES_MAX;
use pingora::apps::ServerApp;
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::Stream;
use pingora::protocols::TcpKeepalive;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use tokio::sync::watch;

use crate::proxy::Proxy;
use crate::starter::places_here;
use crate::turns::Turns;

/// How a client that has vanished is noticed: a silent WebSocket would hold its app awake for ever.
const CLIENT_ALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 6,
    user_timeout: Duration::from_secs(120),
};
/// What was accepted so lately may not be counted yet.
const SETTLE: Duration = Duration::from_millis(100);

/// What pingora hands connections to.
pub(crate) struct Door {
    proxy: Arc<HttpProxy<Proxy>>,
    turns: Turns,
    /// How many connections are open.
    open: watch::Sender<usize>,
    /// How long a connection without a request stays open when no more are accepted.
    linger: Duration,
    /// Never true: what a request that comes late is told, the proxy says itself.
    closing: ShutdownWatch,
    _closing: watch::Sender<bool>,
}

/// A connection that is counted.
struct Open<'a>(&'a watch::Sender<usize>);

impl<'a> Open<'a> {
    fn new(open: &'a watch::Sender<usize>) -> Self {
        open.send_modify(|n| *n += 1);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        let _open = Open::new(&self.open);
        self.turns.take(self.proxy.process_new(stream, &self.closing)).await
    }

    /// Called when no more connections are accepted.
    async fn cleanup(&self) {
        tokio::time::sleep(SETTLE.min(self.linger)).await;
        let none = async { self.open.subscribe().wait_for(|n| *n == 0).await.map(drop) };
        // Whether they have ended or not, the time is over.
        let _ = tokio::time::timeout(self.linger, none).await;
        self.proxy.cleanup().await;
    }
}

/// Makes the service that accepts on `listeners`. It ends `linger` after it was told to stop, or when no connection is
/// open: requests in flight go on by themselves.
///
/// # Errors
/// If a listener cannot be used.
pub(crate) fn service(
    proxy: Proxy,
    linger: Duration,
    listeners: Vec<TcpListener>,
) -> anyhow::Result<(Service<Door>, ListenFds)> {
    // Each retry is decided by `Proxy::fail_to_connect`; this is the frame around it.
    let conf = ServerConf {
        max_retries: RETRIES_MAX + 2,
        upstream_keepalive_pool_size: 1_024,
        ..ServerConf::default()
    };
    let (sender, closing) = watch::channel(false);
    let proxy = Arc::new(http_proxy(&Arc::new(conf), proxy));
    let turns = Turns::new(places_here());
    let door = Door { proxy, turns, open: watch::Sender::new(0), linger, closing, _closing: sender };
    let mut service = Service::new("func edge".to_owned(), door);
    let fds = adopt(listeners, &mut service)?;
    Ok((service, fds))
}

/// Hands bound listeners over to pingora, which finds them by their address.
fn adopt(listeners: Vec<TcpListener>, service: &mut Service<Door>) -> anyhow::Result<ListenFds> {
    let mut fds = Fds::new();
    for listener in listeners {
        let address = listener.local_addr().context("read a listener's address")?.to_string();
        listener.set_nonblocking(true).context("set up a listener")?;
        // What an app drips has to reach the client as it comes: no write buffer of ours before the socket. A head and a
        // body are read into buffers of their own: another of 64 KiB before them, of each connection, only takes memory,
        // which the kernel clears when many come at once, while everybody waits.
        let unbuffered = L4BufferSettings::unbuffered();
        let mut options = TcpSocketOptions::default();
        options.tcp_keepalive = Some(CLIENT_ALIVE);
        service.add_listener(ListenerConfig::tcp(&address).tcp_socket_options(options).l4_buffer(unbuffered));
        fds.add(address, listener.into_raw_fd());
    }
    Ok(Arc::new(parking_lot::Mutex::new(fds)))
}
