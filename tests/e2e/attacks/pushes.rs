//! Pushes of a few kilobytes that ask for all of a machine.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::client::Repo;
use crate::world::{World, memory};

/// How much memory func may have taken at its peak, in bytes.
const MEMORY_MAX: u64 = 200 * 1024 * 1024;

/// Gives git an input, and gives the id of the object that it makes of it.
fn made(repo: &Repo, args: &[&str], input: &[u8]) -> String {
    let mut git = Command::new("git")
        .args(args)
        .current_dir(repo.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git runs");
    git.stdin.take().expect("its input").write_all(input).expect("written");
    let out = git.wait_with_output().expect("git ends");
    assert!(out.status.success(), "git {args:?}");
    String::from_utf8(out.stdout).expect("an id").trim().to_owned()
}

fn tree(repo: &Repo, entries: &str) -> String {
    made(repo, &["mktree"], entries.as_bytes())
}

fn commit(repo: &Repo, tree: &str) -> String {
    repo.git(&["commit-tree", "-m", "a bomb", tree])
}

/// Folders in one another, each of which holds the next `wide` times, around one file of a megabyte.
fn nested(repo: &Repo, deep: usize, wide: usize) -> String {
    let file = made(repo, &["hash-object", "-w", "--stdin"], &vec![0; 1024 * 1024]);
    let dockerfile = made(repo, &["hash-object", "-w", "--stdin"], b"FROM scratch\nCMD [\"/x\"]\n");
    let mut inner = tree(repo, &format!("100644 blob {file}\tf\n"));
    for _ in 0..deep {
        let entries: String = (0..wide).map(|n| format!("040000 tree {inner}\t{n}\n")).collect();
        inner = tree(repo, &entries);
    }
    let root = format!("100644 blob {dockerfile}\tDockerfile\n040000 tree {inner}\tz\n");
    commit(repo, &tree(repo, &root))
}

fn long_path(repo: &Repo) -> String {
    let file = made(repo, &["hash-object", "-w", "--stdin"], b"x");
    let mut inner = tree(repo, &format!("100644 blob {file}\tindex.html\n"));
    for _ in 0..5 {
        inner = tree(repo, &format!("040000 tree {inner}\t{}\n", "n".repeat(1_000)));
    }
    commit(repo, &tree(repo, &format!("100644 blob {file}\tindex.html\n040000 tree {inner}\tz\n")))
}

/// A commit whose message is a hundred thousand times its pack.
fn long_message(repo: &Repo) -> String {
    let file = made(repo, &["hash-object", "-w", "--stdin"], b"x");
    let root = tree(repo, &format!("100644 blob {file}\tindex.html\n"));
    let head = format!("tree {root}\nauthor A <a@a> 1 +0000\ncommitter A <a@a> 1 +0000\n\n");
    let message = [head.as_bytes(), &vec![b'm'; 100 * 1024 * 1024]].concat();
    made(repo, &["hash-object", "-t", "commit", "-w", "--stdin"], &message)
}

/// Each is refused with a reason and what to do, and none takes func's memory or what is live; nor does a func that
/// starts with all of them in its repositories.
#[test]
fn small_pushes_that_stand_for_large_work_are_refused() {
    let mut world = World::with(&[("context-size", "256M")]);
    let warm = Repo::app(&world, "1");
    warm.write(".gitattributes", "version export-subst\n");
    warm.write("version", "1 $Format:%B$");
    warm.commit(&"all of this message ".repeat(1_000));
    let told = warm.push(&world.ssh_url("warm")).succeeded();
    assert!(told.contains("export-subst is switched off"), "{told}");
    let answer = (200, "hello 1 $Format:%B$".to_owned());
    assert_eq!(world.get("warm.localhost", "/"), answer);

    let repo = Repo::empty(&world);
    let bombs = [
        ("wide", nested(&repo, 5, 16), "MiB or more; at most 256 MiB are built", "`context-size`"),
        ("narrow", nested(&repo, 60, 2), "MiB or more; at most 256 MiB are built", "`context-size`"),
        ("deep", nested(&repo, 1_000, 1), "more than 128 deep in one another", "fewer folders"),
        ("path", long_path(&repo), "longer than 4096 bytes", "shorter names"),
        ("message", long_message(&repo), "more than 1024 KiB of message", "git commit --amend"),
    ];
    for (app, id, reason, hint) in &bombs {
        let said = repo.try_git(&["push", &world.ssh_url(app), &format!("{id}:refs/heads/main")]).failed();
        assert!(said.contains(reason) && said.contains(hint), "{app}: {said}");
        assert_eq!(world.get("warm.localhost", "/"), answer, "{app}");
    }
    assert_eq!(repo.git(&["ls-remote", &world.ssh_url("message")]), "", "no ref was made");
    let many: String = (0..10_001).map(|n| format!("create refs/heads/many/{n} {}\n", bombs[0].1)).collect();
    made(&repo, &["update-ref", "--stdin"], many.as_bytes());
    let said = repo.try_git(&["push", &world.ssh_url("many"), "refs/heads/many/*"]).failed();
    assert!(said.contains("this push changes 10001 refs, at most 10000 at once"), "{said}");
    assert_eq!(repo.git(&["ls-remote", &world.ssh_url("many")]), "", "no ref was made");
    let (_, peak) = memory(world.pid());
    assert!(peak < MEMORY_MAX, "func took {peak} bytes");

    world.stop();
    let before = world.log().len();
    world.start();
    assert_eq!(world.get("warm.localhost", "/"), answer);
    let (_, peak) = memory(world.pid());
    assert!(peak < MEMORY_MAX, "func took {peak} bytes at its start");
    let again = world.log()[before..].contains("has a commit that is not deployed yet");
    assert!(!again, "nothing is built again");
}
