//! Requests that two readers of HTTP may take differently: sent as raw bytes through the edge to an app that records every
//! byte it receives. What the edge refuses reaches no app; what it forwards is exactly one request.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};

use crate::client::Repo;
use crate::visitor::send;
use crate::world::{World, docker};

/// Field lines, or their parts, that no request may have.
const BAD_FIELDS: &[&str] = &[
    "X: a\n",
    "X: a\rb\r\n",
    "X: a\0b\r\n",
    "X : a\r\n",
    "X\t: a\r\n",
    " X: a\r\n",
    "X: a\r\n folded\r\n",
    "X: a\r\n\tfolded\r\n",
    "X\r\n",
    ": a\r\n",
    "X Y: a\r\n",
    "X\u{e9}: a\r\n",
    "(X): a\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 6\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: -5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: five\r\n",
    "Content-Length:\r\n",
    "Content-Length: 99999999999999999999999\r\n",
    "Content-Length : 5\r\n",
    "Content-Length\r\n : 5\r\n",
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, gzip\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunkedx\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding:\u{b}chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\r\n : chunked\r\n",
    "Transfer-Encoding: chunked\n",
    "Content-Length: 5\n",
];

/// Chunked bodies that are none. An app may have seen the head by then; it sees no second request.
const BAD_CHUNKS: &[&str] = &[
    "5\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;\n\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhellooo\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "\r\nhello",
    ";a\r\nhello",
    "5\rhello",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "1000000000000000\r\nhello",
    "ffffffffffffffffffff\r\nhello",
    "5\r\nhello\r\n0\n\n",
    "0\r\nX: a\n\r\n",
    "0\r\n\n",
    "0\n\r\n",
    "g\r\nhello",
];

/// Requests as ordinary clients send them, and odd ones that say one thing only.
const GOOD: &[&str] = &[
    "GET /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "\r\nGET /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "\r\n\r\nGET /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "GET /x HTTP/1.1\r\nhOST:shop.localhost\r\nX-Empty:\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost:\t shop.localhost \t\r\n\r\n",
    "GET /x?a=%00&b=%0d%0a HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "HEAD /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "DELETE /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "GET http://shop.localhost/x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0005\r\n\r\nhello",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: CHUNKED\r\n\r\n5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n00\r\nX: a\r\n\r\n",
    "POST /x HTTP/1.0\r\nHost: shop.localhost\r\nContent-Length: 5\r\n\r\nhello",
];

/// First lines, and whole heads, that are none.
const BAD_HEADS: &[&str] = &[
    "GET /x HTTP/1.1\nHost: shop.localhost\n\n",
    "GET /x HTTP/1.1\r\nHost: shop.localhost\r\n\n",
    "GET /x HTTP/1.1\nHost: shop.localhost\r\n\r\n",
    "GET /x\r\nHost: shop.localhost\r\n\r\n",
    "GET\r\nHost: shop.localhost\r\n\r\n",
    "GET  /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    " GET /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "GET /x HTTP/1.1 \r\nHost: shop.localhost\r\n\r\n",
    "GET /x HTTP/1.9x\r\nHost: shop.localhost\r\n\r\n",
    "GET /x HTTP/3.0\r\nHost: shop.localhost\r\n\r\n",
    "G\0T /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "G(T /x HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "GET /x y HTTP/1.1\r\nHost: shop.localhost\r\n\r\n",
    "GET /x HTTP/1.1\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: shop.localhost\r\nHost: other.localhost\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: shop.localhost/\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a@shop.localhost\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
    "POST /x HTTP/1.0\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
];

/// Where the app tells what has arrived: `TAKEN` of `origin.rs`.
const TAKEN: u16 = 9_999;

/// The app behind the edge, and what has reached it.
struct Origin {
    edge: SocketAddr,
    taken: SocketAddr,
}

impl Origin {
    /// Sends bytes and gives the answer's status, 0 if there is none, and what the app received of them.
    fn sent(&self, bytes: &str) -> (u16, Vec<String>) {
        let status = send(self.edge, bytes.as_bytes()).map_or(0, |answer| answer.status);
        let mut arrived = String::new();
        TcpStream::connect(self.taken).expect("the app").read_to_string(&mut arrived).expect("text");
        (status, arrived.lines().map(str::to_owned).collect())
    }
}

#[test]
fn what_two_readers_may_take_differently_reaches_no_app() {
    let world = World::with(&[("keep-alive", "1s")]);
    let repo = Repo::app(&world, "one");
    repo.write("behave", "raw");
    repo.write("func.toml", "min = 1\n");
    repo.commit("an app that records what arrives");
    repo.push(&world.ssh_url("shop")).succeeded();
    assert_eq!(world.get("shop.localhost", "/").0, 200);
    let name = format!("{}-shop-v1.1", world.installation);
    let ip = docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &name]);
    let origin =
        Origin { edge: world.edge(), taken: SocketAddr::new(ip.parse().expect("an address"), TAKEN) };
    origin.sent(GOOD[0]);

    let mut wrong = Vec::new();
    let mut check = |bytes: &str, fits: fn(u16, &[String]) -> bool| {
        let (status, arrived) = origin.sent(bytes);
        if !fits(status, &arrived) {
            wrong.push(format!("{bytes:?}: {status}, the app received {arrived:?}"));
        }
    };
    for good in GOOD {
        // Who does not say so is kept for a second.
        let good = good.replace("Host: shop.localhost\r\n", "Host: shop.localhost\r\nConnection: close\r\n");
        check(&good, |status, arrived| status == 200 && requests(arrived) == 1);
    }
    for bad in BAD_HEADS {
        check(bad, |status, arrived| status == 400 && arrived.is_empty());
    }
    for fields in BAD_FIELDS {
        for method in ["GET", "POST", "OPTIONS"] {
            let request = format!("{method} /x HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n");
            check(&request, |status, arrived| status == 400 && arrived.is_empty());
        }
    }
    for chunks in BAD_CHUNKS {
        let hidden = "GET /hidden HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
        let head = "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{head}{chunks}{hidden}"), |status, arrived| status != 200 && requests(arrived) <= 1);
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

/// How many requests there are in what arrived.
fn requests(arrived: &[String]) -> usize {
    arrived.iter().map(|connection| connection.matches(" HTTP/1.1\\r\\n").count()).sum()
}
