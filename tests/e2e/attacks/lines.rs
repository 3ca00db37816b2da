//! A stranger who makes func log.

use std::io::Write;
use std::net::TcpStream;

use rustix::net::sockopt::set_socket_linger;

use crate::world::{World, until};

/// How many lines of libraries are logged at once.
const LINES_MAX: usize = 50;

#[test]
fn answers_that_nobody_reads_do_not_flood_the_log() {
    let world = World::new();
    let before = errors(&world);
    until("lines are logged", || {
        for _ in 0..300 {
            let mut stream = TcpStream::connect(world.edge()).expect("connected");
            stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").expect("sent");
            // Reset instead of closed.
            set_socket_linger(&stream, Some(std::time::Duration::ZERO)).expect("set");
        }
        errors(&world) > before
    });
    // What comes after them is read after them.
    assert_eq!(world.get("nobody.localhost", "/").0, 404);
    let lines = errors(&world) - before;
    assert!(lines <= LINES_MAX, "{lines} lines");
}

fn errors(world: &World) -> usize {
    world.log().lines().filter(|line| line.contains("ERROR")).count()
}
