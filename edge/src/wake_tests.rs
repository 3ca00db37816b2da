//! Wakes with real gates and a ledger in memory; the cleaner says what it is told to say.

use std::net::SocketAddr;

use func_ledger::{Memory, RestoredState};
use func_model::{AppName, Phase};
use func_runner::{How, RunnerError};
use tokio::net::TcpListener;

use super::*;
use crate::fake::{Cleaner, Gate, blog, ledger, record, restore, silent, started};
use crate::starter::Folder;

const AT_ONCE: Duration = Duration::ZERO;
/// What is at once in the tests, on a loaded machine.
const SOON: Duration = Duration::from_secs(5);

struct World {
    wake: Arc<Wake>,
    ledger: Arc<Memory>,
    cleaner: Arc<Cleaner>,
    gate: Gate,
}

impl World {
    async fn new(gate: Gate, state: RestoredState) -> Self {
        Self::with(gate, ledger(state).await)
    }

    /// The ledger was lost, and nobody restores it.
    fn without_a_ledger() -> Self {
        Self::with(Gate::new(), Arc::new(Memory::new()))
    }

    fn with(gate: Gate, ledger: Arc<Memory>) -> Self {
        let cleaner = Arc::new(Cleaner::default());
        let slots = Arc::new(Slots::new("edge".into()));
        let gates = Arc::new(Folder(gate.gates.path().to_owned()));
        let metrics = Arc::new(Metrics::new());
        let outage = Outage::new(gate.occupancy(), cleaner.clone(), gates.clone());
        let (enter, watch, start) = (ledger.clone(), ledger.clone(), cleaner.clone());
        let wake = Wake::new(slots, enter, watch, start, gates, outage, metrics);
        Self { wake: Arc::new(wake), ledger, cleaner, gate }
    }

    /// Blog is cold.
    async fn cold() -> Self {
        Self::new(Gate::new(), RestoredState::Cold).await
    }

    /// Blog is poised, and will answer at `addr`.
    async fn poised(addr: SocketAddr) -> Self {
        let gate = Gate::new();
        let poised = gate.poised(addr);
        Self::new(gate, RestoredState::Poised(poised)).await
    }

    async fn enter(&self) -> Result<Entered, Closed> {
        self.wake.enter(&blog().release, Instant::now() + SOON).await
    }

    /// By which way a request got in.
    async fn way(&self) -> Option<Way> {
        let entered = self.enter().await.expect("it is woken");
        entered.trace.map(|trace| trace.way)
    }

    async fn refusal(&self) -> Refusal {
        self.refusal_by(Instant::now() + SOON).await
    }

    /// What a request is told that waits for longer than for a ledger.
    async fn late_refusal(&self) -> Refusal {
        self.refusal_by(Instant::now() + PATIENCE + SOON).await
    }

    async fn refusal_by(&self, deadline: Instant) -> Refusal {
        match self.wake.enter(&blog().release, deadline).await {
            Err(Closed::Refused(refusal)) => refusal,
            other => panic!("{other:?}"),
        }
    }
}

fn app() -> AppName {
    blog().release.app
}

/// Something that accepts connections, which is to be ready.
async fn listening() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("its address");
    (listener, addr)
}

fn exited() -> StartError {
    StartError::Exited {
        id: blog(),
        status: 3,
        memory: func_runner::OverMemory::No,
        tail: vec!["no config".into()],
    }
}

fn busy() -> StartError {
    StartError::Busy { id: blog(), within: WAKE }
}

fn away() -> StartError {
    RunnerError::Cleaner("nobody listens".into()).into()
}

fn without_engine() -> StartError {
    RunnerError::Away("nobody listens".into()).into()
}

#[tokio::test]
async fn a_poised_instance_is_let_go_once_and_nobody_is_asked() {
    let (_app, addr) = listening().await;
    let mut world = World::poised(addr).await;
    let entered = world.enter().await.expect("it is woken");
    assert_eq!(entered.in_flight.endpoint.addr, addr);
    assert_eq!(world.way().await, None, "the second found it warm");
    assert_eq!(world.gate.bytes(), 1);
    assert_eq!(world.cleaner.starts(), 0);
    let record = record(&world.ledger).await;
    assert_eq!(record.phase, Phase::Warm { addr });
    assert!(record.start_ms >= 1, "the app's own time is told");
    let trace = entered.trace.expect("it waited for a start");
    let parts: Vec<_> = trace.parts().iter().map(|(part, _)| *part).collect();
    assert_eq!(parts, [Part::Queue, Part::Claim, Part::Gate, Part::Connect, Part::Commit]);
    assert_eq!(trace.way, Way::Poised);
}

