//! What an edge does: claims, opens the gate by itself or asks the cleaner, tells the ledger, sends.

use crate::brief::{Brief, Deed, Reply, Stage, Which};
use crate::gates::{Gates, Without};
use crate::search::Steps;
use crate::state::{EDGES, Edge, IDLE, Life, Mode, State, forget, held, relies};

impl Gates {
    pub fn edge(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let written = s.record.written();
        let turned = |mode| {
            let mut t = *s;
            t.edges[i].mode = mode;
            t
        };
        match edge.mode {
            Mode::Idle => self.enter(s, i, steps),
            Mode::Marks => self.mark(s, i, steps),
            Mode::Opens if edge.which == Which::This && s.container.life == Life::Opened => {
                // Only one may write.
                steps.wrong(me, "opens it", "opened twice");
            }
            Mode::Opens if edge.which == Which::This && s.container.life == Life::Waits => {
                // The byte and the file `passed`: no await is between the two.
                let mut t = turned(Mode::Waits);
                t.container.life = Life::Opened;
                if self.edge_crashes {
                    let mut t = t;
                    forget(&mut t, i);
                    steps.chance(me, "opens the gate, and crashes", t);
                }
                t.container.passed = true;
                steps.progress(me, "opens the gate", t);
            }
            Mode::Opens => {
                let mut t = turned(Mode::Asks);
                t.edges[i].which = Which::None;
                steps.progress(me, "finds no reader", t);
            }
            Mode::Waits | Mode::Asks => self.wait(s, i, steps),
            Mode::Ready if written => self.commit(s, i, steps),
            Mode::Failed if written => {
                let mut t = *s;
                self.act(&mut t, Deed::Failed(edge.age));
                forget(&mut t, i);
                steps.progress(me, "says failed", t);
                // The cleaner or the engine was out of reach.
                let mut t = *s;
                self.act(&mut t, Deed::GiveBack(edge.age));
                forget(&mut t, i);
                steps.progress(me, "gives the claim back", t);
            }
            Mode::Ready | Mode::Failed => {
                let mut t = *s;
                forget(&mut t, i);
                steps.progress(me, "finds the ledger lost", t);
            }
            Mode::Warm => self.warm(s, i, steps),
        }
        if self.edge_crashes && edge.mode != Mode::Idle {
            let mut t = *s;
            forget(&mut t, i);
            steps.chance(me, "crashes", t);
        }
    }

    /// Its own waiting, and its claim that it extends; what the cleaner does for it is in `starts`.
    fn wait(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let turned = |mode| {
            let mut t = *s;
            t.edges[i].mode = mode;
            t
        };
        if self.reaches(s, edge.which) && s.container.life == Life::Runs {
            steps.progress(me, "is answered", turned(Mode::Ready));
        }
        steps.progress(me, "waited long enough", turned(Mode::Failed));
        let mut t = *s;
        if s.record.stage != Stage::Lost && self.say(&mut t, Deed::Extend(edge.age)) == Reply::Stale {
            forget(&mut t, i);
            steps.progress(me, "cannot extend its claim", t);
        }
    }

    fn enter(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        if s.record.written() {
            self.entered(s, i, Deed::Enter(held(i)), steps);
        }
        if !self.switches || s.record.stage == Stage::Lost {
            return;
        }
        // The builder comes as an edge does.
        let mut t = *s;
        if s.record.stage == Stage::Absent {
            t.record = Brief::COLD;
        }
        self.entered(&t, i, Deed::Introduce(held(i)), steps);
    }

    fn entered(&self, s: &State, i: usize, deed: Deed, steps: &mut Steps<State>) {
        let mut t = *s;
        let reply = self.act(&mut t, deed);
        let edge = &mut t.edges[i];
        *edge = IDLE;
        let what = match reply {
            Reply::Warm(addr) => {
                (edge.mode, edge.which, edge.trusts) = (Mode::Warm, addr, true);
                "enters"
            }
            Reply::Claimed(Which::None) => {
                edge.mode = Mode::Asks;
                "claims"
            }
            Reply::Claimed(gate) => {
                // As the builder does, and the cleaner for what it wakes ahead of time.
                edge.mode = Mode::Asks;
                steps.chance(EDGES[i], "claims what is poised, and asks", t);
                let edge = &mut t.edges[i];
                (edge.mode, edge.which) = (Mode::Marks, gate);
                "claims what is poised"
            }
            _ => return,
        };
        steps.chance(EDGES[i], what, t);
    }

    fn mark(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, mut t) = (EDGES[i], *s);
        let again = self.without == Without::Exclusive;
        if s.edges[i].which == Which::This && s.container.marked && !again {
            (t.edges[i].mode, t.edges[i].which) = (Mode::Asks, Which::None);
            steps.progress(me, "finds it marked", t);
            return;
        }
        if s.edges[i].which == Which::This {
            t.container.marked = self.without != Without::Mark;
        }
        t.edges[i].mode = Mode::Opens;
        steps.progress(me, "marks the gate", t);
    }

    fn commit(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let mut t = *s;
        let reply = self.act(&mut t, Deed::Woken(edge.age, held(i), edge.which));
        if reply == Reply::Stale {
            forget(&mut t, i);
            steps.progress(me, "is told that its claim is over", t);
            return;
        }
        if self.edge_crashes {
            // The answer is lost, and it asks again.
            steps.chance(me, "commits unheard", t);
        }
        t.edges[i] = Edge { mode: Mode::Warm, age: 0, trusts: true, ..t.edges[i] };
        steps.progress(me, "commits", t);
    }

    fn warm(&self, s: &State, i: usize, steps: &mut Steps<State>) {
        let (me, edge) = (EDGES[i], s.edges[i]);
        let reached = self.reaches(s, edge.which);
        if edge.trusts && reached && !(edge.busy && edge.there) {
            let mut t = *s;
            // By a former address one may come to a process that nobody has told the ledger of: that is no use of it.
            let there = edge.which == Which::This || s.container.served;
            (t.edges[i].busy, t.edges[i].there) = (true, there);
            steps.chance(me, "sends", t);
        }
        let off = matches!(s.container.life, Life::None | Life::Created | Life::Exited);
        let elsewhere = edge.which == Which::Former && !self.reuses;
        if edge.trusts && s.record.written() && (off || elsewhere) {
            let mut t = *s;
            self.act(&mut t, Deed::Gone(edge.age));
            t.edges[i].trusts = false;
            steps.chance(me, "finds it gone", t);
        }
        if edge.busy {
            let mut t = *s;
            (t.edges[i].busy, t.edges[i].there) = (false, false);
            // What is paused answers nothing; its client may give up.
            let waits = edge.there && s.container.life == Life::Paused;
            if waits {
                steps.chance(me, "'s client gives up", t);
            } else {
                steps.progress(me, "ends a request", t);
            }
        }
        if !edge.busy {
            let mut t = *s;
            t.edges[i] = IDLE;
            t.record.leases &= if s.record.written() { !0 } else { 0 };
            if s.record.written() {
                self.act(&mut t, Deed::Leave(held(i)));
            }
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
            match reply {
                Reply::Endpoint(Which::None) => t.edges[i].trusts = false,
                Reply::Endpoint(addr) => {
                    let edge = &mut t.edges[i];
                    (edge.trusts, edge.which, edge.age) = (true, addr, 0);
                }
                _ => unreachable!("a renewal is answered with where it answers"),
            }
            if t != *s {
                steps.progress(me, "renews", t);
            }
        }
    }
}
