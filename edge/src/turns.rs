//! Turns: keeps a crowd of new connections from having every CPU.
//!
//! What is ready to run is run in the order in which it became so. When a thousand clients connect, or ask, in the same
//! few milliseconds, whoever else is served here would wait behind all of them, wherever it could run: nobody can tell
//! what a new connection wants before its head is read. So new connections run on all CPUs but one: on the others they
//! find no turn, and wait in a queue of their own, which takes no time. Who is known, since it was let in to what is
//! warm, or is being answered, needs no turn, and always finds a CPU that has not the crowd. On a kept connection that
//! ends with a request for what sleeps.
//!
//! A turn is for as long as a task runs without a pause: nobody waits for anything while it has one.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;

use tokio::sync::Semaphore;
use tokio_util::sync::PollSemaphore;

tokio::task_local! {
    /// Whether the connection that this task serves goes without turns.
    static KNOWN: Cell<bool>;
}

/// The turns of all new connections.
#[derive(Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// `at_once` is on how many CPUs they run.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Arc::new(Semaphore::new(at_once)))
    }

    /// Serves a connection, which takes turns until it is known.
    pub(crate) async fn take<T>(&self, mut serving: Pin<Box<dyn Future<Output = T> + Send + '_>>) -> T {
        let mut turns = PollSemaphore::new(self.0.clone());
        let served = poll_fn(move |cx| {
            let turn = match KNOWN.with(Cell::get) {
                true => None,
                false => ready!(turns.poll_acquire(cx)),
            };
            let polled = serving.as_mut().poll(cx);
            drop(turn);
            polled
        });
        KNOWN.scope(Cell::new(false), served).await
    }
}

/// The connection of this task needs no turns from now on.
pub(crate) fn known() {
    // Elsewhere there are no turns.
    let _ = KNOWN.try_with(|known| known.set(true));
}

/// The connection of this task takes turns from now on, as a new one does: it was kept, and asks for what sleeps.
pub(crate) fn unknown() {
    let _ = KNOWN.try_with(|known| known.set(false));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::Poll;

    use tokio::task::{JoinSet, yield_now};

    use super::*;

    const CROWD: usize = 200;
    const TURNS: usize = 2;

    /// Counts who is in it at the same time.
    #[derive(Default)]
    struct Room {
        inside: AtomicUsize,
        most: AtomicUsize,
    }

    impl Room {
        /// Is in it for a moment, without a pause.
        fn visit(&self) {
            let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(inside, Ordering::SeqCst);
            std::thread::yield_now();
            self.inside.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 8)]
    async fn a_crowd_runs_on_as_many_cpus_as_there_are_turns() {
        let (turns, room) = (Arc::new(Turns::new(TURNS)), Arc::new(Room::default()));
        let mut crowd = JoinSet::new();
        for _ in 0..CROWD {
            let (turns, room) = (turns.clone(), room.clone());
            crowd.spawn(async move {
                let serving = async {
                    for _ in 0..20 {
                        room.visit();
                        yield_now().await;
                    }
                };
                turns.take(Box::pin(serving)).await;
            });
        }
        assert_eq!(crowd.join_all().await.len(), CROWD);
        assert!(room.most.load(Ordering::SeqCst) <= TURNS);
    }

    #[tokio::test]
    async fn who_is_known_runs_while_all_turns_are_taken() {
        let (turns, may_end) = (Turns::new(1), AtomicBool::new(false));
        let serving = async {
            known();
            while !may_end.load(Ordering::SeqCst) {
                yield_now().await;
            }
        };
        let mut one = Box::pin(turns.take(Box::pin(serving)));
        let ran = poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await;
        assert!(ran, "it is known now, and has not ended");
        let _taken = turns.0.acquire().await.expect("open");
        may_end.store(true, Ordering::SeqCst);
        one.await;
    }

    #[tokio::test]
    async fn who_was_known_takes_turns_again() {
        let turns = Turns::new(1);
        let serving = async {
            known();
            yield_now().await;
            unknown();
            yield_now().await;
        };
        let mut one = Box::pin(turns.take(Box::pin(serving)));
        assert!(poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await);
        let taken = turns.0.acquire().await.expect("open");
        for _ in 0..3 {
            assert!(poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await, "it has no turn");
        }
        drop(taken);
        one.await;
    }

    #[tokio::test]
    async fn who_is_new_waits_for_a_turn_and_who_leaves_takes_none() {
        let turns = Turns::new(1);
        let taken = turns.0.acquire().await.expect("open");
        let mut waits = Box::pin(turns.take(Box::pin(async {})));
        let mut leaves = Box::pin(turns.take(Box::pin(async {})));
        for one in [&mut leaves, &mut waits] {
            assert!(poll_fn(|cx| Poll::Ready(one.as_mut().poll(cx).is_pending())).await);
        }
        drop(leaves);
        drop(taken);
        waits.await;
        assert_eq!(turns.0.available_permits(), 1);
    }
}