#[tokio::test]
async fn a_gate_that_cannot_be_opened_is_the_cleaners() {
    let spoils: [fn(&mut Gate); 3] = [|opened| opened.mark(), |left| left.leave(), |gone| gone.remove()];
    for (case, spoil) in spoils.into_iter().enumerate() {
        let (_app, addr) = listening().await;
        let mut world = World::poised(addr).await;
        spoil(&mut world.gate);
        world.cleaner.will(AT_ONCE, Ok(started(addr, How::Made)));
        assert_eq!(world.way().await, Some(Way::Made), "{case}");
        assert_eq!(world.cleaner.starts(), 1, "{case}");
        assert_eq!(world.gate.bytes(), 0, "{case}");
    }
}

#[tokio::test]
async fn a_slow_app_is_waited_for_while_the_cleaner_watches() {
    let (app, addr) = silent();
    let world = World::poised(addr).await;
    let listening = async {
        while world.cleaner.starts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        app.listen(8).expect("it listens")
    };
    let (way, _app) = tokio::join!(world.way(), listening);
    assert_eq!(way, Some(Way::Poised));
    assert_eq!(world.cleaner.starts(), 1);
}

#[tokio::test]
async fn a_crash_ends_the_wait_at_once() {
    let (_app, addr) = silent();
    let world = World::poised(addr).await;
    world.cleaner.will(AT_ONCE, Err(exited()));
    let began = Instant::now();
    assert!(matches!(world.refusal().await, Refusal::StartFailed { retry_ms: 1.., .. }));
    assert!(began.elapsed() < SOON);
    assert_eq!(record(&world.ledger).await.phase.name(), "broken");
}

#[tokio::test]
async fn one_that_crashed_and_was_made_anew_is_entered_where_it_answers() {
    let (_crashed, addr) = silent();
    let (_app, anew) = listening().await;
    let world = World::poised(addr).await;
    world.cleaner.will(AT_ONCE, Ok(started(anew, How::Made)));
    let entered = world.enter().await.expect("it is woken");
    assert_eq!(entered.in_flight.endpoint.addr, anew);
    assert_eq!(entered.trace.expect("it waited for a start").way, Way::Made);
}

#[tokio::test]
async fn a_cleaner_that_is_busy_or_away_does_not_stop_what_was_let_go() {
    for answer in [busy(), away(), without_engine()] {
        let (app, addr) = silent();
        let world = World::poised(addr).await;
        world.cleaner.will(AT_ONCE, Err(answer));
        let listening = async {
            tokio::time::sleep(Duration::from_millis(60)).await;
            app.listen(8).expect("it listens")
        };
        let (way, _app) = tokio::join!(world.way(), listening);
        assert_eq!(way, Some(Way::Poised));
    }
}

#[tokio::test]
async fn a_start_that_nobody_tried_is_given_back_and_breaks_nothing() {
    let answers =
        [(busy(), Refusal::Busy { app: app() }), (away(), Refusal::Lost), (without_engine(), Refusal::Lost)];
    for (answer, refusal) in answers {
        let world = World::cold().await;
        world.cleaner.will(AT_ONCE, Err(answer));
        assert_eq!(world.refusal().await, refusal);
        let record = record(&world.ledger).await;
        assert_eq!((record.phase, record.failures), (Phase::Cold, 0));
        let (_app, addr) = listening().await;
        world.cleaner.will(AT_ONCE, Ok(started(addr, How::Made)));
        assert_eq!(world.way().await, Some(Way::Made), "the next tries at once");
    }
}

#[tokio::test]
async fn a_claim_that_was_lost_is_asked_for_anew() {
    let world = World::cold().await;
    let (_app, addr) = listening().await;
    world.cleaner.will(AT_ONCE, Err(StartError::Stale { id: blog() }));
    world.cleaner.will(AT_ONCE, Ok(started(addr, How::Made)));
    assert_eq!(world.way().await, Some(Way::Made));
    assert_eq!(world.cleaner.starts(), 2);
}

#[tokio::test]
async fn the_apps_own_time_is_told_if_its_process_was_started() {
    let cases = [(How::Made, 2), (How::Opened, 2), (How::Resumed, 0), (How::Found, 0)];
    for (how, start_ms) in cases {
        let world = World::cold().await;
        let (_app, addr) = listening().await;
        world.cleaner.will(AT_ONCE, Ok(started(addr, how)));
        assert_eq!(world.way().await, Some(Way::from(how)));
        assert_eq!(record(&world.ledger).await.start_ms, start_ms, "{how:?}");
    }
}

#[tokio::test]
async fn a_thousand_requests_start_it_once_and_one_more_is_told_to_come_back() {
    let world = World::cold().await;
    let (_app, addr) = listening().await;
    world.cleaner.will(Duration::from_millis(300), Ok(started(addr, How::Made)));
    let release = blog().release;
    let until = Instant::now() + SOON;
    let requests: Vec<_> = (0..WAITERS_MAX)
        .map(|_| {
            let (wake, release) = (world.wake.clone(), release.clone());
            // Answered at once: the next ones go.
            tokio::spawn(async move { wake.enter(&release, until).await.map(|e| e.in_flight.endpoint.addr) })
        })
        .collect();
    while world.cleaner.starts() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.refusal().await, Refusal::Crowded { app: app() });
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("it is woken"), addr);
    }
    assert_eq!(world.cleaner.starts(), 1);
}

