//! One story: foul weather, with requests, crashes, deaths, losses and a switch; then fair weather, in which everything
//! has to be answered, and to come to rest.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use func_ledger::{Enter, Leaving, Memory, Promote, Watch};
use func_model::limits::WAKE_MS;
use func_model::{Entry, Freeze, LeaseId, Phase, Release, Route};
use func_runner::Start;
use func_store::{DataDir, Lock, Manifests};
use tokio::time::{Instant, sleep};

use crate::engine::{Engine, Life};
use crate::hosts::{Ask, CleanerHost, EdgeHost, Shared, Told};
use crate::line::Line;
use crate::world::{Weather, Without, World};

/// How long the foul part is.
const FOUL: Duration = Duration::from_secs(20);
/// No long request lasts longer: what comes to rest takes time.
const LAST: Duration = Duration::from_secs(40);
/// Each asks once or twice.
const CLIENTS: u64 = 8;
/// How long until an app has to answer again: a claim of somebody dead, a backoff, a start.
const AGAIN: Duration = Duration::from_secs(150);
/// How long until all rests: leases that nobody leaves, the quarantine, the idle time, a stop, and what comes of a plan.
const REST: Duration = Duration::from_secs(150);
pub const IDLE_MS: u64 = 5_000;

/// What came of one story.
pub struct Ended {
    pub wrongs: Vec<String>,
    pub trace: Vec<String>,
    pub counts: crate::world::Counts,
}

/// Two releases of blog, which is paused when it is not used, and one of shop, which is not.
pub fn releases() -> Vec<Release> {
    let release = |id: &str, freeze| {
        let json = format!(
            r#"{{"release":"{id}","revision":"{}","image":"sha256:{}","recipe":"dockerfile","port":80,"hosts":[],
            "env":{{}},"limits":{{"memory_bytes":1,"cpus_milli":1,"pids":1}},"idle_ms":{IDLE_MS},"health":null,
            "created_ms":0}}"#,
            "a".repeat(40),
            "b".repeat(64)
        );
        let release: Release = serde_json::from_str(&json).expect("a manifest");
        Release { freeze, ..release }
    };
    vec![
        release("blog-v1", Freeze::AfterMs(3_000)),
        release("blog-v2", Freeze::AfterMs(3_000)),
        release("shop-v1", Freeze::Off),
    ]
}

/// A data folder that many stories use, one after the other.
pub fn folder(root: &Path) -> (DataDir, Manifests) {
    let data = DataDir::open(root).expect("opened");
    let manifests = Manifests::new(data.clone());
    for release in releases() {
        manifests.add(&release).expect("written");
    }
    (data, manifests)
}

struct Story {
    shared: Shared,
    edges: [Arc<EdgeHost>; 2],
    cleaner: Arc<CleanerHost>,
    /// Edges occupy what they use.
    locked: bool,
    /// Nothing fails, and everything has to be answered at once.
    calm: bool,
    began: Instant,
}

/// A folder in which nothing can be locked: a file is where the locks' own folder would be.
fn without_locks(data: &DataDir) -> DataDir {
    let elsewhere = DataDir::open(&data.root().join("elsewhere")).expect("a folder");
    // The second story in this folder finds it replaced already.
    if std::fs::remove_dir(elsewhere.run("occupied")).is_ok() {
        std::fs::write(elsewhere.run("occupied"), "").expect("written");
    }
    elsewhere
}

/// Tells the story of a seed.
pub fn tell(seed: u64, without: Without, keeps_trace: bool, folder: &(DataDir, Manifests)) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let world = World::new(seed, without, keeps_trace);
        let (data, manifests) = folder.clone();
        let _ = std::fs::remove_dir_all(data.run("stopping"));
        go_live(&data, "blog", 1);
        go_live(&data, "shop", 1);
        let locked = without == Without::Nothing && seed.is_multiple_of(2);
        let locks = if locked { data.clone() } else { without_locks(&data) };
        let shared = Shared {
            locks,
            engine: Engine::new(&world),
            ledger: Arc::new(Memory::new()),
            world: world.clone(),
            data,
            manifests,
            idle_ms: IDLE_MS,
        };
        let cleaner = CleanerHost::new(&shared);
        let edges = ["edge 1", "edge 2"].map(|name| EdgeHost::new(name, &shared, &cleaner));
        let calm = seed.is_multiple_of(8);
        Story { shared, edges, cleaner, locked, calm, began: Instant::now() }.run().await;
        let counts = *world.counts.lock().expect("unbroken");
        Ended { wrongs: world.wrongs(), trace: world.trace(), counts }
    })
}

