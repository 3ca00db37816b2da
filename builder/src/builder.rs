//! The builder: what all of its work shares.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use func_ledger::LedgerError;
use func_model::event::BuildEvent;
use func_model::limits::TAIL_LINES;
use func_model::{AppName, LeaseId, Revision};
use func_store::Lock;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::Config;
use crate::clock::unix_ms;
use crate::failure::Failure;
use crate::limits::{LEDGER_EVERY, LEDGER_WITHIN, LOCK_EVERY};
use crate::queue::Queue;
use crate::report::Report;
use crate::text::{chain, clean};

/// The builder's state. Everything that must survive it is in the manifests and in the repositories.
#[derive(Debug)]
pub struct Builder {
    pub config: Config,
    pub queue: Arc<Queue>,
    /// What goes on whether or not its caller stays: rollbacks and removals.
    pub tasks: TaskTracker,
    /// Held while hosts are checked and a release is made current: two apps never get the same host.
    pub commit: Mutex<()>,
    holder: String,
    serial: AtomicU64,
    /// The revision of each app whose deploy this builder began last, or that needed none.
    begun: StdMutex<BTreeMap<AppName, Revision>>,
}

impl Builder {
    /// Gives a builder with an empty queue.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            config,
            queue: Arc::default(),
            tasks: TaskTracker::new(),
            commit: Mutex::default(),
            holder: format!("builder-{}-{:x}", std::process::id(), unix_ms()),
            serial: AtomicU64::new(0),
            begun: StdMutex::default(),
        })
    }

    /// Gives a lease id that was never used.
    pub fn lease(&self) -> LeaseId {
        LeaseId { holder: self.holder.clone(), serial: self.serial.fetch_add(1, Ordering::Relaxed) }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<AppName, Revision>> {
        // Each change is one call.
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a deploy that begins.
    pub fn begins(&self, app: &AppName, revision: &Revision) {
        self.begun().insert(app.clone(), revision.clone());
    }

    /// Gives the last revision of an app whose deploy was begun, or that needed none.
    pub fn last_begun(&self, app: &AppName) -> Option<Revision> {
        self.begun().get(app).cloned()
    }

    /// Whether this revision of an app is the last whose deploy was begun, or that needed none.
    pub fn has_begun(&self, app: &AppName, revision: &Revision) -> bool {
        self.begun().get(app) == Some(revision)
    }

    /// Takes the lock of an app's deploy, waiting for it up to `within`.
    ///
    /// # Errors
    /// [`Failure::Busy`], [`Failure::Store`].
    pub async fn lock(&self, app: &AppName, within: Duration) -> Result<Lock, Failure> {
        let deadline = Instant::now() + within;
        loop {
            if let Some(lock) = Lock::try_deploy(&self.config.data, app)? {
                return Ok(lock);
            }
            if Instant::now() >= deadline {
                return Err(Failure::Busy { app: app.clone() });
            }
            sleep(LOCK_EVERY).await;
        }
    }

    /// Runs `work`, which blocks, on a thread of its own.
    ///
    /// # Errors
    /// Those of `work`; [`Failure::Broken`] if it panicked.
    pub async fn blocking<T, E>(
        &self,
        app: &AppName,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        E: Send + 'static,
        Failure: From<E>,
    {
        let done = tokio::task::spawn_blocking(work).await;
        Ok(done.map_err(|source| Failure::Broken { app: app.clone(), source })??)
    }

    /// Tells how a piece of work ended: `Err` with its reason, its hint, and what stays live.
    pub fn end(&self, app: &AppName, report: &Report, ended: Result<BuildEvent, Failure>) {
        let failure = match ended {
            Ok(last) => {
                info!(app.name = %app, "{}", last.lines().first().map_or("done", |l| l.trim_start_matches("-----> ")));
                return report.tell(last);
            }
            Err(failure) => failure,
        };
        let reason = clean(&failure.to_string());
        warn!(app.name = %app, error = %chain(&failure), "what was asked of {app} failed: {reason}");
        let stays = self.config.manifests.current(app).unwrap_or_default();
        let tail = failure.tail();
        let tail = tail[tail.len().saturating_sub(TAIL_LINES)..].iter().map(|line| clean(line)).collect();
        report.tell(BuildEvent::Failed { reason, hint: failure.hint(), tail, stays });
    }
}

/// Makes a call to the ledger again while it is away or lost, for a limited time.
///
/// # Errors
/// The ledger's last answer; [`LedgerError::Stale`] and [`LedgerError::Corrupt`] at once.
pub async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, LedgerError>
where
    F: Future<Output = Result<T, LedgerError>>,
{
    let deadline = Instant::now() + LEDGER_WITHIN;
    loop {
        match call().await {
            Err(LedgerError::Away(_) | LedgerError::Lost) if Instant::now() < deadline => {
                sleep(LEDGER_EVERY).await;
            }
            ended => return ended,
        }
    }
}
