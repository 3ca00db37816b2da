//! A freeze, a stop: the cleaner is ended.

use super::scene::{EDGES, Scene};
use super::wake::waits_for_the_next_cleaner;
use crate::client::Repo;

const FREEZES: &[&str] = &["after_freeze", "after_pause", "after_frozen"];
const RESUMES: &[&str] = &["after_resume"];
const STOPS: &[&str] = &[
    "after_cool",
    "after_mark",
    "after_stop",
    "after_output",
    "after_remove",
    "after_unmark",
    "after_cooled",
];

pub fn tried() -> Vec<&'static str> {
    [FREEZES, RESUMES, STOPS].concat()
}

pub fn freezes() {
    let mut scene = Scene::new("freezes", &[("poised-memory", "256M"), ("frozen-memory", "1G")], &EDGES);
    let repo = Repo::app(&scene.apart.world, "one");
    repo.write("func.toml", "freeze = \"3s\"\nidle = \"1h\"\n");
    repo.commit("settings");
    repo.push(&scene.apart.world.ssh_url("shop")).succeeded();
    for point in FREEZES {
        // It is paused when nobody has asked for a while.
        scene.crash(point, |_, _| {});
        scene.answers("shop", "hello one");
    }
    for point in RESUMES {
        scene.until_phase("shop", "frozen");
        waits_for_the_next_cleaner(&mut scene, point, "shop", (200, "hello one"));
        scene.answers("shop", "hello one");
    }
    scene.ends();
}

pub fn stops() {
    let mut scene = Scene::new("stops", &[("poised-memory", "0"), ("frozen-memory", "0")], &EDGES);
    let repo = Repo::site(&scene.apart.world, "hello");
    repo.push(&scene.apart.world.ssh_url("blog")).succeeded();
    for point in STOPS {
        scene.crash(point, |apart, _| Scene::rest(apart, "blog"));
        scene.answers("blog", "hello");
    }
    scene.ends();
}
