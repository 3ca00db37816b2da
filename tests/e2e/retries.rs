//! Only what was never sent is sent again: an app sees each request once, whatever becomes of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client::Repo;
use crate::visitor::{Answer, get, send};
use crate::world::{World, docker, until};

/// One request, and what it meets.
struct Case {
    method: &'static str,
    path: &'static str,
    body_bytes: usize,
    /// Whether a connection to the app is kept from a request before.
    kept: bool,
    status: u16,
}

const fn dies(method: &'static str, path: &'static str, body_bytes: usize, kept: bool) -> Case {
    Case { method, path, body_bytes, kept, status: 502 }
}

/// In each the app is killed after it was asked and before it has answered, so that the next one has to start it again.
const CASES: [Case; 8] = [
    dies("GET", "/exit?ms=600000&", 0, false),
    dies("GET", "/exit?ms=600000&", 0, true),
    dies("HEAD", "/exit?ms=600000&", 0, true),
    dies("GET", "/exit?read=1&ms=600000&", 5_000, true),
    dies("POST", "/exit?ms=600000&", 0, false),
    dies("POST", "/exit?ms=600000&", 5_000, false),
    dies("POST", "/exit?read=1&ms=600000&", 5_000, false),
    dies("POST", "/exit?read=1&ms=600000&", 5_000, true),
];

fn ask(edge: SocketAddr, number: usize, case: &Case) -> Answer {
    let (method, path, bytes) = (case.method, case.path, case.body_bytes);
    let length = if bytes > 0 { format!("Content-Length: {bytes}\r\n") } else { String::new() };
    let head = format!(
        "{method} {path}case={number} HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n{length}\r\n"
    );
    let request = [head.into_bytes(), vec![b'x'; bytes]].concat();
    send(edge, &request).expect("an answer")
}

/// How often the app has said that each request arrived.
fn arrivals(world: &World) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    let said = world.func(&["logs", "shop"]).stdout;
    for line in String::from_utf8_lossy(&said).lines().filter(|line| line.contains("arrived: ")) {
        let number = line.rsplit("case=").next().and_then(|number| number.trim().parse().ok());
        *counts.entry(number.expect("a number")).or_default() += 1;
    }
    counts
}

#[test]
fn a_request_that_reached_an_app_is_never_repeated_and_one_that_was_not_sent_is() {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let edge = world.edge();
    // The push has started it: what comes first is to meet a new connection all the same.
    assert_eq!(get(edge, "shop", "/exit").status, 502);
    for (number, case) in CASES.iter().enumerate() {
        if case.kept {
            assert_eq!(get(edge, "shop", "/").status, 200);
        }
        let waiting = std::thread::spawn(move || ask(edge, number, case));
        // A repeated one would be in the next instance, and not be answered.
        until("it has arrived", || arrivals(&world).contains_key(&number));
        docker(&["kill", &format!("{}-shop-v1.1", world.installation)]);
        let answer = waiting.join().expect("no panic");
        assert_eq!(answer.status, case.status, "{number}: {answer:?}");
    }
    let (unsent, last) = (CASES.len(), CASES.len() + 1);
    // Its lease stands, and nobody listens: nothing was sent, so it is tried again, body and all.
    let answer = ask(edge, unsent, &Case { status: 200, ..dies("POST", "/upload?", 5_000, false) });
    assert!(answer.status == 200 && answer.body().contains("5000 "), "{answer:?}");
    assert_eq!(ask(edge, last, &dies("GET", "/?", 0, true)).status, 200);
    until("all lines are there", || arrivals(&world).len() == last + 1);
    assert!(arrivals(&world).values().all(|count| *count == 1), "{:?}", arrivals(&world));
}
