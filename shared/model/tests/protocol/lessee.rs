//! What an edge does in the world of leases: claims, starts, tells the ledger, sends, leaves.

use crate::brief::{Deed, Reply, Which};
use crate::leases::{EDGES, Edge, IDLE, Leases, Mode, State, Without, crash, held, relies, rename};
use crate::search::Steps;

impl Leases {
    pub fn edge(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let known = s.record.written();
        match edge.mode {
            Mode::Idle => self.enter(s, i, steps),
            Mode::Starting => {
                let mut t = *s;
                t.runs = true;
                t.edges[i].mode = Mode::Started;
                steps.progress(me, "starts it", t);
                let mut t = *s;
                t.edges[i].mode = Mode::Failed;
                steps.progress(me, "cannot start it", t);
            }
            Mode::Failed if known => {
                let mut t = *s;
                self.act(&mut t, Deed::Failed(edge.age));
                t.edges[i] = IDLE;
                steps.progress(me, "says failed", t);
            }
            Mode::Started if known => self.commit(s, i, steps),
            Mode::Started | Mode::Failed => {
                let mut t = *s;
                t.edges[i] = IDLE;
                steps.progress(me, "finds the ledger lost", t);
            }
            Mode::Unleased => {
                let mut t = *s;
                (t.edges[i].mode, t.edges[i].trusts) = (Mode::Warm, true);
                (t.edges[i].busy, t.edges[i].there) = (true, t.runs);
                steps.progress(me, "sends without a lease", t);
            }
            Mode::Warm => self.warm(s, i, steps),
        }
        if self.crashes && edge.mode != Mode::Idle {
            let mut t = *s;
            crash(&mut t, i);
            steps.chance(me, "crashes", t);
        }
    }

    fn enter(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        if !s.record.written() {
            return;
        }
        let mut t = *s;
        let reply = self.act(&mut t, Deed::Enter(held(i)));
        let (mode, what) = match reply {
            Reply::Warm(_) => (Mode::Warm, "enters"),
            Reply::Claimed(_) => (Mode::Starting, "claims"),
            _ => return,
        };
        let warm = mode == Mode::Warm;
        t.edges[i] = Edge { mode, trusts: warm, busy: warm, there: warm && t.runs, ..IDLE };
        steps.chance(EDGES[i], what, t);
    }

    fn commit(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let mut t = *s;
        let reply = self.act(&mut t, Deed::Woken(edge.age, held(i), Which::This));
        if reply == Reply::Stale {
            t.edges[i] = IDLE;
            steps.progress(me, "is told that its claim is over", t);
            return;
        }
        // The answer is lost, and it asks again.
        let mut again = t;
        again.edges[i].mode = Mode::Started;
        steps.chance(me, "commits unheard", again);
        let mut edge = Edge { mode: Mode::Warm, trusts: true, busy: true, there: t.runs, ..IDLE };
        if self.without == Without::FirstLease {
            t.record.leases &= !(1 << held(i));
            edge = Edge { mode: Mode::Unleased, trusts: false, busy: false, there: false, ..edge };
        }
        t.edges[i] = edge;
        steps.progress(me, "commits", t);
    }

    fn warm(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let mut t = *s;
        // Who was led here before it was replaced has entered long before its drain is over.
        if s.led && edge.trusts && !(edge.busy && edge.there == s.runs && !edge.cut) {
            t.edges[i] = Edge { busy: true, there: s.runs, cut: false, ..edge };
            steps.chance(me, "sends another", t);
        }
        if edge.busy {
            let mut t = *s;
            t.edges[i] = Edge { busy: false, there: false, cut: false, ..edge };
            steps.progress(me, "ends a request", t);
        }
        if !edge.busy && !s.leaving[i] {
            let mut t = *s;
            (t.edges[i], t.leaving[i]) = (IDLE, true);
            rename(&mut t.record, held(i), self.left(i));
            steps.progress(me, "leaves", t);
        }
        if edge.trusts {
            let mut t = *s;
            t.edges[i].trusts = false;
            steps.progress(me, "no longer trusts its lease", t);
        }
        if relies(&edge) && s.record.written() {
            let mut t = *s;
            let reply = self.act(&mut t, Deed::Renew(held(i)));
            t.edges[i].trusts = reply != Reply::Endpoint(Which::None);
            if t != *s {
                steps.progress(me, "renews", t);
            }
        }
    }
}
