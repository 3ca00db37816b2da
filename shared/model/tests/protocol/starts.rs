//! A start, done by the cleaner in the instance's turn, for an edge that holds the claim.

use crate::brief::{Sight, Stage, Which};
use crate::gates::{Gates, Without};
use crate::search::Steps;
use crate::state::{Call, IDLE, Life, Mode, Start, State, Turn, Whose, forget};
use crate::turns::{remove, remove_idle};

/// The slot of starts. Nothing is in it while something is in the other, unless that rule is taken out.
pub const STARTS: usize = 1;

fn next(s: &State, start: Start, whose: Whose) -> State {
    let mut t = *s;
    t.turns[STARTS] = Turn::Start(start, whose);
    t
}

fn stands(s: &State, whose: Whose) -> bool {
    s.record.stage == Stage::Waking && whose.age == 0
}

impl Gates {
    pub fn start(&self, s: &State, start: Start, whose: Whose, steps: &mut Steps<State>) {
        match start {
            Start::Check => {
                if stands(s, whose) || self.without == Without::StartChecks {
                    steps.progress("C", "finds the claim standing", next(s, Start::Look, whose));
                } else {
                    steps.progress("C", "finds the claim over", answer(s, whose, Mode::Idle));
                }
            }
            Start::Look => self.look(s, whose, steps),
            Start::Mark | Start::Open => self.open(s, start, whose, steps),
            Start::Create => {
                let then = if s.container.life == Life::None { Start::Run } else { Start::Look };
                self.start_call(s, Call::Create { gated: false }, ("creates", then), whose, steps);
            }
            Start::Run => {
                self.start_call(s, Call::Start, ("starts", Start::Await { own: true }), whose, steps);
            }
            Start::Resume => {
                self.start_call(s, Call::Resume, ("resumes", Start::Await { own: false }), whose, steps);
            }
            Start::Await { own } => self.until_ready(s, own, whose, steps),
            Start::Kill => {
                let mut t = answer(s, whose, Mode::Failed);
                self.end(&mut t, "kills what is not ready", steps);
                steps.progress("C", "kills what is not ready", t);
                // It is removed while nobody waits for it: before all else, or by the plan.
                remove_idle(&mut t);
                steps.progress("C", "kills and removes what is not ready", t);
            }
            Start::Bury => {
                let mut t = next(s, Start::Look, whose);
                remove_idle(&mut t);
                steps.progress("C", "removes what is over for a start", t);
            }
            Start::Clear => {
                let mut t = next(s, Start::Look, whose);
                self.end(&mut t, "removes a spent gate for a start", steps);
                remove(&mut t);
                steps.progress("C", "removes a spent gate for a start", t);
            }
        }
    }

    /// Decides by what a start finds.
    fn look(&self, s: &State, whose: Whose, steps: &mut Steps<State>) {
        let waits = matches!(s.container.life, Life::Waits | Life::Opened) && !s.container.passed;
        let then = match self.sight(s) {
            None => Start::Create,
            // The claim took its gate, and it was let go.
            Some(Sight::Exited) if s.container.passed => {
                return steps.progress("C", "finds it crashed", answer(s, whose, Mode::Failed));
            }
            Some(Sight::Created | Sight::Exited) => Start::Bury,
            Some(Sight::Poised) => Start::Mark,
            // Its opener died between the mark and the byte, or is slow.
            Some(Sight::Spent) => Start::Clear,
            Some(Sight::Running) if s.container.gated && waits => Start::Clear,
            Some(Sight::Running) => Start::Await { own: false },
            Some(Sight::Paused) => Start::Resume,
        };
        steps.progress("C", "looks", next(s, then, whose));
    }

    fn until_ready(&self, s: &State, own: bool, whose: Whose, steps: &mut Steps<State>) {
        if s.container.life == Life::Runs {
            steps.progress("C", "says ready", answer(s, whose, Mode::Ready));
        }
        let lives = matches!(s.container.life, Life::Waits | Life::Opened | Life::Runs | Life::Paused);
        let kills = own || self.without == Without::KillsOwn;
        let told = answer(s, whose, Mode::Failed);
        match (lives, kills) {
            (false, _) => steps.progress("C", "finds it not ready", told),
            (true, true) => steps.progress("C", "finds it not ready", next(s, Start::Kill, whose)),
            (true, false) => {
                steps.progress("C", "says that it is not ready", told);
                // It was late because of others: who opened it by itself goes on waiting.
                let mut t = *s;
                t.turns[STARTS] = Turn::Free;
                steps.progress("C", "says that it was busy", t);
            }
        }
    }

    fn open(&self, s: &State, start: Start, whose: Whose, steps: &mut Steps<State>) {
        if start == Start::Mark {
            if s.container.marked && self.without != Without::Exclusive {
                return steps.progress("C", "finds it marked", next(s, Start::Look, whose));
            }
            let mut t = next(s, Start::Open, whose);
            t.container.marked = s.container.gated && self.without != Without::Mark;
            return steps.progress("C", "marks the gate", t);
        }
        match s.container.life {
            Life::Opened => steps.wrong("C", "opens the gate", "opened twice"),
            Life::Waits => {
                let mut t = next(s, Start::Await { own: true }, whose);
                (t.container.life, t.container.passed) = (Life::Opened, true);
                steps.progress("C", "opens the gate", t);
                if self.cleaner_crashes {
                    let mut t = *s;
                    (t.container.life, t.turns[STARTS]) = (Life::Opened, Turn::Free);
                    steps.chance("C", "opens the gate, and crashes", t);
                }
            }
            Life::None | Life::Created | Life::Runs | Life::Paused | Life::Exited => {
                steps.progress("C", "finds no reader", next(s, Start::Clear, whose));
            }
        }
    }

    fn start_call(
        &self,
        s: &State,
        call: Call,
        (what, then): (&'static str, Start),
        whose: Whose,
        steps: &mut Steps<State>,
    ) {
        let mut t = next(s, then, whose);
        self.reach(&mut t, call, what, steps);
        steps.progress("C", what, t);
    }
}

/// The start is over; the edge is told, if it still waits for it.
fn answer(s: &State, whose: Whose, mode: Mode) -> State {
    let mut t = *s;
    t.turns[STARTS] = Turn::Free;
    let i = usize::from(whose.edge);
    let edge = &mut t.edges[i];
    if !matches!(edge.mode, Mode::Waits | Mode::Asks) || edge.age != whose.age {
        return t;
    }
    (edge.mode, edge.which) = (mode, if mode == Mode::Ready { Which::This } else { Which::None });
    if mode == Mode::Idle {
        *edge = IDLE;
        forget(&mut t, i);
    }
    t
}
