//! Turns: whoever starts, stops, pauses, resumes, makes ahead or removes an instance has its turn meanwhile.
//!
//! Without it a stop could meet the successor of what it was to stop, and two starts could remove each other's container.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use func_model::InstanceId;
use func_store::Vacant;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

/// How many may wait for one instance's turn: every edge, the builder, and calls that were made again.
const WAITING_MAX: usize = 64;

/// The turns of all instances. An instance is in it while its turn is taken.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    lines: Mutex<BTreeMap<InstanceId, Line>>,
}

/// Those who have or want the turn of one instance: first come, first served.
#[derive(Debug, Default)]
struct Line {
    turn: Arc<AsyncMutex<()>>,
    people: usize,
}

impl Turns {
    fn lines(&self) -> MutexGuard<'_, BTreeMap<InstanceId, Line>> {
        // Each change is one call.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the instances whose turn is taken.
    pub(crate) fn taken(&self) -> BTreeSet<InstanceId> {
        self.lines().keys().cloned().collect()
    }

    /// Takes the turn if nobody has it, before the ledger is asked for the right to act; `None` if somebody does.
    pub(crate) fn try_take(self: &Arc<Self>, id: &InstanceId) -> Option<Turn> {
        let mut turn = self.stand(id)?;
        turn.guard = Some(turn.turn.clone().try_lock_owned().ok()?);
        Some(turn)
    }

    /// Waits for the turn; `None` if too many do already.
    pub(crate) async fn take(self: &Arc<Self>, id: &InstanceId) -> Option<Turn> {
        let mut turn = self.stand(id)?;
        turn.guard = Some(turn.turn.clone().lock_owned().await);
        Some(turn)
    }

    /// Gives a place in the line, without the turn.
    fn stand(self: &Arc<Self>, id: &InstanceId) -> Option<Turn> {
        let mut lines = self.lines();
        let line = lines.entry(id.clone()).or_default();
        if line.people > WAITING_MAX {
            return None;
        }
        line.people += 1;
        Some(Turn { turns: self.clone(), id: id.clone(), turn: line.turn.clone(), guard: None, vacant: None })
    }
}

/// The turn of one instance, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Arc<Turns>,
    id: InstanceId,
    turn: Arc<AsyncMutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
    vacant: Option<Vacant>,
}

impl Turn {
    /// Gives whose turn it is.
    pub(crate) fn id(&self) -> &InstanceId {
        &self.id
    }

    /// Keeps the instance vacant for as long as the turn lasts.
    pub(crate) fn keep_vacant(&mut self, vacant: Vacant) {
        self.vacant = Some(vacant);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.vacant.take());
        drop(self.guard.take());
        let mut lines = self.turns.lines();
        if let Some(line) = lines.get_mut(&self.id) {
            line.people -= 1;
            if line.people == 0 {
                lines.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::testing::blog;

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_had_by_one_at_a_time_in_the_order_in_which_they_came() {
        let (turns, order) = (Arc::new(Turns::default()), Arc::new(Mutex::new(Vec::new())));
        let first = turns.try_take(&blog()).expect("free");
        assert!(turns.try_take(&blog()).is_none());
        let mut waiting = Vec::new();
        for n in 0..3 {
            let (turns, order) = (turns.clone(), order.clone());
            waiting.push(tokio::spawn(async move {
                let _turn = turns.take(&blog()).await.expect("not too many");
                order.lock().expect("unbroken").push(n);
                sleep(Duration::from_secs(1)).await;
            }));
            sleep(Duration::from_millis(1)).await;
        }
        assert!(order.lock().expect("unbroken").is_empty());
        drop(first);
        assert!(turns.try_take(&blog()).is_none(), "those who wait go first");
        for task in waiting {
            task.await.expect("done");
        }
        assert_eq!(*order.lock().expect("unbroken"), [0, 1, 2]);
        assert!(turns.taken().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_gives_up_waiting_leaves_no_trace() {
        let turns = Arc::new(Turns::default());
        let turn = turns.try_take(&blog()).expect("free");
        assert!(timeout(Duration::from_secs(1), turns.take(&blog())).await.is_err());
        assert_eq!(turns.taken(), BTreeSet::from([blog()]));
        drop(turn);
        assert!(turns.taken().is_empty());
        assert!(turns.try_take(&blog()).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_wait() {
        let turns = Arc::new(Turns::default());
        let _turn = turns.try_take(&blog()).expect("free");
        let _waiting: Vec<_> = (0..WAITING_MAX).map(|_| turns.stand(&blog()).expect("room")).collect();
        assert!(turns.take(&blog()).await.is_none());
    }
}
