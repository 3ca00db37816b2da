//! Pace: lets the many who waited for one start go a few at a time.
//!
//! An app that has just begun to listen has a short queue for connections. A thousand at once overflow it, and what the
//! kernel drops there is tried again only after a second, or given up; and whoever else is served here waits behind them.
//!
//! So each one who is answered lets the next one go. An app that holds most of those it has (it waits for something, or
//! it streams) gets as many again at each step, one that takes some milliseconds for each gets four more. One that lets
//! somebody wait for a connection has a full queue: it gets half as many from then on, none more until that one is
//! connected, and then a few more at each step; as TCP does it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};

/// How many go at first. A queue of five, the shortest that servers commonly have, takes them.
const AT_ONCE: usize = 4;
/// How long an app may hold those it has before it gets more.
const STEP: Duration = Duration::from_millis(20);
/// Who answers each of those it has so often in a step keeps a CPU busy with them: more at once are not served sooner.
const QUICK: usize = 8;

/// The pace of those who waited for one start.
#[derive(Debug)]
pub(crate) struct Pace {
    may_go: Semaphore,
    gone: Mutex<Gone>,
    /// Who was answered since the last step.
    answered: AtomicUsize,
}

/// Those who went, and are not answered yet.
#[derive(Debug, Default)]
struct Gone {
    all: HashMap<u64, Connection>,
    next: u64,
    /// How many answers let nobody go: too many went.
    owed: usize,
}

/// One who went.
#[derive(Debug, Default)]
struct Connection {
    made: bool,
    /// For how many steps it has not been made.
    missed: u32,
}

/// The queue of an app, as far as a step can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Queue {
    Open,
    /// Somebody has no connection yet.
    Doubtful,
    /// Since this step.
    Full,
}

impl Pace {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { may_go: Semaphore::new(AT_ONCE), gone: Mutex::default(), answered: 0.into() })
    }

    fn gone(&self) -> MutexGuard<'_, Gone> {
        // Each change is one call.
        self.gone.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one more may go, in the order of asking; `None` at the deadline. Cancel-safe.
    pub(crate) async fn pass(self: &Arc<Self>, deadline: Instant) -> Option<Pass> {
        let permit = timeout_at(deadline, self.may_go.acquire()).await.ok()?;
        permit.expect("the semaphore is never closed").forget();
        let mut gone = self.gone();
        let number = gone.next;
        gone.next += 1;
        gone.all.insert(number, Connection::default());
        Some(Pass { pace: self.clone(), number })
    }

    /// Lets more go at each step for as long as somebody waits, who in turn wait until their deadline at the most.
    pub(crate) async fn widen(&self, waiters: impl Fn() -> usize) {
        let mut was_full = false;
        while waiters() > 0 {
            sleep(STEP).await;
            let answered = self.answered.swap(0, Ordering::AcqRel);
            let mut gone = self.gone();
            let held = gone.all.len();
            match gone.queue() {
                Queue::Open if 2 * answered < held => {
                    self.may_go.add_permits(gone.pay(if was_full { AT_ONCE } else { held }));
                }
                Queue::Open if !was_full && answered < QUICK * held => {
                    self.may_go.add_permits(gone.pay(AT_ONCE));
                }
                Queue::Open | Queue::Doubtful => {}
                Queue::Full => {
                    was_full = true;
                    gone.owed = held.saturating_sub(AT_ONCE.max(held / 2));
                }
            }
        }
    }
}

impl Gone {
    /// Looks at the connections, and remembers who has none.
    fn queue(&mut self) -> Queue {
        let mut queue = Queue::Open;
        for connection in self.all.values_mut().filter(|connection| !connection.made) {
            connection.missed += 1;
            queue = match (connection.missed, queue) {
                (2, _) | (_, Queue::Full) => Queue::Full,
                (_, Queue::Open | Queue::Doubtful) => Queue::Doubtful,
            };
        }
        queue
    }

    /// Gives how many of `more` may go when those who are too many have been counted off.
    fn pay(&mut self, more: usize) -> usize {
        let paid = more.min(self.owed);
        self.owed -= paid;
        more - paid
    }
}

/// One who goes. Dropped when it is answered, or when it is over in another way: the next one goes.
#[derive(Debug)]
pub(crate) struct Pass {
    pace: Arc<Pace>,
    number: u64,
}