/// All of them used to go at once, which overflows what an app lets wait for it to accept.
#[tokio::test]
async fn those_who_waited_go_a_few_at_a_time() {
    let world = World::cold().await;
    let (_app, addr) = listening().await;
    world.cleaner.will(Duration::from_millis(100), Ok(started(addr, How::Made)));
    let until = Instant::now() + SOON;
    let (tell, mut told) = tokio::sync::mpsc::channel(100);
    for _ in 0..100 {
        let (wake, release, tell) = (world.wake.clone(), blog().release, tell.clone());
        tokio::spawn(async move { tell.send(wake.enter(&release, until).await.expect("it is woken")).await });
    }
    drop(tell);
    // None of them is answered, or has a connection.
    let mut went = Vec::new();
    for _ in 0..4 {
        went.push(timeout(SOON, told.recv()).await.expect("in time").expect("one who goes"));
    }
    assert!(timeout(Duration::from_millis(300), told.recv()).await.is_err(), "a fifth one went");
    for _ in 4..100 {
        went.pop();
        went.push(timeout(SOON, told.recv()).await.expect("in time").expect("the next one"));
    }
}

#[tokio::test]
async fn one_who_waits_no_longer_leaves_the_start_alone() {
    let world = World::cold().await;
    let (_app, addr) = listening().await;
    world.cleaner.will(Duration::from_millis(100), Ok(started(addr, How::Made)));
    let soon = Instant::now() + Duration::from_millis(20);
    assert!(matches!(world.wake.enter(&blog().release, soon).await, Err(Closed::Late)));
    world.enter().await.expect("it is woken");
    assert_eq!(world.cleaner.starts(), 1);
}

#[tokio::test]
async fn somebody_elses_start_is_found() {
    let world = World::cold().await;
    let (_app, addr) = listening().await;
    let other = LeaseId { holder: "builder".into(), serial: 1 };
    let Ok(Entry::Claimed(claim)) = world.ledger.enter(&blog(), &other).await else { panic!("it is cold") };
    let waking = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        world.ledger.woken(&claim, addr, &other, Some(9)).await.expect("the claim stands")
    };
    let (way, _) = tokio::join!(world.way(), waking);
    assert_eq!(way, Some(Way::Found));
    assert_eq!(world.cleaner.starts(), 0);
}

#[tokio::test]
async fn a_lease_that_is_new_is_no_start() {
    let (_app, addr) = listening().await;
    let world = World::new(Gate::new(), RestoredState::Warm(addr)).await;
    assert_eq!(world.way().await, None);
}

#[tokio::test]
async fn a_herd_that_was_refused_looks_once() {
    let (_app, addr) = listening().await;
    let world = World::new(Gate::new(), RestoredState::Warm(addr)).await;
    let mut refused = Vec::new();
    for _ in 0..100 {
        refused.push(world.enter().await.expect("it is warm").in_flight);
    }
    let looking: Vec<_> = refused
        .into_iter()
        .map(|in_flight| {
            let wake = world.wake.clone();
            tokio::spawn(async move { wake.examine(&in_flight).await })
        })
        .collect();
    for looked in looking {
        assert!(looked.await.expect("no panic"), "it is gone");
    }
    assert_eq!(world.cleaner.looks(), 1);
}

#[tokio::test]
async fn what_runs_is_entered_without_a_ledger_and_not_vacant_then() {
    let (_listener, addr) = listening().await;
    let world = World::without_a_ledger();
    assert!(matches!(world.late_refusal().await, Refusal::Lost), "it does not run");
    *world.cleaner.runs.lock().expect("no panic") = Some(addr);
    let entered = world.enter().await.expect("it runs");
    assert_eq!(entered.in_flight.endpoint.addr, addr);
    let occupancy = world.gate.occupancy();
    assert!(occupancy.vacate(&blog()).expect("asked").is_none());
}

#[tokio::test]
async fn what_is_kept_vacant_is_not_entered_without_a_ledger() {
    let (_listener, addr) = listening().await;
    let world = World::without_a_ledger();
    *world.cleaner.runs.lock().expect("no panic") = Some(addr);
    let occupancy = world.gate.occupancy();
    let _vacant = occupancy.vacate(&blog()).expect("asked").expect("nobody is in it");
    assert!(matches!(world.late_refusal().await, Refusal::Lost));
}

#[tokio::test]
async fn a_ledger_that_lost_its_memory_is_waited_for_until_it_is_restored() {
    let world = World::without_a_ledger();
    let (_app, addr) = listening().await;
    world.cleaner.will(AT_ONCE, Ok(started(addr, How::Made)));
    let (entered, ()) = tokio::join!(world.enter(), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        restore(&world.ledger, RestoredState::Cold).await;
    });
    assert_eq!(entered.expect("it is woken").in_flight.endpoint.addr, addr);
}
