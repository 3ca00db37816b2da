//! Every limit of this server, with the reason for its number.

use std::time::Duration;

/// Connections served at once; further ones wait in the kernel's queue until one ends.
///
/// As many as an edge lets wait for one app.
pub const CONNECTIONS_MAX: usize = 1024;

/// Time for the head of a request to arrive, the idle time before it included.
///
/// Long enough that the edge's kept connections are seldom closed under it.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of a request's head, its first line included: twice what browsers and proxies send at most.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Bytes that wait in one connection's buffers, in each direction.
pub const BUFFER_BYTES_MAX: usize = 32 * 1024;

/// Time that what is in flight has to end after SIGTERM: the grace of func's own stop.
pub const DRAIN: Duration = Duration::from_secs(10);

/// Time that a client has after the last write to fetch it, before its connection is closed under it.
pub const FAREWELL: Duration = Duration::from_secs(5);

/// Descriptors wanted: a socket and a file for each connection, and some for the process itself.
pub const DESCRIPTORS: u64 = 2 * CONNECTIONS_MAX as u64 + 64;

/// Pause after an accept that failed for a reason which does not pass at once, such as no free descriptor.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a file read at a time. Twice as many make one download faster by half, and a thousand cost twice the memory.
pub const CHUNK_BYTES: u64 = 32 * 1024;

/// Threads that read files; more requests queue behind them.
pub const READERS_MAX: usize = 8;

/// Stack of a reading thread, which nests a dozen calls and keeps its buffers on the heap.
pub const READER_STACK_BYTES: usize = 256 * 1024;

/// Size up to which an entity tag is a hash of the content: the first request waits for it, some 10 ms.
pub const HASHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Hashes remembered; one takes about 150 bytes.
pub const HASHES_MAX: usize = 4096;

/// Size from which compression is tried: below it an answer fits one packet either way.
pub const COMPRESS_BYTES_MIN: u64 = 512;

/// Size up to which compression is tried: the pusher waits some 6 s for both copies of such a file.
pub const COMPRESS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The least gain that keeps a compressed copy, in percent of the original.
pub const COMPRESS_GAIN_PERCENT: u64 = 5;

/// Tries of an open that the kernel could not settle because a rename crossed it.
pub const OPEN_TRIES: u32 = 4;

const _: () = assert!(COMPRESS_BYTES_MIN < COMPRESS_BYTES_MAX);
const _: () = assert!(CHUNK_BYTES > 0 && CHUNK_BYTES <= HASHED_BYTES_MAX);
const _: () = assert!(FAREWELL.as_millis() < DRAIN.as_millis());
const _: () = assert!(HEAD_BYTES_MAX <= BUFFER_BYTES_MAX);
const _: () = assert!(READERS_MAX > 0 && CONNECTIONS_MAX > 0 && HASHES_MAX > 0 && OPEN_TRIES > 0);
