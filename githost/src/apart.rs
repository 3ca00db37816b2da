//! A runtime of the git host's own: what strangers make it compute never takes the threads that serve the apps.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::limits::{BLOCKING_THREADS_MAX, NICE};

/// How long blocking work may go on when everything else has ended.
const LINGER: Duration = Duration::from_secs(1);
/// What the threads are called: `githost`, for whoever looks at the process.
const NAME: &str = "githost";

/// Runs a future on threads of its own: fewer than there are CPUs, and behind the edge's in the kernel's order. Dropping
/// this ends it. A panic in the future is an error here.
///
/// # Errors
/// The future's own; if a thread or the runtime cannot be made; if the future panicked.
pub(crate) async fn apart(
    serve: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    let (ended, end) = oneshot::channel();
    let stop = CancellationToken::new();
    let _stop_when_dropped = stop.clone().drop_guard();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).saturating_sub(1).max(1);
    let run = move || {
        let result = runtime(threads).map(|runtime| {
            let result = runtime.block_on(stop.run_until_cancelled(runtime.spawn(serve)));
            runtime.shutdown_timeout(LINGER);
            result
        });
        // Nobody may be left to hear it.
        let _ = ended.send(result);
    };
    std::thread::Builder::new().name(NAME.to_owned()).spawn(run).context("start the git host's thread")?;
    match end.await.map_err(|_| anyhow!("the git host's thread panicked"))?? {
        Some(joined) => joined.context("run the git host")?,
        None => Ok(()),
    }
}

fn runtime(threads: usize) -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(threads)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name(NAME)
        // On Linux this is the thread's own; what it starts (git, the hook) inherits it.
        .on_thread_start(|| {
            if let Err(e) = setpriority_process(None, NICE) {
                tracing::warn!("the git host's thread keeps its priority: {e}");
            }
        })
        .enable_all()
        .build()
        .context("start the git host's runtime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_an_error_and_a_panic_are_heard() {
        assert!(apart(async { Ok(()) }).await.is_ok());
        let failed = apart(async { Err(anyhow!("the door is gone")) }).await;
        assert_eq!(failed.map_err(|e| e.to_string()), Err("the door is gone".to_owned()));
        let panicked = apart(async { std::panic::panic_any("no") }).await;
        assert_eq!(panicked.map_err(|e| e.to_string()), Err("run the git host".to_owned()));
    }

    #[tokio::test]
    async fn its_threads_are_behind_the_others_and_end_with_it() {
        let own = rustix::process::getpriority_process(None);
        let (tx, rx) = oneshot::channel();
        let running = tokio::spawn(apart(async move {
            let _ = tx.send(rustix::process::getpriority_process(None));
            std::future::pending().await
        }));
        assert_eq!(rx.await.expect("it runs"), Ok(NICE));
        assert_eq!(rustix::process::getpriority_process(None), own, "this thread keeps its own");
        let (kept, gone) = oneshot::channel::<()>();
        running.abort();
        assert!(running.await.is_err());
        let other = tokio::spawn(apart(async move {
            let _kept = kept;
            std::future::pending().await
        }));
        tokio::task::yield_now().await;
        other.abort();
        assert!(gone.await.is_err(), "what it held is dropped");
    }
}
