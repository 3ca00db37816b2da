//! What must never be served, and what must never end the server.

use std::io::Write as _;
use std::os::unix::net::UnixListener;
use std::process::Command;

use crate::world::{Served, folder};

fn lives(site: &Served) {
    assert_eq!(site.get("/").text(), "home");
}

#[test]
fn no_path_leaves_the_root() {
    let site = folder().file("index.html", "home").file("a/b.txt", "b").serve();
    for target in [
        "/../secret",
        "/..",
        "/a/../../secret",
        "/a/../index.html",
        "/./index.html",
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/..%2fsecret",
        "/..%5csecret",
        "/..\\secret",
        "/a%2fb.txt",
        "/a/..%00/secret",
        "/..;/secret",
        "/....//secret",
        "/%252e%252e/secret",
        "//../secret",
        "http://x.test/../secret",
    ] {
        let reply = site.get(target);
        assert!(matches!(reply.status, 400 | 404), "{target} {reply:?}");
        assert!(!reply.text().contains("secret"), "{target}");
    }
    lives(&site);
}

#[test]
fn no_link_leaves_the_root() {
    let site = folder().file("index.html", "home").file("real/a.txt", "inside");
    let secret = site.path("../secret");
    let site = site.link("up", "../secret").link("whole", &secret).link("out", "..").link("loop", "loop");
    let site = site.link("in", "real").link("page.html", "/etc/hostname").serve();
    for target in ["/up", "/whole", "/out/secret", "/out/", "/out", "/loop", "/page", "/page.html"] {
        assert_eq!(site.get(target).status, 404, "{target}");
    }
    assert_eq!(site.get("/in/a.txt").text(), "inside");
}

#[test]
fn dotfiles_are_not_there_but_for_the_well_known() {
    let site = folder()
        .file(".env", "KEY=1")
        .file(".git/config", "x")
        .file("a/.htpasswd", "x")
        .file("index.html", "home");
    let site = site.file(".well-known/security.txt", "mail me").file(".well-known/.env", "x").serve();
    for target in
        ["/.env", "/.git/config", "/.git/", "/a/.htpasswd", "/%2eenv", "/.well-known/.env", "/.well-known/"]
    {
        assert_eq!(site.get(target).status, 404, "{target}");
    }
    assert_eq!(site.get("/.well-known/security.txt").text(), "mail me");
}

#[test]
fn what_is_not_a_file_is_not_there() {
    let site = folder().file("index.html", "home").serve();
    let made = Command::new("mkfifo").arg(site.folder.path("pipe")).status().expect("run mkfifo");
    assert!(made.success());
    let _socket = UnixListener::bind(site.folder.path("socket")).expect("make a socket");
    assert_eq!(site.get("/pipe").status, 404);
    assert_eq!(site.get("/socket").status, 404);
    lives(&site);
}

#[test]
fn a_malformed_path_is_refused() {
    let site = folder().file("index.html", "home").serve();
    for target in ["/%", "/%4", "/%zz", "/%00", "/a%00.html", "/%ff%fe", "/%0d%0aSet-Cookie:%20a=b", "/%7f"] {
        assert_eq!(site.get(target).status, 400, "{target}");
    }
    lives(&site);
}

#[test]
fn a_name_longer_than_any_file_is_not_there() {
    let site = folder().file("index.html", "home").serve();
    assert_eq!(site.get(&format!("/{}", "n".repeat(5000))).status, 404);
    assert_eq!(site.get(&"/n".repeat(4000)).status, 404);
    lives(&site);
}

#[test]
fn a_head_that_is_too_large_is_refused() {
    let site = folder().file("index.html", "home").serve();
    let large = "n".repeat(func_static::limits::HEAD_BYTES_MAX);
    assert_eq!(site.get_with("/", &[("X-Large", &large)]).status, 431);
    let status = site.get(&format!("/{large}")).status;
    assert!(matches!(status, 414 | 431), "{status}");
    let many = [("X-Many", "1"); 200];
    assert_eq!(site.get_with("/", &many).status, 431);
    lives(&site);
}

#[test]
fn what_is_not_http_is_refused() {
    let site = folder().file("index.html", "home").serve();
    for bytes in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
    ] {
        let answer = site.raw(bytes);
        let ok = answer.is_empty()
            || answer.starts_with(b"HTTP/1.1 4")
            || answer.starts_with(b"HTTP/1.1 200 OK\r\n");
        assert!(ok, "{} gave {}", bytes.escape_ascii(), answer.escape_ascii());
    }
    lives(&site);
}

#[test]
fn no_header_of_any_content_ends_the_server() {
    let site = folder().file("index.html", "h".repeat(600)).file("index.html.gz", "x").serve();
    let names =
        ["Accept-Encoding", "Range", "If-Range", "If-None-Match", "If-Match", "If-Modified-Since", "Host"];
    let tokens = [
        "bytes=",
        "-",
        "9",
        ",",
        ";q=",
        "0.",
        "\"",
        "W/",
        "*",
        "gzip",
        "\t",
        "\u{e9}",
        "=",
        "Sun, 06 Nov 1994",
    ];
    let mut stream = site.connect();
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = |sides: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        usize::try_from(dice % sides as u64).expect("it is small")
    };
    for _ in 0..2000 {
        let value: String = (0..roll(8)).map(|_| tokens[roll(tokens.len())]).collect();
        let header = format!("{}: {value}", names[roll(names.len())]);
        let request = format!("HEAD / HTTP/1.1\r\n{header}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap_or_else(|error| panic!("{error} after {header}"));
        let status = read_status(&mut stream);
        assert!(matches!(status, 200 | 206 | 304 | 412 | 416), "{status} after {header}");
    }
}

#[test]
fn no_path_of_any_bytes_ends_the_server() {
    let site = folder().file("index.html", "home").serve();
    for byte in 0..=255_u8 {
        for path in [format!("%{byte:02x}"), format!("a/%{byte:02X}b"), format!("%{byte:02x}%{byte:02x}/")] {
            let status = site.get(&format!("/{path}")).status;
            assert!(matches!(status, 400 | 404), "{path} {status}");
        }
        site.raw(&[b"GET /", &[byte][..], b" HTTP/1.0\r\n\r\n"].concat());
    }
    lives(&site);
}

/// Reads one response without a body from a connection that stays open.
fn read_status(stream: &mut std::net::TcpStream) -> u16 {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        std::io::Read::read_exact(stream, &mut byte).expect("read the answer");
        head.push(byte[0]);
    }
    crate::world::Reply::parse(&head).status
}
