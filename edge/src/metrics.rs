//! Metrics: wakes and where their time goes, told on a unix socket as OpenMetrics text.
//!
//! No label names an app: a machine has thousands.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use func_model::Refusal;
use http::{StatusCode, header};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::routes::Routes;
use crate::trace::{Part, Trace, Way};

/// The type of the text.
///
/// Source: OpenMetrics 1.0, "Protocol Negotiation".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The name under which a whole wake is counted among its parts.
const TOTAL: &str = "total";
/// From 100 µs to 30 s: a poised start has several buckets, as has a slow one.
const BUCKETS_S: [f64; 28] = [
    0.0001, 0.0002, 0.0003, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015,
    0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPart {
    part: &'static str,
    way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfWay {
    way: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

/// What this edge counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    wake_seconds: Family<OfPart, Histogram, fn() -> Histogram>,
    wakes: Family<OfWay, Counter>,
    failures: Family<OfReason, Counter>,
    connections: Gauge,
    connections_closed: Family<OfReason, Counter>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("func");
        let wake_seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BUCKETS_S));
        registry.register_with_unit(
            "wake",
            "Where the time of wakes went: part total is a whole wake, first-byte is counted for each request that \
             waited for one",
            Unit::Seconds,
            wake_seconds.clone(),
        );
        let wakes = Family::default();
        registry.register("wakes", "Instances that became warm, or were found to be", wakes.clone());
        let failures = Family::default();
        registry.register("wake_failures", "Wakes that woke nothing", failures.clone());
        let connections = Gauge::default();
        registry.register("connections", "Connections of clients that are open", connections.clone());
        let connections_closed = Family::default();
        registry.register(
            "connections_closed",
            "Connections that the edge refused, or closed since their client was late or others needed room",
            connections_closed.clone(),
        );
        Self { registry, wake_seconds, wakes, failures, connections, connections_closed }
    }

    /// Counts a wake.
    pub(crate) fn woken(&self, trace: &Trace) {
        let way = trace.way.name();
        self.wakes.get_or_create(&OfWay { way }).inc();
        for (part, took) in trace.parts() {
            self.observe(part.name(), way, took);
        }
        self.observe(TOTAL, way, trace.total());
    }

    /// Counts a wake that woke nothing.
    pub(crate) fn failed(&self, refusal: &Refusal) {
        self.failures.get_or_create(&OfReason { reason: refusal.name() }).inc();
    }

    /// Takes note of how many connections are open.
    pub(crate) fn open(&self, connections: usize) {
        self.connections.set(i64::try_from(connections).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was refused or closed.
    pub(crate) fn closed(&self, reason: &'static str) {
        self.connections_closed.get_or_create(&OfReason { reason }).inc();
    }

    /// Counts the answer of a request that waited for a wake.
    pub(crate) fn first_byte(&self, way: Way, took: Duration) {
        self.observe(Part::FirstByte.name(), way.name(), took);
    }

    fn observe(&self, part: &'static str, way: &'static str, took: Duration) {
        self.wake_seconds.get_or_create(&OfPart { part, way }).observe(took.as_secs_f64());
    }

    /// Gives everything as OpenMetrics text.
    fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// Answers `GET /metrics` with the text, and `GET /healthz` with 200 as soon as the routes are known.
pub(crate) fn router(metrics: Arc<Metrics>, routes: Arc<Routes>) -> Router {
    Router::new()
        .route("/metrics", get(tell))
        .with_state(metrics)
        .merge(Router::new().route("/healthz", get(health)).with_state(routes))
}

async fn tell(State(metrics): State<Arc<Metrics>>) -> Response {
    match metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn health(State(routes): State<Arc<Routes>>) -> (StatusCode, &'static str) {
    match routes.known() {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the routes are not known yet\n"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::trace::Log;

    #[tokio::test(start_paused = true)]
    async fn a_wake_is_counted_whole_and_by_its_parts() {
        let metrics = Metrics::new();
        let (mut log, asked) = (Log::new(), Instant::now());
        advance(Duration::from_micros(1_200)).await;
        log.add(Part::Gate, asked);
        metrics.woken(&log.end(Way::Poised));
        metrics.first_byte(Way::Poised, Duration::from_millis(1));
        metrics.failed(&Refusal::Lost);
        let text = metrics.text().expect("it is text");
        for line in [
            "# TYPE func_wake_seconds histogram",
            "func_wake_seconds_sum{part=\"gate\",way=\"poised\"} 0.0012",
            "func_wake_seconds_bucket{le=\"0.0015\",part=\"gate\",way=\"poised\"} 1",
            "func_wake_seconds_bucket{le=\"0.001\",part=\"gate\",way=\"poised\"} 0",
            "func_wake_seconds_count{part=\"queue\",way=\"poised\"} 1",
            "func_wake_seconds_count{part=\"total\",way=\"poised\"} 1",
            "func_wake_seconds_count{part=\"first-byte\",way=\"poised\"} 1",
            "func_wakes_total{way=\"poised\"} 1",
            "func_wake_failures_total{reason=\"lost\"} 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
