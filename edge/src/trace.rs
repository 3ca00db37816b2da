//! Traces: where the time of one cold start went.
//!
//! A flight writes down what it did as spans of time. A request that waited for it is told its own share of them, in
//! a `Server-Timing` header and in milliseconds: a request that joined late did not wait for what came before. The
//! parts follow one another and none overlaps, so that they sum up to the time from the request's head to the head of
//! its answer.
//!
//! | part | what it is |
//! |---|---|
//! | `queue` | what no other part explains: a stop that had to end first, somebody else's start, the turn and the free place at the cleaner, the call to it, a free place among gates, those who waited for the same start and go first |
//! | `claim` | the ledger's answer, which gave the claim |
//! | `gate` | the gate's mark and byte, by which a poised instance is let go |
//! | `create`, `start` | the engine made and started a container: it was not poised |
//! | `resume` | the engine resumed a frozen instance |
//! | `connect` | the app's own time until it was ready |
//! | `commit` | the ledger was told |
//! | `first-byte` | the request was sent, and the head of the answer came |
//! | `warm` | of a request that waited for no start: everything before it was sent |
//!
//! `cold;desc=` says the way: `poised`, `made`, `resumed`, or `found` where somebody else started it.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use func_runner::{How, Started};
use tokio::time::Instant;

/// How many parts the trace of one flight has at most.
const SPANS_MAX: usize = 8;

/// One part of a wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Part {
    Warm,
    Queue,
    Claim,
    Gate,
    Create,
    Start,
    Resume,
    Connect,
    Commit,
    FirstByte,
}

impl Part {
    /// Gives its name, as it is shown and counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Warm => "warm",
            Self::Queue => "queue",
            Self::Claim => "claim",
            Self::Gate => "gate",
            Self::Create => "create",
            Self::Start => "start",
            Self::Resume => "resume",
            Self::Connect => "connect",
            Self::Commit => "commit",
            Self::FirstByte => "first-byte",
        }
    }
}

/// By which way an instance became warm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// It was made ahead, and its gate was opened.
    Poised,
    /// Its container was made and started.
    Made,
    /// It was frozen.
    Resumed,
    /// It ran already, or somebody else started it.
    Found,
}

impl Way {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Poised => "poised",
            Self::Made => "made",
            Self::Resumed => "resumed",
            Self::Found => "found",
        }
    }
}

impl From<How> for Way {
    fn from(how: How) -> Self {
        match how {
            How::Opened => Self::Poised,
            How::Made => Self::Made,
            How::Resumed => Self::Resumed,
            How::Found => Self::Found,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Span {
    part: Part,
    from: Instant,
    until: Instant,
}

/// What a flight does, while it does it.
#[derive(Debug)]
pub(crate) struct Log {
    began: Instant,
    spans: Vec<Span>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), spans: Vec::with_capacity(SPANS_MAX) }
    }

    /// Begins anew: what was done under a lost claim was waiting.
    pub(crate) fn clear(&mut self) {
        self.spans.clear();
    }

    /// Adds what went on since `from`. Parts come one after the other.
    pub(crate) fn add(&mut self, part: Part, from: Instant) {
        self.spans.push(Span { part, from, until: Instant::now() });
    }

    /// Adds what the cleaner says about a call made at `asked`. Its clock is not ours: the parts are laid to the end of
    /// the call, and what is left at its beginning was waiting.
    pub(crate) fn add_started(&mut self, asked: Instant, started: &Started) {
        let took = &started.took;
        let start = match started.how {
            How::Opened => Part::Gate,
            How::Resumed => Part::Resume,
            How::Made | How::Found => Part::Start,
        };
        let parts = [(Part::Connect, took.ready_us), (start, took.start_us), (Part::Create, took.create_us)];
        let mut until = Instant::now();
        for (part, us) in parts {
            let from = until.checked_sub(Duration::from_micros(us)).map_or(asked, |from| from.max(asked));
            // A found one was neither made nor started, and every start has its time to be ready.
            if us > 0 || part == Part::Connect {
                self.spans.push(Span { part, from, until });
            }
            until = from;
        }
    }

    /// Ends it.
    pub(crate) fn end(self, way: Way) -> Trace {
        Trace { began: self.began, ended: Instant::now(), spans: self.spans, way }
    }
}

/// What a flight that woke an instance did.
#[derive(Debug)]
pub(crate) struct Trace {
    pub(crate) way: Way,
    began: Instant,
    ended: Instant,
    spans: Vec<Span>,
}

impl Trace {
    /// Gives the flight's own parts, `queue` first.
    pub(crate) fn parts(&self) -> Vec<(Part, Duration)> {
        self.share(self.began, self.ended)
    }

    /// Gives how long the flight took.
    pub(crate) fn total(&self) -> Duration {
        self.ended - self.began
    }

    /// Gives what went on between two moments, in whole microseconds; `queue` is the rest.
    fn share(&self, from: Instant, until: Instant) -> Vec<(Part, Duration)> {
        let mut parts: Vec<_> = self
            .spans
            .iter()
            .map(|span| {
                let (from, until) = (span.from.max(from), span.until.min(until));
                (span.part, whole_us(until.saturating_duration_since(from)))
            })
            .collect();
        let explained = parts.iter().map(|(_, took)| *took).sum();
        let total = whole_us(until.saturating_duration_since(from));
        parts.push((Part::Queue, total.saturating_sub(explained)));
        parts.sort_by_key(|(part, _)| *part);
        parts
    }
}

