//! What else the cleaner does in an instance's turn: it stops, pauses, thaws, makes ahead. Every call is a step of its
//! own, and one that a crashed cleaner made may arrive late.

use crate::brief::{Age, Deed, Reply, Sight, Stage, Which};
use crate::gates::{Gates, Without};
use crate::search::Steps;
use crate::starts::STARTS;
use crate::state::{Call, Container, EDGES, Life, Mode, NONE, Start, State, Turn, Whose, Work};

/// The slot of all that is not a start.
pub const WORK: usize = 0;

fn next(s: &State, turn: Turn) -> State {
    let mut t = *s;
    t.turns[WORK] = turn;
    t
}

impl Gates {
    /// Takes the turn, for whatever wants it.
    pub fn begin(&self, s: &State, steps: &mut Steps<State>) {
        for (i, edge) in s.edges.iter().enumerate() {
            if matches!(edge.mode, Mode::Waits | Mode::Asks) && self.free(s, STARTS) {
                let mut t = *s;
                let whose = Whose { edge: i as u8, age: edge.age };
                t.turns[STARTS] = Turn::Start(Start::Check, whose);
                steps.progress(EDGES[i], "'s start takes the turn", t);
            }
        }
        if !self.free(s, WORK) || !s.record.written() {
            return;
        }
        let mut t = *s;
        if self.act(&mut t, Deed::Cool { quarantine: s.quarantine }) == Reply::Granted {
            t.turns[WORK] = Turn::Work(Work::Stop, 0);
            steps.progress("C", "may cool", t);
        }
        let mut t = *s;
        let freeze = Deed::Freeze { quarantine: s.quarantine };
        if self.freezes && self.act(&mut t, freeze) == Reply::Granted {
            t.turns[WORK] = Turn::Work(Work::Pause, 0);
            steps.chance("C", "may freeze", t);
        }
    }

    pub fn work(&self, s: &State, work: Work, age: Age, steps: &mut Steps<State>) {
        let then = |work| Turn::Work(work, age);
        match work {
            Work::Stop => self.call(s, Call::Stop, ("stops", then(Work::Bury)), steps),
            Work::Bury => {
                let mut t = next(s, then(Work::SayCooled));
                remove_idle(&mut t);
                steps.progress("C", "removes", t);
            }
            Work::SayCooled => {
                let mut t = next(s, Turn::Free);
                self.say(&mut t, Deed::Cooled(age));
                steps.progress("C", "says cooled", t);
            }
            Work::EndStop => self.call(s, Call::Stop, ("ends an old stop", then(Work::EndBury)), steps),
            Work::EndBury => {
                let mut t = next(s, Turn::Free);
                remove_idle(&mut t);
                steps.progress("C", "removes", t);
            }
            Work::Pause => self.pause(s, age, steps),
            Work::SayFrozen => {
                let mut t = *s;
                let done = self.say(&mut t, Deed::Frozen(age)) == Reply::Done;
                let stays = done || self.without == Without::Resume;
                t.turns[WORK] = if stays { Turn::Free } else { Turn::Work(Work::Undo, 0) };
                steps.progress("C", "says frozen", t);
            }
            Work::Undo => self.call(s, Call::Resume, ("resumes", Turn::Free), steps),
            Work::Thaw => self.call(s, Call::Resume, ("thaws", Turn::Free), steps),
            Work::Check
            | Work::Look
            | Work::Clear
            | Work::Kill
            | Work::Create
            | Work::Run
            | Work::SayPoised => {
                self.make_ahead(s, work, age, steps);
            }
        }
    }

    fn pause(&self, s: &State, age: Age, steps: &mut Steps<State>) {
        let stop = Turn::Work(Work::Stop, age);
        let waits = matches!(self.sight(s), Some(Sight::Poised | Sight::Spent));
        if waits && self.without != Without::PauseLooks {
            steps.progress("C", "finds a gate to pause", next(s, stop));
            return;
        }
        let alive = matches!(s.container.life, Life::Opened | Life::Runs | Life::Paused);
        let then = if alive { Turn::Work(Work::SayFrozen, age) } else { stop };
        self.call(s, Call::Pause, ("pauses", then), steps);
        steps.progress("C", "cannot pause", next(s, stop));
    }

