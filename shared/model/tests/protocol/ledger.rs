//! The real `Record::apply` and the real `plan`, asked in brief.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use func_model::limits::{CLAIM_MS, COOLING_MS, DRAIN_MS, FREEZE_MS, IDLE_MS, LEASE_MS};
use func_model::{
    Act, Entry, GateName, InstanceId, Known, LeaseId, Outcome, Phase, Poised, Record, ReleaseId, Seen,
    SeenContainer, SeenState, Step, plan,
};

use crate::brief::{Age, Brief, Deed, Reply, SERIALS, Sight, Stage, Todo, View, Which};
use crate::search::Table;

/// When everything happens. Whatever was used, was used long ago.
const NOW_MS: u64 = 1_000_000_000;
const GENERATION: u64 = 1_000;
type Answer = (Brief, Reply, bool);

/// Asks `Record::apply` and `plan`, each question once.
pub struct Ledger {
    id: InstanceId,
    applied: RefCell<Table<(Brief, Deed), Answer>>,
    planned: RefCell<Table<(Brief, View), Vec<Todo>>>,
}

impl Ledger {
    pub fn new() -> Self {
        let id = "blog-v1.1".parse().expect("an instance");
        Self { id, applied: RefCell::default(), planned: RefCell::default() }
    }

    /// Gives the record after a deed, what came of it, and whether the generation turned.
    pub fn apply(&self, brief: Brief, deed: Deed) -> Answer {
        if let Some(answer) = self.applied.borrow().get(&(brief, deed)) {
            return *answer;
        }
        let answer = self.ask(brief, deed);
        self.applied.borrow_mut().insert((brief, deed), answer);
        answer
    }

    fn ask(&self, brief: Brief, deed: Deed) -> Answer {
        let mut record = written(brief);
        let Ok(outcome) = record.apply(&self.id, &act(deed), NOW_MS) else {
            assert_eq!(record, written(brief), "what is stale changes nothing");
            return (brief, Reply::Stale, false);
        };
        let turned = record.generation - GENERATION;
        assert!(turned <= 1, "an act turns the generation once at the most");
        (read(&record), reply(&outcome, &record), turned == 1)
    }

    /// Gives what `plan` wants to be done for the instance.
    pub fn plan(&self, brief: Brief, view: View) -> Vec<Todo> {
        if let Some(todos) = self.planned.borrow().get(&(brief, view)) {
            return todos.clone();
        }
        let todos = self.ask_plan(brief, view);
        self.planned.borrow_mut().insert((brief, view), todos.clone());
        todos
    }

    fn ask_plan(&self, brief: Brief, view: View) -> Vec<Todo> {
        let release = self.id.release.clone();
        let mut known = Known { poised_max: usize::from(view.ahead), ..Known::default() };
        known.releases.insert(release.clone());
        if view.live {
            known.current.insert(release.app.clone(), release.number);
            known.routes.insert(release.app.clone(), release.number);
        }
        if view.busy {
            known.busy.insert(self.id.clone());
        }
        if brief.written() {
            known.records.insert(self.id.clone(), written(brief));
        }
        let containers = view.seen.map(|sight| SeenContainer {
            container: "c1".to_owned(),
            instance: Some(self.id.clone()),
            state: match sight {
                Sight::Created => SeenState::Created,
                Sight::Running => SeenState::Running { addr: addr(Which::This) },
                Sight::Poised => SeenState::Poised { gate: gate(Which::This), fresh: true },
                Sight::Spent => SeenState::Poised { gate: gate(Which::This), fresh: false },
                Sight::Paused => SeenState::Paused { addr: addr(Which::This) },
                Sight::Exited => SeenState::Exited,
            },
        });
        let seen = Seen { containers: containers.into_iter().collect(), images: Vec::new() };
        plan(&known, &seen, NOW_MS).iter().filter_map(todo).collect()
    }
}

/// What is known and seen of a release that is older than those that are kept, and of its two replicas.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub records: [Brief; 2],
    pub runs: [bool; 2],
    pub busy: [bool; 2],
    pub manifest: bool,
}

/// What `plan` wants to be done for a release and its two replicas.
#[derive(Default, PartialEq, Debug)]
pub struct PairPlan {
    pub todos: [Vec<Todo>; 2],
    pub removes_release: bool,
}

