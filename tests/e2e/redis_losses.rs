//! The ledger's Redis is stopped, restarted, frozen, slow, or cut off from one edge. What is warm answers all the time, at
//! both edges; what is cold answers when Redis is back, or is refused in good order; nothing is stopped under traffic.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::apart::{Apart, SERVICES};
use crate::chaos::{Chaos, Fault};
use crate::client::Repo;
use crate::visitor::{Answer, Chat, Visitor, get, stream};
use crate::world::{machine_turn, until};

const EDGES: [&str; 2] = ["edge", "edge2"];
/// What is not used is stopped soon, so that what is stopped wrongly is seen.
const SETTINGS: &[(&str, &str)] = &[("idle", "5s")];
/// What a call to Redis takes at least when it is slow.
const SLOW: Duration = Duration::from_millis(200);
/// What a call takes at least when Redis is frozen: then it is given up.
const FROZEN: Duration = Duration::from_millis(func_model::limits::LEDGER_CALL_MS);
/// The longest time without a warm answer on a machine that is busy with everything else.
const STRETCH: Duration = Duration::from_secs(5);
/// How long a request may wait for a start, and room for a slow machine.
const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_redis_that_is_lost_in_any_way_costs_what_is_warm_nothing_and_what_is_cold_a_pause() {
    let _turn = machine_turn();
    std::thread::scope(|scope| {
        let scenes: Vec<_> = [
            ("stopped for a minute", stopped_for_a_minute as fn()),
            ("restarted empty, frozen, slow", restarted_empty_then_frozen_then_slow),
            ("restarted with an old file", restarted_with_an_old_file),
            ("cut off from one edge", cut_off_from_one_edge),
        ]
        .map(|(name, scene)| {
            (
                name,
                std::thread::Builder::new().name(name.into()).spawn_scoped(scope, scene).expect("a thread"),
            )
        })
        .into();
        let ended: Vec<_> = scenes.into_iter().map(|(name, scene)| (name, scene.join())).collect();
        let failed: Vec<_> = ended.iter().filter(|(_, ended)| ended.is_err()).map(|(name, _)| name).collect();
        assert!(failed.is_empty(), "Redis was {failed:?}: see above");
    });
}

fn stopped_for_a_minute() {
    let scene = Scene::new(Apart::new(SETTINGS));
    let crowd = scene.crowd(&EDGES, "shop", "hello one", 70);
    let lost = Instant::now();
    scene.apart.redis.kill();
    while lost.elapsed() < Duration::from_secs(60) {
        for answer in EDGES.map(|edge| scene.get(edge, "blog", "/")) {
            assert_eq!(answer.status, 503, "it sleeps, and nobody can wake it: {answer:?}");
            in_good_order(&answer);
        }
        std::thread::sleep(Duration::from_secs(10));
    }
    scene.apart.redis.start();
    scene.blog_answers();
    crowd.was_served(&[("stopped", lost, Instant::now())]);
}

fn restarted_empty_then_frozen_then_slow() {
    let mut apart = Apart::prepared(SETTINGS);
    let chaos = Chaos::to(apart.redis.addr());
    start_through(&mut apart, &SERVICES, &chaos);
    let scene = Scene::new(apart);
    let crowd = scene.crowd(&EDGES, "shop", "hello one", 50);

    let lost = Instant::now();
    scene.apart.redis.kill();
    scene.apart.redis.start();
    scene.blog_answers();

    let frozen = Instant::now();
    scene.apart.redis.pause();
    while frozen.elapsed() < Duration::from_secs(20) {
        EDGES.map(|edge| scene.get(edge, "blog", "/")).iter().for_each(in_good_order);
        std::thread::sleep(Duration::from_secs(5));
    }
    scene.apart.redis.resume();
    scene.blog_answers();

    let slow = Instant::now();
    chaos.set(Fault::Slow(SLOW));
    for answer in EDGES.map(|edge| scene.get(edge, "blog", "/")) {
        assert_eq!(answer.status, 200, "Redis is only slow: {answer:?}");
    }
    std::thread::sleep(Duration::from_secs(10).saturating_sub(slow.elapsed()));
    chaos.set(Fault::Well);
    crowd.was_served(&[
        ("restarted empty", lost, frozen),
        ("frozen", frozen, slow),
        ("slow", slow, Instant::now()),
    ]);
}