    fn make_ahead(&self, s: &State, work: Work, age: Age, steps: &mut Steps<State>) {
        let then = |work| Turn::Work(work, age);
        match work {
            Work::Check => {
                let rests = s.record.stage == Stage::Cold && age == 0 && !s.record.retired;
                let goes_on = rests || self.without == Without::PoiseCompares;
                let turn = if goes_on { then(Work::Look) } else { Turn::Free };
                steps.progress("C", "asks whether it still rests", next(s, turn));
            }
            Work::Look => {
                let turn = match self.sight(s) {
                    None => then(Work::Create),
                    Some(Sight::Created | Sight::Exited) => then(Work::Clear),
                    Some(Sight::Poised) => then(Work::SayPoised),
                    Some(Sight::Spent) => then(Work::Kill),
                    Some(Sight::Running | Sight::Paused) => Turn::Free,
                };
                steps.progress("C", "looks for what is poised", next(s, turn));
            }
            Work::Clear => {
                let mut t = next(s, then(Work::Create));
                remove_idle(&mut t);
                steps.progress("C", "removes what is over", t);
            }
            Work::Kill => {
                let mut t = next(s, then(Work::Create));
                self.end(&mut t, "removes a spent gate", steps);
                remove(&mut t);
                steps.progress("C", "removes a spent gate", t);
            }
            Work::Create => {
                let turn = if s.container.life == Life::None { then(Work::Run) } else { Turn::Free };
                self.call(s, Call::Create { gated: true }, ("creates a gate", turn), steps);
            }
            Work::Run => self.call(s, Call::Start, ("starts the gate", then(Work::SayPoised)), steps),
            Work::SayPoised => {
                let mut t = next(s, Turn::Free);
                if self.say(&mut t, Deed::Poise(age)) == Reply::Done && !s.container.gated {
                    t.record.poised = Which::Former;
                }
                steps.progress("C", "says poised", t);
            }
            Work::Stop
            | Work::Bury
            | Work::SayCooled
            | Work::EndStop
            | Work::EndBury
            | Work::Pause
            | Work::SayFrozen
            | Work::Undo
            | Work::Thaw => unreachable!("nothing is made ahead"),
        }
    }

    pub fn say(&self, t: &mut State, deed: Deed) -> Reply {
        if t.record.written() { self.act(t, deed) } else { Reply::Stale }
    }