/// Asks `plan` about both replicas of a release at once.
pub fn plan_pair(pair: &Pair) -> PairPlan {
    let ids: [InstanceId; 2] = ["blog-v1.1", "blog-v1.2"].map(|id| id.parse().expect("an instance"));
    let release = |n: u32| format!("blog-v{n}").parse::<ReleaseId>().expect("a release");
    let mut known = Known::default();
    known.releases.extend((2..=6).map(release));
    known.releases.extend(pair.manifest.then(|| release(1)));
    known.current.insert(release(6).app, release(6).number);
    known.routes.insert(release(6).app, release(6).number);
    let mut seen = Seen::default();
    for (i, id) in ids.iter().enumerate() {
        if pair.records[i].written() {
            known.records.insert(id.clone(), written(pair.records[i]));
        }
        if pair.busy[i] {
            known.busy.insert(id.clone());
        }
        seen.containers.extend(pair.runs[i].then(|| SeenContainer {
            container: i.to_string(),
            instance: Some(id.clone()),
            state: SeenState::Running { addr: addr(Which::This) },
        }));
    }
    let mut planned = PairPlan::default();
    for step in plan(&known, &seen, NOW_MS) {
        match &step {
            Step::Retire(id)
            | Step::Thaw(id)
            | Step::Adopt { id, .. }
            | Step::Discard { id, .. }
            | Step::Gone { id, .. }
            | Step::Reset { id, .. }
            | Step::Poise { id, .. }
            | Step::StopAgain { id, .. }
            | Step::Forget { id, .. } => {
                let i = usize::from(*id == ids[1]);
                planned.todos[i].extend(todo(&step));
            }
            Step::RemoveContainer { instance, .. } => {
                let i = usize::from(instance.as_ref() == Some(&ids[1]));
                planned.todos[i].extend(todo(&step));
            }
            Step::RemoveRelease(id) => planned.removes_release |= *id == release(1),
            Step::Promote(_) | Step::DropRoute(_) | Step::RemoveImage(_) => {}
        }
    }
    planned
}

fn todo(step: &Step) -> Option<Todo> {
    let (todo, generation) = match step {
        Step::Retire(_) => (Todo::Retire, GENERATION),
        Step::Thaw(_) => (Todo::Thaw, GENERATION),
        Step::RemoveContainer { .. } => (Todo::Remove, GENERATION),
        Step::Adopt { generation, .. } => (Todo::Adopt, *generation),
        Step::Discard { generation, .. } => (Todo::Discard, *generation),
        Step::Gone { generation, .. } => (Todo::Gone, *generation),
        Step::Reset { generation, .. } => (Todo::Reset, *generation),
        Step::Poise { generation, .. } => (Todo::Poise, *generation),
        Step::StopAgain { generation, .. } => (Todo::StopAgain, *generation),
        Step::Forget { generation, .. } => (Todo::Forget, *generation),
        Step::Promote(_) | Step::DropRoute(_) | Step::RemoveRelease(_) | Step::RemoveImage(_) => return None,
    };
    // One without a record has the generation 0.
    assert!([0, GENERATION].contains(&generation));
    Some(todo)
}

fn addr(which: Which) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, which as u8], 80))
}

fn which(addr: SocketAddr) -> Which {
    [Which::This, Which::Former].into_iter().find(|w| self::addr(*w) == addr).expect("one of ours")
}

fn gate(which: Which) -> GateName {
    GateName::new(which as u128)
}

fn poised(which: Which) -> Option<Poised> {
    let poised = || Poised { gate: gate(which), addr: addr(which), health: None };
    (which != Which::None).then(poised)
}

fn which_poised(poised: Option<&Poised>) -> Which {
    poised.map_or(Which::None, |p| which(p.addr))
}

fn lease(number: u8) -> LeaseId {
    LeaseId { holder: format!("edge {}", number / SERIALS), serial: u64::from(number % SERIALS) }
}

fn number(lease: &LeaseId) -> u8 {
    let edge: u8 = lease.holder["edge ".len()..].parse().expect("one of ours");
    edge * SERIALS + lease.serial as u8
}

fn written(brief: Brief) -> Record {
    let until = |time_ms| if brief.over { NOW_MS } else { NOW_MS + time_ms };
    let mut record = Record::new(0);
    record.generation = GENERATION;
    record.phase = match brief.stage {
        Stage::Cold => Phase::Cold,
        Stage::Waking => Phase::Waking { owner: lease(brief.owner), until_ms: until(CLAIM_MS) },
        Stage::Warm => Phase::Warm { addr: addr(brief.addr) },
        Stage::Frozen => Phase::Frozen { addr: addr(brief.addr) },
        Stage::Cooling => Phase::Cooling { until_ms: NOW_MS + COOLING_MS },
        Stage::Broken => Phase::Broken { until_ms: until(1_000) },
        Stage::Lost | Stage::Absent => unreachable!("there is no record"),
    };
    let live = (0..8).filter(|n| brief.leased(*n));
    record.leases = live.map(|n| (lease(n), NOW_MS + LEASE_MS)).collect::<BTreeMap<_, _>>();
    record.poised = poised(brief.poised);
    (record.retired, record.retired_ms) = (brief.retired, NOW_MS);
    record
}