/// Makes a release live on disk. As `Manifests::set_current`, which waits for the disk.
fn go_live(data: &DataDir, app: &str, number: u32) {
    let current = data.manifest().join(app).join("current");
    std::fs::write(current, format!("{number}\n")).expect("written");
}

impl Story {
    async fn run(self) {
        let world = self.shared.world.clone();
        self.cleaner.rise();
        self.edges.iter().for_each(|edge| edge.rise());
        // The ledger is new: nothing is known until the cleaner has filled it.
        sleep(Duration::from_secs(2)).await;
        let story = Arc::new(self);
        world.set_weather(if story.calm { Weather::Slow } else { Weather::Foul });
        let until = Instant::now() + FOUL;
        let (roll, mut under_way) = (&mut world.dice.roll("story"), Vec::new());
        for n in 0..CLIENTS {
            under_way.push(tokio::spawn(story.clone().client(n)));
        }
        let faults = if story.calm { 0 } else { roll.below(5) };
        for n in 0..faults {
            under_way.push(tokio::spawn(story.clone().fault(n)));
        }
        for n in 0..roll.below(3) {
            under_way.push(tokio::spawn(story.clone().switch(n)));
        }
        tokio::time::sleep_until(until).await;
        world.set_weather(Weather::Fair);
        world.note("world", || "fair weather".to_owned());
        for task in under_way {
            task.await.expect("it does not panic");
        }
        story.answers_again().await;
        story.comes_to_rest().await;
    }

    /// One client: asks after a while, perhaps a second time soon.
    async fn client(self: Arc<Self>, n: u64) {
        let dice = &mut self.shared.world.dice.roll(("client", n));
        let app = if dice.hits(700) { "blog" } else { "shop" };
        sleep(dice.ms(0, 19_000)).await;
        for _ in 0..=dice.below(2) {
            let edge = &self.edges[dice.below(2) as usize];
            let takes = match dice.below(10) {
                0 => dice.ms(10_000, 26_000).min(LAST.saturating_sub(self.began.elapsed())),
                1 | 2 => dice.ms(1_000, 6_000),
                _ => dice.ms(0, 200),
            };
            if let Some(sent) = edge.send(app, takes) {
                let told = sent.await.expect("it does not panic");
                if self.calm && told != Told::Answered {
                    self.shared.world.wrong(format!("nothing fails, and {app} was {told:?}"));
                }
            }
            sleep(dice.ms(0, 8_000)).await;
        }
    }

    async fn fault(self: Arc<Self>, n: u64) {
        let Shared { world, engine, ledger, .. } = &self.shared;
        let dice = &mut world.dice.roll(("fault", n));
        sleep(dice.ms(0, 19_000)).await;
        let again = dice.ms(50, 4_000);
        match dice.below(7) {
            0 if self.locked || world.without == Without::Lock => {
                let edge = &self.edges[dice.below(2) as usize];
                world.count(|c| c.cut_off += 1);
                world.cut_off(Some(edge.name));
                // For longer than its leases, mostly.
                sleep(dice.ms(5_000, 35_000)).await;
                world.cut_off(None);
            }
            0 | 6 => {
                let edge = &self.edges[dice.below(2) as usize];
                edge.kill();
                sleep(again).await;
                edge.rise();
            }
            1 | 2 => {
                self.cleaner.kill();
                sleep(again).await;
                self.cleaner.rise();
            }
            3 => {
                let alive: Vec<u64> = engine.state().containers.values().map(|c| c.number).collect();
                if !alive.is_empty() {
                    world.count(|c| c.deaths += 1);
                    engine.die(alive[dice.below(alive.len() as u64) as usize]);
                }
            }
            4 => {
                world.count(|c| c.losses += 1);
                world.note("ledger", || "is lost".to_owned());
                ledger.lose();
            }
            _ => {
                world.note("ledger", || "is away".to_owned());
                world.ledger_away.store(true, Ordering::Relaxed);
                sleep(dice.ms(500, 20_000)).await;
                world.ledger_away.store(false, Ordering::Relaxed);
                world.note("ledger", || "is back".to_owned());
            }
        }
    }