impl Pass {
    /// Takes note of its connection.
    pub(crate) fn connected(&self) {
        if let Some(connection) = self.pace.gone().all.get_mut(&self.number) {
            connection.made = true;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.pace.answered.fetch_add(1, Ordering::AcqRel);
        let mut gone = self.pace.gone();
        gone.all.remove(&self.number);
        self.pace.may_go.add_permits(gone.pay(1));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// How many of a thousand go within some time; those who went do as `act` says.
    struct Crowd {
        pace: Arc<Pace>,
        gone: VecDeque<Pass>,
    }

    const CROWD: usize = 1_000;

    impl Crowd {
        fn new() -> Self {
            Self { pace: Pace::new(), gone: VecDeque::new() }
        }

        /// Lets everybody go who may now.
        async fn go(&mut self) -> usize {
            let before = self.gone.len();
            while let Some(pass) = self.pace.pass(Instant::now()).await {
                self.gone.push_back(pass);
            }
            self.gone.len() - before
        }

        async fn steps(&self, steps: u32) {
            let widening = self.pace.widen(|| CROWD);
            assert!(timeout_at(Instant::now() + STEP * steps + STEP / 2, widening).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_answer_lets_the_next_one_go() {
        let mut crowd = Crowd::new();
        assert_eq!(crowd.go().await, AT_ONCE);
        for _ in 0..CROWD {
            crowd.gone.pop_front();
            assert_eq!(crowd.go().await, 1);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_that_holds_those_it_has_gets_as_many_again_at_each_step() {
        let mut crowd = Crowd::new();
        crowd.go().await;
        let pace = crowd.pace.clone();
        let widening = tokio::spawn(async move { pace.widen(|| CROWD).await });
        let mut went = Vec::new();
        for _ in 0..4 {
            crowd.gone.iter().for_each(Pass::connected);
            sleep(STEP + Duration::from_millis(1)).await;
            went.push(crowd.go().await);
        }
        widening.abort();
        assert_eq!(went, [4, 8, 16, 32]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_app_whose_queue_is_full_gets_half_as_many_and_then_a_few_more_at_each_step() {
        let mut crowd = Crowd::new();
        let pace = crowd.pace.clone();
        let widening = tokio::spawn(async move { pace.widen(|| CROWD).await });
        let step = || sleep(STEP + Duration::from_millis(1));
        for held in [4, 8, 16] {
            crowd.go().await;
            assert_eq!(crowd.gone.len(), held);
            crowd.gone.iter().for_each(Pass::connected);
            step().await;
        }
        // The last one gets no connection, for long.
        crowd.go().await;
        crowd.gone.iter().take(31).for_each(Pass::connected);
        for _ in 0..10 {
            step().await;
            assert_eq!((crowd.go().await, crowd.gone.len()), (0, 32));
        }
        for left in (16..32).rev() {
            crowd.gone.pop_front();
            assert_eq!((crowd.go().await, crowd.gone.len()), (0, left), "too many went");
        }
        crowd.gone.pop_front();
        assert_eq!((crowd.go().await, crowd.gone.len()), (1, 16));
        crowd.gone.iter().for_each(Pass::connected);
        step().await;
        assert_eq!(crowd.go().await, 0, "what was answered just now says that it is quick");
        for held in [20, 24, 28] {
            crowd.gone.iter().for_each(Pass::connected);
            step().await;
            crowd.go().await;
            assert_eq!(crowd.gone.len(), held);
        }
        widening.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_is_connected_a_little_later_holds_nobody_up_for_long() {
        let mut crowd = Crowd::new();
        crowd.go().await;
        crowd.gone.iter().skip(1).for_each(Pass::connected);
        crowd.steps(1).await;
        assert_eq!(crowd.go().await, 0, "one has no connection yet");
        crowd.gone.iter().for_each(Pass::connected);
        crowd.steps(1).await;
        assert_eq!(crowd.go().await, AT_ONCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_app_is_asked_by_a_few_at_once_and_a_slower_one_by_more_at_each_step() {
        for (answers, held) in [(QUICK, AT_ONCE), (QUICK / 4, 6 * AT_ONCE)] {
            let mut crowd = Crowd::new();
            let pace = crowd.pace.clone();
            let widening = tokio::spawn(async move { pace.widen(|| CROWD).await });
            crowd.go().await;
            for _ in 0..5 {
                for _ in 0..answers * crowd.gone.len() {
                    crowd.gone.pop_front();
                    crowd.go().await;
                }
                crowd.gone.iter().for_each(Pass::connected);
                sleep(STEP + Duration::from_millis(1)).await;
                crowd.go().await;
            }
            widening.abort();
            assert_eq!(crowd.gone.len(), held, "{answers} answers each");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_in_the_line_takes_nobodys_place() {
        let mut crowd = Crowd::new();
        crowd.go().await;
        let gave_up = crowd.pace.pass(Instant::now() + STEP).await;
        assert!(gave_up.is_none());
        crowd.gone.pop_front();
        assert_eq!(crowd.go().await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_widens_for_nobody() {
        timeout_at(Instant::now() + STEP, Pace::new().widen(|| 0)).await.expect("it has ended");
    }
}
