//! The world of gates: leases as in `leases`, and containers that are made ahead, paused, and only ever started, stopped
//! and paused by the cleaner, in the instance's turn.

use crate::brief::{Brief, Deed, GHOST, Reply, Sight, Stage, View, Which};
use crate::ledger::Ledger;
use crate::search::{Steps, World};
use crate::starts::STARTS;
use crate::state::{Call, Container, IDLE, Life, Mode, NONE, State, Turn, grow_old, held};

/// A rule that is taken out, to see what it is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    Nothing,
    /// `opened` may be made twice.
    Exclusive,
    /// `opened` is not made.
    Mark,
    /// A start is done for whoever asks, though the claim may be over.
    StartChecks,
    /// Starts and all else do not exclude each other.
    Turn,
    /// What is leased is frozen.
    FreezeChecks,
    /// A start kills what did not get ready, though it ran before: somebody may use it.
    KillsOwn,
    /// Instances with a turn are restored as they look. It is enough to ask for the turn before the look, or after it.
    RestoreTurns,
    /// A gate that is marked and still waits is taken for a running app: adopted, unseen, if somebody holds a lease.
    SpentSeen,
    /// A pause does not look whether it meets an app or a gate. Not needed for safety: what is made ahead is made only for
    /// what is cold, in the turn.
    PauseLooks,
    /// A kill by a start outlives its cleaner (or its turn): the record, waking or broken, does not keep others from
    /// adopting what is being killed. A stop under a permit may: the record is cooling.
    KillsEnd,
    /// A stop under way leaves no mark for the next cleaner: it outlives the ledger as well, and what it stops is
    /// restored as warm.
    StopsMarked,
    /// What is frozen is not let go on, though somebody has a request in it.
    FrozenThaws,
    /// Whoever claims what a claim is over of gets the gate that the former claim took: while a start of the former claim
    /// is about to remove it as spent, the new one's holder opens it and commits.
    ClaimTakes,
    /// What was paused in vain stays paused. Not needed for safety: nobody is in it, and the next start or plan finds it.
    Resume,
    /// What is planned to be made ahead is made, and taken note of, at any generation: a gate that is opened under the
    /// present claim may be removed as spent.
    PoiseCompares,
    /// A claim that is over is cleared, and what it took stays. Not needed for safety: a late opener's app is found by
    /// the plan, or by the next start.
    ClearRemoves,
}

/// What may happen.
pub struct Gates {
    pub ledger: Ledger,
    pub without: Without,
    pub edges: usize,
    /// There is room for an instance that is made ahead.
    pub ahead: bool,
    pub freezes: bool,
    pub edge_crashes: bool,
    pub cleaner_crashes: bool,
    pub deaths: bool,
    pub losses: bool,
    pub switches: bool,
    /// A former address may be the address of the container that there is now.
    pub reuses: bool,
}

impl Gates {
    /// Nothing fails but by taking too long.
    pub fn new() -> Self {
        Self {
            ledger: Ledger::new(),
            without: Without::Nothing,
            edges: 2,
            ahead: true,
            freezes: false,
            edge_crashes: false,
            cleaner_crashes: false,
            deaths: false,
            losses: false,
            switches: false,
            reuses: true,
        }
    }

    /// Applies a deed, weakened by the rule that is taken out.
    pub fn act(&self, s: &mut State, deed: Deed) -> Reply {
        let former = s.record;
        let mut asked = deed;
        match deed {
            Deed::Freeze { .. } if self.without == Without::FreezeChecks => s.record.leases = 0,
            Deed::Poise(_) if self.without == Without::PoiseCompares => asked = Deed::Poise(0),
            Deed::Discard(age, _)
                if self.without == Without::ClearRemoves && s.record.stage == Stage::Waking =>
            {
                asked = Deed::Reset(age);
            }
            _ => {}
        }
        let (record, mut reply, turned) = self.ledger.apply(s.record, asked);
        s.record = record;
        if turned {
            grow_old(s);
        }
        let passes = self.without == Without::ClaimTakes;
        if passes && former.stage == Stage::Waking && matches!(reply, Reply::Claimed(_)) {
            s.record.poised = former.poised;
            reply = Reply::Claimed(former.poised);
        }
        reply
    }

    /// Whether the turn can be taken.
    pub fn free(&self, s: &State, slot: usize) -> bool {
        let other = s.turns[1 - slot] == Turn::Free || self.without == Without::Turn;
        s.turns[slot] == Turn::Free && other
    }

    /// What the engine and the files of the gate show.
    pub fn sight(&self, s: &State) -> Option<Sight> {
        let Container { life, gated, marked, passed, .. } = s.container;
        match life {
            Life::None => None,
            Life::Created => Some(Sight::Created),
            Life::Waits | Life::Opened | Life::Runs if gated && !marked => Some(Sight::Poised),
            Life::Waits | Life::Opened if gated && !passed && self.without != Without::SpentSeen => {
                Some(Sight::Spent)
            }
            Life::Waits | Life::Opened | Life::Runs => Some(Sight::Running),
            Life::Paused => Some(Sight::Paused),
            Life::Exited => Some(Sight::Exited),
        }
    }

