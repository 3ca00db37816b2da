//! Nobody's request is answered with what another visitor left on a connection to the app.

use crate::client::Repo;
use crate::visitor::{get, send};
use crate::world::World;

/// The beginning of the next visitor's request.
const SMUGGLED: &str = "GET /naive/attacker HTTP/1.1\r\nX-Ignore: ";

#[test]
fn what_follows_a_head_is_no_request_of_the_next_visitor() {
    let world = World::new();
    let repo = Repo::app(&world, "one");
    repo.write("behave", "raw");
    repo.commit("an app that reads no body of a GET");
    repo.push(&world.ssh_url("shop")).succeeded();
    let edge = world.edge();
    let length = format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    let chunked =
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let unannounced = format!("\r\n{SMUGGLED}");
    for method in ["GET", "HEAD", "OPTIONS", "POST"] {
        for behind in [&length, &chunked, &unannounced] {
            let head = format!("{method} /naive HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n");
            send(edge, format!("{head}{behind}").as_bytes()).expect("an answer");
            let victim = get(edge, "shop", "/naive/victim");
            assert_eq!(victim.body(), "/naive/victim", "after {method} with {behind:?}: {victim:?}");
        }
    }
}
