//! What the cleaner puts right by the plan and after a loss, what time does, and what goes wrong.

use crate::brief::{Age, Brief, Deed, GHOST, Reply, Sight, Stage, Todo, Which};
use crate::gates::{Gates, Without};
use crate::search::Steps;
use crate::state::{Call, Life, NONE, State, Turn, Work, grow_old, held, relies};
use crate::turns::{WORK, remove_idle};

impl Gates {
    pub fn plan(&self, s: &State, steps: &mut Steps<State>) {
        let known = s.record.stage != Stage::Lost;
        match s.planned {
            Some((todo, age, which)) => self.execute(s, (todo, age, which), steps),
            None if known => {
                for todo in self.ledger.plan(s.record, self.view(s)) {
                    let mut t = *s;
                    let which = if todo == Todo::Adopt { Which::This } else { Which::None };
                    t.planned = Some((todo, 0, which));
                    steps.progress("C", name(todo), t);
                }
            }
            None => {}
        }
    }

    fn execute(&self, s: &State, (todo, age, which): (Todo, Age, Which), steps: &mut Steps<State>) {
        let mut t = *s;
        t.planned = None;
        if s.record.stage == Stage::Lost {
            steps.progress("C", "finds the ledger lost", t);
            return;
        }
        match todo {
            Todo::Retire => {
                if !s.live && s.record.written() {
                    self.act(&mut t, Deed::Retire);
                }
                steps.progress("C", "retires", t);
            }
            Todo::Forget => {
                if self.forgettable(&s.record) && age == 0 {
                    t.record = Brief { stage: Stage::Absent, ..Brief::COLD };
                    grow_old(&mut t);
                    grow_old(&mut t);
                }
                steps.progress("C", "forgets", t);
            }
            _ if !self.free(s, WORK) => steps.progress("C", "finds the turn taken", t),
            Todo::Thaw if !self.thaws(&s.record) => steps.progress("C", "finds it rightly paused", t),
            Todo::Thaw => {
                t.turns[WORK] = Turn::Work(Work::Thaw, 0);
                steps.progress("C", "takes the turn to thaw", t);
            }
            Todo::Poise => {
                t.turns[WORK] = Turn::Work(Work::Check, age);
                steps.progress("C", "takes the turn to poise", t);
            }
            Todo::Remove => {
                let claimed = s.record.stage == Stage::Waking && !s.record.over;
                if !claimed {
                    remove_idle(&mut t);
                }
                steps.progress("C", "removes a container", t);
            }
            Todo::Adopt => {
                let used = (0..=GHOST).any(|n| s.record.leased(n));
                if used || which == Which::This && s.container.life == Life::Runs {
                    let mut t = t;
                    if t.record.written() && self.act(&mut t, Deed::Adopt(age)) == Reply::Done {
                        t.record.addr = which;
                    }
                    steps.progress("C", "adopts", t);
                }
                if !used {
                    self.settle(&mut t, Deed::Discard(age, s.quarantine));
                    steps.progress("C", "adopts not, discards", t);
                }
            }
            Todo::Discard | Todo::Gone | Todo::Reset | Todo::StopAgain => {
                let deed = match todo {
                    Todo::Discard => Deed::Discard(age, s.quarantine),
                    Todo::Gone => Deed::Gone(age),
                    Todo::Reset => Deed::Reset(age),
                    _ => Deed::Recool(age),
                };
                self.settle(&mut t, deed);
                steps.progress("C", "settles", t);
            }
        }
    }

    fn forgettable(&self, record: &Brief) -> bool {
        let rests = match record.stage {
            Stage::Cold | Stage::Broken => true,
            Stage::Waking => record.over,
            Stage::Lost | Stage::Absent | Stage::Warm | Stage::Frozen | Stage::Cooling => false,
        };
        record.retired && rests && record.poised == Which::None && record.leases == 0
    }

    /// Whether what is paused is to go on: asked once more, in the turn.
    fn thaws(&self, record: &Brief) -> bool {
        match record.stage {
            Stage::Warm => true,
            Stage::Cold | Stage::Frozen | Stage::Broken => {
                record.leases != 0 && self.without != Without::FrozenThaws
            }
            Stage::Waking => record.over && record.leases != 0,
            Stage::Lost | Stage::Absent | Stage::Cooling => false,
        }
    }

