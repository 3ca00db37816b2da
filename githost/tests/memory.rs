//! In a process of its own, because it measures the process: a push of any size needs little memory.

#[path = "githost/world.rs"]
#[allow(dead_code)]
mod world;

use std::fs;
use std::io::Write;

use world::{WAYS, world};

/// How many MiB are pushed.
const SIZE_MIB: usize = 60;
/// How much the process may grow meanwhile, in KiB.
const GROWTH_KIB: u64 = 24 * 1024;

/// The most memory that this process ever had, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("proc");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_push_and_its_clone_are_whole_and_need_little_memory() {
    let world = world().await;
    world.project("work").await;
    let mut random = fs::File::open("/dev/urandom").expect("random bytes");
    let mut file = fs::File::create(world.dir.path().join("work/random")).expect("a file");
    std::io::copy(&mut std::io::Read::take(&mut random, (SIZE_MIB << 20) as u64), &mut file)
        .expect("written");
    file.flush().expect("written");
    world.commit("work", "more", "more").await;
    let pushed = world.id(&world.dir.path().join("work"), "main:random").await;
    // What each door needs at its first use does not count.
    for way in WAYS {
        world
            .must(
                "work",
                &["push", &world.url(way, &format!("warm-{way:?}").to_lowercase()), "main~:refs/heads/main"],
            )
            .await;
    }
    let before = peak_kib();
    for way in WAYS {
        let (url, copy) = (world.url(way, &format!("blog-{way:?}").to_lowercase()), format!("copy-{way:?}"));
        world.must("work", &["push", &url, "main"]).await;
        world.must(".", &["clone", "--quiet", "--bare", &url, &copy]).await;
        assert_eq!(world.id(&world.dir.path().join(copy), "main:random").await, pushed, "{way:?}");
    }
    let growth = peak_kib() - before;
    println!("grew by {growth} KiB from {before} KiB");
    assert!(growth < GROWTH_KIB, "{growth} KiB");
}
