//! Who did it: what the audit log says of people who push, of local users and of strangers.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::client::Repo;
use crate::world::{World, until};

fn audit(world: &World, args: &[&str]) -> String {
    let out = world.func(&[&["audit"], args].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn fingerprint(path: &std::path::Path) -> String {
    let out = Command::new("ssh-keygen").arg("-lf").arg(path).output().expect("ssh-keygen runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.split_whitespace().nth(1).expect("a fingerprint").to_owned()
}

#[track_caller]
fn has(log: &str, line: &str) {
    assert!(log.lines().any(|l| l.ends_with(line)), "{line:?} is missing:\n{log}");
}

#[test]
fn the_audit_log_says_who_pushed_rolled_back_removed_made_a_token_or_was_refused_and_from_where() {
    let world = World::new();
    let mut repo = Repo::site(&world, "one");
    repo.push(&world.ssh_url("blog")).succeeded();
    let own = fingerprint(&world.path("id_ed25519"));
    let first = repo.git(&["rev-parse", "--short=7", "HEAD"]);
    repo.write("index.html", "two");
    repo.commit("two");
    repo.push(&world.http_url("blog")).succeeded();
    let second = repo.git(&["rev-parse", "--short=7", "HEAD"]);
    repo.push(&world.ssh_url("other")).succeeded();
    repo.try_git(&["push", &world.ssh_url("blog"), "HEAD:refs/heads/side"]).succeeded();
    assert!(world.func(&["rollback", "blog"]).status.success());
    assert!(!world.func(&["rollback", "blog", "v77"]).status.success());
    assert!(world.func(&["rm", "blog", "--yes"]).status.success());
    let wrong = world.http_url("blog").replace("func_", "func_0");
    repo.push(&wrong).failed();
    world.make_key("stranger", "ed25519");
    let stranger = fingerprint(&world.path("stranger"));
    repo.use_key(world.path("stranger"));
    repo.push(&world.ssh_url("blog")).failed();
    assert!(world.func(&["token"]).status.success());
    until("the stranger has a line", || audit(&world, &[]).contains(&stranger));

    let log = audit(&world, &[]);
    let us = "by local user root (0)";
    has(&log, &format!("push blog (main {first})  by key {own} from 127.0.0.1"));
    has(&log, &format!("push blog (main {second})  by token from 127.0.0.1"));
    has(&log, &format!("push blog (side)  by key {own} from 127.0.0.1"));
    has(&log, &format!("rollback blog (the release before)  {us}"));
    has(&log, &format!("rollback blog FAILED (v77)  {us}"));
    has(&log, &format!("remove blog  {us}"));
    has(&log, "login REFUSED (a wrong token)  by token from 127.0.0.1");
    has(&log, &format!("login REFUSED (no key that is let in)  by key {stranger} from 127.0.0.1"));
    has(&log, &format!("token (at the first start)  {us}"));
    has(&log, &format!("token (the old one is good no more)  {us}"));

    let json = audit(&world, &["--app", "other", "--json", "-n", "5"]);
    let line: serde_json::Value = serde_json::from_str(json.trim()).expect("one JSON line");
    assert_eq!(line["act"], "push");
    assert_eq!(line["app"], "other");
    assert_eq!(line["by"]["fingerprint"], own.as_str());
    assert_eq!(line["by"]["address"], "127.0.0.1");
    assert_eq!(audit(&world, &["-n", "2"]).lines().count(), 2);
    for name in ["audit.log", "audit-refused.log"] {
        let path = world.data().join("audit").join(name);
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600, "{name}");
        let written = std::fs::read_to_string(path).expect("read");
        assert!(!written.contains(&world.token), "the token is in no log");
    }
}

#[test]
fn the_audit_log_says_which_keys_were_let_in_and_which_no_longer_are() {
    let mut world = World::new();
    let first = fingerprint(&world.path("id_ed25519"));
    let lines = |world: &World, start: &str| {
        audit(world, &[]).lines().filter(|line| line.contains(&format!("keys ({start}"))).count()
    };
    until("the first key has a line", || lines(&world, &format!("added {first}")) == 1);
    world.make_key("second", "ed25519");
    let second = fingerprint(&world.path("second"));
    let file = world.data().join("keys/authorized_keys");
    let before = std::fs::read_to_string(&file).expect("read");
    let key = std::fs::read_to_string(world.path("second.pub")).expect("read");
    let key = key.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let named = format!("{before}restrict {key} \u{1b}[2Jme\u{202e}@home\n");
    std::fs::write(&file, &named).expect("written");
    let line = format!("added {second} me@home)  by local user root (0)");
    until("the second key has a line", || lines(&world, &line) == 1);
    world.stop();
    std::fs::write(&file, &before).expect("written");
    world.start();
    until("its removal has a line", || lines(&world, &format!("removed {second} me@home")) == 1);
    assert_eq!((lines(&world, "added"), lines(&world, "removed")), (2, 1), "{}", audit(&world, &[]));
}
