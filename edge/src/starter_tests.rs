//! Places of those that are let go, with gates and apps that are numbers.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use func_model::InstanceId;
use tokio::time::sleep;

use super::*;
use crate::fake::{Cleaner, started};

/// What the apps take to be ready.
const QUICK: Duration = Duration::from_millis(5);
const SLOW: Duration = Duration::from_secs(5);

/// Apps that are ready some time after their gate was opened.
struct Apps {
    takes: Duration,
    opened: Mutex<Vec<GateName>>,
    /// Which gates cannot be opened.
    spoiled: Vec<GateName>,
    beginning: AtomicUsize,
    most: AtomicUsize,
}

impl Apps {
    fn that_take(takes: Duration) -> Self {
        let (opened, spoiled) = (Mutex::default(), Vec::new());
        Self { takes, opened, spoiled, beginning: 0.into(), most: 0.into() }
    }

    fn opened(&self) -> usize {
        self.opened.lock().expect("no panic").len()
    }
}

#[async_trait]
impl Gates for Apps {
    async fn open(&self, gate: GateName) -> Result<(), GateError> {
        if self.spoiled.contains(&gate) {
            return Err(GateError::Opened);
        }
        self.opened.lock().expect("no panic").push(gate);
        self.most.fetch_max(self.beginning.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        Ok(())
    }

    async fn answers(&self, _: &Poised, _: Instant) {
        sleep(self.takes).await;
        self.beginning.fetch_sub(1, Ordering::SeqCst);
    }

    async fn accepts(&self, _: SocketAddr, _: Instant) -> bool {
        unreachable!("nobody asks")
    }
}

const HUNDRED: u128 = 100;

fn addr() -> SocketAddr {
    "192.0.2.1:80".parse().expect("an address")
}

fn claim(n: u128) -> Claim {
    let id: InstanceId = format!("app-{n}-v1.1").parse().expect("an instance");
    let poised = Poised { gate: GateName::new(n), addr: addr(), health: None };
    Claim { id, generation: 1, poised: Some(poised) }
}

/// A hundred apps that are asked for at once, in order; gives how many were ready in which time.
async fn crowd(apps: Arc<Apps>, within: Duration) -> usize {
    let starter = Arc::new(Starter::new(Arc::new(Cleaner::default()), apps, PLACES));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..HUNDRED {
        let starter = starter.clone();
        tasks.spawn(
            async move { starter.make_ready(&claim(n), &mut Log::new()).await.map(|ready| ready.way) },
        );
        tokio::task::yield_now().await;
    }
    let (mut ready, until) = (0, Instant::now() + within);
    while let Ok(Some(ended)) = timeout_at(until, tasks.join_next()).await {
        assert_eq!(ended.expect("no panic").expect("it is ready"), Way::Poised);
        ready += 1;
    }
    ready
}

const PLACES: usize = 2;

#[tokio::test(start_paused = true)]
async fn a_hundred_that_were_made_ahead_are_let_go_a_few_at_a_time_in_their_order() {
    let apps = Arc::new(Apps::that_take(QUICK));
    assert_eq!(crowd(apps.clone(), HUNDRED as u32 * QUICK).await, HUNDRED as usize);
    assert_eq!(apps.most.load(Ordering::SeqCst), PLACES);
    let order: Vec<_> = (0..HUNDRED).map(GateName::new).collect();
    assert_eq!(*apps.opened.lock().expect("no panic"), order);
}

#[tokio::test(start_paused = true)]
async fn one_that_starts_slowly_gives_its_place_to_the_next() {
    let apps = Arc::new(Apps::that_take(SLOW));
    let places_of_all = PLACE_HELD * (HUNDRED as u32 / PLACES as u32);
    assert_eq!(crowd(apps.clone(), places_of_all + SLOW).await, HUNDRED as usize);
    assert_eq!(apps.opened(), HUNDRED as usize);
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_cannot_be_opened_keeps_no_place() {
    let spoiled = (0..10).map(GateName::new).collect();
    let apps = Arc::new(Apps { spoiled, ..Apps::that_take(QUICK) });
    let cleaner = Arc::new(Cleaner::default());
    for _ in 0..10 {
        cleaner.will(SLOW, Ok(started(addr(), How::Made)));
    }
    let starter = Arc::new(Starter::new(cleaner, apps, 1));
    let asking = (0..10).map(|n| {
        let starter = starter.clone();
        tokio::spawn(async move { starter.make_ready(&claim(n), &mut Log::new()).await })
    });
    let asking: Vec<_> = asking.collect();
    tokio::task::yield_now().await;
    let began = Instant::now();
    starter.make_ready(&claim(HUNDRED), &mut Log::new()).await.expect("it is ready");
    assert!(began.elapsed() <= 2 * QUICK, "{:?}", began.elapsed());
    for asked in asking {
        assert_eq!(asked.await.expect("no panic").expect("made").way, Way::Made);
    }
}
