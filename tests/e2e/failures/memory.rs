//! func itself out of memory, in a memory cgroup of the test's own.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::answer;
use super::table::tell;
use crate::client::Repo;
use crate::load::{Habit, Load};
use crate::world::{World, until};

/// A cgroup with hardly any memory. It is removed when its processes have ended.
struct Tight(PathBuf);

impl Tight {
    fn new(name: &str) -> Self {
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let tight = Self(if v1.exists() { v1.join(name) } else { Path::new("/sys/fs/cgroup").join(name) });
        let made = std::fs::create_dir(&tight.0);
        made.unwrap_or_else(|e| {
            panic!("{}: {e}; this test makes a cgroup: run it as root", tight.0.display())
        });
        tight
    }

    fn write(&self, name: &str, value: &str) {
        std::fs::write(self.0.join(name), value).unwrap_or_else(|e| panic!("{name}: {e}"));
    }

    /// Puts a process in: it may keep what it has, and is killed when it wants much more.
    fn take(&self, pid: u32) {
        let limit = if self.0.join("memory.limit_in_bytes").exists() {
            "memory.limit_in_bytes"
        } else {
            "memory.max"
        };
        self.write(limit, "1048576");
        self.write("cgroup.procs", &pid.to_string());
    }

    /// How many processes the kernel has killed here.
    fn killed(&self) -> u64 {
        let read = |name| std::fs::read_to_string(self.0.join(name)).unwrap_or_default();
        let text = read("memory.oom_control") + &read("memory.events");
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        let began = Instant::now();
        while std::fs::remove_dir(&self.0).is_err() && began.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn func_is_killed_for_its_memory_and_no_app_is_lost() {
    let mut world = World::new();
    // It is removed after the world, and its processes, are gone.
    let tight = Tight::new(&format!("{}-tight", world.installation));
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    Repo::site(&world, "asleep").push(&world.ssh_url("blog")).succeeded();
    let containers = world.containers();
    tight.take(world.pid());
    let edge = world.edge();
    let load = Load::start((0..64).map(|_| Habit::hello(edge, "shop")).collect());
    until("the kernel kills it", || tight.killed() > 0);
    world.kill();
    drop(load);
    let url = format!("http://{edge}/");
    let gone = std::process::Command::new("curl").args(["-s", "--max-time", "10", &url]).output();
    assert_eq!(gone.expect("curl runs").status.code(), Some(7), "nobody listens");
    let began = Instant::now();
    world.start();
    let said = answer(world.get("shop.localhost", "/"));
    let took = began.elapsed();
    assert_eq!(said, "200 hello one");
    assert_eq!(world.get("blog.localhost", "/"), (200, "asleep".into()));
    assert_eq!(world.containers(), containers, "what ran runs on");
    tell(
        "func uses more than its memory and is killed",
        &format!("no connection; when it is started again: {said}"),
        took,
    );
}
