//! The states of the world of gates.

use crate::brief::{Age, Brief, GHOST, OLD, Stage, Todo, Which};

pub const EDGES: [&str; 2] = ["E0", "E1"];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Mode {
    Idle,
    /// Has the claim, and is about to mark the gate as opened.
    Marks,
    /// Has marked it, and is about to write the byte.
    Opens,
    /// Has opened it, and waits for an answer; soon the cleaner is asked as well.
    Waits,
    /// Has asked the cleaner to start it.
    Asks,
    /// It answers; the ledger is not told yet.
    Ready,
    Failed,
    Warm,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Edge {
    pub mode: Mode,
    /// Of its claim, or of its endpoint.
    pub age: Age,
    /// Whose gate it opens, or where it sends.
    pub which: Which,
    /// The lease is trusted.
    pub trusts: bool,
    /// A request is in flight. More than one are as one.
    pub busy: bool,
    /// It is in the process that runs now.
    pub there: bool,
}

pub const IDLE: Edge =
    Edge { mode: Mode::Idle, age: 0, which: Which::None, trusts: false, busy: false, there: false };

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Life {
    None,
    Created,
    /// Its gate waits.
    Waits,
    /// The byte is written, the gate has not read it.
    Opened,
    Runs,
    Paused,
    Exited,
}

/// The one container that can have the instance's name.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Container {
    pub life: Life,
    pub gated: bool,
    /// `opened` exists.
    pub marked: bool,
    /// `passed` exists: the byte was written.
    pub passed: bool,
    /// The ledger had it as warm: from then on a request may be in it.
    pub served: bool,
}

pub const NONE: Container =
    Container { life: Life::None, gated: false, marked: false, passed: false, served: false };

/// What the cleaner is about to do in a turn, and from which generation it was begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Turn {
    Free,
    /// A start, for an edge.
    Start(Start, Whose),
    Work(Work, Age),
}

/// Whose start it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Whose {
    pub edge: u8,
    /// Of its claim.
    pub age: Age,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Start {
    /// Does the claim stand?
    Check,
    Look,
    Mark,
    Open,
    Create,
    Run,
    Resume,
    /// Waits until it is ready. `own`: the start has made it, or has let it go.
    Await {
        own: bool,
    },
    /// Its own did not get ready.
    Kill,
    /// What is there has ended, or never ran.
    Bury,
    /// What is there waits at a gate that is marked.
    Clear,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Work {
    Stop,
    Bury,
    SayCooled,
    /// Ends a stop that a cleaner which crashed has left its mark of; then buries.
    EndStop,
    EndBury,
    Pause,
    SayFrozen,
    /// It was paused in vain.
    Undo,
    /// Does it still rest, and may be made ahead?
    Check,
    /// What is there of what is to be made ahead?
    Look,
    /// What is there has ended, or never ran.
    Clear,
    /// What is there waits at a gate that is marked.
    Kill,
    Create,
    Run,
    SayPoised,
    Thaw,
}

/// A call of a cleaner that crashed. It reaches the engine late, if ever; all but `Create` name the container by its id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Call {
    None,
    Create { gated: bool },
    Start,
    Resume,
    Pause,
    Stop,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    pub record: Brief,
    pub quarantine: bool,
    pub live: bool,
    pub container: Container,
    pub edges: [Edge; 2],
    /// Stops, pauses and what is made ahead; starts. Never both, unless that rule is taken out.
    pub turns: [Turn; 2],
    /// A step of the plan, made from this generation, about this container.
    pub planned: Option<(Todo, Age, Which)>,
    pub late: Call,
    /// What a lost record is about to be restored to.
    pub restoring: Option<(Stage, Which)>,
    /// The ledger was lost while a call of a crashed cleaner was under way: a pause may meet traffic.
    pub excused: bool,
}

/// The number of the lease that an edge holds, or will hold.
pub fn held(i: usize) -> u8 {
    2 * i as u8 + 1
}

/// Whether somebody relies on the edge's lease.
pub fn relies(edge: &Edge) -> bool {
    edge.mode == Mode::Warm && (edge.busy || edge.trusts)
}

/// The edge forgets what it had; what it had in the ledger is nobody's.
pub fn forget(s: &mut State, i: usize) {
    s.edges[i] = IDLE;
    let (from, record) = (held(i), &mut s.record);
    if record.leased(from) {
        record.leases = record.leases & !(1 << from) | 1 << GHOST;
    }
    if record.stage == Stage::Waking && record.owner == from {
        record.owner = GHOST;
    }
}

/// What everybody remembers is one generation older.
pub fn grow_old(s: &mut State) {
    let older = |age: &mut Age| *age = OLD.min(*age + 1);
    s.edges.iter_mut().filter(|e| e.mode != Mode::Idle).for_each(|e| older(&mut e.age));
    for turn in &mut s.turns {
        match turn {
            Turn::Free | Turn::Work(Work::Undo | Work::Thaw | Work::EndStop | Work::EndBury, _) => {}
            Turn::Start(_, Whose { age, .. }) | Turn::Work(_, age) => older(age),
        }
    }
    if let Some((_, age, _)) = &mut s.planned {
        older(age);
    }
}