fn whole_us(duration: Duration) -> Duration {
    Duration::from_micros(duration.as_micros() as u64)
}

/// The times of one request.
#[derive(Debug)]
pub(crate) struct Timing {
    /// When its head had been read.
    pub(crate) began: Instant,
    /// When it got its instance.
    pub(crate) entered: Instant,
    /// The flight that it waited for; `None`: it was warm.
    pub(crate) trace: Option<Arc<Trace>>,
}

impl Timing {
    /// Gives the parts, for an answer whose head comes `now`.
    pub(crate) fn parts(&self, now: Instant) -> Vec<(Part, Duration)> {
        let mut parts = match &self.trace {
            Some(trace) => trace.share(self.began, self.entered),
            None => vec![(Part::Warm, whole_us(self.entered - self.began))],
        };
        let known: Duration = parts.iter().map(|(_, took)| *took).sum();
        parts.push((Part::FirstByte, whole_us(now - self.began).saturating_sub(known)));
        parts
    }

    /// Gives the value of `Server-Timing`, for an answer whose head comes `now`.
    ///
    /// Source: W3C Server Timing, section 3: names are tokens, `dur` is in milliseconds.
    pub(crate) fn header(&self, now: Instant) -> String {
        let mut text = String::with_capacity(160);
        for (part, took) in self.parts(now) {
            let us = took.as_micros();
            let _ = write!(text, "{};dur={}.{:03}, ", part.name(), us / 1_000, us % 1_000);
        }
        match &self.trace {
            Some(trace) => {
                let _ = write!(text, "cold;desc={}", trace.way.name());
            }
            None => text.truncate(text.trim_end_matches(", ").len()),
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use func_runner::StartTimes;
    use tokio::time::advance;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    async fn span(log: &mut Log, part: Part, took: Duration) {
        let from = Instant::now();
        advance(took).await;
        log.add(part, from);
    }

    /// 5 ms of waiting, then the parts of a poised start, 1 ms each.
    async fn poised() -> Arc<Trace> {
        let mut log = Log::new();
        advance(5 * MS).await;
        for part in [Part::Claim, Part::Gate, Part::Connect, Part::Commit] {
            span(&mut log, part, MS).await;
        }
        Arc::new(log.end(Way::Poised))
    }

    #[tokio::test(start_paused = true)]
    async fn the_parts_of_a_poised_start_are_all_there_and_sum_up_to_the_whole() {
        let began = Instant::now();
        let trace = poised().await;
        let timing = Timing { began, entered: Instant::now(), trace: Some(trace) };
        advance(2 * MS).await;
        assert_eq!(
            timing.header(Instant::now()),
            "queue;dur=5.000, claim;dur=1.000, gate;dur=1.000, connect;dur=1.000, commit;dur=1.000, \
             first-byte;dur=2.000, cold;desc=poised"
        );
        let sum: Duration = timing.parts(Instant::now()).iter().map(|(_, took)| *took).sum();
        assert_eq!(sum, began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_joined_late_is_told_only_of_what_it_waited_for() {
        let flight = Instant::now();
        let trace = poised().await;
        let began = flight + 7 * MS + Duration::from_micros(250);
        let timing = Timing { began, entered: Instant::now(), trace: Some(trace) };
        assert_eq!(
            timing.header(Instant::now()),
            "queue;dur=0.000, claim;dur=0.000, gate;dur=0.000, connect;dur=0.750, commit;dur=1.000, \
             first-byte;dur=0.000, cold;desc=poised"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_cleaner_says_is_laid_to_the_end_of_the_call_and_never_exceeds_it() {
        for (ready_us, connect, queue) in [(3_000, 3, 4), (60_000, 7, 0)] {
            let mut log = Log::new();
            let asked = Instant::now();
            advance(10 * MS).await;
            let took = StartTimes { queue_us: 0, create_us: 1_000, start_us: 2_000, ready_us };
            let addr = "10.0.0.2:80".parse().expect("an address");
            log.add_started(asked, &Started { addr, how: How::Made, took });
            let trace = log.end(Way::Made);
            let of =
                |part| trace.parts().iter().filter(|(p, _)| *p == part).map(|(_, t)| *t).sum::<Duration>();
            assert_eq!(of(Part::Connect), if ready_us > 10_000 { 10 * MS } else { connect * MS });
            assert_eq!(of(Part::Queue), queue * MS);
            assert_eq!(trace.parts().iter().map(|(_, took)| *took).sum::<Duration>(), trace.total());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_warm_request_has_two_parts() {
        let began = Instant::now();
        advance(Duration::from_micros(40)).await;
        let timing = Timing { began, entered: Instant::now(), trace: None };
        advance(MS).await;
        assert_eq!(timing.header(Instant::now()), "warm;dur=0.040, first-byte;dur=1.000");
    }
}
