//! Strangers at git's doors: costly key exchanges, crowds of connections that never say who they are, and handshakes
//! without end.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::stranger::{connect, is_closed};
use crate::client::{Repo, git_command};
use crate::world::{World, until};

/// How many connections of one address may be starting.
const OF_ONE: usize = 24;
/// The key that the server lets in.
const OWN: &str = "id_ed25519";
/// How many of all.
const OF_ALL: usize = 64;

fn address(url: &str) -> SocketAddr {
    let place = url.split("://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address");
    place.rsplit('@').next().and_then(|address| address.parse().ok()).expect("an address")
}

/// The options of the real ssh, and the server as its target.
fn ssh(world: &World, key: &str, options: &[&str]) -> Command {
    let door = address(&world.ssh_url("x"));
    let mut command = Command::new("ssh");
    command.args(["-F", "/dev/null", "-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null"]);
    command.args(["-oBatchMode=yes", "-oIdentitiesOnly=yes", "-oLogLevel=INFO"]).args(options);
    command.arg("-i").arg(world.path(key)).arg("-p").arg(door.port().to_string());
    command.arg("func@127.0.0.1").arg("git-upload-pack 'nothing'");
    command
}

fn said(mut command: Command) -> String {
    let out = command.output().expect("it runs");
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

/// A connection to a door from an address of this machine's loopback network; the first line that the door says.
fn connection(door: SocketAddr, from: [u8; 4]) -> (std::net::TcpStream, String) {
    let stream = connect(door, from);
    let mut line = Vec::new();
    let mut byte = [0];
    while line.last() != Some(&b'\n') && matches!((&stream).read(&mut byte), Ok(1)) {
        line.push(byte[0]);
    }
    (stream, String::from_utf8_lossy(&line).into_owned())
}

/// Opens connections from one address; gives those that were let in.
fn crowd(door: SocketAddr, from: [u8; 4], count: usize) -> Vec<std::net::TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let (stream, line) = connection(door, from);
        if line.starts_with("SSH-2.0-") {
            held.push(stream);
        } else {
            assert!(line.is_empty() || line.contains("func: too many connections"), "{line}");
        }
    }
    held
}

#[test]
fn strangers_keep_neither_the_cpu_nor_the_places_from_those_who_are_known() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    only_cheap_exchanges_are_offered(&world);
    repo.push(&world.ssh_url("blog")).succeeded();
    crowds_leave_a_place(&world, &repo);
    handshakes_without_end_leave_the_app_alone(&world);
    an_http_door_is_left_by_who_does_not_say_who_it_is(&world, &repo);
}

fn only_cheap_exchanges_are_offered(world: &World) {
    for costly in [
        "diffie-hellman-group18-sha512",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group14-sha256",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha256",
        "ecdh-sha2-nistp521",
    ] {
        let said = said(ssh(world, OWN, &[&format!("-oKexAlgorithms={costly}")]));
        assert!(said.contains("no matching key exchange method found"), "{costly}: {said}");
    }
    let weak = said(ssh(world, OWN, &["-oCiphers=aes128-ctr", "-oMACs=hmac-sha1"]));
    assert!(weak.contains("no matching MAC found"), "{weak}");
    for cheap in ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"] {
        let said = said(ssh(world, OWN, &[&format!("-oKexAlgorithms={cheap}")]));
        assert!(said.contains("there is no app `nothing` yet"), "{cheap}: {said}");
    }
}

fn crowds_leave_a_place(world: &World, repo: &Repo) {
    let door = address(&world.ssh_url("x"));
    let mut held = crowd(door, [127, 0, 0, 2], OF_ONE + 10);
    assert_eq!(held.len(), OF_ONE, "one address has its share");
    held.extend(crowd(door, [127, 0, 0, 3], OF_ONE + 10));
    assert!(held.len() <= 2 * OF_ONE, "{}", held.len());
    repo.commit("beside two crowds");
    repo.push(&world.ssh_url("blog")).succeeded();
    // Now every place is taken, and more would be.
    for last in 4..12 {
        held.extend(crowd(door, [127, 0, 0, last], OF_ONE));
    }
    let open = held.iter().filter(|stream| !is_closed(stream)).count();
    assert!(open <= OF_ALL, "{open} connections that nobody knows are open");
    repo.commit("beside ten crowds");
    repo.push(&world.ssh_url("blog")).succeeded();
    assert!(held.iter().any(is_closed), "one of them had to go for it");
}

/// Eight clients that shake hands and are refused, again and again, beside a warm app.
fn handshakes_without_end_leave_the_app_alone(world: &World) {
    world.make_key("stranger", "ed25519");
    let (over, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if said(ssh(world, "stranger", &["-oIdentityAgent=none"])).contains("Permission denied") {
                        refused.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        until("handshakes are under way", || refused.load(Ordering::Relaxed) > 8);
        let answers: Vec<_> = (0..50).map(|_| world.get("blog.localhost", "/")).collect();
        over.store(true, Ordering::Relaxed);
        assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    });
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = githost_threads(world.pid());
    assert!(!threads.is_empty(), "the git host has threads of its own");
    // One more waits for the git host's end; those that read the disk are as far behind.
    let behind = threads.iter().filter(|nice| **nice > 0).count();
    assert!(behind >= 1 && threads.len() - behind <= 1, "on {cpus} CPUs: {threads:?}");
}

/// The nice values of the threads that are the git host's.
fn githost_threads(pid: u32) -> Vec<i32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process lives");
    let stats = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let nice = |stat: String| {
        let (name, fields) = stat.split_once('(')?.1.rsplit_once(") ")?;
        // The fields after the name begin with the state, which is the third of proc(5); nice is the nineteenth.
        let nice = fields.split(' ').nth(16)?.parse().ok()?;
        (name == "githost").then_some(nice)
    };
    stats.filter_map(nice).collect()
}

fn an_http_door_is_left_by_who_does_not_say_who_it_is(world: &World, repo: &Repo) {
    let door = address(&world.http_url("x"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut held = Vec::new();
    for last in 2..12 {
        for _ in 0..40 {
            let stream = runtime.block_on(async {
                let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
                socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).expect("an address");
                socket.connect(door).await.expect("connected").into_std().expect("a stream")
            });
            stream.set_nonblocking(false).expect("set");
            let _ = (&stream).write_all(b"GET /blog.git/info/refs?service=git-rec");
            held.push(stream);
        }
    }
    repo.commit("over HTTP beside a crowd");
    let mut push = git_command(&world.path("id_ed25519"));
    push.current_dir(repo.path()).args(["push", &world.http_url("blog"), "main"]);
    let said = said(push);
    assert!(said.contains("is live"), "{said}");
}
