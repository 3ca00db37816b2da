//! The world of replicas: two instances of one release, each as in `leases` with an edge of its own, that share the ledger,
//! the cleaner's plan, the manifest and the switch. func runs one replica of a release so far; its names, its records and its plan tell two apart.
//!
//! The release is older than those that are kept: as soon as it is not live, and nothing has a record of it, its manifest
//! goes, and what still runs of it belongs to nobody.

use crate::brief::{Brief, Deed, GHOST, Reply, Stage, Todo, Which};
use crate::leases::{self, Cleaner, Edge, IDLE, Leases, Mode, held, relies};
use crate::ledger::{Pair, plan_pair};
use crate::search::{Kind, Steps, World};

/// A rule that is taken out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Without {
    Nothing,
    /// A stop names the release, not the instance.
    Names,
    /// A release is in use only as long as its first replica has a record.
    AnyReplica,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    records: [Brief; 2],
    runs: [bool; 2],
    turns: [Cleaner; 2],
    leaving: [[bool; 2]; 2],
    edges: [Edge; 2],
    quarantine: bool,
    live: bool,
    manifest: bool,
}

pub struct Replicas {
    pub leases: Leases,
    pub without: Without,
    pub losses: bool,
}

impl State {
    /// One replica, with the edge that uses it.
    fn replica(&self, r: usize) -> leases::State {
        let edge = |i: usize| if i == r { self.edges[i] } else { IDLE };
        leases::State {
            record: self.records[r],
            quarantine: self.quarantine,
            runs: self.runs[r],
            edges: [edge(0), edge(1)],
            cleaner: self.turns[r],
            leaving: self.leaving[r],
            routed: true,
            led: true,
            overdue: false,
        }
    }

    fn with(&self, r: usize, one: &leases::State) -> Self {
        let mut t = *self;
        (t.records[r], t.runs[r], t.turns[r], t.leaving[r]) =
            (one.record, one.runs, one.cleaner, one.leaving);
        (t.quarantine, t.edges[r]) = (one.quarantine, one.edges[r]);
        t
    }

    fn lost(&self) -> bool {
        self.records[0].stage == Stage::Lost
    }

    fn used(&self, r: usize) -> bool {
        self.edges[r].busy && self.edges[r].there
    }
}

impl Replicas {
    pub fn new() -> Self {
        Self {
            leases: Leases { crashes: false, losses: true, ..Leases::new() },
            without: Without::Nothing,
            losses: true,
        }
    }

    /// What happens to one replica, as in its own world.
    fn one(&self, s: &State, r: usize, steps: &mut Steps<State>) {
        let (one, mut inner) = (s.replica(r), Steps::new());
        self.leases.edge(&one, r, &mut inner);
        self.leases.clock(&one, &mut inner);
        self.leases.cleaner(&one, &mut inner);
        let (found, wrong) = inner.into_parts();
        if let Some(((who, what), why)) = wrong {
            steps.wrong(who, what, why);
        }
        for ((who, what), kind, to) in found {
            // Those are for both at once.
            let other = 1 - r;
            let other_back = !relies(&s.edges[other]) || s.records[other].leased(held(other));
            if what == "restores" || what == "ends the quarantine" && !other_back {
                continue;
            }
            if what == "stops it" && self.without == Without::Names && s.used(1 - r) {
                steps.wrong(who, what, "stopped under traffic");
            }
            match kind {
                Kind::Progress => steps.progress(who, what, s.with(r, &to)),
                Kind::Chance => steps.chance(who, what, s.with(r, &to)),
            }
        }
    }

    /// What the plan says of the release, and of what belongs to nobody.
    fn plan(&self, s: &State, steps: &mut Steps<State>) {
        if s.lost() || s.live {
            return;
        }
        let busy = s.turns.map(|turn| turn != Cleaner::Idle);
        let mut pair = Pair { records: s.records, runs: s.runs, busy, manifest: s.manifest };
        let planned = plan_pair(&pair);
        for r in 0..2 {
            for todo in &planned.todos[r] {
                let mut t = *s;
                match todo {
                    Todo::Forget if s.records[r].leases == 0 => {
                        t.records[r] = Brief { stage: Stage::Absent, ..Brief::COLD };
                        steps.progress("C", "forgets", t);
                    }
                    Todo::Remove => {
                        if s.used(r) {
                            steps.wrong("C", "removes what belongs to nobody", "stopped under traffic");
                        }
                        t.runs[r] = false;
                        t.edges[r].there = false;
                        steps.progress("C", "removes what belongs to nobody", t);
                    }
                    // In `leases`.
                    _ => {}
                }
            }
        }
        if self.without == Without::AnyReplica {
            pair.records[1] = Brief { stage: Stage::Absent, ..Brief::COLD };
        }
        if plan_pair(&pair).removes_release {
            let mut t = *s;
            t.manifest = false;
            steps.progress("C", "removes the release", t);
        }
    }

