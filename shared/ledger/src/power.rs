//! The powers over the ledger, each a trait of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use async_trait::async_trait;
use func_model::{
    AppName, Claim, CoolPermit, Endpoint, Entry, FreezePermit, InstanceId, LeaseId, NotYet, Poised, Record,
    ReleaseId, Route, Stale,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::broadcast;

/// Why the ledger did not do what it was asked.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// It does not know what runs (it is new, or it came back with nothing or with old data): the cleaner restores it.
    #[error("the ledger has lost its memory and waits to be restored")]
    Lost,
    #[error("the ledger cannot be reached")]
    Away(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Stale(#[from] Stale),
    #[error("the ledger holds what func did not write: {0}")]
    Corrupt(String),
}

/// What has changed, for those who wait. A hint: whoever gets it asks the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Routes,
    Instance(InstanceId),
    /// Changes may have been missed: anything may be different.
    Unknown,
}

/// A lease to be left, and for how long its instance has not been used by its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    pub id: InstanceId,
    pub lease: LeaseId,
    pub idle_for_ms: u64,
}

/// The power to use instances: to enter, to hold the claim, to keep leases. For edges, and the builder's smoke test.
#[async_trait]
pub trait Enter: Send + Sync {
    /// Enters a warm instance under `lease`, or gets the claim to start it, or learns what to wait for.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn enter(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError>;

    /// Ends a claim: the instance answers at `addr`, and `lease` stands from this moment. `start_ms`: how long the app
    /// itself took to be ready, if its process was started anew.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the claim is over; the instance is then somebody else's.
    async fn woken(
        &self,
        claim: &Claim,
        addr: SocketAddr,
        lease: &LeaseId,
        start_ms: Option<u64>,
    ) -> Result<Endpoint, LedgerError>;

    /// Ends a claim: the start failed and nothing runs. The next try is due after a backoff; gives it in ms.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the claim is over.
    async fn failed(&self, claim: &Claim) -> Result<u64, LedgerError>;

    /// Says that the start under a claim is still under way: it stands for another `limits::CLAIM_MS`.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the claim is over.
    async fn extend(&self, claim: &Claim) -> Result<(), LedgerError>;

    /// Ends a claim: it could not be started, through no fault of the app. The next who enters gets the claim.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the claim is over.
    async fn give_back(&self, claim: &Claim) -> Result<(), LedgerError>;

    /// Tells that an instance was found stopped.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if it has moved on since `generation`.
    async fn gone(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError>;

    /// Renews leases (each is put back if the ledger forgot it) and leaves others, in one round trip.
    /// Gives for each renewal where the instance answers; `None`: it does not, or is retired.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn keep(
        &self,
        renew: &[(InstanceId, LeaseId)],
        leave: &[Leaving],
    ) -> Result<Vec<Option<Endpoint>>, LedgerError>;
}

/// The power to read what is known, and to hear of changes.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Gives every app's route.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn routes(&self) -> Result<BTreeMap<AppName, Route>, LedgerError>;

    /// Gives every record and the ledger's time, Unix ms.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn records(&self) -> Result<(BTreeMap<InstanceId, Record>, u64), LedgerError>;

    /// Gives one record, if there is one, and the ledger's time, Unix ms.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn record(&self, id: &InstanceId) -> Result<(Option<Record>, u64), LedgerError>;

    /// Gives what changes from now on. One who is too slow sees `Lagged`, which means `Unknown`.
    fn changes(&self) -> broadcast::Receiver<Change>;
}

/// The power to make a release live. For the builder, and for the cleaner where `current` says so.
#[async_trait]
pub trait Promote: Send + Sync {
    /// As [`Enter::enter`], for a release that is about to become live: makes its record, or takes it out of retirement.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn introduce(&self, id: &InstanceId, lease: &LeaseId) -> Result<Entry, LedgerError>;

