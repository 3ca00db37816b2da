//! The cleaner's inside, for `shared/races`: without the lock of its folder, and without sockets.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use func_model::{Claim, InstanceId};
use func_runner::{RunnerError, StartError, Started, State};

use crate::{Cleaner, Config, start, stops, work};

/// A cleaner.
pub struct Inside(Arc<Cleaner>);

impl Inside {
    /// Makes one that makes as many containers at the same time as there are `places`, and begins to end old stops.
    ///
    /// # Errors
    /// If the marks of old stops cannot be read.
    pub fn new(config: Config, places: usize) -> io::Result<Self> {
        let cleaner = Cleaner::new(config, places);
        stops::end_old_stops(&cleaner)?;
        Ok(Self(cleaner))
    }

    /// Does what [`run`](crate::run) does that nobody asks for, for ever.
    pub async fn work(&self) {
        work(&self.0).await;
    }

    /// Starts, as over the socket.
    ///
    /// # Errors
    /// As [`func_runner::Start::start`].
    pub async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        start::start(&self.0, &claim.id, claim.generation, within).await
    }

    /// Looks, as over the socket.
    ///
    /// # Errors
    /// As [`func_runner::Start::look`].
    pub async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        self.0.config.start.look(id).await
    }

    /// Gives the instances whose turn is taken.
    pub fn busy(&self) -> BTreeSet<InstanceId> {
        self.0.turns.taken()
    }

    /// Ends every task, wherever it is, as SIGKILL does.
    pub fn kill(&self) {
        self.0.tasks.kill();
    }
}
