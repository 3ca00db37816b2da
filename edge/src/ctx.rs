//! What is known of one request on its way.

use std::sync::Arc;

use func_model::{AppName, HostName, Refusal};
use pingora::Result;
use pingora::http::ResponseHeader;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::metrics::Metrics;
use crate::pace::Pass;
use crate::slot::{InFlight, Request};
use crate::trace::{Timing, Trace};

/// One request on its way.
pub(crate) struct Ctx {
    /// Counted until the last byte of its answer.
    _request: Request,
    pub(crate) began: Instant,
    /// The client's, once its head was read by the door.
    pub(crate) connection: Option<Arc<Connection>>,
    pub(crate) host: Option<HostName>,
    pub(crate) app: Option<AppName>,
    pub(crate) request_id: String,
    pub(crate) trusted: bool,
    pub(crate) in_flight: Option<InFlight>,
    /// Of one who waited for a start, until it is answered.
    pub(crate) pass: Option<Pass>,
    pub(crate) refusal: Option<Refusal>,
    /// Connections that were refused so far.
    pub(crate) refused: usize,
    /// The client asked where the time went.
    pub(crate) traced: bool,
    /// What is told of that: of a request that waited for a start, or asked.
    pub(crate) timing: Option<Timing>,
}

impl Ctx {
    pub(crate) fn new(request: Request) -> Self {
        Self {
            _request: request,
            began: Instant::now(),
            connection: None,
            host: None,
            app: None,
            request_id: String::new(),
            trusted: false,
            in_flight: None,
            pass: None,
            refusal: None,
            refused: 0,
            traced: false,
            timing: None,
        }
    }

    /// Takes note of having an instance, and of the start that was waited for.
    pub(crate) fn entered(&mut self, trace: Option<Arc<Trace>>, pass: Option<Pass>) {
        // A later try keeps its own.
        self.pass = pass.or(self.pass.take());
        // A later try, for which nothing was started, does not undo what was waited for before.
        if trace.is_some() || self.traced && self.timing.is_none() {
            self.timing = Some(Timing { began: self.began, entered: Instant::now(), trace });
        }
    }

    /// Tells where the time went, once, beside what the app says about its own.
    pub(crate) fn tell_timing(&mut self, response: &mut ResponseHeader, metrics: &Metrics) -> Result<()> {
        let Some(timing) = self.timing.take() else { return Ok(()) };
        let now = Instant::now();
        if let Some(trace) = &timing.trace {
            metrics.first_byte(trace.way, now - timing.entered);
        }
        response.append_header("server-timing", timing.header(now))?;
        Ok(())
    }
}
