//! The events of one deploy, for everybody who wants to hear them.
//!
//! Telling never waits: the last events are kept, and whoever reads too slowly is told how many it missed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use func_model::event::BuildEvent;
use futures_util::Stream;
use tokio::sync::watch;

use crate::limits::{EVENTS_BYTES, EVENTS_KEPT};

/// What a deploy tells.
#[derive(Debug)]
pub struct Feed {
    state: Mutex<State>,
    told: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<BuildEvent>,
    /// The number of the first event that is kept.
    first: u64,
    bytes: usize,
    over: bool,
}

/// One who listens, from the first event that is kept.
#[derive(Debug)]
pub struct Listener {
    feed: Arc<Feed>,
    next: u64,
    told: watch::Receiver<()>,
}

impl Feed {
    /// Gives a feed without events.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), told: watch::Sender::new(()) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells an event. After the last one, nothing is told any more.
    pub fn tell(&self, event: BuildEvent) {
        let mut state = self.state();
        if state.over {
            return;
        }
        state.over = event.is_last();
        state.bytes += weight(&event);
        state.events.push_back(event);
        while state.events.len() > 1 && (state.events.len() > EVENTS_KEPT || state.bytes > EVENTS_BYTES) {
            if let Some(dropped) = state.events.pop_front() {
                state.bytes -= weight(&dropped);
                state.first += 1;
            }
        }
        drop(state);
        self.told.send_replace(());
    }

    /// Ends the feed without a last event: the builder stops.
    pub fn close(&self) {
        self.state().over = true;
        self.told.send_replace(());
    }

    /// Gives a listener.
    pub fn listen(self: &Arc<Self>) -> Listener {
        let next = self.state().first;
        Listener { feed: self.clone(), next, told: self.told.subscribe() }
    }
}

impl Listener {
    /// Gives the next event; `None` when the feed is over. Cancel-safe.
    pub async fn next(&mut self) -> Option<BuildEvent> {
        loop {
            self.told.borrow_and_update();
            match self.feed.state().at(&mut self.next) {
                Found::Event(event) => return Some(event),
                Found::Over => return None,
                Found::NotYet => {}
            }
            // The sender lives in the feed, which lives in this listener.
            self.told.changed().await.ok()?;
        }
    }

    /// Gives the events as lines of JSON.
    pub fn into_lines(self) -> impl Stream<Item = String> + Send {
        futures_util::stream::unfold(self, |mut listener| async move {
            let event = listener.next().await?;
            // Events are plain data: writing them as JSON cannot fail.
            let line = serde_json::to_string(&event).unwrap_or_default();
            Some((line, listener))
        })
    }
}

enum Found {
    Event(BuildEvent),
    NotYet,
    Over,
}

impl State {
    fn at(&self, next: &mut u64) -> Found {
        if *next < self.first {
            let missed = self.first - *next;
            *next = self.first;
            return Found::Event(BuildEvent::Warning {
                text: format!("{missed} lines were too fast to be shown here; they are in the build's log"),
            });
        }
        let index = usize::try_from(*next - self.first).unwrap_or(usize::MAX);
        match self.events.get(index) {
            Some(event) => {
                *next += 1;
                Found::Event(event.clone())
            }
            None if self.over => Found::Over,
            None => Found::NotYet,
        }
    }
}

fn weight(event: &BuildEvent) -> usize {
    let text = match event {
        BuildEvent::Queued { .. } => 0,
        BuildEvent::Superseded { by } => by.len(),
        BuildEvent::Step { text } | BuildEvent::Warning { text } | BuildEvent::Done { text } => text.len(),
        BuildEvent::Log { line } => line.len(),
        BuildEvent::Live { urls, .. } => urls.iter().map(String::len).sum(),
        BuildEvent::Failed { reason, hint, tail, .. } => {
            reason.len() + hint.as_ref().map_or(0, String::len) + tail.iter().map(String::len).sum::<usize>()
        }
    };
    text + size_of::<BuildEvent>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(text: impl Into<String>) -> BuildEvent {
        BuildEvent::Step { text: text.into() }
    }

    fn done() -> BuildEvent {
        BuildEvent::Done { text: String::new() }
    }

    #[tokio::test]
    async fn a_late_listener_hears_what_was_told_before() {
        let feed = Feed::new();
        feed.tell(step("one"));
        let mut listener = feed.listen();
        assert_eq!(listener.next().await, Some(step("one")));
        feed.tell(done());
        feed.tell(step("after the end"));
        assert_eq!(listener.next().await, Some(done()));
        assert_eq!(listener.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_listener_is_told_what_it_missed_and_never_blocks_the_deploy() {
        let feed = Feed::new();
        let mut listener = feed.listen();
        for n in 0..EVENTS_KEPT + 7 {
            feed.tell(step(n.to_string()));
        }
        let Some(BuildEvent::Warning { text }) = listener.next().await else { panic!("it missed some") };
        assert!(text.starts_with("7 lines"), "{text}");
        assert_eq!(listener.next().await, Some(step("7")));
    }

    #[tokio::test]
    async fn the_kept_events_are_bounded_in_bytes_and_the_last_one_stays() {
        let feed = Feed::new();
        for _ in 0..100 {
            feed.tell(step("x".repeat(100_000)));
        }
        assert!(feed.state().bytes <= EVENTS_BYTES);
        feed.tell(BuildEvent::Done { text: "x".repeat(2 * EVENTS_BYTES) });
        let mut listener = feed.listen();
        assert!(listener.next().await.is_some_and(|e| e.is_last()));
    }

    #[tokio::test]
    async fn a_closed_feed_ends_without_a_last_event() {
        let feed = Feed::new();
        let mut listener = feed.listen();
        feed.close();
        assert_eq!(listener.next().await, None);
    }
}
