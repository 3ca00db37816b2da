//! The public door: pingora's service around the proxy, and how it is closed without losing a request.
//!
//! pingora closes every connection without a request the moment it stops to accept: also one on which a request is on its
//! way, or that was accepted just now. Here such a connection stays for a while: its next request is answered, with
//! `Connection: close`.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use bytes::BytesMut;
use func_model::Refusal;
use func_model::limits::RETRIES_MAX;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::listeners::{ListenerConfig, TcpSocketOptions};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::protocols::{Shutdown, Stream, TcpKeepalive};
use pingora::proxy::{HttpProxy, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use tokio::sync::watch;
use tracing::debug;

use crate::answer::{turn_away, turn_away_at_once};
use crate::connection::{Connection, Phase};
use crate::guard::Guard;
use crate::head::{self, Ended};
use crate::limits::REQUESTS_MAX;
use crate::proxy::Proxy;
use crate::roster::Roster;
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
    roster: Arc<Roster>,
    /// How long a connection without a request stays open when no more are accepted.
    linger: Duration,
    /// Never true: what a request that comes late is told, the proxy says itself.
    closing: ShutdownWatch,
    _closing: watch::Sender<bool>,
}

/// A connection between two requests.
struct Kept {
    guard: Box<Guard>,
    settings: Option<HttpPersistentSettings>,
}

impl Door {
    /// Serves a connection as long as it is there.
    async fn serve(&self, mut stream: Stream) {
        let peer = stream.get_socket_digest().and_then(|d| d.peer_addr()?.as_inet().map(SocketAddr::ip));
        // One that is gone already has no address.
        let Some(peer) = peer else { return };
        let Some(place) = self.roster.admit(peer) else {
            return turn_away_at_once(&mut stream, &Refusal::Full).await;
        };
        let guard = Guard::new(stream, place.connection().clone());
        let mut kept = Kept { guard: Box::new(guard), settings: None };
        loop {
            let head = match self.next_head(&mut kept.guard).await {
                Ok(head) => head,
                Err(Ended::Left | Ended::Silent) => return kept.guard.shutdown().await,
                Err(Ended::Refused(refusal)) => return turn_away(kept.guard.stream(), &refusal).await,
            };
            match self.answer(kept, head, place.connection()).await {
                Some(next) => kept = next,
                None => return,
            }
            place.connection().enter(Phase::Kept, self.roster.now());
            if self.roster.is_closed() {
                return kept.guard.shutdown().await;
            }
        }
    }

    async fn next_head(&self, guard: &mut Guard) -> Result<BytesMut, Ended> {
        let head = head::read(guard, &self.roster).await?;
        let (first, rest) = head.bytes.split_at(head.end);
        guard.inspect(first, rest).map_err(Ended::Refused)?;
        Ok(head.bytes)
    }

    /// Has the proxy answer a request; gives the connection back if it is kept.
    async fn answer(&self, kept: Kept, head: BytesMut, connection: &Arc<Connection>) -> Option<Kept> {
        connection.begin(self.roster.now());
        let mut session = ServerSession::new_http1(kept.guard);
        let mut settings = kept.settings.unwrap_or_else(|| {
            session.set_keepalive_reuses_remaining(Some(REQUESTS_MAX));
            HttpPersistentSettings::for_session(&session)
        });
        settings.set_pipelined_prefix(head);
        settings.set_user_context(Box::new(connection.clone()));
        settings.apply_to_session(&mut session);
        let served = connection.until_cut(self.proxy.process_new_http(session, &self.closing)).await;
        let Some(served) = served else {
            debug!("a client that left its request unfinished was cut off");
            return None;
        };
        let (stream, settings) = served?.consume();
        Some(Kept { guard: Guard::of(stream)?, settings })
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, _: &ShutdownWatch) -> Option<Stream> {
        self.turns.take(Box::pin(self.serve(stream))).await;
        None
    }

    /// Called when no more connections are accepted.
    async fn cleanup(&self) {
        tokio::time::sleep(SETTLE.min(self.linger)).await;
        // Whether they have ended or not, the time is over.
        let _ = tokio::time::timeout(self.linger, self.roster.empty()).await;
        self.roster.close();
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
    roster: Arc<Roster>,
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
    let door = Door { proxy, turns, roster, linger, closing, _closing: sender };
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
