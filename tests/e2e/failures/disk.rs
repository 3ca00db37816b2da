//! A disk that is full, on a small file system of the test's own.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use super::answer;
use super::table::tell;
use crate::client::Repo;
use crate::world::{World, until};

/// A func whose data folder is a file system of 64 MB.
struct SmallDisk {
    world: World,
}

impl SmallDisk {
    fn new() -> Self {
        let small = Self { world: World::prepared(&[("idle", "5s")]) };
        let (data, aside) = (small.world.data(), small.world.path("aside"));
        std::fs::rename(&data, &aside).expect("set aside");
        std::fs::create_dir(&data).expect("a folder to mount on");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs"]).arg(&data));
        run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(&data));
        small
    }

    /// Takes all the space there is.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.world.data().join("filler")).expect("a file");
        let full = |wrote: std::io::Result<()>| match wrote {
            Ok(()) => false,
            Err(e) if e.kind() == std::io::ErrorKind::StorageFull => true,
            Err(e) => panic!("the disk cannot be filled: {e}"),
        };
        for size in [1 << 20, 4_096, 1] {
            while !full(filler.write_all(&vec![1; size])) {}
        }
    }

    /// Gives some of it back.
    fn leave(&self, bytes: u64) {
        let filler = self.world.data().join("filler");
        let filler = std::fs::File::options().write(true).open(filler).expect("it is there");
        let size = filler.metadata().expect("its size").len();
        filler.set_len(size - bytes).expect("made smaller");
    }

    fn free(&self) {
        std::fs::remove_file(self.world.data().join("filler")).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        self.world.stop();
        let _ = Command::new("umount").arg("-l").arg(self.world.data()).output();
    }
}

fn run(command: &mut Command) {
    let out = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{command:?}: {said}; this test mounts a small file system: run it as root"
    );
}

/// The file of a size in the repository, so that the push needs space.
fn grow(repo: &Repo, text: &str) {
    repo.write("index.html", text);
    let noise: Vec<u8> =
        (0..2_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    std::fs::write(Path::new(repo.path()).join("noise"), noise).expect("written");
    repo.commit("more");
}

#[test]
fn a_full_disk_refuses_a_push_and_loses_nothing() {
    let mut disk = SmallDisk::new();
    disk.world.start();
    let world = &disk.world;
    let repo = Repo::site(world, "one");
    repo.push(&world.ssh_url("shop")).succeeded();
    Repo::site(world, "asleep").push(&world.ssh_url("blog")).succeeded();
    until("one sleeps", || world.get("shop.localhost", "/").0 == 200 && world.phase("blog") == "poised");
    disk.fill();
    let began = Instant::now();
    let running = answer(world.get("shop.localhost", "/"));
    let running_took = began.elapsed();
    let began = Instant::now();
    let sleeping = answer(world.get("blog.localhost", "/"));
    let sleeping_took = began.elapsed();
    grow(&repo, "two");
    let refused = repo.push(&world.ssh_url("shop")).failed();
    assert!(refused.contains("the server's disk is nearly full"), "{refused}");
    // More than is kept free, and less than the push.
    disk.leave(5 << 20);
    let refused = repo.push(&world.ssh_url("shop")).failed();
    assert!(refused.contains("No space left on device"), "{refused}");
    assert_eq!(answer(world.get("shop.localhost", "/")), "200 one");
    // All that was warm has slept meanwhile, and wakes on the full disk.
    until("all sleep", || ["poised", "cold"].contains(&world.phase("shop").as_str()));
    until("it wakes", || world.get("shop.localhost", "/") == (200, "one".into()));
    disk.free();
    let began = Instant::now();
    repo.push(&world.ssh_url("shop")).succeeded();
    let pushed = answer(world.get("shop.localhost", "/"));
    let push_took = began.elapsed();
    assert_eq!((running.as_str(), sleeping.as_str(), pushed.as_str()), ("200 one", "200 asleep", "200 two"));
    assert_eq!(answer(world.get("blog.localhost", "/")), "200 asleep");
    tell(
        "the disk is full: a push",
        "the push is refused: the server's disk is nearly full; the old release serves on",
        running_took,
    );
    tell("the disk is full: a running app", &running, running_took);
    tell("the disk is full: a sleeping app", &sleeping, sleeping_took);
    tell("there is space again: the same push", &pushed, push_took);
}