/// The file knows a release that is not live any more, an app that is gone, and a rest that is over.
fn restarted_with_an_old_file() {
    let scene = Scene::new(Apart::new(SETTINGS));
    let world = &scene.apart.world;
    Repo::site(world, "soon gone").push(&world.ssh_url("gone")).succeeded();
    scene.apart.redis.cli(&["SAVE"]);
    scene.shop.write("version", "two");
    scene.shop.commit("the second");
    scene.shop.push(&world.ssh_url("shop")).succeeded();
    assert!(world.func(&["rm", "gone", "--yes"]).status.success());
    let says = |edge: &str, app: &str| scene.get(edge, app, "/").status;
    until("both edges know", || {
        EDGES
            .iter()
            .all(|edge| says(edge, "gone") == 404 && scene.get(edge, "shop", "/").body().contains("two"))
    });
    let crowd = scene.crowd(&EDGES, "shop", "hello two", 30);
    let woken = scene.crowd(&EDGES, "blog", "hello one", 30);
    let first = format!("{}-shop-v1.1", world.installation);
    until("the first release is stopped", || !world.containers().contains(&first));
    let (lost, restored) = (Instant::now(), || world.log().matches("restored the ledger").count());
    let before = restored();
    scene.apart.redis.kill();
    scene.apart.redis.start();
    scene.apart.redis.answers();
    assert!(scene.apart.redis.log().contains("DB loaded from disk"), "{}", scene.apart.redis.log());
    until("the ledger is restored", || restored() > before);
    // Longer than a lease, and than the idle time after it.
    while lost.elapsed() < Duration::from_secs(25) {
        EDGES.iter().for_each(|edge| assert_eq!(says(edge, "gone"), 404));
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(!world.containers().contains(&first));
    let lost = [("restarted with an old file", lost, Instant::now())];
    crowd.was_served(&lost);
    woken.was_served(&lost);
}

fn cut_off_from_one_edge() {
    let mut apart = Apart::prepared(SETTINGS);
    let chaos = Chaos::to(apart.redis.addr());
    start_through(&mut apart, &["edge2"], &chaos);
    let scene = Scene::new(apart);
    let world = &scene.apart.world;
    Repo::app(world, "alone").push(&world.ssh_url("solo")).succeeded();
    let crowd = scene.crowd(&EDGES, "shop", "hello one", 40);
    // The cleaner reaches Redis, and sees there that nobody has a lease on it.
    let solo = scene.crowd(&["edge2"], "solo", "hello alone", 40);
    let cut = Instant::now();
    chaos.set(Fault::Cut);
    in_good_order(&scene.get("edge2", "blog", "/"));
    until("what is warm answers at the edge that is cut off and has not used it before", || {
        assert_eq!(scene.get("edge", "blog", "/").status, 200);
        scene.get("edge2", "blog", "/").status == 200
    });
    // Twice a lease's life and the idle time.
    std::thread::sleep(Duration::from_secs(30).saturating_sub(cut.elapsed()));
    let well = Instant::now();
    chaos.set(Fault::Well);
    scene.blog_answers();
    crowd.was_served(&[("cut off from one edge", cut, well)]);
    solo.was_served(&[("cut off from the only edge", cut, well)]);
    until("what nobody uses any more is stopped", || world.containers().is_empty());
}

/// Starts all services, some of them with the proxy between them and Redis.
fn start_through(apart: &mut Apart, services: &[&str], chaos: &Chaos) {
    services.iter().for_each(|name| apart.redis_at(name, &chaos.url()));
    SERVICES.iter().for_each(|name| apart.start(name));
    apart.ready();
}

/// What is refused is refused within the deadline, and says when to come back.
fn in_good_order(answer: &Answer) {
    let seconds = answer.header("retry-after").and_then(|value| value.parse::<u64>().ok());
    let told = answer.status == 200 || answer.status == 503 && seconds.is_some_and(|s| s > 0);
    assert!(told && answer.took < DEADLINE, "{answer:?}");
}

/// func with two apps: `shop` is live, `blog` sleeps.
struct Scene {
    apart: Apart,
    shop: Repo,
}

impl Scene {
    fn new(apart: Apart) -> Self {
        let world = &apart.world;
        let shop = Repo::app(world, "one");
        shop.push(&world.ssh_url("blog")).succeeded();
        shop.push(&world.ssh_url("shop")).succeeded();
        until("blog sleeps", || !world.containers().iter().any(|name| name.contains("-blog-")));
        Self { apart, shop }
    }

    fn get(&self, edge: &str, app: &str, path: &str) -> Answer {
        get(self.apart.edge_addr(edge), app, path)
    }

    fn blog_answers(&self) {
        for edge in EDGES {
            until(&format!("blog answers at the {edge}"), || {
                let answer = self.get(edge, "blog", "/");
                in_good_order(&answer);
                answer.status == 200
            });
        }
    }

    /// People who use an app at some edges, one of them each on a stream of `seconds`.
    fn crowd(&self, edges: &[&str], app: &str, says: &'static str, seconds: u64) -> Crowd {
        for edge in edges {
            until(&format!("{app} is warm at the {edge}"), || self.get(edge, app, "/").body().contains(says));
        }
        let addrs: Vec<_> = edges.iter().map(|edge| self.apart.edge_addr(edge)).collect();
        let at_each = || addrs.iter().copied();
        Crowd {
            process: get(addrs[0], app, "/start").body().to_owned(),
            visitors: at_each().map(|edge| Visitor::of(edge, app)).collect(),
            chats: at_each().map(|edge| Chat::of(edge, app)).collect(),
            streams: at_each().map(|edge| stream(edge, app, seconds)).collect(),
            says,
            app: app.to_owned(),
            addrs,
            seconds,
        }
    }
}

/// People who use one app.
struct Crowd {
    app: String,
    says: &'static str,
    addrs: Vec<SocketAddr>,
    /// When the app's process was started.
    process: String,
    visitors: Vec<Visitor>,
    chats: Vec<Chat>,
    streams: Vec<JoinHandle<Answer>>,
    seconds: u64,
}

impl Crowd {
    /// All were served all the time, by one process, and in these times as fast as ever.
    fn was_served(self, times: &[(&str, Instant, Instant)]) {
        for stream in self.streams {
            let answer = stream.join().expect("no panic");
            let whole =
                answer.status == 200 && answer.body().contains(&format!("data: {}\n", self.seconds - 1));
            assert!(whole, "a stream of {} was broken off: {answer:?}", self.app);
        }
        for chat in self.chats {
            let answered = chat.end().unwrap_or_else(|e| panic!("a WebSocket of {} broke: {e}", self.app));
            assert!(answered > self.seconds / 2, "a WebSocket of {} was answered {answered} times", self.app);
        }
        for visitor in self.visitors {
            let visits = visitor.end();
            let good = |answer: &Answer| answer.status == 200 && answer.body().contains(self.says);
            let failed: Vec<_> = visits.iter().filter(|(_, answer)| !good(answer)).collect();
            assert!(failed.is_empty(), "of {} visits to {} failed: {failed:?}", visits.len(), self.app);
            for (what, from, to) in times {
                let within: Vec<_> = visits.iter().filter(|(asked, _)| asked >= from && asked < to).collect();
                as_fast_as_ever(&format!("{} while Redis was {what}", self.app), &within);
            }
        }
        for edge in self.addrs {
            assert_eq!(get(edge, &self.app, "/start").body(), self.process, "{} was started anew", self.app);
        }
    }
}

/// Warm answers did not wait for Redis, and there was never a long stretch without one. On a machine that is busy with
/// everything else any answer may take long, so it is the faster ones that are compared: had they asked a slow Redis, the
/// fastest would have taken longer than it does, and of a frozen one all.
fn as_fast_as_ever(what: &str, visits: &[&(Instant, Answer)]) {
    let mut took: Vec<_> = visits.iter().map(|(_, answer)| answer.took).collect();
    took.sort();
    let part = |percent: usize| took[took.len() * percent / 100];
    println!("{what}: {} answers, {:?}, {:?}, {:?}", took.len(), part(25), part(50), part(90));
    assert!(part(25) < SLOW, "{what}: a quarter of the answers took less than {:?}", part(25));
    assert!(part(90) < FROZEN, "{what}: a tenth of the answers took more than {:?}", part(90));
    let came = |visit: &(Instant, Answer)| visit.0 + visit.1.took;
    let stretch = visits.windows(2).map(|pair| came(pair[1]).duration_since(came(pair[0]))).max();
    assert!(stretch.is_some_and(|stretch| stretch < STRETCH), "{what}: no answer for {stretch:?}");
}