    /// The builder makes the other release of blog live: its first start, the commit point on disk, the promotion.
    async fn switch(self: Arc<Self>, n: u64) {
        let Shared { world, ledger, data, manifests, .. } = &self.shared;
        let dice = &mut world.dice.roll(("switch", n));
        sleep(dice.ms(0, 18_000)).await;
        let Ok(Some(_lock)) = Lock::try_deploy(data, &"blog".parse().expect("a name")) else { return };
        let alive = Arc::new(true.into());
        let line = Line::new(world, "builder", ledger, &alive);
        let ask = Ask { who: "builder", cleaner: self.cleaner.clone(), alive };
        let live = manifests.current(&"blog".parse().expect("a name")).expect("read").map_or(1, |n| n.0);
        let number = 3 - live;
        let release = releases().into_iter().find(|r| r.id.to_string() == format!("blog-v{number}"));
        let release = release.expect("one of two");
        let id = release.id.instance();
        let lease = LeaseId { holder: "builder".into(), serial: dice.below(u64::MAX) };
        for _ in 0..5 {
            match line.introduce(&id, &lease).await {
                Ok(Entry::Warm(_)) => {}
                Ok(Entry::Claimed(claim)) => {
                    let within = Duration::from_millis(WAKE_MS);
                    let Ok(started) = ask.start(&claim, within).await else { return };
                    if line.woken(&claim, started.addr, &lease, started.start_ms()).await.is_err() {
                        return;
                    }
                }
                Ok(Entry::Wait | Entry::Retired | Entry::Broken { .. }) | Err(_) => {
                    sleep(Duration::from_secs(1)).await;
                    continue;
                }
            }
            go_live(data, "blog", number);
            world.note("builder", || format!("{} is live on disk", release.id));
            world.count(|c| c.switches += 1);
            // What is lost here is promoted by the plan.
            if line.promote(&release.id, &Route::of(&release)).await.is_ok() {
                let _ = line.keep(&[], &[Leaving { id, lease, idle_for_ms: 0 }]).await;
            }
            return;
        }
    }

    /// In fair weather every app answers at both edges.
    async fn answers_again(&self) {
        for app in ["blog", "shop"] {
            for edge in &self.edges {
                let until = Instant::now() + AGAIN;
                loop {
                    let sent = edge.send(app, Duration::from_millis(50)).expect("it is up");
                    if sent.await.expect("it does not panic") == Told::Answered {
                        break;
                    }
                    if Instant::now() >= until {
                        return self.shared.world.wrong(format!("{app} does not answer at {}", edge.name));
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn comes_to_rest(&self) {
        let until = Instant::now() + REST;
        while let Some(why) = self.unrest().await {
            if self.shared.world.is_wrong() {
                return;
            }
            if Instant::now() >= until {
                return self.shared.world.wrong(format!("no rest: {why}"));
            }
            sleep(Duration::from_secs(2)).await;
        }
    }

    /// Why this is not rest: nothing runs, what is made ahead the ledger knows, nobody holds anything.
    async fn unrest(&self) -> Option<String> {
        let Ok((records, now_ms)) = self.shared.ledger.records().await else { return Some("lost".into()) };
        for (id, record) in &records {
            if !matches!(record.phase, Phase::Cold | Phase::Broken { .. }) || record.leased(now_ms) {
                return Some(format!("{id} is {record:?}"));
            }
        }
        for (id, container) in &self.shared.engine.state().containers {
            let known = records.get(id).and_then(|record| record.poised.as_ref()).map(|p| p.gate);
            let gate = container.gate.filter(|gate| !gate.marked).map(|gate| gate.name);
            if container.life != Life::Waits || gate.is_none() || known != gate {
                return Some(format!("{id} has {container:?}, and the ledger {:?}", records.get(id)));
            }
        }
        let poised = |record: &func_model::Record| record.poised.is_some();
        for (id, _) in records.iter().filter(|(_, record)| poised(record)) {
            if !self.shared.engine.state().containers.contains_key(id) {
                return Some(format!("{id} is poised in the ledger, and there is nothing"));
            }
        }
        let marks = std::fs::read_dir(self.shared.data.run("stopping")).map_or(0, Iterator::count);
        if marks > 0 || !self.cleaner.is_idle() {
            return Some(format!("{marks} stops are marked, or a turn is taken"));
        }
        None
    }
}
