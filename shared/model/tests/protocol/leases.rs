//! The world of leases: two edges that start by themselves, and a cleaner; what poising and freezing add is in `gates`.
//! Every await is a step of its own.

use crate::brief::{Age, Brief, Deed, GHOST, OLD, Reply, Sight, Stage, Todo, View, Which};
use crate::ledger::Ledger;
pub use crate::rules::Without;
use crate::search::{Steps, World};

pub const EDGES: [&str; 2] = ["E0", "E1"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    Idle,
    /// Has the claim.
    Starting,
    /// The container runs; the ledger is not told yet.
    Started,
    Failed,
    /// Committed, without a lease yet: only without that rule.
    Unleased,
    Warm,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Edge {
    pub mode: Mode,
    pub age: Age,
    /// The lease is trusted.
    pub trusts: bool,
    /// A request is in flight. More than one are as one.
    pub busy: bool,
    /// It is in the process that runs now.
    pub there: bool,
    /// It may be stopped: it was in a release that had been replaced for longer than its drain.
    pub cut: bool,
}

pub const IDLE: Edge =
    Edge { mode: Mode::Idle, age: 0, trusts: false, busy: false, there: false, cut: false };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cleaner {
    Idle,
    Planned(Todo, Age),
    Stopping(Age),
    Stopped(Age),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub record: Brief,
    pub quarantine: bool,
    pub runs: bool,
    pub edges: [Edge; 2],
    pub cleaner: Cleaner,
    /// A `leave` is under way.
    pub leaving: [bool; 2],
    /// The route leads to this release.
    pub routed: bool,
    /// The route leads to it, or has led to it so lately that somebody may still be on the way.
    pub led: bool,
    /// It has been replaced for longer than its drain.
    pub overdue: bool,
}

/// What may happen.
pub struct Leases {
    pub ledger: Ledger,
    pub without: Without,
    pub crashes: bool,
    pub deaths: bool,
    pub losses: bool,
    pub switches: bool,
    /// The cleaner stops a release that was replaced under its last requests, when their time is over.
    pub cuts: bool,
}

impl Leases {
    pub fn new() -> Self {
        let (ledger, without) = (Ledger::new(), Without::Nothing);
        Self { ledger, without, crashes: true, deaths: false, losses: false, switches: false, cuts: false }
    }

    pub fn act(&self, s: &mut State, deed: Deed) -> Reply {
        let (mut asked, before) = (deed, s.record.retired);
        match deed {
            Deed::Cool { .. } if self.without == Without::LeaseCheck => s.record.leases = 0,
            Deed::Cool { .. } if self.without == Without::Quarantine => {
                asked = Deed::Cool { quarantine: false };
            }
            Deed::Cut { .. } if self.without == Without::Drain => asked = Deed::Cut { overdue: true },
            Deed::Cut { .. } if self.without == Without::CutsRetired => s.record.retired = true,
            Deed::Woken(_, lease, addr) if self.without == Without::Generation => {
                (s.record.stage, s.record.owner) = (Stage::Waking, lease);
                asked = Deed::Woken(0, lease, addr);
            }
            _ => {}
        }
        let (record, reply, turned) = self.ledger.apply(s.record, asked);
        s.record = record;
        if let Deed::Cut { .. } = deed {
            s.record.retired = before;
        }
        if turned {
            grow_old(s);
            if self.without == Without::LeasePerInstance {
                s.record.leases &= match deed {
                    Deed::Woken(_, lease, _) => 1 << lease,
                    _ => 0,
                };
            }
        }
        reply
    }

    /// The number of the lease that a late `leave` names.
    pub fn left(&self, i: usize) -> u8 {
        if self.without == Without::Serial { held(i) } else { held(i) - 1 }
    }

    pub fn clock(&self, s: &State, steps: &mut Steps<State>) {
        for n in (0..=GHOST).filter(|n| s.record.leased(*n)) {
            let relied = (0..2).any(|i| held(i) == n && relies(&s.edges[i]));
            if !relied || self.without == Without::Margin {
                let mut t = *s;
                t.record.leases &= !(1 << n);
                steps.progress("clock", "ends a lease", t);
            }
        }
        if matches!(s.record.stage, Stage::Waking | Stage::Broken) && !s.record.over {
            let mut t = *s;
            (t.record.over, t.record.owner) = (true, if s.record.stage == Stage::Waking { GHOST } else { 0 });
            steps.progress("clock", "ends a claim or a backoff", t);
        }
        if self.cuts && s.record.retired && !s.overdue {
            let mut t = *s;
            (t.overdue, t.led) = (true, t.routed);
            steps.progress("clock", "ends a drain", t);
        }
        // One lease time after the loss whoever relies on a lease has put it back.
        let back = |i: usize| !relies(&s.edges[i]) || s.record.leased(held(i));
        if s.quarantine && s.record.written() && back(0) && back(1) {
            let mut t = *s;
            t.quarantine = false;
            steps.progress("clock", "ends the quarantine", t);
        }
        for (i, me) in EDGES.into_iter().enumerate() {
            if s.leaving[i] {
                let mut t = *s;
                t.leaving[i] = false;
                if s.record.written() {
                    self.act(&mut t, Deed::Leave(self.left(i)));
                }
                steps.progress(me, "'s leave arrives", t);
            }
        }
    }

    pub fn cleaner(&self, s: &State, steps: &mut Steps<State>) {
        match s.cleaner {
            Cleaner::Idle => self.look(s, steps),
            Cleaner::Planned(todo, age) => {
                let mut t = *s;
                t.cleaner = Cleaner::Idle;
                if s.record.written() {
                    let deed = match todo {
                        Todo::Adopt => Deed::Adopt(age),
                        Todo::Discard => Deed::Discard(age, s.quarantine),
                        Todo::Gone => Deed::Gone(age),
                        Todo::Reset => Deed::Reset(age),
                        Todo::StopAgain => Deed::Recool(age),
                        _ => unreachable!("not planned here"),
                    };
                    if self.act(&mut t, deed) == Reply::Granted {
                        t.cleaner = Cleaner::Stopping(0);
                    }
                }
                steps.progress("C", "does what was planned", t);
            }
            Cleaner::Stopping(age) => {
                if s.runs && s.edges.iter().any(|e| e.busy && e.there && !e.cut) {
                    steps.wrong("C", "stops it", "stopped under traffic");
                }
                let mut t = *s;
                t.cleaner = Cleaner::Stopped(age);
                ended(&mut t);
                steps.progress("C", "stops it", t);
            }
            Cleaner::Stopped(age) => {
                let mut t = *s;
                if s.record.written() {
                    self.act(&mut t, Deed::Cooled(age));
                }
                t.cleaner = Cleaner::Idle;
                steps.progress("C", "says cooled", t);
            }
        }
        if self.crashes && s.cleaner != Cleaner::Idle {
            let mut t = *s;
            t.cleaner = Cleaner::Idle;
            steps.chance("C", "crashes", t);
        }
        let busy = s.cleaner != Cleaner::Idle;
        if s.record.stage == Stage::Lost && (!busy || self.without == Without::CleanerRestores) {
            let mut t = *s;
            (t.record, t.quarantine) = (Brief { retired: s.record.retired, ..Brief::COLD }, true);
            // Its drain begins anew.
            t.overdue &= !s.record.retired;
            if s.runs {
                (t.record.stage, t.record.addr) = (Stage::Warm, Which::This);
            }
            steps.progress("C", "restores", t);
        }
    }

    /// The cleaner is idle: it looks for what to cool and what to put right.
    fn look(&self, s: &State, steps: &mut Steps<State>) {
        if !s.record.written() {
            return;
        }
        let mut t = *s;
        if self.act(&mut t, Deed::Cool { quarantine: s.quarantine }) == Reply::Granted {
            t.cleaner = Cleaner::Stopping(0);
            steps.progress("C", "may cool", t);
        }
        self.cut(s, steps);
        let seen = s.runs.then_some(Sight::Running);
        let view = View { seen, busy: false, live: !s.record.retired, ahead: false };
        for todo in self.ledger.plan(s.record, view) {
            if todo != Todo::Forget {
                let mut t = *s;
                t.cleaner = Cleaner::Planned(todo, 0);
                steps.progress("C", "plans", t);
            }
        }
    }

    /// The cleaner stops a retired release under its last requests: those may be lost, and no other.
    fn cut(&self, s: &State, steps: &mut Steps<State>) {
        let mut t = *s;
        if self.cuts && self.act(&mut t, Deed::Cut { overdue: s.overdue }) == Reply::Granted {
            t.cleaner = Cleaner::Stopping(0);
            for edge in t.edges.iter_mut().filter(|edge| edge.busy && edge.there) {
                edge.cut = s.overdue && s.record.retired;
            }
            steps.progress("C", "may cut", t);
        }
    }

    pub fn faults(&self, s: &State, steps: &mut Steps<State>) {
        if self.deaths && s.runs {
            let mut t = *s;
            ended(&mut t);
            steps.chance("container", "dies", t);
        }
        if self.losses && s.record.written() {
            let mut t = *s;
            t.record = Brief { stage: Stage::Lost, retired: s.record.retired, ..Brief::COLD };
            // Its generations will come from the clock: none that is remembered fits.
            grow_old(&mut t);
            grow_old(&mut t);
            steps.chance("ledger", "is lost", t);
        }
        if self.switches && s.record.written() {
            let mut t = *s;
            if s.record.retired {
                t.record.retired = false;
                if self.without == Without::RouteLast {
                    (t.routed, t.led) = (true, true);
                }
            } else {
                self.act(&mut t, Deed::Retire);
                (t.routed, t.overdue) = (!self.cuts, false);
            }
            steps.chance("builder", "promotes", t);
        }
        if !s.routed && s.record.stage == Stage::Warm && !s.record.retired {
            let mut t = *s;
            (t.routed, t.led) = (true, true);
            steps.progress("builder", "leads requests to what is warm", t);
        }
    }
}

impl World for Leases {
    type State = State;

    fn first(&self) -> State {
        State {
            record: Brief::COLD,
            quarantine: false,
            runs: false,
            edges: [IDLE; 2],
            cleaner: Cleaner::Idle,
            leaving: [false; 2],
            routed: true,
            led: true,
            overdue: false,
        }
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        self.edge(s, 0, steps);
        self.edge(s, 1, steps);
        self.clock(s, steps);
        self.cleaner(s, steps);
        self.faults(s, steps);
    }

    fn plain(&self, s: State) -> State {
        let key = |i: usize| {
            let owns = s.record.stage == Stage::Waking && s.record.owner == held(i);
            (s.edges[i], s.leaving[i], s.record.leases >> (2 * i) & 3, owns)
        };
        // A way to what is wrong is read by people: they should know who is who.
        if self.without != Without::Nothing || key(0) <= key(1) {
            return s;
        }
        let mut t = s;
        t.edges.swap(0, 1);
        t.leaving.swap(0, 1);
        t.record.leases =
            s.record.leases & 1 << GHOST | (s.record.leases & 3) << 2 | s.record.leases >> 2 & 3;
        if s.record.stage == Stage::Waking && s.record.owner != GHOST {
            t.record.owner = held(usize::from(s.record.owner == held(0)));
        }
        t
    }

    fn wrong(&self, _: &State) -> Option<&'static str> {
        None
    }

    fn rests(&self, s: &State) -> bool {
        matches!(s.record.stage, Stage::Cold | Stage::Broken)
            && s.record.leases == 0
            && !s.runs
            && s.edges == [IDLE; 2]
            && s.leaving == [false; 2]
            && s.cleaner == Cleaner::Idle
    }
}