    /// Leads an app's requests to `release`; every other release of the app is retired. One step. Repeatable.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn promote(&self, release: &ReleaseId, route: &Route) -> Result<(), LedgerError>;

    /// Retires an instance. Repeatable; absent is done.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn retire(&self, id: &InstanceId) -> Result<(), LedgerError>;

    /// Removes an app's route and retires all its instances. Repeatable; absent is done.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn drop_route(&self, app: &AppName) -> Result<(), LedgerError>;
}

/// The power to stop, and to put right. For the cleaner alone.
#[async_trait]
pub trait Cool: Send + Sync {
    /// Asks for the right to stop an instance that has not been used for `idle_ms`.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn cool(&self, id: &InstanceId, idle_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError>;

    /// Asks for the right to stop a retired instance under its last requests, `drain_ms` after it was retired.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn cut(&self, id: &InstanceId, drain_ms: u64) -> Result<Result<CoolPermit, NotYet>, LedgerError>;

    /// Ends a permit: the instance is stopped and removed.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the permit is over.
    async fn cooled(&self, permit: &CoolPermit) -> Result<(), LedgerError>;

    /// Asks for the right to pause an instance that has not been used for `after_ms`.
    ///
    /// # Errors
    /// [`LedgerError::Lost`], [`LedgerError::Away`].
    async fn freeze(
        &self,
        id: &InstanceId,
        after_ms: u64,
    ) -> Result<Result<FreezePermit, NotYet>, LedgerError>;

    /// Ends a permit: the instance is paused, and will answer at `addr`.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if the permit is over: the instance has to go on then.
    async fn frozen(&self, permit: &FreezePermit, addr: SocketAddr) -> Result<(), LedgerError>;

    /// Puts right an instance that nobody has the claim of. One without a record has the generation 0, and can only be
    /// discarded: it gets a record, retired and cold, for that. Gives the permit to stop it for [`Settle::Discard`] and [`Settle::Recool`].
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if it has moved on since `generation`.
    async fn settle(
        &self,
        id: &InstanceId,
        generation: u64,
        settle: Settle,
    ) -> Result<Option<CoolPermit>, LedgerError>;

    /// Forgets a retired instance that is cold. Absent is done.
    ///
    /// # Errors
    /// [`LedgerError::Stale`] if it has moved on since `generation`.
    async fn forget(&self, id: &InstanceId, generation: u64) -> Result<(), LedgerError>;

    /// Fills a lost ledger; nothing is cooled for one lease time then. Does nothing if it is not lost: gives `false`.
    ///
    /// # Errors
    /// [`LedgerError::Away`].
    async fn restore(&self, restored: &Restored) -> Result<bool, LedgerError>;
}

/// How an instance is put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// It runs and answers: warm.
    Adopt(SocketAddr),
    /// It does not run: cold.
    Reset,
    /// It was warm and does not run: cold.
    Gone,
    /// It is cold, and its next start was made ahead.
    Poise(Poised),
    /// It runs and is of no use: cooling, by the caller. No permit while somebody holds a lease, or may hold one.
    Discard,
    /// A stop was not finished and nobody is at it: cooling, by the caller.
    Recool,
}

/// What a lost ledger is filled with, from the manifests and from what runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    pub routes: BTreeMap<AppName, Route>,
    /// Every instance that should have a record: those that run or are paused, and the live ones that do not.
    pub instances: BTreeMap<InstanceId, RestoredInstance>,
}

/// One instance of [`Restored`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestoredInstance {
    pub state: RestoredState,
    /// It is not the live release: it may only finish what is in flight.
    pub retired: bool,
}

/// What a restored instance is found doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoredState {
    /// It does not run, or it is being started or stopped.
    Cold,
    /// It does not run, and its next start was made ahead.
    Poised(Poised),
    /// It runs and is ready.
    Warm(SocketAddr),
    /// It is paused.
    Frozen(SocketAddr),
}