    fn call(&self, s: &State, call: Call, (what, turn): (&'static str, Turn), steps: &mut Steps<State>) {
        let mut t = next(s, turn);
        self.reach(&mut t, call, what, steps);
        steps.progress("C", what, t);
    }

    /// A call reaches the engine. The name of an instance is one container's: two processes of it cannot be.
    pub fn reach(&self, t: &mut State, call: Call, what: &'static str, steps: &mut Steps<State>) {
        match (call, t.container.life) {
            (Call::Create { gated }, Life::None) => {
                t.container = Container { life: Life::Created, gated, ..NONE };
            }
            (Call::Start, Life::Created) => {
                t.container.life = if t.container.gated { Life::Waits } else { Life::Runs };
            }
            (Call::Resume, Life::Paused) => t.container.life = Life::Runs,
            // A gate that has its byte goes on when it is resumed: it is as an app.
            (Call::Pause, Life::Opened) if t.container.passed => t.container.life = Life::Paused,
            (Call::Pause, Life::Runs) => t.container.life = Life::Paused,
            (Call::Pause, Life::Waits | Life::Opened) => steps.wrong("C", what, "paused a gate"),
            (Call::Stop, _) => self.end(t, what, steps),
            (Call::None | Call::Create { .. } | Call::Start | Call::Resume | Call::Pause, _) => {}
        }
    }

    /// Ends the process, if there is one.
    pub fn end(&self, t: &mut State, what: &'static str, steps: &mut Steps<State>) {
        if t.edges.iter().any(|e| e.busy && e.there) {
            steps.wrong("C", what, "stopped under traffic");
        }
        ended(t);
    }

    /// The cleaner forgets all that it was about to do; a call that it was making may go on.
    pub fn crash(&self, s: &State, steps: &mut Steps<State>) {
        let mut t = *s;
        (t.turns, t.planned, t.restoring) = ([Turn::Free; 2], None, None);
        let stops = |turn: &Turn| {
            matches!(turn, Turn::Work(Work::Stop | Work::Bury | Work::EndStop | Work::EndBury, _))
        };
        if s.turns.iter().any(stops) && self.without != Without::StopsMarked {
            t.turns[WORK] = Turn::Work(Work::EndStop, 0);
        }
        if t == *s {
            return;
        }
        steps.chance("C", "crashes", t);
        for turn in s.turns {
            let late = self.under_way(turn);
            let meets = match late {
                Call::None => false,
                Call::Create { .. } => s.container.life == Life::None,
                Call::Pause => matches!(s.container.life, Life::Runs | Life::Opened),
                Call::Start | Call::Resume | Call::Stop => s.container.life != Life::None,
            };
            if s.late == Call::None && meets {
                t.late = late;
                let before = matches!(turn, Turn::Work(Work::Pause, age) if age > 0);
                t.excused |= s.record.stage == Stage::Lost || before;
                steps.chance("C", "crashes, its call goes on", t);
            }
        }
    }

    fn under_way(&self, turn: Turn) -> Call {
        match turn {
            Turn::Free => Call::None,
            Turn::Start(start, ..) => match start {
                Start::Create => Call::Create { gated: false },
                Start::Run => Call::Start,
                Start::Resume => Call::Resume,
                Start::Kill | Start::Clear if self.without == Without::KillsEnd => Call::Stop,
                Start::Kill | Start::Clear => Call::None,
                Start::Check | Start::Look | Start::Mark | Start::Open => Call::None,
                Start::Await { .. } | Start::Bury => Call::None,
            },
            Turn::Work(work, _) => match work {
                Work::Create => Call::Create { gated: true },
                Work::Run => Call::Start,
                Work::Undo | Work::Thaw => Call::Resume,
                Work::Pause => Call::Pause,
                Work::Stop | Work::EndStop => Call::Stop,
                Work::Kill if self.without == Without::KillsEnd => Call::Stop,
                Work::Kill | Work::Check | Work::EndBury => Call::None,
                Work::Bury | Work::SayCooled | Work::SayFrozen => Call::None,
                Work::Look | Work::Clear | Work::SayPoised => Call::None,
            },
        }
    }

    /// What happens by itself where the containers are.
    pub fn engine(&self, s: &State, steps: &mut Steps<State>) {
        if s.container.life == Life::Opened {
            let mut t = *s;
            t.container.life = Life::Runs;
            steps.progress("gate", "lets it go", t);
        }
        if s.late != Call::None {
            let mut t = *s;
            t.late = Call::None;
            self.reach(&mut t, s.late, "'s late call arrives", steps);
            steps.progress("C", "'s late call arrives", t);
        }
        let lives = matches!(s.container.life, Life::Waits | Life::Opened | Life::Runs | Life::Paused);
        if self.deaths && lives {
            let mut t = *s;
            ended(&mut t);
            steps.chance("container", "dies", t);
        }
    }
}

fn ended(t: &mut State) {
    if matches!(t.container.life, Life::Waits | Life::Opened | Life::Runs | Life::Paused) {
        t.container.life = Life::Exited;
    }
    for edge in &mut t.edges {
        edge.there = false;
    }
}

/// Removes a container whose process does not run.
pub fn remove_idle(t: &mut State) {
    if matches!(t.container.life, Life::Created | Life::Exited) {
        remove(t);
    }
}

/// The container is gone, and what names it names a former one.
pub fn remove(t: &mut State) {
    t.container = NONE;
    if !matches!(t.late, Call::Create { .. }) {
        t.late = Call::None;
    }
    let former = |which: &mut Which| {
        if *which == Which::This {
            *which = Which::Former;
        }
    };
    former(&mut t.record.poised);
    former(&mut t.record.addr);
    if let Some((_, _, which)) = &mut t.planned {
        former(which);
    }
    if let Some((_, which)) = &mut t.restoring {
        former(which);
    }
    t.edges.iter_mut().for_each(|edge| former(&mut edge.which));
}
