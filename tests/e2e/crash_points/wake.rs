//! A wake: edge and cleaner are ended.

use std::time::Instant;

use super::scene::{Asked, EDGES, Scene};
use crate::apart::Apart;
use crate::client::Repo;
use crate::world::docker;

const CLAIMS: &[&str] =
    &["after_claim", "after_opened", "after_gate", "after_passed", "after_ready", "after_woken"];
/// Of those, the ones after which nobody else asks.
const ALONE: &[&str] = &["after_claim", "after_gate"];
const BAD_START: &[&str] = &["after_failed"];
const GONE: &[&str] = &["after_gone"];
const LEASES: &[&str] = &["after_kept"];
const STARTS: &[&str] = &["after_create", "after_container_start", "after_started"];
const AHEAD: &[&str] =
    &["after_gate_made", "after_create", "after_container_start", "after_held", "after_poised"];
const PLAN: &[&str] = &["after_settle", "after_step"];
const SPENT: &[&str] = &["after_kill"];
const CRASHED_APP: &[&str] = &["after_discard"];
const RESTORE: &[&str] = &["after_restore"];

pub fn tried() -> Vec<&'static str> {
    let edges = [CLAIMS, BAD_START, GONE, LEASES].concat();
    let cleaner = [STARTS, AHEAD, PLAN, SPENT, CRASHED_APP, RESTORE].concat();
    [edges, cleaner].concat()
}

/// What is made ahead is found, nothing is frozen.
const POISED: &[(&str, &str)] = &[("poised-memory", "256M"), ("frozen-memory", "0")];

/// Pushes the same page as each of these apps.
fn push_all(apart: &Apart, apps: &[String]) {
    let repo = Repo::site(&apart.world, "hello");
    let pushes: Vec<_> = apps.iter().map(|app| repo.push_in_background(&apart.world.ssh_url(app))).collect();
    for push in pushes {
        push.join().expect("git ran").succeeded();
    }
}

fn numbered(name: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{name}{n}")).collect()
}

/// An app that starts well, but not when it was made ahead.
fn push_bad(apart: &Apart) {
    let repo = Repo::app(&apart.world, "one");
    let command = "if [ -e /.func-gate ]; then echo the disk is gone; exit 9; fi; exec /testapp";
    let file =
        format!("FROM busybox:stable\nCOPY testapp version behave /\nCMD [\"sh\", \"-c\", \"{command}\"]\n");
    repo.write("Dockerfile", &file);
    repo.commit("fails later");
    repo.push(&apart.world.ssh_url("bad")).succeeded();
}

fn container(apart: &Apart, app: &str) -> String {
    format!("{}-{app}-v1.1", apart.world.installation)
}

/// The edge is ended. Its own clients may see that; those of the other one only wait.
pub fn edges() {
    let mut scene = Scene::new("edges", POISED, &["edge2"]);
    let (alone, shared) = (numbered("alone", ALONE.len()), numbered("shared", CLAIMS.len()));
    push_bad(&scene.apart);
    push_all(&scene.apart, &[&alone[..], &shared[..]].concat());
    alone.iter().chain(&shared).for_each(|app| scene.until_phase(app, "poised"));
    let mut ready = Instant::now();
    // Nobody else asks for it: it comes to rest, or into service, by itself.
    for (point, app) in ALONE.iter().zip(&alone) {
        scene.end_at(point, |apart, _| ask_until_it_ends(apart, app));
        ready = scene.restart(point);
    }
    scene.settles("a claim that nobody ended", ready);
    let mut waiting: Vec<Asked> = Vec::new();
    for (point, app) in CLAIMS.iter().zip(&shared) {
        scene.end_at(point, |apart, _| ask_until_it_ends(apart, app));
        waiting.push(scene.ask("edge2", app));
        ready = scene.restart(point);
    }
    for asked in waiting {
        assert_eq!(asked.join().expect("curl ran"), (200, "hello".to_owned()), "a client of the other edge");
    }
    scene.settles("a claim that others wait for", ready);
    alone.iter().chain(&shared).for_each(|app| scene.answers(app, "hello"));
    edge_without_a_start(&mut scene, &alone[0]);
    scene.ends();
}

