//! The proxy: what happens to one request, in pingora's phases.

use std::any::Any;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use func_model::limits::{RETRIES_MAX, STOP_GRACE_MS, WAKE_MS};
use func_model::{AppName, HostName, Refusal, host_of};
use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::answer::refuse;
use crate::connection::Connection;
use crate::ctx::Ctx;
use crate::identity::{self, Network};
use crate::metrics::Metrics;
use crate::page;
use crate::patience::PATIENCE;
use crate::peer::peer;
use crate::request::{Kind, authority, client, is_traced, request_id};
use crate::rest::{answered, has_body};
use crate::routes::Routes;
use crate::slot::{InFlight, Slots};
use crate::turns;
use crate::wake::{Closed, Wake};

#[cfg(feature = "testing")]
#[path = "inside.rs"]
pub mod inside;

/// How long a request waits for a start: the start's own limit, and a stop that may come before it.
const WAIT: Duration = Duration::from_millis(WAKE_MS + STOP_GRACE_MS);
/// How long a browser waits for a start before it is shown a page, where the app wants that.
const PAGE_AFTER: Duration = Duration::from_secs(3);
/// The first wait before a refused connection is tried again; doubles.
const RETRY_FIRST: Duration = Duration::from_millis(20);
/// How often a route is looked up again for a request whose release was just retired.
const LOOKUPS_MAX: usize = 4;
/// How long it is waited before: between retiring and promoting there is nothing, but a snapshot may be on its way.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

pub(crate) struct Proxy {
    routes: Arc<Routes>,
    wake: Arc<Wake>,
    slots: Arc<Slots>,
    metrics: Arc<Metrics>,
    trusted_proxies: Vec<Network>,
    shutdown: CancellationToken,
}

impl Proxy {
    pub(crate) fn new(
        routes: Arc<Routes>,
        wake: Arc<Wake>,
        slots: Arc<Slots>,
        metrics: Arc<Metrics>,
        trusted_proxies: Vec<Network>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { routes, wake, slots, metrics, trusted_proxies, shutdown }
    }

