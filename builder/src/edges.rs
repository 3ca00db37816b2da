//! The edges of this machine: whoever was told that a release is live meets it with the next request, at each of them.
//!
//! Edges hear of a new route by themselves, a moment later. This is for that moment.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use func_model::ReleaseId;
use func_socket::{CallError, call_json_within};
use futures_util::future::join_all;
use http::Method;
use tracing::{debug, warn};

use crate::builder::Builder;
use crate::text::chain;

/// How long a deploy waits for an edge to read the routes.
const WITHIN: Duration = Duration::from_secs(2);
/// How many edges are waited for.
const EDGES_MAX: usize = 64;
/// How old the socket of an edge that was killed is when it is removed.
const KILLED: Duration = Duration::from_secs(60);

impl Builder {
    /// Waits until every edge of this machine has read the routes anew. One that does not answer is not waited for long.
    pub async fn tell_edges(&self, live: &ReleaseId) {
        let calls = sockets(&self.config.data.edges()).into_iter().map(|socket| async move {
            let read = call_json_within::<()>(&socket, Method::POST, "/routes", None::<&()>, WITHIN).await;
            match read {
                Ok(()) => {}
                Err(CallError::NotRunning { .. }) => remove_old(&socket),
                Err(e) => warn!(release = %live, error = %chain(&e), "an edge may send requests elsewhere for a moment"),
            }
        });
        join_all(calls).await;
    }
}

fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path()).take(EDGES_MAX).collect()
}

/// One that is just being made is not removed.
fn remove_old(socket: &Path) {
    let age = fs::metadata(socket).and_then(|m| m.modified()).ok().and_then(|made| made.elapsed().ok());
    if age.is_some_and(|age| age > KILLED)
        && let Err(e) = fs::remove_file(socket)
        && e.kind() != ErrorKind::NotFound
    {
        debug!("the socket of an edge that is gone stays: {e}");
    }
}