/// The answer may be cut off, as the edge is.
fn ask_until_it_ends(apart: &Apart, app: &str) {
    drop(super::scene::ask(apart.edge_addr("edge"), app).join());
}

fn edge_without_a_start(scene: &mut Scene, app: &str) {
    for point in LEASES {
        scene.crash(point, |apart, _| ask_until_it_ends(apart, app));
        scene.answers(app, "hello");
    }
    for point in GONE {
        scene.crash(point, |apart, _| {
            let ask = || super::scene::ask(apart.edge_addr("edge"), app);
            if ask().join().expect("curl ran").0 == 200 {
                docker(&["kill", &container(apart, app)]);
                drop(ask().join());
            }
        });
        scene.answers(app, "hello");
    }
    for point in BAD_START {
        scene.until_phase("bad", "poised");
        scene.crash(point, |apart, _| ask_until_it_ends(apart, "bad"));
    }
}

/// Calls `cause` the first time only.
fn once(cause: impl Fn(&Apart)) -> impl FnMut(&Apart, u32) {
    move |apart, calls| {
        if calls == 0 {
            cause(apart);
        }
    }
}

/// The cleaner is ended while it starts something: whoever asked for it waits.
pub fn starts() {
    let mut scene = Scene::new("starts", &[("poised-memory", "0"), ("frozen-memory", "0")], &EDGES);
    push_all(&scene.apart, &["blog".to_owned()]);
    for point in STARTS {
        crate::world::until("it may rest", || {
            Scene::rest(&scene.apart, "blog");
            scene.apart.world.phase("blog") == "cold"
        });
        waits_for_the_next_cleaner(&mut scene, point, "blog", (200, "hello"));
        scene.answers("blog", "hello");
    }
    scene.ends();
}

/// Ends the cleaner at a point to which a request leads, and checks what the request is answered by the next.
pub fn waits_for_the_next_cleaner(scene: &mut Scene, point: &str, app: &str, answer: (u16, &str)) {
    let mut asked = None;
    scene.crash(point, |apart, calls| {
        if calls == 0 {
            asked = Some(super::scene::ask(apart.edge_addr("edge"), app));
        }
    });
    let (status, text) = asked.expect("it was asked").join().expect("curl ran");
    assert_eq!(status, answer.0, "{point}: {text}");
    assert!(text.contains(answer.1), "{point}: {text}");
}

/// The cleaner is ended while it makes something ahead, and while it puts right what is wrong.
pub fn what_is_made_ahead() {
    let mut scene = Scene::new("ahead", POISED, &EDGES);
    push_bad(&scene.apart);
    push_all(&scene.apart, &["blog".to_owned()]);
    for point in [AHEAD, PLAN].concat() {
        scene.until_phase("blog", "poised");
        scene.crash(point, once(|apart| drop(docker(&["rm", "-f", &container(apart, "blog")]))));
    }
    for point in SPENT {
        scene.until_phase("blog", "poised");
        let all = scene.apart.world.all_containers();
        let blog = all.iter().find(|c| c.name == container(&scene.apart, "blog")).expect("it is there");
        let gate = scene.apart.world.gate(blog.gate.as_ref().expect("it has a gate"));
        std::fs::write(gate.join("opened"), "").expect("marked");
        waits_for_the_next_cleaner(&mut scene, point, "blog", (200, "hello"));
    }
    for point in CRASHED_APP {
        scene.until_phase("bad", "poised");
        waits_for_the_next_cleaner(&mut scene, point, "bad", (503, "bad"));
    }
    for point in RESTORE {
        scene.crash(point, once(|apart| drop(apart.redis.cli(&["FLUSHALL"]))));
    }
    scene.answers("blog", "hello");
    scene.ends();
}
