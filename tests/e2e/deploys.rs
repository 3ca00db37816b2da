//! From a push to an answer, and what a push that fails leaves.

use crate::client::{Repo, slow_dockerfile};
use crate::world::{World, until};

#[test]
fn a_static_site_is_live_after_a_push_over_ssh() {
    let world = World::new();
    let repo = Repo::site(&world, "hello from a site");
    let said = repo.push(&world.ssh_url("blog")).succeeded();
    assert!(said.contains("remote: -----> blog-v1 is live"), "{said}");
    assert!(said.contains(&format!("http://blog.localhost:{}", world.edge().port())), "{said}");
    assert_eq!(world.get("blog.localhost", "/"), (200, "hello from a site".into()));
}

#[test]
fn a_dockerfile_app_is_live_after_a_push_over_http() {
    let world = World::new();
    let repo = Repo::app(&world, "one");
    let said = repo.push(&world.http_url("shop")).succeeded();
    assert!(said.contains("shop-v1 is live"), "{said}");
    assert!(said.contains("COPY testapp"), "the build's own steps are shown: {said}");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_dockerfile_app_over_ssh_and_a_site_over_http_work_as_well() {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    Repo::site(&world, "a site").push(&world.http_url("blog")).succeeded();
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert_eq!(world.get("blog.localhost", "/"), (200, "a site".into()));
}

#[test]
fn a_second_push_replaces_the_first() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    repo.push(&world.ssh_url("blog")).succeeded();
    repo.write("index.html", "two");
    repo.commit("the second");
    let said = repo.push(&world.ssh_url("blog")).succeeded();
    assert!(said.contains("blog-v2 is live"), "{said}");
    assert_eq!(world.get("blog.localhost", "/"), (200, "two".into()));
    until("only the second release runs", || {
        let containers = world.containers();
        containers.iter().all(|name| name.ends_with("blog-v2.1"))
    });
}

/// Pushes a change that fails, and checks that the old release serves on.
#[track_caller]
fn fails(world: &World, repo: &Repo, change: impl Fn(&Repo)) -> String {
    change(repo);
    repo.commit("a bad change");
    let said = repo.push(&world.ssh_url("shop")).failed();
    assert!(said.contains("v1 stays live"), "{said}");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    let (ok, releases) = (world.func(&["releases", "shop"]), "v1");
    let shown = String::from_utf8_lossy(&ok.stdout).into_owned();
    assert!(shown.contains(releases) && !shown.contains("v2"), "{shown}");
    said
}

fn live() -> (World, Repo) {
    let world = World::new();
    let repo = Repo::app(&world, "one");
    repo.push(&world.ssh_url("shop")).succeeded();
    (world, repo)
}

#[test]
fn a_push_that_does_not_build_leaves_the_old_release_and_says_why() {
    let (world, repo) = live();
    let said = fails(&world, &repo, |repo| repo.write("Dockerfile", "FROM scratch\nCOPY nothing-here /\n"));
    assert!(said.contains("nothing-here"), "{said}");
}

#[test]
fn a_push_that_never_listens_leaves_the_old_release_and_says_why() {
    let (world, repo) = live();
    let said = fails(&world, &repo, |repo| repo.write("behave", "silent"));
    assert!(said.contains("shop-v2 did not answer on port 8080 within 30 s"), "{said}");
    assert!(said.contains("listen on $PORT"), "{said}");
}

#[test]
fn a_push_that_crashes_at_start_leaves_the_old_release_and_shows_its_last_lines() {
    let (world, repo) = live();
    let said = fails(&world, &repo, |repo| repo.write("behave", "exit"));
    assert!(said.contains("exit status 3") && said.contains("the database is not there"), "{said}");
}

#[test]
fn a_failed_push_can_be_mended_by_the_next() {
    let (world, repo) = live();
    fails(&world, &repo, |repo| repo.write("behave", "exit"));
    repo.write("behave", "");
    repo.write("version", "two");
    repo.commit("mended");
    repo.push(&world.ssh_url("shop")).succeeded();
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
}

#[test]
fn a_rollback_makes_the_older_release_live_again() {
    let (world, repo) = live();
    repo.write("version", "two");
    repo.commit("the second");
    repo.push(&world.ssh_url("shop")).succeeded();
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
    let out = world.func(&["rollback", "shop"]);
    assert!(out.status.success(), "{out:?}");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert!(world.func(&["rollback", "shop", "v2"]).status.success());
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
    let out = world.func(&["rollback", "shop", "v9"]);
    assert!(!out.status.success(), "{out:?}");
}

