//! From a pushed revision to a live release: read the commit, make an image, start it once, make it live.
//!
//! Nothing here must survive the process: what is pushed is in the repositories, what is released in the manifests,
//! and a repository whose head has no release is the queue. No checkout is ever made.

mod app_file;
mod attempt;
mod boot;
mod builder;
mod calls;
mod clock;
mod commit;
mod config;
mod context;
mod deadline;
mod deploy;
mod edges;
mod embedded;
mod extent;
mod failure;
mod feed;
#[cfg(test)]
mod fuzz_tests;
mod git;
mod ignore;
mod image;
mod layer;
mod limits;
mod pins;
mod project;
mod queue;
mod removal;
mod report;
mod repository;
mod rollback;
mod site;
mod smoke;
mod squeeze;
mod stream;
#[cfg(test)]
mod testing;
mod text;

use std::sync::Arc;

use anyhow::Context;
use func_model::event::BuildEvent;
use func_model::limits::BUILDS_AT_ONCE;
use func_store::Part;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, info, warn};

pub use config::Config;

use crate::builder::Builder;
use crate::queue::Running;

/// How long rollbacks and removals may go on after `shutdown`.
const FINISH_WITHIN: std::time::Duration = std::time::Duration::from_secs(5);

/// How often to look whether the engine of builds is unused, and how long its end may take at a shutdown.
const REST_EVERY: std::time::Duration = std::time::Duration::from_secs(30);
const REST_WITHIN: std::time::Duration = std::time::Duration::from_secs(25);

/// Serves the builder until `shutdown`. What is being built then is built again at the next start.
///
/// # Errors
/// If the socket cannot be served: another builder has it, or the folder is not writable.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (socket, builds) = (config.data.socket("builder"), config.data.socket("deploy"));
    let githost = config.data.user(Part::Githost);
    let builder = Builder::new(config);
    let mut work = JoinSet::new();
    let closed = builder.clone();
    let stopped = async || {
        shutdown.cancelled().await;
        // Whoever listens is told that the builder stops by the end of its lines.
        closed.queue.close();
    };
    let served = async {
        tokio::try_join!(
            func_socket::serve(&socket, calls::router(builder.clone()), stopped()),
            func_socket::serve_also(&builds, githost, calls::builds(builder.clone()), stopped()),
        )
    };
    tokio::pin!(served);
    // The socket comes first: where another builder runs, nothing may be built.
    tokio::select! {
        biased;
        ended = &mut served => return ended.map(drop).context("serve the builder's sockets"),
        () = std::future::ready(()) => {}
    }
    match git::remove_stale(&std::env::temp_dir()) {
        Ok(0) => {}
        Ok(count) => info!("removed {count} temporary folders of a builder that was killed"),
        Err(e) => warn!("the temporary folders of older builders cannot be looked at: {e}"),
    }
    builder.finish_removals().await;
    for _ in 0..BUILDS_AT_ONCE {
        work.spawn(builder.clone().work());
    }
    work.spawn(builder.clone().catch_up());
    work.spawn(builder.clone().rest());
    info!("the builder is ready");
    let ended = served.await;
    drop(work);
    builder.tasks.close();
    builder.end_rest().await;
    if tokio::time::timeout(FINISH_WITHIN, builder.tasks.wait()).await.is_err() {
        info!("a rollback or removal was not over at the end");
    }
    ended.map(drop).context("serve the builder's sockets")
}

impl Builder {
    /// Lets go of what runs only for builds when nothing is built, for ever.
    async fn rest(self: Arc<Self>) {
        loop {
            tokio::time::sleep(REST_EVERY).await;
            if let Err(e) = self.config.make.rest(false).await {
                debug!("what runs for builds goes on running: {}", text::chain(&e));
            }
        }
    }

    async fn end_rest(&self) {
        match tokio::time::timeout(REST_WITHIN, self.config.make.rest(true)).await {
            Ok(Ok(())) => {}
            Ok(Err(e)) => warn!("what runs for builds goes on running: {}", text::chain(&e)),
            Err(_) => warn!("what runs for builds has not ended within {} s", REST_WITHIN.as_secs()),
        }
    }

    async fn work(self: Arc<Self>) {
        loop {
            let job = self.queue.next().await;
            self.clone().work_on(job).await;
        }
    }

    /// Deploys a job in a task of its own: a panic in one deploy ends that deploy only.
    async fn work_on(self: Arc<Self>, job: Running) {
        let (app, revision, feed) = (job.app.clone(), job.revision.clone(), job.feed.clone());
        let builder = self.clone();
        let deploy = AbortOnDropHandle::new(tokio::spawn(async move { builder.deploy(&job).await }));
        let Err(e) = deploy.await else { return };
        error!(app.name = %app, error = %text::chain(&e), "the deploy of {app} broke");
        if let Err(e) = self.config.manifests.set_failed(&app, &revision) {
            error!(app.name = %app, error = %text::chain(&e), "this deploy is tried again at the next boot");
        }
        let failure = failure::Failure::Broken { app, source: e };
        feed.tell(BuildEvent::Failed {
            reason: failure.to_string(),
            hint: failure.hint(),
            tail: Vec::new(),
            stays: None,
        });
    }
}