fn read(record: &Record) -> Brief {
    let mut brief = Brief { retired: record.retired, ..Brief::COLD };
    brief.leases = record.leases.keys().fold(0, |bits, lease| bits | 1 << number(lease));
    brief.poised = which_poised(record.poised.as_ref());
    match &record.phase {
        Phase::Cold => {}
        Phase::Waking { owner, until_ms } => {
            (brief.stage, brief.owner, brief.over) = (Stage::Waking, number(owner), *until_ms <= NOW_MS);
        }
        Phase::Warm { addr } => (brief.stage, brief.addr) = (Stage::Warm, which(*addr)),
        Phase::Frozen { addr } => (brief.stage, brief.addr) = (Stage::Frozen, which(*addr)),
        Phase::Cooling { .. } => brief.stage = Stage::Cooling,
        Phase::Broken { until_ms } => (brief.stage, brief.over) = (Stage::Broken, *until_ms <= NOW_MS),
    }
    brief
}

fn reply(outcome: &Outcome, record: &Record) -> Reply {
    match outcome {
        Outcome::Done => Reply::Done,
        Outcome::Entry(Entry::Warm(endpoint)) => {
            assert_eq!(endpoint.generation, record.generation);
            Reply::Warm(which(endpoint.addr))
        }
        Outcome::Entry(Entry::Wait) => Reply::Wait,
        Outcome::Entry(Entry::Claimed(claim)) => {
            assert_eq!(claim.generation, record.generation);
            Reply::Claimed(which_poised(claim.poised.as_ref()))
        }
        Outcome::Entry(Entry::Retired) => Reply::Retired,
        Outcome::Entry(Entry::Broken { .. }) => Reply::Broken,
        Outcome::Endpoint(endpoint) => Reply::Endpoint(endpoint.map_or(Which::None, |e| which(e.addr))),
        Outcome::Granted(generation) => {
            assert_eq!(*generation, record.generation);
            Reply::Granted
        }
        Outcome::NotYet(_) => Reply::NotYet,
    }
}

fn act(deed: Deed) -> Act {
    let at = |age: Age| GENERATION - u64::from(age);
    let this = addr(Which::This);
    match deed {
        Deed::Enter(n) => Act::Enter { lease: lease(n) },
        Deed::Introduce(n) => Act::Introduce { lease: lease(n) },
        Deed::Woken(age, n, w) => {
            Act::Woken { generation: at(age), addr: addr(w), lease: lease(n), start_ms: None }
        }
        Deed::Failed(age) => Act::Failed { generation: at(age) },
        Deed::GiveBack(age) => Act::GiveBack { generation: at(age) },
        Deed::Extend(age) => Act::Extend { generation: at(age) },
        Deed::Gone(age) => Act::Gone { generation: at(age) },
        Deed::Renew(n) => Act::Renew { lease: lease(n) },
        Deed::Leave(n) => Act::Leave { lease: lease(n), idle_for_ms: NOW_MS },
        Deed::Cool { quarantine } => Act::Cool { idle_ms: IDLE_MS, quarantine },
        Deed::Cut { overdue } => Act::Cut { drain_ms: if overdue { 0 } else { DRAIN_MS } },
        Deed::Cooled(age) => Act::Cooled { generation: at(age) },
        Deed::Freeze { quarantine } => Act::Freeze { after_ms: FREEZE_MS, quarantine },
        Deed::Frozen(age) => Act::Frozen { generation: at(age), addr: this },
        Deed::Poise(age) => {
            let poised = poised(Which::This).expect("it is there");
            Act::Poise { generation: at(age), poised }
        }
        Deed::Adopt(age) => Act::Adopt { generation: at(age), addr: this },
        Deed::Reset(age) => Act::Reset { generation: at(age) },
        Deed::Discard(age, quarantine) => Act::Discard { generation: at(age), quarantine },
        Deed::Recool(age) => Act::Recool { generation: at(age) },
        Deed::Retire => Act::Retire,
    }
}
