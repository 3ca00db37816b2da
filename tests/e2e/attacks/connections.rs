//! Crowds at the edge: connections that say nothing, heads without end, and as many of both as there may be.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use super::stranger::{connect, is_closed, rest};
use crate::client::Repo;
use crate::visitor::{get, send};
use crate::world::{World, until};

/// The file descriptors of the server in the test of crowds.
const DESCRIPTORS: u32 = 512;
/// The connections that leaves: half of the descriptors are func's own, and a connection needs two.
const OF_ALL: usize = 128;
/// The most connections of one address.
const OF_ONE: usize = 40;

fn head(bytes: usize) -> Vec<u8> {
    let begin = "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\nX-Long: ";
    let end = "\r\n\r\n";
    format!("{begin}{}{end}", "x".repeat(bytes - begin.len() - end.len())).into_bytes()
}

fn crowd(door: SocketAddr, from: [u8; 4], count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| connect(door, from)).collect()
}

fn open(crowd: &[TcpStream]) -> usize {
    crowd.iter().filter(|stream| !is_closed(stream)).count()
}

#[test]
fn a_head_has_a_size_and_a_time_and_a_silent_connection_an_end() {
    let world = World::with(&[("head-size", "8K"), ("head-time", "2s"), ("keep-alive", "4s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let edge = world.edge();
    assert_eq!(send(edge, &head(8 * 1024)).expect("an answer").status, 200, "as large as it may be");
    // Of no app: many servers take fewer fields.
    let fields = |number: usize| {
        let fields: String = (3..=number).map(|n| format!("X-{n}: x\r\n")).collect();
        format!("GET / HTTP/1.1\r\nHost: nobody.localhost\r\nConnection: close\r\n{fields}\r\n").into_bytes()
    };
    assert_eq!(send(edge, &fields(256)).expect("an answer").status, 404, "as many fields as there may be");
    assert_eq!(send(edge, &fields(257)).expect("an answer").status, 431);
    let large = send(edge, &head(8 * 1024 + 1)).expect("an answer");
    assert_eq!(large.status, 431, "{large:?}");
    assert!(large.text.contains("at most 8192 bytes"), "{large:?}");
    let endless = connect(edge, [127, 0, 0, 1]);
    // The edge closes before all of it is sent.
    let _ = (&endless).write_all(&vec![b'x'; 16 * 1024 * 1024]);
    assert!(!rest(&endless).contains("200 OK"));

    let (dripped, silent) = (connect(edge, [127, 0, 0, 1]), connect(edge, [127, 0, 0, 1]));
    let mut bytes = head(4 * 1024).into_iter();
    until("the dripped head is refused", || {
        let byte = bytes.next().expect("the head outlasts its time");
        std::thread::sleep(std::time::Duration::from_millis(20));
        (&dripped).write_all(&[byte]).is_err() || {
            let mut first = [0];
            dripped.set_nonblocking(true).expect("set");
            let come = matches!(dripped.peek(&mut first), Ok(1));
            dripped.set_nonblocking(false).expect("set");
            come
        }
    });
    assert!(rest(&dripped).starts_with("HTTP/1.1 408 "));
    until("the silent one is closed", || is_closed(&silent));

    let kept = connect(edge, [127, 0, 0, 1]);
    (&kept).write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").expect("sent");
    let said = rest(&kept);
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("hello one"), "closed in the end: {said}");
}

#[test]
fn a_crowd_takes_no_place_of_others_and_nothing_of_funcs_own() {
    // No timeout helps within this test.
    let settings = [("connections-per-address", OF_ONE.to_string()), ("head-time", "5m".to_owned())];
    let mut world = World::prepared(&settings.each_ref().map(|(name, value)| (*name, value.as_str())));
    world.descriptors = Some(DESCRIPTORS);
    world.start();
    let repo = Repo::app(&world, "one");
    repo.push(&world.ssh_url("shop")).succeeded();
    let edge = world.edge();
    let one = crowd(edge, [127, 0, 0, 9], 3 * OF_ONE);
    until("one address keeps as many as it may", || open(&one) <= OF_ONE);
    assert!(open(&one) > 0, "it loses no more than it has too many");
    let others: Vec<_> = (10..30).flat_map(|last| crowd(edge, [127, 0, 0, last], OF_ONE)).collect();
    // None makes room for others in its first second.
    let visit = || until("a visitor finds room", || get(edge, "shop", "/").text.ends_with("hello one"));
    (0..5).for_each(|_| visit());
    until("there are not more than may be", || open(&one) + open(&others) <= OF_ALL);
    // Half a head each, and each as large as it may be.
    for stream in others.iter().filter(|stream| !is_closed(stream)) {
        stream.set_nonblocking(false).expect("set");
        let _ = { stream }.write_all(&head(32 * 1024)[..31 * 1024]);
    }
    visit();
    repo.write("version", "two");
    repo.commit("pushed in the crowd");
    repo.push(&world.ssh_url("shop")).succeeded();
    let apps = world.func(&["apps"]);
    assert!(apps.status.success() && String::from_utf8_lossy(&apps.stdout).contains("  v2  "), "{apps:?}");
    until("a visitor finds the new release", || get(edge, "shop", "/").body() == "hello two");
}
