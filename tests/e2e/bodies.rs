//! Bodies and headers on their way through the edge.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::client::Repo;
use crate::world::World;

fn live() -> World {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world
}

#[test]
fn the_app_learns_who_asked_and_nobody_can_pretend() {
    let world = live();
    let forged = [
        "-H",
        "X-Forwarded-For: 6.6.6.6",
        "-H",
        "X-Forwarded-Proto: https",
        "-H",
        "X-Request-Id: mine",
        "-H",
        "Forwarded: for=6.6.6.6",
        "-H",
        "Connection: x-secret",
        "-H",
        "X-Secret: 1",
        "-H",
        "Keep-Alive: 5",
    ];
    let (status, headers) = world.curl("shop.localhost", "/headers", &forged);
    assert_eq!(status, 200);
    let has = |line: &str| headers.lines().any(|l| l == line);
    assert!(has("x-forwarded-for: 127.0.0.1") && has("x-forwarded-proto: http"), "{headers}");
    assert!(has("x-forwarded-host: shop.localhost") && has("host: shop.localhost"), "{headers}");
    assert!(
        !headers.contains("6.6.6.6") && !headers.contains("x-secret") && !headers.contains("keep-alive"),
        "{headers}"
    );
    let id = headers.lines().find_map(|l| l.strip_prefix("x-request-id: ")).expect("a request id");
    assert!(id.len() == 32 && id != "mine", "{headers}");
}

#[test]
fn a_trusted_proxy_in_front_is_believed() {
    let world = World::with(&[("trusted-proxies", "127.0.0.1")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let given =
        ["-H", "X-Forwarded-For: 9.9.9.9", "-H", "X-Forwarded-Proto: https", "-H", "X-Request-Id: mine"];
    let (_, headers) = world.curl("shop.localhost", "/headers", &given);
    let has = |line: &str| headers.lines().any(|l| l == line);
    assert!(has("x-forwarded-for: 9.9.9.9, 127.0.0.1") && has("x-forwarded-proto: https"), "{headers}");
    assert!(has("x-request-id: mine"), "{headers}");
}

fn connect(world: &World) -> TcpStream {
    let stream = TcpStream::connect(world.edge()).expect("the edge listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    stream
}

/// Reads until `wanted` was seen.
fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut buffer = [0; 4_096];
    while !seen.contains(wanted) {
        let read = stream.read(&mut buffer).expect("an answer in time");
        assert!(read > 0, "closed before {wanted:?}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

#[test]
fn both_bodies_stream_at_the_same_time() {
    let world = live();
    let mut stream = connect(&world);
    let head = "POST /duplex HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let mut seen = String::new();
    for word in ["first", "second", "third"] {
        // Each is answered before the next is sent: nothing is buffered on either way.
        stream.write_all(format!("{:x}\r\n{word}\r\n", word.len()).as_bytes()).expect("sent");
        read_until(&mut stream, &mut seen, word);
    }
    stream.write_all(b"0\r\n\r\n").expect("sent");
    read_until(&mut stream, &mut seen, "0\r\n\r\n");
    assert!(seen.starts_with("HTTP/1.1 200"), "{seen}");
}

#[test]
fn a_body_of_known_length_reaches_the_client_as_it_drips() {
    let world = live();
    let mut stream = connect(&world);
    stream.write_all(b"GET /drip?n=3&ms=1500 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").expect("sent");
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "\r\n\r\n.");
    let first = Instant::now();
    read_until(&mut stream, &mut seen, "\r\n\r\n...");
    assert!(first.elapsed() > Duration::from_millis(1_500), "the first byte came long before the last");
}

#[test]
fn a_client_that_leaves_leaves_the_others_alone_and_the_lease_ends() {
    let world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let mut stream = connect(&world);
    stream.write_all(b"GET /sse?n=1000&ms=100 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").expect("sent");
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "data: 1");
    drop(stream);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    crate::world::until("it sleeps", || world.containers().is_empty());
}

#[test]
fn pipelined_and_kept_connections_are_answered_in_order() {
    let world = live();
    let mut stream = connect(&world);
    let mut seen = String::new();
    for _ in 0..3 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n").expect("sent");
        seen.clear();
        read_until(&mut stream, &mut seen, "hello one");
    }
}
