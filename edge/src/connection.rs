//! One client connection: its phase, and how long the client has kept the edge waiting.
//!
//! A request pays for a few atomic stores. The sweep counts time in seconds: it marks a connection that looks late and
//! wakes its task. The next read or write decides: if the socket is ready after all, nothing happens.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use func_model::Refusal;
use parking_lot::Mutex;

use crate::limits::{LINGER, LINGER_SILENT, Limits, RATE_WINDOW};

/// The phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The client has sent nothing yet.
    New,
    /// The edge has read part of a request head.
    Head,
    /// The proxy is handling a request.
    Serving,
    /// Idle keep-alive.
    Kept,
}

impl Phase {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::New,
            1 => Self::Head,
            2 => Self::Serving,
            _ => Self::Kept,
        }
    }
}

/// The state of the request body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Body {
    /// Absent or complete.
    None,
    /// The client waits for `100 Continue` before it sends the body.
    Uninvited,
    /// The request needs it.
    Owed,
    /// The response has begun: the body has no minimum rate.
    Free,
    /// The response is complete: the body is no longer needed.
    LeftOver,
}

impl Body {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Uninvited,
            2 => Self::Owed,
            3 => Self::Free,
            _ => Self::LeftOver,
        }
    }
}

/// One direction of a body.
#[derive(Debug, Default)]
struct Side {
    /// The last poll was pending.
    waits: AtomicBool,
    bytes: AtomicU64,
    /// The sweep found it too slow.
    late: AtomicBool,
    /// Used by the sweep: `bytes` at the start of the window, and the seconds of waiting since then.
    bytes_before: AtomicU64,
    waited: AtomicU32,
}

impl Side {
    fn begin(&self) {
        self.waits.store(false, Relaxed);
        self.late.store(false, Relaxed);
        self.restart();
    }

    fn restart(&self) {
        self.bytes_before.store(self.bytes.load(Relaxed), Relaxed);
        self.waited.store(0, Relaxed);
    }

    /// Counts transferred bytes. Callers are on the connection's own task.
    fn moved(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Relaxed) + bytes as u64, Relaxed);
        if self.waits.load(Relaxed) {
            self.waits.store(false, Relaxed);
            self.late.store(false, Relaxed);
        }
    }

    /// Records a pending poll. Returns whether the sweep has found the client too slow.
    fn stuck(&self) -> bool {
        self.waits.store(true, Relaxed);
        self.late.load(Relaxed)
    }

    /// Counts one more second of waiting. Returns whether the client is too slow.
    fn look(&self, bytes_per_s: u64, window_s: u32) -> bool {
        if !self.waits.load(Relaxed) {
            return false;
        }
        let waited = self.waited.load(Relaxed) + 1;
        self.waited.store(waited, Relaxed);
        if waited < window_s {
            return false;
        }
        let bytes = self.bytes.load(Relaxed) - self.bytes_before.load(Relaxed);
        self.restart();
        let slow = bytes < (bytes_per_s * u64::from(waited)).max(1);
        self.late.store(slow, Relaxed);
        slow
    }
}

/// The state of one connection, shared by its task and the sweep.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: AtomicU8,
    /// The second in which the phase began.
    since: AtomicU32,
    /// The request is parsed; pingora may read nothing from the socket before that.
    parsed: AtomicBool,
    body: AtomicU8,
    reading: Side,
    writing: Side,
    /// The response has a minimum rate.
    writing_rated: AtomicBool,
    /// Seconds since the response was complete.
    lingered: AtomicU32,
    cut: AtomicBool,
    fault: Mutex<Option<Refusal>>,
    task: Mutex<Option<Waker>>,
}