    pub fn view(&self, s: &State) -> View {
        let busy = s.turns != [Turn::Free; 2];
        View { seen: self.sight(s), busy, live: s.live, ahead: self.ahead }
    }

    /// Whether a connection to `which` is accepted: by the app, or by the kernel for an app that is paused.
    pub fn reaches(&self, s: &State, which: Which) -> bool {
        let meets = which == Which::This || which == Which::Former && self.reuses;
        meets && matches!(s.container.life, Life::Runs | Life::Paused)
    }
}

impl Gates {
    /// Whatever decides nothing any more has one value.
    fn drop_what_nobody_asks(&self, s: &mut State) {
        if s.container.served && s.container.marked {
            s.container.gated = false;
        }
        let taken = (s.record.stage, s.record.poised) == (Stage::Waking, Which::This);
        if !taken && s.container.life != Life::Opened {
            s.container.passed = false;
        }
        if !s.container.gated {
            (s.container.marked, s.container.passed) = (false, false);
        }
        if s.container.life == Life::Exited {
            let passed = s.container.passed;
            s.container = Container { life: Life::Exited, gated: passed, marked: passed, passed, ..NONE };
        }
        if s.record.stage == Stage::Warm && s.record.addr == Which::This && s.container.life == Life::Runs {
            s.container.served = true;
        }
        let lost = matches!(s.record.stage, Stage::Lost | Stage::Frozen);
        if s.late == Call::None && !lost && s.container.life != Life::Paused {
            s.excused = false;
        }
        for edge in &mut s.edges {
            match edge.mode {
                Mode::Asks | Mode::Failed => edge.which = Which::None,
                Mode::Warm if !edge.trusts => (edge.which, edge.age) = (Which::None, 0),
                _ => {}
            }
        }
    }
}

impl World for Gates {
    type State = State;

    fn first(&self) -> State {
        State {
            record: Brief::COLD,
            quarantine: false,
            live: true,
            container: NONE,
            edges: [IDLE; 2],
            turns: [Turn::Free; 2],
            planned: None,
            late: Call::None,
            restoring: None,
            excused: false,
        }
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        for i in 0..self.edges {
            self.edge(s, i, steps);
        }
        for turn in s.turns {
            match turn {
                Turn::Free => {}
                Turn::Start(start, whose) => self.start(s, start, whose, steps),
                Turn::Work(work, age) => self.work(s, work, age, steps),
            }
        }
        self.begin(s, steps);
        self.plan(s, steps);
        self.restore(s, steps);
        self.clock(s, steps);
        self.engine(s, steps);
        self.faults(s, steps);
    }

    fn plain(&self, mut s: State) -> State {
        self.drop_what_nobody_asks(&mut s);
        let key = |i: usize| {
            let owns = s.record.stage == Stage::Waking && s.record.owner == held(i);
            (s.edges[i], s.record.leased(held(i)), owns)
        };
        if self.edges < 2 || self.without != Without::Nothing || key(0) <= key(1) {
            return s;
        }
        let mut t = s;
        t.edges.swap(0, 1);
        let (zero, one) = (1 << held(0), 1 << held(1));
        t.record.leases &= 1 << GHOST;
        t.record.leases |= if s.record.leases & zero != 0 { one } else { 0 };
        t.record.leases |= if s.record.leases & one != 0 { zero } else { 0 };
        if s.record.stage == Stage::Waking && s.record.owner != GHOST {
            t.record.owner = held(usize::from(s.record.owner == held(0)));
        }
        if let Turn::Start(_, whose) = &mut t.turns[STARTS] {
            whose.edge = 1 - whose.edge;
        }
        t
    }

    fn wrong(&self, s: &State) -> Option<&'static str> {
        let inside = s.edges.iter().any(|e| e.busy && e.there);
        if s.record.stage == Stage::Frozen && inside && !s.excused {
            return Some("frozen under traffic");
        }
        if s.container.life == Life::Paused && inside && !s.excused {
            return Some("paused under traffic");
        }
        let serves = s.container.life == Life::Runs || s.container.life == Life::Opened && s.container.passed;
        let still = s.turns == [Turn::Free; 2] && s.planned.is_none() && s.late == Call::None;
        if s.record.stage == Stage::Warm && !serves && still {
            let noticed = !self.ledger.plan(s.record, self.view(s)).is_empty();
            return (!noticed).then_some("warm, and nothing serves");
        }
        None
    }

    fn rests(&self, s: &State) -> bool {
        let nothing = s.container == NONE && s.record.poised == Which::None;
        let poised = s.container == Container { life: Life::Waits, gated: true, ..NONE }
            && (s.record.stage, s.record.poised) == (Stage::Cold, Which::This);
        matches!(s.record.stage, Stage::Cold | Stage::Broken | Stage::Absent)
            && (nothing || poised)
            && s.record.leases == 0
            && s.edges == [IDLE; 2]
            && s.turns == [Turn::Free; 2]
            && s.planned.is_none()
            && s.late == Call::None
    }
}