#[test]
fn what_func_toml_says_is_done() {
    let world = World::new();
    let repo = Repo::app(&world, "one");
    let toml = "port = 9000\nhosts = [\"shop.example.org\"]\nhealth = \"/start\"\nidle = \"1h\"\n\
                [env]\nCOLOUR = \"green\"\n[limits]\nmemory = \"64M\"\n";
    repo.write("func.toml", toml);
    repo.commit("settings");
    let said = repo.push(&world.ssh_url("shop")).succeeded();
    assert!(said.contains("http://shop.example.org"), "{said}");
    let (status, env) = world.get("SHOP.Example.org:80", "/env");
    assert_eq!(status, 200);
    assert!(env.contains("\"COLOUR\": \"green\"") && env.contains("\"PORT\": \"9000\""), "{env}");
    let name = format!("{}-shop-v1.1", world.installation);
    assert_eq!(crate::world::docker(&["inspect", "-f", "{{.HostConfig.Memory}}", &name]), "67108864");
}

#[test]
fn a_host_that_another_app_has_is_refused() {
    let world = World::new();
    let site = |name: &str, hosts: &str| {
        let repo = Repo::site(&world, name);
        repo.write("func.toml", &format!("hosts = [{hosts}]\n"));
        repo.commit("hosts");
        repo.push(&world.ssh_url(name))
    };
    site("one", "\"example.org\"").succeeded();
    let said = site("two", "\"example.org\"").failed();
    assert!(said.contains("example.org") && said.contains("one"), "{said}");
    let said = site("three", "\"one.localhost\"").failed();
    assert!(said.contains("one.localhost"), "{said}");
    assert_eq!(world.get("example.org", "/"), (200, "one".into()));
}

#[test]
fn other_branches_tags_and_deletions_deploy_nothing() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    let url = world.ssh_url("blog");
    let said = repo.try_git(&["push", &url, "main:topic"]).succeeded();
    assert!(said.contains("git push func topic:main"), "{said}");
    assert_eq!(world.get("blog.localhost", "/").0, 404);
    repo.git(&["tag", "v1.0"]);
    let said = repo.try_git(&["push", &url, "main", "v1.0", "main:other"]).succeeded();
    assert!(said.contains("blog-v1 is live"), "{said}");
    repo.try_git(&["push", &url, ":topic", ":v1.0"]).succeeded();
    repo.try_git(&["push", &url, ":main"]).succeeded();
    assert_eq!(world.get("blog.localhost", "/"), (200, "one".into()));
}

#[test]
fn a_forced_push_is_deployed() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    repo.push(&world.ssh_url("blog")).succeeded();
    repo.write("index.html", "rewritten");
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-q", "--amend", "-m", "another history"]);
    repo.push(&world.ssh_url("blog")).failed();
    repo.try_git(&["push", "--force", &world.ssh_url("blog"), "main"]).succeeded();
    assert_eq!(world.get("blog.localhost", "/"), (200, "rewritten".into()));
}

#[test]
fn of_many_pushes_at_once_the_last_wins_and_the_superseded_are_told() {
    let world = World::new();
    let repo = Repo::app(&world, "0");
    // The first is built for as long as it takes the others to arrive.
    repo.write("Dockerfile", &slow_dockerfile(8));
    let mut pushes = Vec::new();
    for n in 1..=4 {
        repo.write("version", &n.to_string());
        repo.commit("next");
        pushes.push(repo.push_in_background(&world.ssh_url("shop")));
        until("the push arrives", || {
            let head = std::fs::read_to_string(world.data().join("projects/shop.git/refs/heads/main"));
            head.unwrap_or_default().trim() == repo.git(&["rev-parse", "HEAD"])
        });
    }
    let said: Vec<_> = pushes.into_iter().map(|push| push.join().expect("git ran")).collect();
    let last = said.last().expect("four of them");
    assert!(last.ok && last.text.contains("is live"), "{}", last.text);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello 4".into()));
    assert!(said.iter().any(|pushed| pushed.text.contains("superseded")), "nobody was superseded");
    for pushed in &said {
        assert!(pushed.text.contains("is live") || pushed.text.contains("superseded"), "{}", pushed.text);
    }
}