    fn both(&self, s: &State, steps: &mut Steps<State>) {
        if self.losses && !s.lost() {
            let mut t = *s;
            for r in 0..2 {
                let mut inner = Steps::new();
                self.leases.faults(&t.replica(r), &mut inner);
                let lost = inner.into_parts().0.into_iter().find(|((_, what), _, _)| *what == "is lost");
                t = lost.map_or(t, |(_, _, to)| t.with(r, &to));
                t.records[r] = Brief { stage: Stage::Lost, ..Brief::COLD };
            }
            steps.chance("ledger", "is lost", t);
        }
        if s.lost() && s.turns == [Cleaner::Idle; 2] {
            let mut t = *s;
            t.quarantine = true;
            for r in 0..2 {
                t.records[r] = match (s.manifest, s.runs[r]) {
                    (true, true) => Brief { stage: Stage::Warm, addr: Which::This, ..Brief::COLD },
                    (true, false) if s.live => Brief::COLD,
                    (true, false) | (false, _) => Brief { stage: Stage::Absent, ..Brief::COLD },
                };
                t.records[r].retired = t.records[r].written() && !s.live;
            }
            steps.progress("C", "restores", t);
        }
        if !s.lost() && s.manifest {
            let mut t = *s;
            t.live = !s.live;
            for r in 0..2 {
                if t.live && s.records[r].stage == Stage::Absent {
                    t.records[r] = Brief::COLD;
                }
                if t.live {
                    t.records[r].retired = false;
                } else if self.leases.ledger.apply(s.records[r], Deed::Retire).1 == Reply::Done {
                    t.records[r].retired = true;
                }
            }
            steps.chance("builder", "switches", t);
        }
    }
}

impl World for Replicas {
    type State = State;

    fn first(&self) -> State {
        State {
            records: [Brief::COLD; 2],
            runs: [false; 2],
            turns: [Cleaner::Idle; 2],
            leaving: [[false; 2]; 2],
            edges: [IDLE; 2],
            quarantine: false,
            live: true,
            manifest: true,
        }
    }

    fn steps(&self, s: &State, steps: &mut Steps<State>) {
        self.one(s, 0, steps);
        self.one(s, 1, steps);
        self.plan(s, steps);
        self.both(s, steps);
    }

    fn plain(&self, s: State) -> State {
        let key = |r: usize| (s.edges[r], s.runs[r], s.leaving[r], s.records[r].leases.count_ones());
        if self.without != Without::Nothing || key(0) <= key(1) {
            return s;
        }
        let mut t = s;
        t.records.swap(0, 1);
        t.runs.swap(0, 1);
        t.turns.swap(0, 1);
        t.edges.swap(0, 1);
        t.leaving = [s.leaving[1], s.leaving[0]].map(|[zero, one]| [one, zero]);
        for record in &mut t.records {
            record.leases = record.leases & 1 << GHOST | (record.leases & 3) << 2 | record.leases >> 2 & 3;
            if record.stage == Stage::Waking && record.owner != GHOST {
                record.owner = held(usize::from(record.owner == held(0)));
            }
        }
        t
    }

    fn wrong(&self, _: &State) -> Option<&'static str> {
        None
    }

    fn rests(&self, s: &State) -> bool {
        let rests = |r: usize| {
            matches!(s.records[r].stage, Stage::Cold | Stage::Broken | Stage::Absent)
                && s.records[r].leases == 0
                && !s.runs[r]
                && s.turns[r] == Cleaner::Idle
                && s.leaving[r] == [false; 2]
        };
        rests(0) && rests(1) && s.edges.iter().all(|edge| edge.mode == Mode::Idle)
    }
}
