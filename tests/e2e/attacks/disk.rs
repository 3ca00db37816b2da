//! Pushes that fill the disk. On an engine of the test's own: its build cache goes first.

use std::process::Output;

use crate::client::Repo;
use crate::engine::Engine;
use crate::world::{World, until};

const MIB: u64 = 1 << 20;

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn df(world: &World) -> serde_json::Value {
    let out = world.func(&["df", "--json"]);
    assert!(out.status.success(), "{}", text(&out));
    serde_json::from_slice(&out.stdout).expect("JSON")
}

/// Pushes a page, and a file that takes 10 MiB of the image and next to nothing of the repository.
fn push(world: &World, repo: &Repo, app: &str, page: &str) -> crate::client::Pushed {
    repo.write("index.html", page);
    let fill = page.bytes().cycle().take(10 * MIB as usize).collect::<Vec<_>>();
    std::fs::write(repo.path().join("fill.bin"), fill).expect("written");
    repo.commit(page);
    repo.push(&world.ssh_url(app))
}

/// The releases whose images the engine has.
fn images(engine: &Engine, world: &World, app: &str) -> Vec<String> {
    let listed = engine.docker(&["images", "--format", "{{.Tag}}", &format!("{}/{app}", world.installation)]);
    let mut tags: Vec<String> = listed.lines().map(str::to_owned).collect();
    tags.sort();
    tags
}

fn is_done(out: &Output) {
    assert!(out.status.success(), "{}", text(out));
}

#[test]
fn pushes_beyond_the_budget_push_old_releases_out_and_then_are_refused() {
    let engine = Engine::new();
    let socket = engine.socket();
    let socket = socket.to_str().expect("a path");
    let settings = [("docker", socket), ("build-engine", "shared"), ("disk", "50M"), ("idle", "5s")];
    let mut world = World::prepared(&settings);
    engine.make_network(&world.installation);
    world.start();
    // About 7 MiB of image, and more of build cache.
    Repo::app(&world, "1").push(&world.ssh_url("shop")).succeeded();
    let cache = df(&world)["cache_bytes"].as_u64().expect("a number");
    assert!(cache > MIB, "the build left {cache} bytes");

    let repo = Repo::site(&world, "0");
    for n in 1..=6 {
        push(&world, &repo, "blog", &n.to_string()).succeeded();
        if n == 1 {
            is_done(&world.func(&["pin", "blog", "v1"]));
        }
    }
    until("only what is pinned, live or goes before it stays", || {
        images(&engine, &world, "blog") == ["v1", "v5", "v6"]
    });
    assert_eq!(images(&engine, &world, "shop"), ["v1"]);
    until("the build cache went first", || df(&world)["cache_bytes"].as_u64() < Some(MIB));
    let listed = text(&world.func(&["releases", "blog"]));
    let line = |release: &str| listed.lines().find(|line| line.starts_with(release)).unwrap_or_default();
    assert!(line("v1").contains("pinned") && line("v6").contains("live"), "{listed}");
    assert_eq!(world.get("blog.localhost", "/"), (200, "6".into()));
    is_done(&world.func(&["rollback", "blog"]));
    assert_eq!(world.get("blog.localhost", "/"), (200, "5".into()));
    is_done(&world.func(&["rollback", "blog", "v6"]));

    let report = df(&world);
    let part = &report["parts"][0];
    assert!(part["used_bytes"].as_u64() <= part["budget_bytes"].as_u64(), "{report}");
    let blog =
        report["apps"].as_array().expect("apps").iter().find(|app| app["app"] == "blog").expect("blog");
    let own = blog["images_bytes"].as_u64().expect("a number") / MIB;
    assert!((30..36).contains(&own), "three times 10 MiB: {report}");
    let shown = text(&world.func(&["df"]));
    for words in ["blog", "shop", "(build cache)", "total", "of 50.0 MiB", "First to go:"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }

    let refused = beyond(&world);
    assert!(refused.contains("of 50.0 MiB") && refused.contains("func df"), "{refused}");
    assert!(!world.data().join("projects/third.git").exists(), "nothing is stored");
    assert!(text(&world.func(&["df"])).contains("Pushes are refused"));
    let doctor =
        ["doctor", "--edge-listen", "127.0.0.1:0", "--ssh-listen", "127.0.0.1:0", "--http-listen", "off"];
    let said = text(&world.func(&doctor));
    assert!(said.contains("budget: used up"), "{said}");
    assert_eq!(images(&engine, &world, "blog"), ["v1", "v5", "v6"]);
    assert_eq!(world.get("blog.localhost", "/"), (200, "6".into()));
    assert_eq!(world.get("big.localhost", "/"), (200, "big".into()));

    is_done(&world.func(&["unpin", "blog", "v1"]));
    until("the release that is pinned no more makes room", || {
        images(&engine, &world, "blog") == ["v5", "v6"] && !text(&world.func(&["df"])).contains("refused")
    });
    until("pushes are taken again", || Repo::site(&world, "3").push(&world.ssh_url("third")).ok);
    drop(world);
}

/// Pushes an app that the budget has no room for, and another: what its pusher reads.
fn beyond(world: &World) -> String {
    push(world, &Repo::empty(world), "big", "big").succeeded();
    let small = Repo::site(world, "3");
    let mut refused = String::new();
    until("pushes are refused", || {
        let pushed = small.push(&world.ssh_url("another"));
        refused = pushed.text;
        !pushed.ok
    });
    assert!(refused.contains("the server's disk budget is used up"), "{refused}");
    small.push(&world.ssh_url("third")).failed()
}
