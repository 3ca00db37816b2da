//! The builder's own limits; those that others share are in `func_model::limits`.

use std::time::Duration;

/// How many events of a deploy are kept for a pusher who reads slowly or comes late.
pub const EVENTS_KEPT: usize = 2_000;
/// How many bytes of text these events may have.
pub const EVENTS_BYTES: usize = 1024 * 1024;
/// How many lines of a build may wait to be written down.
pub const LINES_WAITING: usize = 256;
pub use func_model::limits::COMMIT_BYTES;
/// How many files and folders a commit may have: git and func hold the list of them in memory.
pub const TREE_ENTRIES: u64 = 500_000;
/// How deep a commit's folders may lie in one another.
pub const FOLDERS_DEPTH: usize = 128;
/// The longest path of a commit: the longest that Linux opens.
pub const PATH_BYTES: usize = 4_096;
/// The largest list of one folder's entries: about 500,000 short names.
pub const FOLDER_BYTES: u64 = 32 * 1024 * 1024;
/// How much memory a git that reads for a build may have; a file that was pushed as a difference is put together in it.
pub const GIT_MEMORY_BYTES: u64 = 1024 * 1024 * 1024;
/// How many seconds of CPU it may take.
pub const GIT_CPU_SECONDS: u64 = 1_800;
/// How large a file may be that it writes; what it reads for a build goes through a pipe.
pub const GIT_FILE_BYTES: u64 = 1024 * 1024;
/// How many files a static site may have.
pub const SITE_FILES: usize = 50_000;
/// How large one file of a static site may be.
pub const SITE_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// How large a static site may be.
pub const SITE_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// How deep its folders may be.
pub const SITE_DEPTH: usize = 64;
/// From which size on a file is streamed and not held in memory, unless it is compressed: that has a limit of its own.
pub const STREAM_BYTES: u64 = 8 * 1024 * 1024;
/// How many bytes of files are compressed at the same time.
pub const BATCH_BYTES: usize = 32 * 1024 * 1024;
/// How many files are compressed at the same time.
pub const BATCH_FILES: usize = 512;
/// How much of a stream is passed on at once.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// How many chunks may wait for the engine.
pub const CHUNKS_WAITING: usize = 16;
/// The largest Dockerfile that is read.
pub const DOCKERFILE_BYTES: u64 = 256 * 1024;
/// The largest .dockerignore that is read.
pub const IGNORE_BYTES: u64 = 64 * 1024;
/// How many patterns of it are heeded.
pub const IGNORE_PATTERNS: usize = 1_000;
/// How long a deploy waits for another of the same app to end: a rollback, with its start.
pub const DEPLOY_LOCK: Duration = Duration::from_secs(120);
/// How long a rollback or a removal waits for a deploy: whoever asked is told to come back.
pub const CALL_LOCK: Duration = Duration::from_secs(5);
/// How often a lock is tried.
pub const LOCK_EVERY: Duration = Duration::from_millis(20);
/// How long a deploy waits for a ledger that is away or lost.
pub const LEDGER_WITHIN: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
pub const LEDGER_EVERY: Duration = Duration::from_millis(250);
/// How often the ledger is asked again while somebody else starts or stops the instance.
pub const ENTER_EVERY: Duration = Duration::from_millis(50);
/// How often a deploy may have ended the builder before the next boot leaves it alone.
pub const ATTEMPTS_MAX: u32 = 3;
/// How often it is looked whether something was pushed of which no hook has told.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How often a full queue is tried again at boot.
pub const ROOM_EVERY: Duration = Duration::from_millis(500);
/// The port of an app that names none.
pub const PORT: u16 = 8080;
