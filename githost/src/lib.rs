//! The developers' door: git over SSH and over smart HTTP, on bare repositories that the first push makes.
//!
//! A door (`ssh`, `http`) knows who asks and turns the request into a `Call` and a `Wire`; `host` finds or makes the
//! repository and starts the `git` program, which speaks git's protocol; `relay` streams between the two. No body is
//! held in memory, and no process outlives its client.
//!
//! Nothing is cached: keys and token are read for each try, so that a change holds at once.

mod admission;
mod apart;
mod call;
mod cut;
mod door;
mod error;
mod farewell;
mod free_disk;
#[cfg(test)]
mod fuzz_tests;
mod host;
mod host_key;
mod http;
mod key_watch;
mod keys;
pub mod limits;
mod pace;
mod places;
mod presence;
mod process;
mod refusals;
mod relay;
mod repository;
mod settle;
mod ssh;
mod verdict;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use func_store::DataDir;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::HostError;
pub use free_disk::FreeDisk;

use crate::door::Door;
use crate::host::Host;
use crate::http::Http;
use crate::key_watch::KeyWatch;
use crate::keys::Keys;
use crate::limits::{FAREWELL, HTTP_ROOM, SSH_ROOM};
use crate::pace::Pace;
use crate::places::Places;
use crate::process::Git;
use crate::ssh::Ssh;

/// What the git host needs to run.
pub struct Config {
    pub data: DataDir,
    /// Listeners for SSH, bound beforehand; there may be none.
    pub ssh: Vec<std::net::TcpListener>,
    /// Listeners for HTTP, bound beforehand; there may be none.
    pub http: Vec<std::net::TcpListener>,
    /// The folder for `core.hooksPath`, prepared by the caller. Hooks find `FUNC_APP`, `FUNC_DATA` and
    /// `FUNC_VERDICT` in their environment: a post-receive hook writes `failed` into the file that the last one
    /// names when the deploy failed.
    pub hooks: PathBuf,
    /// Files of public keys that are let in besides `keys/authorized_keys`; they need not exist.
    pub extra_keys: Vec<PathBuf>,
    /// The largest pack that one push may send, in bytes.
    pub push_bytes_max: u64,
    /// How much of the disk stays free: with less, pushes are refused before anything is stored.
    pub free_bytes_min: Option<u64>,
    /// The most connections of each kind at each door: as many as there are file descriptors for.
    pub connections_max: usize,
    /// How long one git command may take, the deploy after a push included: what waits for its turn, and the longest
    /// build. What the deploy does then goes on without its pusher.
    pub command_within: Duration,
    /// The `PATH` of git and of the hooks.
    pub search_path: OsString,
    /// How long what is in flight may go on after the shutdown.
    pub drain: Duration,
}

/// Serves both doors until `shutdown` is set; then lets what is in flight end, up to `config.drain`, and leaves. All of
/// it runs on threads of its own, behind those of the caller.
///
/// # Errors
/// If a listener cannot be used, the host key can neither be read nor made, or the git host panicked.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    apart::apart(serve(config, shutdown)).await
}

async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Config {
        data,
        ssh,
        http,
        hooks,
        extra_keys,
        push_bytes_max,
        free_bytes_min,
        connections_max,
        command_within,
        search_path,
        drain,
    } = config;
    let git = Git { search_path, hooks, root: data.root().to_owned(), push_bytes_max };
    let host = Arc::new(Host::new(data.clone(), git, command_within, free_bytes_min));
    let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
    // Whatever ends this also ends the connections.
    let _guard = cut.clone().drop_guard();

    let mut key_files = vec![data.keys().join("authorized_keys")];
    key_files.extend(extra_keys);
    let key_watch = Arc::new(KeyWatch::new(&data, key_files.clone()));
    // Ends with this function.
    let _watching =
        tokio_util::task::AbortOnDropHandle::new(tokio::spawn(KeyWatch::watch(key_watch.clone())));
    let host_key = host_key::text(&data, ssh::new_host_key).context("prepare the SSH host key")?;
    let ssh_door = Arc::new(Ssh {
        host: host.clone(),
        keys: Keys::new(key_files),
        key_watch,
        config: ssh::config(&host_key).context("use the SSH host key")?,
        pace: Pace::new(),
        tasks: tasks.clone(),
        shutdown: shutdown.clone(),
        cut: cut.clone(),
    });
    let http_door = Http { host, tasks: tasks.clone(), shutdown: shutdown.clone(), cut: cut.clone() };
    let http_door = Arc::new(http_door);

    let door =
        Door { places: Places::new(SSH_ROOM.within(connections_max)), full: ssh::FULL, tasks: tasks.clone() };
    let serve = move |stream, place| ssh::serve(ssh_door.clone(), stream, place);
    door::open(door, ssh, serve, &shutdown).context("listen for SSH")?;
    let door = Door {
        places: Places::new(HTTP_ROOM.within(connections_max)),
        full: http::FULL,
        tasks: tasks.clone(),
    };
    let serve = move |stream, place| http::serve(http_door.clone(), stream, place);
    door::open(door, http, serve, &shutdown).context("listen for HTTP")?;

    shutdown.cancelled().await;
    tasks.close();
    if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
        tracing::warn!("what is still in flight is ended");
    }
    cut.cancel();
    let _ = tokio::time::timeout(FAREWELL, tasks.wait()).await;
    Ok(())
}
