//! A line from one process to the ledger: the real ledger in memory, over a way on which calls are slow, lost before
//! and after their effect, or late.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use func_ledger::{Change, Cool, Enter, Leaving, LedgerError, Memory, Promote, Restored, Settle, Watch};
use func_model::limits::LEDGER_CALL_MS;
use func_model::{
    AppName, Claim, CoolPermit, Endpoint, Entry, FreezePermit, InstanceId, LeaseId, NotYet, Record,
    ReleaseId, Route,
};
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::time::sleep;

use crate::liar::Liar;
use crate::world::World;

/// How long a call that the caller has given up may be on its way still.
const LATE_MS: u64 = 3_000;
/// How many calls in a row are lost to one who is not cut off: without its lock an edge can keep nothing for longer than
/// its lease.
const LOST_MAX: u64 = 2;

/// Of one process, which may be killed.
pub struct Line {
    world: Arc<World>,
    who: String,
    liar: Liar,
    alive: Arc<AtomicBool>,
    lost: AtomicU64,
}

type Call<T> = BoxFuture<'static, Result<T, LedgerError>>;

impl Line {
    pub fn new(world: &Arc<World>, who: &str, ledger: &Arc<Memory>, alive: &Arc<AtomicBool>) -> Self {
        let liar = Liar { ledger: ledger.clone(), without: world.without };
        let (world, who) = (world.clone(), who.to_owned());
        Self { world, who, liar, alive: alive.clone(), lost: AtomicU64::new(0) }
    }

    /// A process that was killed hears no answer.
    async fn live(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    fn away(&self) -> LedgerError {
        self.world.count(|c| c.calls_lost += 1);
        LedgerError::Away("no answer".into())
    }

    async fn ask<T: Send + 'static>(
        &self,
        what: impl Fn() -> String + Send + Sync,
        call: Call<T>,
    ) -> Result<T, LedgerError> {
        self.live().await;
        let world = &self.world;
        let roll = &mut world.dice.roll((&self.who, what()));
        let gone = || !world.reaches(&self.who);
        let may_lose = self.lost.load(Ordering::Relaxed) < LOST_MAX;
        if gone() || (may_lose && world.fails(roll, 40)) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            let late = !gone() && roll.hits(500);
            world.note(&self.who, || format!("{}: lost{}", what(), if late { ", comes late" } else { "" }));
            if late {
                let after = Duration::from_millis(LEDGER_CALL_MS + roll.below(LATE_MS));
                tokio::spawn(async move {
                    sleep(after).await;
                    // Nobody hears the answer.
                    let _ = call.await;
                });
            }
            sleep(Duration::from_millis(LEDGER_CALL_MS)).await;
            self.live().await;
            return Err(self.away());
        }
        world.travel(roll).await;
        // Killed on the way: what was sent arrives.
        let told = call.await;
        let verdict = if told.is_ok() { "done" } else { "refused" };
        world.note(&self.who, || format!("{}: {verdict}", what()));
        world.travel(roll).await;
        self.live().await;
        if may_lose && world.fails(roll, 30) {
            self.lost.fetch_add(1, Ordering::Relaxed);
            world.note(&self.who, || format!("{}: the answer is lost", what()));
            sleep(Duration::from_millis(LEDGER_CALL_MS)).await;
            self.live().await;
            return Err(self.away());
        }
        self.lost.store(0, Ordering::Relaxed);
        told
    }
}

