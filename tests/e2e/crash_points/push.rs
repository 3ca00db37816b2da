//! A push, a rollback, a removal: builder, git host and git's hook are ended.

use std::thread::JoinHandle;

use func_crash::VARIABLE;

use super::scene::{EDGES, Scene};
use crate::apart::Apart;
use crate::client::{Pushed, Repo};
use crate::load::{Habit, Load};
use crate::world::until;

const DEPLOYS: &[&str] = &[
    "after_queued",
    "after_attempt",
    "after_number",
    "after_image",
    "after_tag",
    "after_manifest",
    "after_introduce",
    "after_first_start",
    "after_start",
    "after_current",
    "after_promote",
    "after_left",
    "after_told",
];
const FAILURES: &[&str] = &["after_given_up", "after_retire", "after_unmade", "after_note"];
const ROLLBACKS: &[&str] = &["after_passed_over", "after_start", "after_current", "after_promote"];
const REMOVALS: &[&str] = &["after_aside", "after_app_removed", "after_dropped", "after_cleared"];
const GIT_HOST: &[&str] = &["after_repository", "after_git_began", "after_git_ended"];
const HOOK: &[&str] = &["after_receive", "after_asked", "after_verdict"];

pub fn tried() -> Vec<&'static str> {
    [DEPLOYS, FAILURES, ROLLBACKS, REMOVALS, GIT_HOST, HOOK].concat()
}

/// A cause that pushes once, and where the push is found then.
fn pushed_once<'a>(
    repo: &'a Repo,
    app: &'static str,
    push: &'a mut Option<JoinHandle<Pushed>>,
) -> impl FnMut(&Apart, u32) + 'a {
    move |apart, calls| {
        if calls == 0 {
            *push = Some(repo.push_in_background(&apart.world.ssh_url(app)));
        }
    }
}

fn ended(push: Option<JoinHandle<Pushed>>) -> Pushed {
    push.expect("it was pushed").join().expect("git ran")
}

/// What was pushed is live in the end, whatever the pusher was told; who was told nothing good was told why.
pub fn deploys() {
    let mut scene = Scene::new("deploys", &[("frozen-memory", "0")], &EDGES);
    let repo = Repo::site(&scene.apart.world, "hello 0");
    repo.push(&scene.apart.world.ssh_url("blog")).succeeded();
    let load = Load::start(EDGES.map(|edge| Habit::hello(scene.apart.edge_addr(edge), "blog")).into());
    for (n, point) in DEPLOYS.iter().enumerate() {
        let says = format!("hello {}", n + 1);
        repo.write("index.html", &says);
        repo.commit("next");
        let mut push = None;
        scene.end_at(point, pushed_once(&repo, "blog", &mut push));
        let Pushed { ok, text } = ended(push);
        let told = match ok {
            true => ["is live"; 2],
            false => {
                ["the builder stopped before the deploy of blog ended", "blog is stored, but not deployed"]
            }
        };
        assert!(told.iter().any(|told| text.contains(told)), "{point}: {text}");
        let ready = scene.restart(point);
        scene.serves("blog", &says);
        scene.settles(point, ready);
        repo.push(&scene.apart.world.ssh_url("blog")).succeeded();
    }
    let counts = load.end();
    assert_eq!(counts.failed(), 0, "{:#?}", counts.failures());
    scene.ends();
}

pub fn failures_rollbacks_and_removals() {
    let mut scene = Scene::new("failures", &[("frozen-memory", "0")], &EDGES);
    failures(&mut scene);
    rollbacks(&mut scene);
    removals(&mut scene);
    scene.ends();
}

/// The old release stays, the pusher is told, and the revision is not tried for ever.
fn failures(scene: &mut Scene) {
    let repo = Repo::app(&scene.apart.world, "one");
    let url = scene.apart.world.ssh_url("shop");
    repo.push(&url).succeeded();
    for point in FAILURES {
        repo.write("behave", "exit");
        repo.commit("a bad change");
        let mut push = None;
        scene.end_at(point, pushed_once(&repo, "shop", &mut push));
        ended(push).failed();
        let ready = scene.restart(point);
        let head = repo.git(&["rev-parse", "HEAD"]);
        until("its failure is noted", || {
            let failed = std::fs::read_to_string(scene.apart.world.data().join("manifest/shop/failed"));
            failed.is_ok_and(|failed| failed.trim() == head)
        });
        scene.settles(point, ready);
        scene.answers("shop", "hello one");
    }
    repo.write("behave", "");
    repo.write("version", "two");
    repo.commit("mended");
    repo.push(&url).succeeded();
    scene.answers("shop", "hello two");
}

