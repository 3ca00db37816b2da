//! What strangers may take at the public door.

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

/// How many requests a connection is kept for, as nginx does.
pub(crate) const REQUESTS_MAX: u32 = 1_000;
/// How many lines a head may have: pingora takes 256 fields.
pub(crate) const HEAD_LINES_MAX: usize = 257;
/// How often connections are looked over. Every time here is exact to so much.
pub(crate) const SWEEP: Duration = Duration::from_secs(1);
/// For so many seconds of waiting for a client a body's rate is reckoned: as long as nginx waits for one byte.
pub(crate) const RATE_WINDOW: u32 = 60;
/// How many seconds a client may be silent in a request's body after its answer is complete: as nginx.
pub(crate) const LINGER_SILENT: u32 = 5;
/// How many seconds the rest of that body may take in all: as nginx.
pub(crate) const LINGER: u32 = 30;
/// How many bytes the unfinished heads of all connections may have together.
pub(crate) const HEADS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How much of what a refused client still sends is read, and for how long: a connection that is closed over unread
/// bytes is reset, and takes the answer with it.
pub(crate) const DISCARD_BYTES: usize = 256 * 1024;
pub(crate) const DISCARD_WITHIN: Duration = Duration::from_secs(1);
/// How often it is logged that connections are refused.
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
