//! Routes: a snapshot of where each host leads, replaced when the ledger says that something changed.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use func_ledger::{Change, LedgerError, Watch};
use func_model::limits::RECONCILE_MS;
use func_model::{AppName, HostName, ReleaseId, RouteTable};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

/// How soon a ledger that could not be read is asked again.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a snapshot may stand without being read anew, even if nobody tells of a change.
const ANEW: Duration = Duration::from_millis(RECONCILE_MS);

/// The routes as this edge knows them. While the ledger is away the last ones stand.
pub(crate) struct Routes {
    domain: HostName,
    watch: Arc<dyn Watch>,
    table: ArcSwap<RouteTable>,
    /// Whether the ledger has ever been read: before that nobody can say that a host is unknown.
    known: watch::Sender<bool>,
    turn: tokio::sync::Mutex<()>,
}

impl Routes {
    pub(crate) fn new(domain: HostName, watch: Arc<dyn Watch>) -> Self {
        Self {
            domain,
            watch,
            table: ArcSwap::default(),
            known: watch::Sender::new(false),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Gives the release that answers for `host`.
    pub(crate) fn release(&self, host: &HostName) -> Option<ReleaseId> {
        self.table.load().release(host).cloned()
    }

    /// Whether browsers are shown a page while `app` starts.
    pub(crate) fn waiting_page(&self, app: &AppName) -> bool {
        self.table.load().waiting_page(app)
    }

    /// Whether the table has been read at least once.
    pub(crate) fn known(&self) -> bool {
        *self.known.borrow()
    }

    /// Waits until the table has been read; false if it has not been by then.
    pub(crate) async fn known_by(&self, deadline: Instant) -> bool {
        let mut known = self.known.subscribe();
        matches!(timeout_at(deadline, known.wait_for(|known| *known)).await, Ok(Ok(_)))
    }

    /// Reads the ledger, again and again while it is away or has yet to be restored.
    ///
    /// # Errors
    /// [`LedgerError`] if it could not be read by then; the old routes stand.
    pub(crate) async fn refresh_by(&self, deadline: Instant) -> Result<(), LedgerError> {
        loop {
            match self.refresh().await {
                Err(_) if Instant::now() + AGAIN < deadline => tokio::time::sleep(AGAIN).await,
                read => return read,
            }
        }
    }

    /// Reads the ledger.
    ///
    /// # Errors
    /// [`LedgerError`] if it cannot be read; the old routes stand.
    pub(crate) async fn refresh(&self) -> Result<(), LedgerError> {
        // One at a time: the later read must not be replaced by the earlier.
        let _turn = self.turn.lock().await;
        let routes = self.watch.routes().await?;
        self.table.store(Arc::new(RouteTable::new(self.domain.clone(), &routes)));
        self.known.send_replace(true);
        Ok(())
    }

    /// Follows the ledger for ever.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut changes = self.watch.changes();
        let mut failed = false;
        loop {
            let wait = match self.refresh().await {
                Ok(()) => ANEW,
                Err(e) => {
                    // Told once for each time that it is away. A ledger that has yet to be filled is nothing odd.
                    match failed || matches!(e, LedgerError::Lost) && !self.known() {
                        true => debug!("the routes cannot be read: {e}"),
                        false => warn!("the routes cannot be read, the last ones stand: {e}"),
                    }
                    AGAIN
                }
            };
            failed = wait == AGAIN;
            // A change may be missed while none is waited for; the receiver keeps it.
            let _ = tokio::time::timeout(wait, route_change(&mut changes)).await;
        }
    }
}

/// What the builder asks: to read the routes now.
pub(crate) fn router(routes: Arc<Routes>) -> Router {
    let read = |State(routes): State<Arc<Routes>>| async move {
        let failed = |e: LedgerError| (StatusCode::SERVICE_UNAVAILABLE, format!("{e}\n"));
        routes.refresh().await.map(Json).map_err(failed)
    };
    Router::new().route("/routes", post(read)).with_state(routes)
}

async fn route_change(changes: &mut Receiver<Change>) {
    loop {
        match changes.recv().await {
            Ok(Change::Routes | Change::Unknown) | Err(RecvError::Lagged(_)) => return,
            Ok(Change::Instance(_)) => {}
            // No sender is left: only time tells.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}
