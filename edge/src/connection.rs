//! One connection of a client: where it stands, and how long the client lets func wait.
//!
//! Nothing here costs a request more than a few stores. Time is counted by the sweep, in seconds: it looks at each
//! connection, and what it finds late it only marks and wakes. Whether the client is late indeed is seen where it is
//! read or written: if there is something to read after all, nothing happens.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use func_model::Refusal;
use parking_lot::Mutex;

use crate::limits::{LINGER, LINGER_SILENT, Limits, RATE_WINDOW};

/// Where a connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing has come yet.
    New,
    /// A part of a head has come.
    Head,
    /// A request is answered.
    Serving,
    /// It is kept for another request.
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

/// What a client owes of its request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Body {
    /// Nothing: there is none, or it is complete.
    None,
    /// Nothing before it is told `100 Continue`.
    Uninvited,
    /// It is waited for.
    Owed,
    /// An answer has begun: it may come as it likes.
    Free,
    /// The answer is complete: nobody needs it any more.
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
    /// It was waited for when it was looked at last.
    waits: AtomicBool,
    bytes: AtomicU64,
    /// The sweep found it too slow.
    late: AtomicBool,
    /// Of the sweep: what `bytes` was when the window began, and how many seconds of it were waited for the client.
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

    /// Counts what has gone through. Only the connection's own task does.
    fn moved(&self, bytes: usize) {
        self.bytes.store(self.bytes.load(Relaxed) + bytes as u64, Relaxed);
        if self.waits.load(Relaxed) {
            self.waits.store(false, Relaxed);
            self.late.store(false, Relaxed);
        }
    }

    /// Takes note that the client is waited for, and tells whether that has been too long.
    fn stuck(&self) -> bool {
        self.waits.store(true, Relaxed);
        self.late.load(Relaxed)
    }

    /// Counts one more second; whether the client is too slow.
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

/// What is known of one connection.
#[derive(Debug)]
pub(crate) struct Connection {
    phase: AtomicU8,
    /// The second in which the phase began.
    since: AtomicU32,
    /// Its request was parsed: before that pingora may read nothing.
    parsed: AtomicBool,
    body: AtomicU8,
    reading: Side,
    writing: Side,
    /// The answer has to be taken at a rate.
    writing_rated: AtomicBool,
    /// For how many seconds a body is left over.
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

    /// A head goes to the proxy.
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

    /// The head was understood. One that waits for `100 Continue` is not late with its body before that.
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

    /// The client was told to go on, or did so by itself.
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

    /// An answer begins: the rest of the request may take its time. One that is `endless` is taken at any pace.
    pub(crate) fn answer_begins(&self, endless: bool) {
        if self.body() != Body::None {
            self.set_body(Body::Free);
        }
        if endless {
            self.writing_rated.store(false, Relaxed);
        }
    }

    /// The answer is complete: what is left of the request has a deadline.
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

    /// There is nothing to read: whether the client is late with it.
    pub(crate) fn reads_nothing(&self) -> bool {
        self.reading.stuck() && matches!(self.body(), Body::Owed | Body::LeftOver)
    }

    /// The client takes nothing: whether that has been too long.
    pub(crate) fn writes_nothing(&self) -> bool {
        self.writing.stuck() && self.writing_rated.load(Relaxed)
    }

    /// Why the client is to blame, if it is.
    pub(crate) fn fault(&self) -> Option<Refusal> {
        self.fault.lock().clone()
    }

    pub(crate) fn blame(&self, refusal: Refusal) {
        *self.fault.lock() = Some(refusal);
    }

    /// Closes it at once, wherever it stands.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Relaxed);
        self.wake();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Relaxed)
    }

    /// Closes it if it only waits for a client, since before `now`; whether it does.
    pub(crate) fn give_way(&self, now: u32) -> bool {
        let waits = self.phase() != Phase::Serving && self.since.load(Relaxed) < now;
        if !waits || self.is_cut() {
            return false;
        }
        self.cut();
        true
    }

    /// Looks at it, once a second, and closes it or marks it if its client is late. Gives why.
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

    /// The task that serves it is woken when it is late. Its waker stays the same: the whole connection is served by
    /// one task.
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

    /// Waits for `serving`; `None` if the connection is cut before.
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
