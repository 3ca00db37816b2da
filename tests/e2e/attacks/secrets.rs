//! Passwords and tokens of URLs, and whoever reads what func prints.

use std::fs;
use std::process::{Command, Output, Stdio};

/// A secret that no output may show.
const SECRET: &str = "s3cr3t";

#[test]
fn a_password_in_a_url_is_in_no_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let func = |args: &[&str], env: &[(&str, &str)]| {
        // What takes a wrong value would serve for ever.
        let mut command = Command::new("timeout");
        command.args(["-k", "1", "15", env!("CARGO_BIN_EXE_func")]);
        command.args(args).env("FUNC_DATA", &data).envs(env.iter().copied()).stdin(Stdio::null());
        command.output().expect("func runs")
    };
    let url = format!("redis://:{SECRET}@127.0.0.1:1");
    // Each with a word that shows that the case is the one that was meant.
    quiet("redis: WRONG", &func(&["doctor"], &[("FUNC_REDIS", &url)]));
    quiet("docker: WRONG", &func(&["doctor", "--docker", &format!("tcp://me:{SECRET}@127.0.0.1:1")], &[]));
    quiet("the ledger", &func(&["serve", "edge", "--help"], &[("FUNC_REDIS", &url)]));
    for wrong in ["redis:/:s3cr3t@host", ":s3cr3t@host", "redis://:s3cr3t@host:port", "http://:s3cr3t@host"] {
        quiet("the setting `redis`", &func(&["serve", "edge", "--redis", wrong], &[]));
        quiet("the setting `redis`", &func(&["health", "edge"], &[("FUNC_REDIS", wrong)]));
    }
    quiet("unexpected argument", &func(&["serve", "edge", &format!("--reddis={url}")], &[]));
    fs::create_dir_all(&data).expect("made");
    fs::write(data.join("func-server.toml"), format!("idle = \"5s\"\nredis = \"{url}\n")).expect("written");
    quiet("line 2", &func(&["serve", "edge"], &[]));
    fs::remove_file(data.join("func-server.toml")).expect("it was there");
    // An edge that finds no Redis says so after a while.
    let mut edge = Command::new("timeout");
    edge.args(["-k", "1", "7", env!("CARGO_BIN_EXE_func"), "serve", "edge", "--edge-listen", "127.0.0.1:0"]);
    edge.args(["--drain", "0s", "--redis", &url, "--log", "debug"])
        .env("FUNC_DATA", &data)
        .stdin(Stdio::null());
    quiet("not ready yet", &edge.output().expect("it runs"));
}

#[test]
fn a_token_in_a_git_remote_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).current_dir(folder.path()).output().expect("git runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    git(&["init", "-q"]);
    git(&["remote", "add", "func", &format!("http://{SECRET}@127.0.0.1:7080/blog.git")]);
    let mut init = Command::new(env!("CARGO_BIN_EXE_func"));
    init.args(["init", "blog", "--server"])
        .arg(format!("http://func:{SECRET}@host"))
        .current_dir(folder.path());
    quiet("the remote `func` is", &init.output().expect("func runs"));
    git(&["remote", "remove", "func"]);
    quiet("The remote `func` is", &init.output().expect("func runs"));
}

#[track_caller]
fn quiet(expected: &str, out: &Output) {
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(said.contains(expected), "{expected}: {said}");
    for part in [SECRET, "s3cr", "3t@"] {
        assert!(!said.contains(part), "{part} is shown: {said}");
    }
}
