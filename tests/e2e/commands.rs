//! The commands, as a user types them.

use std::process::{Command, Output};

use crate::client::Repo;
use crate::world::{World, until};

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
fn every_command_has_help() {
    for command in [
        "", "serve", "apps", "logs", "releases", "rollback", "pin", "unpin", "rm", "df", "init", "token",
        "doctor", "health",
    ] {
        let args = [command, "--help"];
        let args = args.iter().filter(|a| !a.is_empty());
        let out = Command::new(env!("CARGO_BIN_EXE_func")).args(args).output().expect("func runs");
        assert!(out.status.success() && text(&out).contains("Usage:"), "{command}: {}", text(&out));
    }
}

#[test]
fn apps_shows_release_phase_and_url() {
    let world = World::with(&[("idle", "5s")]);
    assert!(text(&world.func(&["apps"])).contains("no apps yet"));
    Repo::site(&world, "one").push(&world.ssh_url("blog")).succeeded();
    let shown = text(&world.func(&["apps"]));
    let url = format!("http://blog.localhost:{}", world.edge().port());
    let row = shown.lines().find(|l| l.starts_with("blog")).expect("a row");
    assert!(
        row.contains("v1") && row.contains("warm") && row.contains("s ago") && row.contains(&url),
        "{shown}"
    );
    until("it sleeps", || world.phase("blog") == "poised");
}

#[test]
fn logs_show_what_the_app_printed_in_this_life_and_the_last() {
    let world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    until("its lines are there", || text(&world.func(&["logs", "shop"])).contains("listening on 8080"));
    until("it sleeps", || world.containers().is_empty());
    until("its last words are kept", || text(&world.func(&["logs", "shop"])).contains("asked to stop"));
    assert!(text(&world.func(&["logs", "--build", "shop"])).contains("COPY testapp"));
    let out = world.func(&["logs", "nobody"]);
    assert!(!out.status.success() && text(&out).contains("nobody"), "{}", text(&out));
}

#[test]
fn logs_follow_an_app_through_sleep_and_wake() {
    let world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let file = world.path("followed");
    let mut follow = Command::new(env!("CARGO_BIN_EXE_func"))
        .args(["logs", "-f", "shop"])
        .env("FUNC_DATA", world.data())
        .stdout(std::fs::File::create(&file).expect("a file"))
        .spawn()
        .expect("func runs");
    let count = |words: &str| std::fs::read_to_string(&file).unwrap_or_default().matches(words).count();
    until("it is followed", || count("listening on 8080") == 1);
    until("it sleeps", || world.containers().is_empty());
    assert_eq!(world.get("shop.localhost", "/").0, 200);
    until("its next life is followed", || count("listening on 8080") == 2);
    follow.kill().expect("it is ours");
    follow.wait().expect("it has ended");
}

#[test]
fn rm_removes_everything_of_an_app_and_of_no_other() {
    let world = World::new();
    Repo::site(&world, "one").push(&world.ssh_url("one")).succeeded();
    Repo::site(&world, "two").push(&world.ssh_url("two")).succeeded();
    let out = world.func(&["rm", "one"]);
    assert!(!out.status.success() && text(&out).contains("--yes"), "{}", text(&out));
    let out = world.func(&["rm", "one", "--yes"]);
    assert!(out.status.success(), "{}", text(&out));
    assert_eq!(world.get("one.localhost", "/").0, 404);
    assert!(
        !world.data().join("projects/one.git").exists()
            && !world.data().join("manifest/one/current").exists()
    );
    until("its container is gone", || world.containers().iter().all(|name| name.contains("-two-")));
    assert_eq!(world.get("two.localhost", "/"), (200, "two".into()));
    let out = world.func(&["rm", "one", "--yes"]);
    assert!(!out.status.success() && text(&out).contains("one"), "{}", text(&out));
    Repo::site(&world, "again").push(&world.ssh_url("one")).succeeded();
    assert_eq!(world.get("one.localhost", "/"), (200, "again".into()));
}

#[test]
fn init_adds_the_remote_and_a_push_works_then() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    let init = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_func"));
        command.arg("init").args(args).env("FUNC_DATA", world.data()).current_dir(repo.path());
        command.output().expect("func runs")
    };
    let out = init(&["blog"]);
    assert!(out.status.success(), "{}", text(&out));
    assert!(
        text(&out).contains("git push func main") && text(&out).contains("http://blog.localhost"),
        "{}",
        text(&out)
    );
    repo.try_git(&["push", "func", "main"]).succeeded();
    assert!(init(&["blog"]).status.success(), "twice is the same as once");
    let out = init(&["other"]);
    assert!(!out.status.success() && text(&out).contains("git remote remove func"), "{}", text(&out));
}

#[test]
fn doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    let world = World::new();
    let ask = |args: &[&str]| {
        let mut all = vec![
            "doctor",
            "--edge-listen",
            "127.0.0.1:0",
            "--ssh-listen",
            "127.0.0.1:0",
            "--http-listen",
            "off",
        ];
        all.extend(args);
        world.func(&all)
    };
    let out = ask(&[]);
    assert!(out.status.success(), "{}", text(&out));
    assert!(text(&out).contains("docker: fine") && text(&out).contains("git: fine"), "{}", text(&out));
    let out = ask(&["--docker", "/nowhere/docker.sock"]);
    assert!(!out.status.success() && text(&out).contains("docker: WRONG"), "{}", text(&out));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let out =
        world.func(&["doctor", "--edge-listen", &address, "--ssh-listen", "off", "--http-listen", "off"]);
    assert!(!out.status.success() && text(&out).contains("edge port: WRONG"), "{}", text(&out));
    let out = Command::new(env!("CARGO_BIN_EXE_func"))
        .args(["doctor", "--edge-listen", "127.0.0.1:0", "--ssh-listen", "off", "--http-listen", "off"])
        .env("FUNC_DATA", world.data())
        .env("PATH", "/nowhere")
        .output()
        .expect("func runs");
    assert!(!out.status.success() && text(&out).contains("git: WRONG"), "{}", text(&out));
    let out = world.func(&["doctor", "--data", "/proc/nowhere"]);
    assert!(!out.status.success() && text(&out).contains("data: WRONG"), "{}", text(&out));
    let out = ask(&["--redis", "redis://127.0.0.1:1"]);
    assert!(!out.status.success() && text(&out).contains("redis: WRONG"), "{}", text(&out));
}
