//! What an SSH client does on its connection, and when it has been there long enough.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::limits::{FAREWELL, IDLE, LOGIN};

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Presence {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    is_known: bool,
    running: usize,
    since: Instant,
}

/// A running command; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running(Arc<Presence>);

impl Presence {
    pub(crate) fn new() -> Arc<Self> {
        let state = State { is_known: false, running: 0, since: Instant::now() };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Notes that the client is authenticated.
    pub(crate) fn known(&self) {
        self.change(|state| state.is_known = true);
    }

    /// Notes that a command runs.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.change(|state| state.running += 1);
        Running(self.clone())
    }

    /// Waits until the client has to go: it did not say who it is, or it has nothing to do for a
    /// while, which is short once `shutdown` is set.
    pub(crate) async fn over(&self, shutdown: &CancellationToken) {
        loop {
            let changed = self.changed.notified();
            let Some(end) = self.end(shutdown.is_cancelled()) else {
                changed.await;
                continue;
            };
            if end <= Instant::now() {
                return;
            }
            tokio::select! {
                _ = timeout_at(end, changed) => {}
                () = shutdown.cancelled(), if !shutdown.is_cancelled() => {}
            }
        }
    }

    /// When the client has to go as things are; `None` while a command runs.
    fn end(&self, leaving: bool) -> Option<Instant> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = match (leaving, state.is_known) {
            // Who was told how its command ended leaves by itself; cut off too soon, its git would call that a failure.
            (true, _) => FAREWELL,
            (false, false) => LOGIN,
            (false, true) => IDLE,
        };
        (state.running == 0).then(|| state.since + patience)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.since = Instant::now();
        drop(state);
        self.changed.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.change(|state| state.running -= 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How much longer the client may stay; `None` if a command runs.
    fn patience(presence: &Presence, leaving: bool) -> Option<Duration> {
        presence.end(leaving).map(|end| end.saturating_duration_since(Instant::now()))
    }

    fn is_about(is: Option<Duration>, should: Duration) -> bool {
        is.is_some_and(|is| is <= should && is + Duration::from_secs(1) > should)
    }

    #[test]
    fn who_does_not_say_who_it_is_has_to_go_soon_and_who_did_may_rest_for_a_while() {
        let presence = Presence::new();
        assert!(is_about(patience(&presence, false), LOGIN));
        presence.known();
        assert!(is_about(patience(&presence, false), IDLE));
    }

    #[test]
    fn who_runs_a_command_may_stay_even_when_the_host_leaves() {
        let presence = Presence::new();
        presence.known();
        let (one, other) = (presence.run(), presence.run());
        drop(one);
        assert_eq!((patience(&presence, false), patience(&presence, true)), (None, None));
        drop(other);
        assert!(is_about(patience(&presence, false), IDLE));
        assert!(is_about(patience(&presence, true), FAREWELL));
    }

    #[tokio::test]
    async fn a_shutdown_waits_for_the_running_command_only() {
        let (presence, shutdown) = (Presence::new(), CancellationToken::new());
        presence.known();
        let running = presence.run();
        let mut over = Box::pin(presence.over(&shutdown));
        assert!(futures_util::poll!(&mut over).is_pending());
        shutdown.cancel();
        assert!(futures_util::poll!(&mut over).is_pending());
        drop(running);
        tokio::time::timeout(IDLE, over).await.expect("soon");
        // And who only rests goes soon.
        let (presence, shutdown) = (Presence::new(), CancellationToken::new());
        let mut over = Box::pin(presence.over(&shutdown));
        assert!(futures_util::poll!(&mut over).is_pending());
        shutdown.cancel();
        tokio::time::timeout(LOGIN, over).await.expect("soon");
    }
}