impl Connection {
    pub(crate) fn new(now: u32) -> Self {
        Self {
            phase: AtomicU8::new(Phase::New as u8),
            since: AtomicU32::new(now),
            parsed: AtomicBool::new(false),
            body: AtomicU8::new(Body::None as u8),
            reading: Side::default(),
            writing: Side::default(),
            writing_rated: AtomicBool::new(true),
            lingered: AtomicU32::new(0),
            cut: AtomicBool::new(false),
            fault: Mutex::new(None),
            task: Mutex::new(None),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::of(self.phase.load(Relaxed))
    }

    pub(crate) fn enter(&self, phase: Phase, now: u32) {
        self.since.store(now, Relaxed);
        self.phase.store(phase as u8, Relaxed);
    }

    /// Starts a request.
    pub(crate) fn begin(&self, now: u32) {
        self.parsed.store(false, Relaxed);
        self.set_body(Body::None);
        self.writing.begin();
        self.writing_rated.store(true, Relaxed);
        *self.fault.lock() = None;
        self.enter(Phase::Serving, now);
    }

    fn body(&self) -> Body {
        Body::of(self.body.load(Relaxed))
    }

    fn set_body(&self, body: Body) {
        self.body.store(body as u8, Relaxed);
        self.reading.begin();
    }

    /// Records a parsed head. A client that waits for `100 Continue` owes no body yet.
    pub(crate) fn parsed(&self, has_body: bool, waits_for_continue: bool) {
        self.parsed.store(true, Relaxed);
        match (has_body, waits_for_continue) {
            (true, true) => self.set_body(Body::Uninvited),
            (true, false) => self.set_body(Body::Owed),
            (false, _) => {}
        }
    }

    pub(crate) fn is_parsed(&self) -> bool {
        self.parsed.load(Relaxed)
    }

    /// Records `100 Continue`, or body bytes that arrive without it.
    pub(crate) fn body_begins(&self) {
        if self.body() == Body::Uninvited {
            self.set_body(Body::Owed);
        }
    }

    pub(crate) fn body_ended(&self) {
        if self.body() != Body::None {
            self.set_body(Body::None);
        }
    }

    /// Records the start of the response. An `endless` one (an upgrade, a stream of events) has no minimum rate.
    pub(crate) fn answer_begins(&self, endless: bool) {
        if self.body() != Body::None {
            self.set_body(Body::Free);
        }
        if endless {
            self.writing_rated.store(false, Relaxed);
        }
    }

    /// Records the end of the response: the rest of the request body now has a deadline.
    pub(crate) fn answer_ended(&self) {
        if self.body() != Body::None {
            self.lingered.store(0, Relaxed);
            self.set_body(Body::LeftOver);
        }
    }

    pub(crate) fn has_read(&self, bytes: usize) {
        self.reading.moved(bytes);
    }

    pub(crate) fn has_written(&self, bytes: usize) {
        self.writing.moved(bytes);
    }

    /// Records a pending read. Returns whether the client is late with the body.
    pub(crate) fn reads_nothing(&self) -> bool {
        self.reading.stuck() && matches!(self.body(), Body::Owed | Body::LeftOver)
    }

    /// Records a pending write. Returns whether the client reads too slowly.
    pub(crate) fn writes_nothing(&self) -> bool {
        self.writing.stuck() && self.writing_rated.load(Relaxed)
    }

    /// Returns the refusal to answer with, if the client is at fault.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        self.fault.lock().clone()
    }

    pub(crate) fn blame(&self, refusal: Refusal) {
        *self.fault.lock() = Some(refusal);
    }

    /// Closes the connection at once, in any phase.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.wake();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// Closes the connection if it has been waiting for its client since before `now`. Returns whether it did.
    pub(crate) fn give_way(&self, now: u32) -> bool {
        let waits = self.phase() != Phase::Serving && self.since.load(Relaxed) < now;
        if !waits || self.is_cut() {
            return false;
        }
        self.cut();
        true
    }

    /// Closes or marks the connection if its client is late, and returns the reason. Called once a second.
    pub(crate) fn look(&self, now: u32, limits: &Limits) -> Option<&'static str> {
        if self.is_cut() {
            return None;
        }
        let age = u64::from(now.saturating_sub(self.since.load(Relaxed)));
        let late = match self.phase() {
            Phase::New | Phase::Head => age > limits.head_time.as_secs(),
            Phase::Kept => age > limits.keep_alive.as_secs(),
            Phase::Serving => return self.look_at_bodies(limits.body_bytes_per_s),
        };
        late.then(|| {
            self.cut();
            "late"
        })
    }

    fn look_at_bodies(&self, bytes_per_s: u64) -> Option<&'static str> {
        let unread = match self.body() {
            Body::None | Body::Uninvited | Body::Free => false,
            Body::Owed => self.reading.look(bytes_per_s, RATE_WINDOW),
            Body::LeftOver if self.lingered.fetch_add(1, Relaxed) >= LINGER => {
                self.cut();
                return Some("lingering");
            }
            Body::LeftOver => self.reading.look(0, LINGER_SILENT),
        };
        let unwritten = self.writing_rated.load(Relaxed) && self.writing.look(bytes_per_s, RATE_WINDOW);
        (unread || unwritten).then(|| {
            self.wake();
            "slow"
        })
    }

    /// Registers the task to wake when the client is late. One task serves the whole connection.
    pub(crate) fn served_by(&self, cx: &Context<'_>) {
        let mut task = self.task.lock();
        if !task.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    fn wake(&self) {
        let task = self.task.lock().clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Runs `serving`; returns `None` if the connection is cut first.
    pub(crate) async fn until_cut<T>(&self, serving: impl Future<Output = T>) -> Option<T> {
        let mut serving = pin!(serving);
        let mut known = false;
        poll_fn(|cx| {
            if !known {
                known = true;
                self.served_by(cx);
            }
            if self.is_cut() {
                return Poll::Ready(None);
            }
            serving.as_mut().poll(cx).map(Some)
        })
        .await
    }
}