    fn settle(&self, t: &mut State, deed: Deed) {
        if t.record.stage == Stage::Absent {
            if !matches!(deed, Deed::Discard(..)) {
                return;
            }
            // As `Cool::settle` does for one without a record.
            t.record = Brief { retired: true, ..Brief::COLD };
        }
        if self.act(t, deed) == Reply::Granted {
            t.turns[WORK] = Turn::Work(Work::Stop, 0);
        }
    }

    /// The cleaner looks at what runs, then fills the ledger.
    pub fn restore(&self, s: &State, steps: &mut Steps<State>) {
        if s.record.stage != Stage::Lost {
            return;
        }
        let busy = s.turns != [Turn::Free; 2] && self.without != Without::RestoreTurns;
        let mut look = |stage| {
            let mut t = *s;
            let names = if s.container == NONE { Which::None } else { Which::This };
            t.restoring = Some((if busy { Stage::Cold } else { stage }, names));
            if t != *s {
                steps.progress("C", "looks before it restores", t);
            }
        };
        look(match self.sight(s) {
            // Not ready; else, below.
            None | Some(Sight::Created | Sight::Exited | Sight::Running | Sight::Spent) => Stage::Cold,
            // Nothing is restored as broken: it stands for cold and poised here.
            Some(Sight::Poised) => Stage::Broken,
            Some(Sight::Paused) => Stage::Frozen,
        });
        if s.container.life == Life::Runs {
            look(Stage::Warm);
        }
        let Some((stage, names)) = s.restoring else { return };
        let mut t = *s;
        (t.restoring, t.quarantine) = (None, true);
        t.record = Brief { retired: !s.live, ..Brief::COLD };
        match stage {
            Stage::Broken => t.record.poised = names,
            Stage::Warm | Stage::Frozen => (t.record.stage, t.record.addr) = (stage, names),
            _ => {}
        }
        steps.progress("C", "restores", t);
    }

    pub fn clock(&self, s: &State, steps: &mut Steps<State>) {
        for n in (0..=GHOST).filter(|n| s.record.leased(*n)) {
            if !(0..2).any(|i| held(i) == n && relies(&s.edges[i])) {
                let mut t = *s;
                t.record.leases &= !(1 << n);
                steps.progress("clock", "ends a lease", t);
            }
        }
        if matches!(s.record.stage, Stage::Waking | Stage::Broken) && !s.record.over {
            let mut t = *s;
            t.record.over = true;
            // Nobody is asked for it any more.
            t.record.owner = if s.record.stage == Stage::Waking { GHOST } else { 0 };
            steps.progress("clock", "ends a claim or a backoff", t);
        }
        // One lease time after the loss whoever relies on a lease has put it back.
        let back = |i: usize| !relies(&s.edges[i]) || s.record.leased(held(i));
        if s.quarantine && s.record.stage != Stage::Lost && back(0) && back(1) {
            let mut t = *s;
            t.quarantine = false;
            steps.progress("clock", "ends the quarantine", t);
        }
    }

    pub fn faults(&self, s: &State, steps: &mut Steps<State>) {
        if self.cleaner_crashes {
            self.crash(s, steps);
        }
        if self.losses && s.record.stage != Stage::Lost {
            let mut t = *s;
            t.record = Brief { stage: Stage::Lost, ..Brief::COLD };
            t.excused |= s.late != Call::None;
            t.quarantine = false;
            // Its generations will come from the clock: none that is remembered fits.
            grow_old(&mut t);
            grow_old(&mut t);
            steps.chance("ledger", "is lost", t);
        }
        if self.switches {
            let mut t = *s;
            t.live = !s.live;
            steps.chance("builder", "switches on disk", t);
            let fits = s.live != s.record.retired;
            if s.record.written() && !fits {
                let mut t = *s;
                if s.live {
                    t.record.retired = false;
                } else {
                    self.act(&mut t, Deed::Retire);
                }
                steps.chance("builder", "promotes", t);
            }
        }
    }
}

fn name(todo: Todo) -> &'static str {
    match todo {
        Todo::Retire => "plans to retire",
        Todo::Adopt => "plans to adopt",
        Todo::Discard => "plans to discard",
        Todo::Gone => "plans gone",
        Todo::Reset => "plans to reset",
        Todo::Thaw => "plans to thaw",
        Todo::Poise => "plans to poise",
        Todo::StopAgain => "plans to stop again",
        Todo::Remove => "plans to remove",
        Todo::Forget => "plans to forget",
    }
}
