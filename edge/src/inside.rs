//! The edge's inside, for `shared/races`: routes, wakes and keeps leases as [`run`](crate::run) does, without pingora.

use std::sync::Arc;

use func_ledger::{Enter, Watch};
use func_model::limits::RETRIES_MAX;
use func_model::{Endpoint, HostName, Refusal};
use func_runner::Start;
use func_store::Occupancy;
use pingora::http::RequestHeader;
use pingora::proxy::ProxyHttp;
use tokio_util::sync::CancellationToken;

use super::{Ctx, Proxy};
use crate::keeper::Keeper;
use crate::metrics::Metrics;
use crate::outage::Outage;
use crate::routes::Routes;
use crate::slot::Slots;
use crate::starter::Gates;
use crate::wake::Wake;

/// An edge.
pub struct Inside {
    proxy: Proxy,
    routes: Arc<Routes>,
    keeper: Arc<Keeper>,
}

/// A request on its way. Dropping it is its end.
pub struct Asked {
    ctx: Ctx,
    host: HostName,
    head: RequestHeader,
}

impl Inside {
    /// Gives an edge whose leases are named by `holder`.
    pub fn new(
        domain: HostName,
        holder: String,
        enter: Arc<dyn Enter>,
        watch: Arc<dyn Watch>,
        start: Arc<dyn Start>,
        gates: Arc<dyn Gates>,
        occupancy: Occupancy,
    ) -> Self {
        let (slots, metrics) = (Arc::new(Slots::new(holder)), Arc::new(Metrics::new()));
        let routes = Arc::new(Routes::new(domain, watch.clone()));
        let keeper = Arc::new(Keeper::new(slots.clone(), enter.clone(), occupancy.clone()));
        let outage = Outage::new(occupancy, start.clone(), gates.clone());
        let wake = Wake::new(slots.clone(), enter, watch, start, gates, outage, metrics.clone());
        let wake = Arc::new(wake);
        let proxy = Proxy::new(routes.clone(), wake, slots, metrics, Vec::new(), CancellationToken::new());
        Self { proxy, routes, keeper }
    }

    /// Follows the routes and keeps the leases, for ever.
    pub async fn work(&self) {
        tokio::join!(self.routes.clone().follow(), self.keeper.clone().keep_on());
    }

    /// Takes a request for `host`.
    pub fn ask(&self, host: HostName) -> Asked {
        let head = RequestHeader::build("GET", b"/", None).expect("a request");
        Asked { ctx: self.proxy.new_ctx(), host, head }
    }

    /// Gives where to send a request, as `upstream_peer` does: woken, and under a lease.
    ///
    /// # Errors
    /// What the client is told.
    pub async fn enter(&self, asked: &mut Asked) -> Result<Endpoint, Refusal> {
        self.proxy.try_again(&mut asked.ctx).await?;
        let in_flight = self.proxy.enter(&asked.host, &asked.head, &mut asked.ctx).await?;
        let endpoint = in_flight.endpoint;
        asked.ctx.in_flight = Some(in_flight);
        Ok(endpoint)
    }

    /// Takes note of a connection that was refused, as `fail_to_connect` does; whether to `enter` once more.
    pub fn is_tried_again(&self, asked: &mut Asked) -> bool {
        asked.ctx.refused += 1;
        asked.ctx.refused <= RETRIES_MAX + 1
    }
}