    /// Routes and wakes; looks the route up again when the release was retired in between.
    async fn enter(
        &self,
        host: &HostName,
        request: &RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<InFlight, Refusal> {
        // An edge that has just begun has yet to read the ledger.
        if !self.routes.known_by(ctx.began + PATIENCE).await {
            return Err(Refusal::Lost);
        }
        for _ in 0..LOOKUPS_MAX {
            let Some(release) = self.routes.release(host) else {
                return Err(Refusal::NoSuchHost { host: host.to_string() });
            };
            ctx.app = Some(release.app.clone());
            let page = self.routes.waiting_page(&release.app) && page::fits(request);
            let wait = if page { PAGE_AFTER } else { WAIT };
            match self.wake.enter(&release, ctx.began + wait).await {
                // It has waited for those who went before it: meanwhile another release may have come.
                Ok(entered)
                    if entered.pass.is_some() && self.routes.release(host).as_ref() != Some(&release) => {}
                Ok(entered) => {
                    ctx.entered(entered.trace, entered.pass);
                    return Ok(entered.in_flight);
                }
                Err(Closed::Late) if page => return Err(Refusal::Starting { app: release.app }),
                Err(Closed::Late) => return Err(Refusal::TooSlow { app: release.app }),
                Err(Closed::Refused(refusal)) => return Err(refusal),
                Err(Closed::Retired) => {
                    debug!("{release} was retired; its route is looked up again");
                    tokio::time::sleep(LOOK_AGAIN).await;
                    self.routes.refresh_by(Instant::now() + PATIENCE).await.map_err(|_| Refusal::Lost)?;
                }
            }
        }
        Err(Refusal::Lost)
    }

    /// After a refused connection: waits a little, or finds out that the instance is gone.
    async fn try_again(&self, ctx: &mut Ctx) -> Result<(), Refusal> {
        let Some(in_flight) = ctx.in_flight.take() else { return Ok(()) };
        let gone = self.wake.examine(&in_flight).await;
        if gone {
            // It waits for another start. Otherwise it is still the one without a connection.
            ctx.pass = None;
        }
        if ctx.refused > RETRIES_MAX {
            return Err(Refusal::Unreachable { app: in_flight.slot().id.release.app.clone() });
        }
        // The lease is kept while it is waited.
        if !gone {
            tokio::time::sleep(RETRY_FIRST * (1 << ctx.refused.min(6))).await;
        }
        Ok(())
    }

    fn forward(&self, session: &Session, upstream: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
        let host = authority(session).map(str::to_owned);
        identity::tell(upstream, client(session), &self.trusted_proxies, ctx.trusted, host)?;
        upstream.insert_header("x-request-id", ctx.request_id.as_str())
    }

    fn is_trusted(&self, session: &Session) -> bool {
        client(session).is_some_and(|ip| identity::is_of(&self.trusted_proxies, ip))
    }
}

fn status_error(refusal: &Refusal) -> Box<Error> {
    Error::new_in(ErrorType::HTTPStatus(refusal.status()))
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Ctx;

    fn new_ctx(&self) -> Ctx {
        Ctx::new(self.slots.request())
    }

    /// The door hands the connection over with each request.
    fn on_connection_reuse(&self, session: &mut Session, ctx: &mut Ctx, handed: Box<dyn Any + Send + Sync>) {
        let Ok(connection) = handed.downcast::<Arc<Connection>>() else { return };
        let head = session.req_header();
        connection.parsed(has_body(head), head.headers.contains_key(header::EXPECT));
        ctx.connection = Some(*connection);
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Ctx) -> Result<bool> {
        ctx.trusted = self.is_trusted(session);
        ctx.request_id = request_id(session, ctx.trusted);
        ctx.traced = is_traced(session);
        if self.shutdown.is_cancelled() {
            session.as_downstream_mut().set_keepalive(None);
        }
        // The connection has its own limits.
        session.as_downstream_mut().set_read_timeout(None);
        match authority(session).map(host_of) {
            Some(Ok(host)) => {
                ctx.host = Some(host);
                Ok(false)
            }
            Some(Err(_)) | None => {
                refuse(session, &Refusal::BadHost, &ctx.request_id).await;
                ctx.refusal = Some(Refusal::BadHost);
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
        let host = ctx.host.clone().ok_or_else(|| status_error(&Refusal::BadHost))?;
        let entered = match self.try_again(ctx).await {
            Ok(()) => self.enter(&host, session.req_header(), ctx).await,
            Err(refusal) => Err(refusal),
        };
        match entered {
            Ok(in_flight) => {
                if ctx.pass.is_none() {
                    turns::known();
                }
                let peer = peer(in_flight.endpoint, Kind::of(session));
                ctx.in_flight = Some(in_flight);
                Ok(Box::new(peer))
            }
            Err(refusal) => {
                let error = status_error(&refusal);
                ctx.refusal = Some(refusal);
                Err(error)
            }
        }
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        _reused: bool,
        _peer: &HttpPeer,
        _fd: RawFd,
        _digest: Option<&Digest>,
        ctx: &mut Ctx,
    ) -> Result<()> {
        if let Some(pass) = &ctx.pass {
            pass.connected();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        self.forward(session, upstream, ctx)
    }

    /// Refuses `101` where nobody asked for it: both sides would be a tunnel that only the app wants.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _ctx: &mut Ctx,
    ) -> Result<()> {
        if response.status == http::StatusCode::SWITCHING_PROTOCOLS && !session.is_upgrade_req() {
            let mut error = Error::explain(ErrorType::InvalidHTTPHeader, "101 without an upgrade");
            error.as_up();
            return Err(error);
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<()> {
        match &ctx.connection {
            Some(connection) if end_of_stream => connection.body_ended(),
            Some(connection) if body.is_some() => connection.body_begins(),
            Some(_) | None => {}
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Ctx,
    ) -> Result<Option<Duration>> {
        if let (Some(connection), true) = (&ctx.connection, end_of_stream) {
            connection.answer_ended();
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Ctx,
    ) -> Result<()> {
        response.insert_header("x-request-id", ctx.request_id.as_str())?;
        if let Some(connection) = &ctx.connection {
            answered(connection, session.req_header(), response);
        }
        // `100 Continue` is no answer: the upload only begins with it.
        if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS {
            ctx.pass = None;
            turns::known();
            if self.shutdown.is_cancelled() {
                // One that came before the end: the client is told to go elsewhere with the next.
                session.as_downstream_mut().set_keepalive(None);
            }
            ctx.tell_timing(response, &self.metrics)?;
        }
        Ok(())
    }

    /// Nothing was sent: the request may be tried again, as often as is allowed.
    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Ctx,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.refused += 1;
        // One more than the retries: the last round finds out and refuses.
        error.set_retry(ctx.refused <= RETRIES_MAX + 1);
        error
    }

    /// Sent, or perhaps sent: repeated only if the system took nothing of it, since the kept connection was closed. An
    /// end of the connection afterwards does not tell whether the app had read the request before.
    fn error_while_proxy(
        &self,
        peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        _ctx: &mut Ctx,
        client_reused: bool,
    ) -> Box<Error> {
        let mut error = error.more_context(format!("Peer: {peer}"));
        let refused =
            *error.root_etype() == ErrorType::WriteError && *error.esource() == ErrorSource::Upstream;
        let only_a_head = Kind::of(session) == Kind::Safe && session.is_body_empty();
        error.set_retry(client_reused && refused && only_a_head);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Ctx) -> FailToProxy {
        let client_left = *error.esource() == pingora::ErrorSource::Downstream
            && matches!(
                error.etype(),
                ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed
            );
        if let Some(refusal) = ctx.connection.as_ref().and_then(|connection| connection.fault())
            && session.response_written().is_none()
        {
            refuse(session, &refusal, &ctx.request_id).await;
            return FailToProxy { error_code: refusal.status(), can_reuse_downstream: false };
        }
        if client_left || session.response_written().is_some() {
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        }
        if let Some(refusal) = &ctx.refusal {
            refuse(session, refusal, &ctx.request_id).await;
            return FailToProxy { error_code: refusal.status(), can_reuse_downstream: false };
        }
        match (&ctx.app, error.etype()) {
            (_, ErrorType::HTTPStatus(code)) => {
                // The client's own fault, told by pingora.
                let code = *code;
                if session.respond_error(code).await.is_err() {
                    debug!("the client left before it was answered");
                }
                FailToProxy { error_code: code, can_reuse_downstream: false }
            }
            (Some(app), _) if *error.esource() == pingora::ErrorSource::Upstream => {
                let refusal = Refusal::Dropped { app: app.clone() };
                refuse(session, &refusal, &ctx.request_id).await;
                FailToProxy { error_code: refusal.status(), can_reuse_downstream: false }
            }
            (Some(_) | None, _) => {
                let code = if *error.esource() == pingora::ErrorSource::Downstream { 400 } else { 500 };
                if session.respond_error(code).await.is_err() {
                    debug!("the client left before it was answered");
                }
                FailToProxy { error_code: code, can_reuse_downstream: false }
            }
        }
    }

    fn suppress_error_log(&self, _session: &Session, _ctx: &Ctx, _error: &Error) -> bool {
        // `logging` has the one line.
        true
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Ctx) {
        let status = session.response_written().map_or(0, |r| r.status.as_u16());
        let request = session.req_header();
        let (method, path) = (&request.method, request.uri.path());
        let host = ctx.host.as_ref().map_or("-", HostName::as_str);
        let app = ctx.app.as_ref().map_or("-", AppName::as_str);
        let took_ms = ctx.began.elapsed().as_millis() as u64;
        let id = &ctx.request_id;
        let client_left = error.is_some_and(|e| *e.esource() == pingora::ErrorSource::Downstream);
        let shown_page = matches!(ctx.refusal, Some(Refusal::Starting { .. }));
        match error {
            Some(e) if !client_left && !shown_page && (status >= 500 || status == 0) => {
                let why = ctx.refusal.as_ref().map_or_else(|| e.to_string(), Refusal::text);
                warn!(
                    app.name = app, request.id = %id, took_ms, status, "{method} {host}{path} failed: {why}"
                )
            }
            Some(e) => {
                debug!(app.name = app, request.id = %id, took_ms, status, "{method} {host}{path}: {e}")
            }
            None => debug!(app.name = app, request.id = %id, took_ms, status, "{method} {host}{path}"),
        }
    }
}