/// Asks with clones of what the call needs, so that it can go on when the caller has gone.
macro_rules! ask {
    ($self:ident, $what:expr, |$ledger:ident $(, $name:ident)*| $call:expr) => {{
        let $ledger = $self.liar.clone();
        let what = || $what;
        $(#[allow(clippy::clone_on_copy)] let $name = $name.to_owned();)*
        $self.ask(what, Box::pin(async move { $call.await })).await
    }};
}

#[async_trait]
impl Enter for Line {
    async fn enter(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        ask!(self, format!("enter {id} {}", lease.serial), |ledger, id, lease| ledger.enter(&id, &lease))
    }

    async fn woken(
        &self,
        claim: &Claim,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
    ) -> Result<Endpoint, LedgerError> {
        ask!(self, format!("woken {} {addr}", claim.id), |ledger, claim, lease| ledger
            .woken(&claim, addr, &lease, start_ms))
    }

    async fn failed(&self, claim: &Claim) -> Result<u64, LedgerError> {
        ask!(self, format!("failed {}", claim.id), |ledger, claim| ledger.ledger.failed(&claim))
    }

    async fn extend(&self, claim: &Claim) -> Result<(), LedgerError> {
        ask!(self, format!("extend {}", claim.id), |ledger, claim| ledger.ledger.extend(&claim))
    }

    async fn give_back(&self, claim: &Claim) -> Result<(), LedgerError> {
        ask!(self, format!("give back {}", claim.id), |ledger, claim| ledger.ledger.give_back(&claim))
    }

    async fn gone(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        ask!(self, format!("gone {id}"), |ledger, id| ledger.ledger.gone(&id, generation))
    }

    async fn keep(
        &self,
        renew: &[(InstanceId, LeaseId)],
        leave: &[Leaving],
    ) -> Result<Vec<Option<Endpoint>>, LedgerError> {
        ask!(self, format!("keep {}, leave {}", renew.len(), leave.len()), |ledger, renew, leave| ledger
            .keep(&renew, &leave))
    }
}

#[async_trait]
impl Watch for Line {
    async fn routes(&self) -> Result<BTreeMap<AppName, Route>, LedgerError> {
        ask!(self, "routes".to_owned(), |ledger| ledger.ledger.routes())
    }

    async fn records(&self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError> {
        ask!(self, "records".to_owned(), |ledger| ledger.records())
    }

    async fn record(&self, id: &InstanceId) -> Result<(Option<Record>, u64), LedgerError> {
        ask!(self, format!("record {id}"), |ledger, id| ledger.ledger.record(&id))
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.liar.ledger.changes()
    }
}

#[async_trait]
impl Promote for Line {
    async fn introduce(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError> {
        ask!(self, format!("introduce {id}"), |ledger, id, lease| ledger.ledger.introduce(&id, &lease))
    }

    async fn promote(&self, release: &ReleaseId, route: &Route) -> Result<(), LedgerError> {
        ask!(self, format!("promote {release}"), |ledger, release, route| ledger
            .ledger
            .promote(&release, &route))
    }

    async fn retire(&self, id: &InstanceId) -> Result<(), LedgerError> {
        ask!(self, format!("retire {id}"), |ledger, id| ledger.ledger.retire(&id))
    }

    async fn drop_route(&self, app: &AppName) -> Result<(), LedgerError> {
        ask!(self, format!("drop the route of {app}"), |ledger, app| ledger.ledger.drop_route(&app))
    }
}

#[async_trait]
impl Cool for Line {
    async fn cool(&self, id: &InstanceId, idle_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        ask!(self, format!("cool {id}"), |ledger, id| ledger.cool(&id, idle_ms))
    }

    async fn cut(&self, id: &InstanceId, drain_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError> {
        ask!(self, format!("cut {id}"), |ledger, id| ledger.ledger.cut(&id, drain_ms))
    }

    async fn cooled(&self, permit: &CoolPermit) -> Result<(), LedgerError> {
        ask!(self, format!("cooled {}", permit.id), |ledger, permit| ledger.ledger.cooled(&permit))
    }

    async fn freeze(
        &self,
        id: &InstanceId,
        after_ms: u64,
    ) -> Result<Result<FreezePermit, NotYet>, LedgerError> {
        ask!(self, format!("freeze {id}"), |ledger, id| ledger.freeze(&id, after_ms))
    }

    async fn frozen(&self, permit: &FreezePermit, addr: SocketAddr) -> Result<(), LedgerError> {
        ask!(self, format!("frozen {}", permit.id), |ledger, permit| ledger.ledger.frozen(&permit, addr))
    }

    async fn settle(
        &self,
        id: &InstanceId,
        generation: u64,
        settle: Settle,
    ) -> Result<Option<CoolPermit>, LedgerError> {
        let settle = &settle;
        ask!(self, format!("settle {id} {settle:?}"), |ledger, id, settle| ledger
            .ledger
            .settle(&id, generation, settle))
    }

    async fn forget(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError> {
        ask!(self, format!("forget {id}"), |ledger, id| ledger.ledger.forget(&id, generation))
    }

    async fn restore(&self, restored: &Restored) -> Result<bool, LedgerError> {
        ask!(self, format!("restore {:?}", restored.instances), |ledger, restored| ledger
            .ledger
            .restore(&restored))
    }
}
