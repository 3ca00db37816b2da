//! Every limit of func, and the relations between them, asserted when it is compiled.

/// How long a lease lives without being renewed, in ms of the ledger's clock.
pub const LEASE_MS: u64 = 15_000;
/// How often an edge renews what is in use. Two renewals may fail before a lease ends.
pub const RENEW_MS: u64 = 5_000;
/// How long before its end an edge stops to trust a lease: covers a slow call and clocks that differ in speed.
pub const MARGIN_MS: u64 = 3_000;
/// How long an edge keeps a lease that nothing uses: a burst with short gaps costs one lease.
pub const LINGER_MS: u64 = 2_000;
/// How long an app may be unused before it is stopped, unless its `idle` says otherwise.
pub const IDLE_MS: u64 = 60_000;
/// The shortest `idle` that an app may set.
pub const IDLE_MS_MIN: u64 = 5_000;
/// The longest `idle` that an app may set: a day.
pub const IDLE_MS_MAX: u64 = 24 * 3_600_000;
/// How long requests may still take at a release that another has replaced, unless its `drain` says otherwise.
pub const DRAIN_MS: u64 = 3_600_000;
/// The shortest `drain` that an app may set: what is short ends of itself.
pub const DRAIN_MS_MIN: u64 = 1_000;
/// The longest `drain` that an app may set: a day.
pub const DRAIN_MS_MAX: u64 = 24 * 3_600_000;
/// How long a start may take, from the claim to the first accepted connection.
pub const WAKE_MS: u64 = 30_000;
/// How long a claim stands without being extended. Others wait so long for one whose holder has died.
pub const CLAIM_MS: u64 = 7_500;
/// How often a claim is extended while its start is under way. Two extensions may fail before it ends.
pub const EXTEND_MS: u64 = 1_500;
/// How long an instance may be unused before it is paused, if it starts slower than it is resumed.
pub const FREEZE_MS: u64 = 5_000;
/// The shortest `freeze` that an app may set: its last lease has to be left before.
pub const FREEZE_MS_MIN: u64 = 3_000;
/// What resuming a paused instance takes, with room: what starts faster than that is not worth its memory.
pub const RESUME_MS: u64 = 20;
/// What a poised container costs the machine, its shim included: measured, rounded up.
pub const POISED_BYTES: u64 = 4 * 1024 * 1024;
/// How old a poised container may become before it is made anew.
pub const POISED_MS: u64 = 24 * 3_600_000;
/// How many of what was made ahead and is out of date are replaced at the same time.
pub const RENEWED_AT_ONCE: usize = 2;
/// How many cron lines an app may have.
pub const WARM_AT_MAX: usize = 16;
/// How long an instance has between SIGTERM and SIGKILL.
pub const STOP_GRACE_MS: u64 = 10_000;
/// How long a stop may take before it is done again: the grace, and the engine's own time.
pub const COOLING_MS: u64 = STOP_GRACE_MS + 20_000;
/// How many requests may wait for one app's start at one edge.
pub const WAITERS_MAX: usize = 1_000;
/// How often a request that was never sent is tried again.
pub const RETRIES_MAX: usize = 3;
/// How many builds run at once.
pub const BUILDS_AT_ONCE: usize = 2;
/// How many apps may wait for a build.
pub const BUILDS_QUEUED_MAX: usize = 100;
/// How long one build may take unless the server's settings say otherwise.
pub const BUILD_MS: u64 = 15 * 60_000;
/// The longest line of a log that is passed on; what is longer is cut.
pub const LOG_LINE_BYTES: usize = 8 * 1024;
/// How many last lines of a log a pusher is shown when a deploy failed.
pub const TAIL_LINES: usize = 20;
/// How large one log file may grow before it is rotated; one older file is kept.
pub const LOG_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How large each file of the audit log may grow before it is rotated; one older file is kept.
pub const AUDIT_FILE_BYTES: u64 = 8 * 1024 * 1024;
/// How many releases of an app are kept, the live one included.
pub const RELEASES_KEPT: usize = 5;
/// How many releases of an app may be pinned: each keeps an image.
pub const PINS_MAX: usize = 20;
/// How often what is on disk is measured while nothing happens.
pub const DISK_EVERY_MS: u64 = 5 * 60_000;
/// How old a measurement may be to refuse a push: the cleaner may be away, and space made since.
pub const DISK_REPORT_MS_MAX: u64 = 3 * DISK_EVERY_MS;
/// How many of the things that go next are shown.
pub const DISK_NEXT_MAX: usize = 10;
/// How often the cleaner compares what is known with what is seen.
pub const RECONCILE_MS: u64 = 30_000;
/// How often the cleaner looks for what is idle.
pub const COOL_EVERY_MS: u64 = 1_000;
/// The first wait after a failed start; it doubles with each failure.
pub const BACKOFF_MS_MIN: u64 = 1_000;
/// The longest wait after a failed start.
pub const BACKOFF_MS_MAX: u64 = 60_000;
/// The longest line of a hook: two ids of 64 digits, a ref of 255 bytes, two spaces; rounded up.
pub const REF_LINE_BYTES: usize = 512;
/// The largest commit or annotated tag, message and all.
pub const COMMIT_BYTES: u64 = 1024 * 1024;
/// How many ref updates of one push are read.
pub const REF_UPDATES_MAX: usize = 10_000;
/// How many refs a repository may have.
pub const REFS_MAX: usize = 50_000;
/// How many changes of the ledger may wait for a slow listener before it is told that it missed some.
pub const CHANGES_MAX: usize = 1_024;
/// The largest func.toml.
pub const CONFIG_BYTES: u64 = 64 * 1024;
/// How many hosts of its own an app may have.
pub const HOSTS_MAX: usize = 32;
/// How many variables an app may set in func.toml.
pub const ENV_MAX: usize = 128;
/// How long one call to the ledger may take.
pub const LEDGER_CALL_MS: u64 = 2_000;
/// The longest request line and JSON body between our own processes.
pub const CALL_BYTES: usize = 64 * 1024;

const _: () =
    assert!(2 * RENEW_MS + MARGIN_MS < LEASE_MS, "two renewals must fit into a lease that is trusted");
const _: () = assert!(MARGIN_MS > LEDGER_CALL_MS, "a lease must outlive the call that failed to renew it");
const _: () = assert!(LINGER_MS < IDLE_MS_MIN, "a lease must be left before its instance can be idle");
const _: () = assert!(IDLE_MS_MIN <= IDLE_MS && IDLE_MS <= IDLE_MS_MAX);
const _: () = assert!(DRAIN_MS_MIN <= DRAIN_MS && DRAIN_MS <= DRAIN_MS_MAX);
const _: () = assert!(
    2 * (EXTEND_MS + LEDGER_CALL_MS) < CLAIM_MS,
    "a claim must outlive two calls that failed to extend it"
);
const _: () = assert!(STOP_GRACE_MS < COOLING_MS);
const _: () = assert!(BACKOFF_MS_MIN <= BACKOFF_MS_MAX);
const _: () = assert!(COOL_EVERY_MS < IDLE_MS_MIN);
const _: () = assert!(LINGER_MS < FREEZE_MS_MIN && FREEZE_MS_MIN <= FREEZE_MS);
