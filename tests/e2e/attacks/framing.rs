//! Requests that two readers of HTTP may take differently: sent as raw bytes through the edge to an app that records every
//! byte it receives. What the edge refuses reaches no app; what it forwards is exactly one request.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};

use crate::client::Repo;
use crate::visitor::send;
use crate::world::{World, docker, free_port, until};

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

/// What became of one request: the answer's status, 0 if there was none, and what the app received on each connection.
struct Seen {
    status: u16,
    arrived: Vec<String>,
}

impl Seen {
    /// How many requests the app takes it for.
    fn requests(&self) -> usize {
        self.arrived.iter().map(|connection| connection.matches(" HTTP/1.").count()).sum()
    }

    fn shown(&self) -> String {
        let status = if self.status == 0 { "no answer".to_owned() } else { self.status.to_string() };
        match self.requests() {
            0 => status,
            1 => format!("{status}, 1 request"),
            more => format!("{status}, **{more} requests**"),
        }
    }
}

/// The app that records what it receives.
struct Origin(SocketAddr);

impl Origin {
    /// Sends bytes to a proxy in front of it.
    fn seen(&self, proxy: SocketAddr, bytes: &str) -> Seen {
        let status = send(proxy, bytes.as_bytes()).map_or(0, |answer| answer.status);
        let mut arrived = String::new();
        TcpStream::connect(self.0).expect("the app").read_to_string(&mut arrived).expect("text");
        Seen { status, arrived: arrived.lines().map(str::to_owned).collect() }
    }
}

/// One request, and whether what became of it is right.
struct Row {
    bytes: String,
    fits: fn(&Seen) -> bool,
}

fn rows() -> Vec<Row> {
    let refused = |seen: &Seen| seen.status == 400 && seen.arrived.is_empty();
    // Who does not say so is kept for a second.
    let close = |good: &str| {
        good.replace("Host: shop.localhost\r\n", "Host: shop.localhost\r\nConnection: close\r\n")
    };
    let good = GOOD
        .iter()
        .map(|good| Row { bytes: close(good), fits: |seen| seen.status == 200 && seen.requests() == 1 });
    let heads = BAD_HEADS.iter().map(|bad| Row { bytes: (*bad).to_owned(), fits: refused });
    let fields = BAD_FIELDS.iter().flat_map(|fields| {
        ["GET", "POST", "OPTIONS"].map(|method| Row {
            bytes: format!("{method} /x HTTP/1.1\r\nHost: shop.localhost\r\n{fields}\r\n"),
            fits: refused,
        })
    });
    let chunks = BAD_CHUNKS.iter().map(|chunks| {
        let head = "POST /x HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let hidden = "GET /hidden HTTP/1.1\r\nHost: shop.localhost\r\n\r\n";
        Row {
            bytes: format!("{head}{chunks}{hidden}"),
            fits: |seen| seen.status != 200 && seen.requests() <= 1,
        }
    });
    good.chain(heads).chain(fields).chain(chunks).collect()
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
    let ip = ip.parse().expect("an address");
    let origin = Origin(SocketAddr::new(ip, TAKEN));
    origin.seen(world.edge(), GOOD[0]);

    let rows = rows();
    let seen: Vec<Seen> = rows.iter().map(|row| origin.seen(world.edge(), &row.bytes)).collect();
    let wrong: Vec<String> = rows
        .iter()
        .zip(&seen)
        .filter(|(row, seen)| !(row.fits)(seen))
        .map(|(row, seen)| format!("{:?}: {}, the app received {:?}", row.bytes, seen.status, seen.arrived))
        .collect();
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    if std::env::var_os("WRITE_DOCS").is_some() {
        write_docs(&rows, &seen, &origin, SocketAddr::new(ip, 8080));
    }
}

/// Writes docs/framing.md, with what nginx does with the same requests in front of the same app.
fn write_docs(rows: &[Row], seen: &[Seen], origin: &Origin, app: SocketAddr) {
    let nginx = Nginx::before(app);
    let mut page = String::from(
        "# Requests that two readers may take differently\n\n\
         Made by `make framing-docs` out of `tests/e2e/attacks/framing.rs`: do not edit it. Each request was sent as these bytes\n\
         to func, and to Debian's nginx with `proxy_pass`, in front of the same app; each answer with how many requests the app\n\
         received.\n\n| request | func | nginx |\n|---|---|---|\n",
    );
    for (row, seen) in rows.iter().zip(seen) {
        let bytes = row.bytes.as_bytes().escape_ascii().to_string().replace('|', "\\|");
        let other = origin.seen(nginx.address, &row.bytes);
        page.push_str(&format!("| `{bytes}` | {} | {} |\n", seen.shown(), other.shown()));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/framing.md");
    std::fs::write(path, page).expect("written");
}

/// An nginx of this test's own.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Nginx {
    fn before(app: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/{name};", folder.path().display()))
            .concat();
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log; events {{}}\n\
             http {{ access_log off; {temporary} keepalive_timeout 1; server {{ listen {address}; location / {{\n\
             proxy_pass http://{app}; proxy_http_version 1.1; proxy_set_header Host $host;\n\
             proxy_set_header Connection \"\"; }} }} }}\n",
            folder.path().display()
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, config).expect("written");
        let process = Command::new("nginx").arg("-c").arg(&path).spawn().expect("nginx: .ci/setup bench");
        until("nginx listens", || TcpStream::connect(address).is_ok());
        Self { process, address, _folder: folder }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
