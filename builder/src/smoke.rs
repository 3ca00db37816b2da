//! The smoke test: the first start of a release, by the same claim and the same probe as any cold start.

use std::sync::Arc;
use std::time::Duration;

use func_crash::point;
use func_ledger::{Enter, Leaving, LedgerError, keep_claim};
use func_model::limits::{CLAIM_MS, COOLING_MS, RENEW_MS, WAKE_MS};
use func_model::{Claim, Entry, InstanceId, LeaseId, ReleaseId};
use func_runner::StartError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::builder::{Builder, patiently};
use crate::failure::Failure;
use crate::limits::ENTER_EVERY;
use crate::text::chain;

/// How long the smoke test may take in all: somebody else's stop and start, then a start of ours.
const WITHIN: Duration = Duration::from_millis(COOLING_MS + WAKE_MS + CLAIM_MS + WAKE_MS);

/// A release that runs, and is kept running by a lease until this is dropped or left.
pub struct Held {
    enter: Arc<dyn Enter>,
    id: InstanceId,
    lease: LeaseId,
    _renewing: AbortOnDropHandle<()>,
}

impl Held {
    fn new(enter: Arc<dyn Enter>, id: InstanceId, lease: LeaseId) -> Self {
        let renewing = tokio::spawn(renew(enter.clone(), id.clone(), lease.clone()));
        Self { enter, id, lease, _renewing: AbortOnDropHandle::new(renewing) }
    }

    /// Gives the lease back, so that it does not count as use until it ends by itself.
    pub async fn leave(self) {
        let leaving = Leaving { id: self.id.clone(), lease: self.lease.clone(), idle_for_ms: 0 };
        if let Err(e) = self.enter.keep(&[], &[leaving]).await {
            debug!(error = %chain(&e), "the lease on {} ends by itself", self.id);
        }
    }
}

async fn renew(enter: Arc<dyn Enter>, id: InstanceId, lease: LeaseId) {
    let mut ticks = interval(Duration::from_millis(RENEW_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if let Err(e) = enter.keep(&[(id.clone(), lease.clone())], &[]).await {
            debug!(error = %chain(&e), "the lease on {id} was not renewed");
        }
    }
}

impl Builder {
    /// Starts a release that has a manifest, and holds it.
    ///
    /// # Errors
    /// [`Failure::Start`] if it does not come up; nothing of it runs then. [`Failure::Ledger`],
    /// [`Failure::NotReady`].
    pub async fn first_start(&self, release: &ReleaseId) -> Result<Held, Failure> {
        let (id, lease) = (release.instance(), self.lease());
        let deadline = Instant::now() + WITHIN;
        while Instant::now() < deadline {
            let entry = patiently(|| self.config.promote.introduce(&id, &lease)).await?;
            let wait = match entry {
                Entry::Warm(_) => return Ok(Held::new(self.config.enter.clone(), id, lease)),
                Entry::Claimed(claim) => match self.start_claimed(&claim, &lease).await? {
                    Some(held) => return Ok(held),
                    None => ENTER_EVERY,
                },
                Entry::Wait | Entry::Retired => ENTER_EVERY,
                Entry::Broken { retry_ms } => Duration::from_millis(retry_ms),
            };
            if timeout_at(deadline, sleep(wait)).await.is_err() {
                break;
            }
        }
        Err(Failure::NotReady { release: release.clone() })
    }

    /// Starts it as the claim's holder; `None` if the claim was over in the meantime.
    async fn start_claimed(&self, claim: &Claim, lease: &LeaseId) -> Result<Option<Held>, Failure> {
        point("after_introduce");
        let started = Instant::now();
        let made = tokio::select! {
            made = self.config.start.start(claim, Duration::from_millis(WAKE_MS)) => made,
            () = keep_claim(self.config.enter.as_ref(), claim) => return Ok(None),
        };
        let made = match made {
            Ok(made) => made,
            // Somebody else has it now.
            Err(StartError::Stale { .. }) => return Ok(None),
            Err(e) => {
                self.give_up(claim, &e).await;
                point("after_given_up");
                return match e {
                    // It is tried again, for as long as the smoke test may take.
                    StartError::Busy { .. } => Ok(None),
                    e => Err(e.into()),
                };
            }
        };
        point("after_first_start");
        let took_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(app.name = %claim.id.release.app, took_ms, "started {}", claim.id);
        match patiently(|| self.config.enter.woken(claim, made.addr, lease, made.start_ms())).await {
            Ok(_) => {
                let (id, lease) = (claim.id.clone(), lease.clone());
                Ok(Some(Held::new(self.config.enter.clone(), id, lease)))
            }
            Err(LedgerError::Stale(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Ends a claim under which nothing was started. Only the app's own fault makes others wait.
    async fn give_up(&self, claim: &Claim, failure: &StartError) {
        let told = match failure.is_apps_fault() {
            true => self.config.enter.failed(claim).await.map(drop),
            false => self.config.enter.give_back(claim).await,
        };
        if let Err(e) = told {
            warn!(error = %chain(&e), "the claim on {} ends by itself", claim.id);
        }
    }
}
