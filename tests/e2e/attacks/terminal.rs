//! Text of apps and pushers that would deceive whoever reads it on a terminal.

use crate::client::Repo;
use crate::world::{World, until};

/// Turns what follows around, and hides.
const HIDING: &str = "\u{202e}\u{2066}\u{200f}\u{61c}\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}\u{e0041}";
/// Clears a terminal.
const STEERING: &str = "\u{1b}[2J";

/// An image that prints what hides and steers while it is built, and when it runs, and then ends.
fn dockerfile() -> String {
    format!(
        "FROM busybox:stable\nCOPY behave /\nRUN cat /behave && echo built {HIDING}\nCMD [\"sh\", \"-c\", \"cat /behave; exit 1\"]\n"
    )
}

#[track_caller]
fn plain(said: &str) {
    for c in HIDING.chars().chain(['\u{1b}']) {
        assert!(!said.contains(c), "U+{:04X} reaches a terminal: {said:?}", u32::from(c));
    }
}

#[test]
fn nothing_that_hides_or_turns_text_reaches_a_terminal_from_an_app_a_commit_or_a_ref() {
    let world = World::new();
    let repo = Repo::empty(&world);
    repo.write("Dockerfile", &dockerfile());
    repo.write("behave", &format!("printed{HIDING}{STEERING} and gone\n"));
    for config in [
        format!("\"po{HIDING}rt\" = 8080\n"),
        format!("port = \"{HIDING}\"\n"),
        format!("hosts = [\"a{HIDING}.example.org\"]\n"),
        format!("port = \"{STEERING}\"\n"),
    ] {
        repo.write("func.toml", &config);
        repo.commit(&format!("a commit {HIDING}{STEERING}"));
        let said = repo.push(&world.ssh_url("blog")).failed();
        plain(&said);
        assert!(said.contains("func.toml"), "{said}");
    }
    repo.git(&["rm", "-q", "func.toml"]);
    repo.commit("it prints its file, and ends");
    let said = repo.push(&world.ssh_url("blog")).failed();
    plain(&said);
    assert!(said.contains("printed and gone"), "the build and the app have printed it: {said}");
    let name = "side\u{202e}\u{2066}\u{200b}";
    repo.git(&["branch", name]);
    let said = repo.try_git(&["push", &world.ssh_url("blog"), name]).succeeded();
    let ours = |line: &&str| line.contains("remote:");
    plain(&said.lines().filter(ours).collect::<Vec<_>>().join("\n"));
    assert!(said.contains("side"), "{said}");
    let log = || String::from_utf8_lossy(&world.func(&["logs", "blog"]).stdout).into_owned();
    until("the app's log has its line", || log().contains("printed and gone"));
    for command in [&["logs", "--build", "blog"][..], &["logs", "blog"], &["apps"]] {
        let out = world.func(command);
        plain(&String::from_utf8_lossy(&out.stdout));
        plain(&String::from_utf8_lossy(&out.stderr));
    }
    plain(&world.log());
}
