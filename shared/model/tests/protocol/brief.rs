//! Records and acts, small enough to be counted.
//!
//! What never decides anything is taken out of a record: its generation is always the same, and who remembers an older
//! one remembers how much older; a time is either still to come or over; a container is either the one there is now or
//! a former one. So the states are finite although nothing that happens is bounded in number.

/// How many serials of leases an edge has: one of the lease that it leaves, one of the lease that it takes.
pub const SERIALS: u8 = 2;
/// The number of the lease of one who crashed.
pub const GHOST: u8 = 2 * SERIALS;

/// How many generations ago something was true; 2 stands for all that is older. One generation ago still decides:
/// `woken` may be said twice.
pub type Age = u8;
pub const OLD: Age = 2;

/// Which container something names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Which {
    None,
    /// The one there is now.
    This,
    /// One that is gone.
    Former,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Stage {
    /// The ledger has lost its memory.
    Lost,
    /// There is no record.
    Absent,
    Cold,
    Waking,
    Warm,
    Frozen,
    Cooling,
    Broken,
}

/// A record, small.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Brief {
    pub stage: Stage,
    /// Of a claim.
    pub owner: u8,
    /// Whether the deadline of a claim or of a backoff has passed.
    pub over: bool,
    /// Where it answers, warm or frozen.
    pub addr: Which,
    /// A bit for each lease that lives.
    pub leases: u8,
    pub poised: Which,
    pub retired: bool,
}

impl Brief {
    pub const COLD: Self = Self {
        stage: Stage::Cold,
        owner: 0,
        over: false,
        addr: Which::None,
        leases: 0,
        poised: Which::None,
        retired: false,
    };

    pub fn leased(&self, lease: u8) -> bool {
        self.leases & (1 << lease) != 0
    }

    /// Whether apply can be asked.
    pub fn written(&self) -> bool {
        !matches!(self.stage, Stage::Lost | Stage::Absent)
    }
}

/// An act, small.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Deed {
    Enter(u8),
    Introduce(u8),
    Woken(Age, u8, Which),
    Failed(Age),
    GiveBack(Age),
    Extend(Age),
    Gone(Age),
    Renew(u8),
    Leave(u8),
    Cool {
        quarantine: bool,
    },
    /// Whether the drain of a retired one is over.
    Cut {
        overdue: bool,
    },
    Cooled(Age),
    Freeze {
        quarantine: bool,
    },
    Frozen(Age),
    Poise(Age),
    Adopt(Age),
    Reset(Age),
    Discard(Age, bool),
    Recool(Age),
    Retire,
}

/// What came of a deed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    Done,
    Warm(Which),
    Wait,
    /// With the gate that it took along.
    Claimed(Which),
    Retired,
    Broken,
    Endpoint(Which),
    Granted,
    NotYet,
    Stale,
}

/// A step of the plan that touches the instance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Todo {
    Retire,
    Adopt,
    Discard,
    Gone,
    Reset,
    Thaw,
    Poise,
    StopAgain,
    /// The container is over, or belongs to nobody.
    Remove,
    Forget,
}

/// What a plan is made of, besides the record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct View {
    pub seen: Option<Sight>,
    pub busy: bool,
    /// The release is the current one.
    pub live: bool,
    /// There is room for one that is made ahead.
    pub ahead: bool,
}

/// What the engine shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sight {
    Created,
    Running,
    Poised,
    /// Its gate is marked as opened, and still waits: it is of no use.
    Spent,
    Paused,
    Exited,
}
