//! Every limit of the developers' door, and the relations between them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::places::Room;

/// The SSH door: as many unknown clients as known ones, so that neither takes the other's places.
pub(crate) const SSH_ROOM: Room =
    Room { starting: 64, drop_from: 32, drop_percent: 30, starting_of_one: 24, known: 64, known_of_one: 32 };
/// The HTTP door. A proxy with TLS in front makes many clients one address.
pub(crate) const HTTP_ROOM: Room = Room {
    starting: 128,
    drop_from: 64,
    drop_percent: 30,
    starting_of_one: 32,
    known: 256,
    known_of_one: 64,
};
/// How many SSH handshakes may begin in a second: a fraction of one CPU.
pub(crate) const HANDSHAKES_PER_SECOND: NonZeroU32 = NonZeroU32::new(50).expect("not zero");
/// How many may begin at once after a rest.
pub(crate) const HANDSHAKES_BURST: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
/// As the two above, for one address block.
pub(crate) const HANDSHAKES_OF_ONE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
pub(crate) const HANDSHAKES_OF_ONE_BURST: NonZeroU32 = NonZeroU32::new(32).expect("not zero");
/// How many address blocks are remembered for that.
pub(crate) const PACE_BLOCKS_MAX: usize = 10_000;
/// How much an SSH client may send before it is known: a handshake and seven keys take a tenth of it, and it is too
/// little for exchanging keys again and again.
pub(crate) const STARTING_BYTES: u64 = 64 * 1024;
/// How many threads of the git host may wait for the disk at once.
pub(crate) const BLOCKING_THREADS_MAX: usize = 32;
/// How far behind others the kernel puts the git host's threads, and git.
pub(crate) const NICE: i32 = 5;
/// How much of the data folder's disk stays free, unless the server's settings say otherwise.
pub(crate) const FREE_BYTES_MIN: u64 = 1 << 30;
/// On a small disk it is this part of it.
pub(crate) const DISK_SHARE_KEPT: u64 = 20;
/// How many git commands run at once; each is a process with its own memory.
pub const COMMANDS_MAX: usize = 64;
/// How much memory each of its programs may have.
pub const COMMAND_MEMORY_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// How many seconds of CPU each may take: a push of 8 GiB takes a tenth of it.
pub const COMMAND_CPU_SECONDS: u64 = 2 * 3_600;
/// How long a command has between SIGTERM (git removes its temporary objects) and SIGKILL.
pub const COMMAND_GRACE: Duration = Duration::from_secs(2);
/// How long the rest of an input is read and thrown away after git has ended, so that the answer arrives.
pub const DISCARD: Duration = Duration::from_secs(10);

/// How long a client has until it is authenticated.
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
/// How often the files of public keys are looked at, for the audit log.
pub const KEYS_EVERY: Duration = Duration::from_secs(2);
/// How many keys one look writes down one by one.
pub const KEY_LINES_MAX: usize = 50;
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

/// How many refusals a minute the audit log has lines for, and how many at once after a rest.
pub(crate) const REFUSALS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not zero");
pub(crate) const REFUSALS_BURST: NonZeroU32 = NonZeroU32::new(30).expect("not zero");

/// How much is read at once from a pipe.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks wait between a socket and a pipe, for each direction.
pub const CHUNKS_MAX: usize = 4;
/// How much of git's standard error is kept for the log.
pub const STDERR_BYTES: usize = 4 * 1024;
/// How long a connection has to end by itself once it was told to.
pub const FAREWELL: Duration = Duration::from_secs(3);

const _: () =
    assert!(SSH_ROOM.starting_of_one * 2 < SSH_ROOM.starting, "two addresses never take all places");
const _: () = assert!(HTTP_ROOM.starting_of_one * 2 < HTTP_ROOM.starting);
const _: () = assert!(SSH_ROOM.known_of_one * 2 <= SSH_ROOM.known);
const _: () = assert!(LOGIN.as_secs() < IDLE.as_secs());
