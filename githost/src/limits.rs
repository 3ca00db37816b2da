//! Every limit of the developers' door, and the relations between them.

use std::time::Duration;

/// How many SSH connections are open at once.
pub const SSH_CONNECTIONS_MAX: usize = 64;
/// How many HTTP connections are open at once.
pub const HTTP_CONNECTIONS_MAX: usize = 256;
/// How many connections of a door one address may hold: half of SSH's, so that one client never takes them all.
pub const ADDRESS_CONNECTIONS_MAX: usize = 32;
/// How many git commands run at once; each is a process with its own memory.
pub const COMMANDS_MAX: usize = 64;
/// How long a command has between SIGTERM (git removes its temporary objects) and SIGKILL.
pub const COMMAND_GRACE: Duration = Duration::from_secs(2);
/// How long the rest of an input is read and thrown away after git has ended, so that the answer arrives.
pub const DISCARD: Duration = Duration::from_secs(10);

/// How long an SSH client has until it is authenticated.
pub const LOGIN: Duration = Duration::from_secs(30);
/// How long an SSH connection may be open without a running command.
pub const IDLE: Duration = Duration::from_secs(300);
/// How many public keys a client may offer that are not let in.
pub const AUTH_TRIES_MAX: usize = 6;
/// How long a refused key waits for its answer.
pub const AUTH_REFUSAL: Duration = Duration::from_millis(50);
/// How often a silent SSH client is asked for a sign of life.
pub const KEEPALIVE: Duration = Duration::from_secs(30);
/// How many such questions may stay without an answer.
pub const KEEPALIVES_MAX: usize = 3;
/// How many channels of one SSH connection are open at once.
pub const CHANNELS_MAX: usize = 8;
/// How many `env` requests one SSH connection may send.
pub const ENV_REQUESTS_MAX: usize = 64;
/// The longest value of `GIT_PROTOCOL`.
pub const PROTOCOL_BYTES: usize = 128;
/// The longest command line.
pub const COMMAND_LINE_BYTES: usize = 1_024;
/// How much is read of one file of public keys.
pub const KEY_FILE_BYTES: u64 = 1024 * 1024;
/// The shortest RSA key that is let in, in bits.
pub const RSA_BITS_MIN: usize = 2_048;

/// How long an HTTP client has for the head of a request; also how long an idle connection is kept.
pub const HTTP_HEAD: Duration = Duration::from_secs(15);
/// How many headers a request may have.
pub const HTTP_HEADERS_MAX: usize = 64;
/// How large a request's head may be.
pub const HTTP_HEAD_BYTES: usize = 32 * 1024;
/// How long an HTTP connection may live beside one whole command.
pub const HTTP_CONNECTION: Duration = Duration::from_secs(3_600);
/// How long the answer to a wrong token is held back.
pub const TOKEN_REFUSAL: Duration = Duration::from_millis(250);

/// How much is read at once from a pipe.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks wait between a socket and a pipe, for each direction.
pub const CHUNKS_MAX: usize = 4;
/// How much of git's standard error is kept for the log.
pub const STDERR_BYTES: usize = 4 * 1024;
/// How long a connection has to end by itself once it was told to.
pub const FAREWELL: Duration = Duration::from_secs(3);

const _: () = assert!(ADDRESS_CONNECTIONS_MAX * 2 <= SSH_CONNECTIONS_MAX);
const _: () = assert!(LOGIN.as_secs() < IDLE.as_secs());