/// Whether somebody relies on the edge's lease.
pub fn relies(edge: &Edge) -> bool {
    edge.mode == Mode::Warm && (edge.busy || edge.trusts)
}

/// The number of the lease that an edge holds, or will hold; the number before it is of the one that it leaves.
pub fn held(i: usize) -> u8 {
    2 * i as u8 + 1
}

/// Gives a lease another name: nobody can tell.
pub fn rename(record: &mut Brief, from: u8, to: u8) {
    if record.leased(from) {
        record.leases = record.leases & !(1 << from) | 1 << to;
    }
    if record.stage == Stage::Waking && record.owner == from {
        record.owner = to;
    }
}

/// The edge forgets everything; what it had in the ledger is nobody's.
pub fn crash(s: &mut State, i: usize) {
    s.edges[i] = IDLE;
    rename(&mut s.record, held(i), GHOST);
}

/// What everybody remembers is one generation older.
fn grow_old(s: &mut State) {
    for edge in s.edges.iter_mut().filter(|e| e.mode != Mode::Idle && e.mode != Mode::Warm) {
        edge.age = OLD.min(edge.age + 1);
    }
    match &mut s.cleaner {
        Cleaner::Idle => {}
        Cleaner::Planned(_, age) | Cleaner::Stopping(age) | Cleaner::Stopped(age) => *age = OLD.min(*age + 1),
    }
}

fn ended(s: &mut State) {
    s.runs = false;
    for edge in &mut s.edges {
        (edge.there, edge.cut) = (false, false);
    }
}
