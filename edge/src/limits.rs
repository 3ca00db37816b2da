//! The limits of the public door.

use std::time::Duration;

/// How the door is limited.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one IPv4 address, or of one IPv6 /64.
    pub connections_per_address: usize,
    /// The largest head of a request, its final empty line included.
    pub head_bytes: usize,
    /// How long the whole head may take, from its first byte; and how long a new connection may send nothing.
    pub head_time: Duration,
    /// How long a connection may be kept without a request.
    pub keep_alive: Duration,
    /// The smallest rate of bodies, both ways, while the client is the one that delays. 0: any byte within
    /// [`RATE_WINDOW`] will do.
    pub body_bytes_per_s: u64,
}

/// Requests per connection before the edge closes it: nginx's `keepalive_requests`.
pub(crate) const REQUESTS_MAX: u32 = 1_000;
/// The most lines of a head: a request line, the 256 fields that pingora takes, and the empty line.
pub(crate) const HEAD_LINES_MAX: usize = 258;
/// Period of the sweep over all connections, and so the precision of every timeout here.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// Seconds of waiting for a client over which a body's rate is measured: nginx's timeout for a single byte.
pub(crate) const RATE_WINDOW: u32 = 60;
/// Seconds of silence allowed in a request body once the response is complete: nginx's `lingering_timeout`.
pub(crate) const LINGER_SILENT: u32 = 5;
/// Seconds the rest of that body may take in all: nginx's `lingering_time`.
pub(crate) const LINGER: u32 = 30;
/// The most memory for the unfinished heads of all connections together.
pub(crate) const HEADS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of a refused client's remaining input the edge reads, and for how long: closing a socket with unread input
/// resets the connection, and the client never sees the response.
pub(crate) const DISCARD_BYTES: usize = 256 * 1024;
pub(crate) const DISCARD_WITHIN: Duration = Duration::from_secs(1);
/// Period of the log line about refused connections.
pub(crate) const REFUSALS_TOLD: Duration = Duration::from_secs(10);

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_address: 2_000,
            head_bytes: 32 * 1024,
            head_time: Duration::from_secs(15),
            keep_alive: Duration::from_secs(75),
            body_bytes_per_s: 256,
        }
    }
}
