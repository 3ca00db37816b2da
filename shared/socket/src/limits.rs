//! Limits of the calls.

use std::time::Duration;

/// How many calls one socket serves at once: every waiting pusher is one.
pub const CALLS_MAX: usize = 512;
/// How long a caller may take for its request's head.
pub const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// How long a caller waits for the head of an answer. Long work answers at once, and then line by line.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long calls may go on after the service was asked to stop.
pub const DRAIN_WITHIN: Duration = Duration::from_secs(3);
/// The longest line of an answer: a `Failed` event with its tail of 20 log lines, as JSON.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// The largest answer that is read as a whole: a few thousand apps.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How often connecting is tried while the socket's backlog is full.
pub const CONNECT_TRIES: u32 = 50;
/// The wait between these tries.
pub const CONNECT_EVERY: Duration = Duration::from_millis(20);
/// The longest path of a unix socket, its final NUL not counted.
///
/// Source: unix(7), `sun_path`.
pub const SOCKET_PATH_BYTES: usize = 107;