/// Runs a command until it says so. The cleaner may be removing what is left of the app: then it is busy.
fn is_done(scene: &Scene, command: &[&str], says: &str) {
    until(&format!("func {command:?} says {says}"), || {
        let out = scene.apart.world.func(command);
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        assert!(said.contains(says) || said.contains("try again"), "{command:?}: {said}");
        said.contains(says)
    });
}

/// One that was interrupted can be repeated, one that was committed is live.
fn rollbacks(scene: &mut Scene) {
    let repo = Repo::site(&scene.apart.world, "hello one");
    let url = scene.apart.world.ssh_url("blog");
    repo.push(&url).succeeded();
    repo.write("index.html", "hello two");
    repo.commit("the second");
    repo.push(&url).succeeded();
    for point in ROLLBACKS {
        scene.end_at(point, |apart, _| drop(apart.world.func(&["rollback", "blog"])));
        let ready = scene.restart(point);
        let done = ["after_current", "after_promote"].contains(point);
        scene.serves("blog", if done { "hello one" } else { "hello two" });
        scene.settles(point, ready);
        is_done(scene, &["rollback", "blog", "v1"], if done { "live already" } else { "is live" });
        scene.answers("blog", "hello one");
        is_done(scene, &["rollback", "blog", "v2"], "is live");
    }
}

/// A removal that was begun ends; the next app of the name is a new one.
fn removals(scene: &mut Scene) {
    for point in REMOVALS {
        let repo = Repo::site(&scene.apart.world, "hello old");
        let url = scene.apart.world.ssh_url("gone");
        repo.push(&url).succeeded();
        scene.end_at(point, |apart, _| drop(apart.world.func(&["rm", "gone", "--yes"])));
        let ready = scene.restart(point);
        let data = scene.apart.world.data();
        until("nothing of it is left", || {
            let projects = std::fs::read_dir(data.join("projects")).expect("a folder").flatten();
            let left = projects.filter(|entry| entry.file_name().to_string_lossy().contains("gone")).count();
            left == 0 && !data.join("manifest/gone/current").exists() && !data.join("logs/gone").exists()
        });
        until("it is unknown", || {
            EDGES.iter().all(|edge| scene.ask(edge, "gone").join().expect("curl ran").0 == 404)
        });
        scene.settles(point, ready);
        // Its instance ended after that.
        assert!(!data.join("logs/gone").exists(), "{point}: its logs are back");
        is_done(scene, &["rm", "gone", "--yes"], "there is no app gone");
        repo.write("index.html", "hello new");
        repo.commit("a new life");
        repo.push(&url).succeeded();
        scene.answers("gone", "hello new");
        is_done(scene, &["rm", "gone", "--yes"], "gone is removed");
    }
}

pub fn what_git_host_and_hook_do() {
    let mut scene = Scene::new("git", &[("frozen-memory", "0")], &EDGES);
    git_host(&mut scene);
    hook(&mut scene);
    scene.ends();
}

/// A push that broke off can be repeated; one that git has taken is released.
fn git_host(scene: &mut Scene) {
    let repo = Repo::site(&scene.apart.world, "hello git");
    for point in GIT_HOST {
        let mut push = None;
        repo.commit("next");
        scene.end_at(point, pushed_once(&repo, "blog", &mut push));
        ended(push).failed();
        let ready = scene.restart(point);
        if *point == "after_git_ended" {
            scene.serves("blog", "hello git");
        }
        repo.push(&scene.apart.world.ssh_url("blog")).succeeded();
        scene.serves("blog", "hello git");
        scene.settles(point, ready);
    }
}

/// What git has taken is released, though its hook could not tell anybody.
fn hook(scene: &mut Scene) {
    let repo = Repo::app(&scene.apart.world, "one");
    let url = scene.apart.world.ssh_url("shop");
    repo.push(&url).succeeded();
    for point in HOOK {
        let fails = *point == "after_verdict";
        repo.write("version", point);
        repo.write("behave", if fails { "exit" } else { "" });
        repo.commit("next");
        scene.apart.stop("githost");
        scene.apart.start_with("githost", &[(VARIABLE, point)]);
        scene.apart.ready();
        let Pushed { ok, text } = repo.push(&url);
        assert!(
            text.contains(&format!("{VARIABLE}: ended at {point}")),
            "the hook did not end there: {text}"
        );
        assert_eq!(ok, !fails, "{point}: {text}");
        let since = std::time::Instant::now();
        let live = if fails { "after_asked" } else { point };
        scene.serves("shop", &format!("hello {live}"));
        scene.settles(point, since);
        scene.apart.stop("githost");
        scene.apart.start("githost");
        scene.apart.ready();
    }
}
