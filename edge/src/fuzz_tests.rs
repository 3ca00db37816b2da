//! Fuzz targets: what the edge reads from strangers.

use std::net::IpAddr;

use pingora::http::RequestHeader;

use crate::head::Scan;
use crate::identity::{self, Network, is_of};
use crate::inspection::Inspection;

const HEADS: [&[u8]; 7] = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x?a=b HTTP/1.1\r\nHost: blog.localhost:80\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n1f\r\nx\r\n0\r\n\r\n",
    b"\r\n\r\nGET http://a.example/x HTTP/1.0\r\nHost: a\r\nX-Empty:\r\nX-Blank: \t a b \t\r\n\r\n",
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
];
const TOKENS: [&[u8]; 30] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b"\x0b",
    b"\x0c",
    b"\0",
    b":",
    b";",
    b",",
    b"\"",
    b"0",
    b"5",
    b"f",
    b"-",
    b"+",
    b"18446744073709551616",
    b"Content-Length:",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"chunked",
    b"gzip, ",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"hello",
    b"\x80\xff",
    b"Host: a\r\n",
];

/// Where the head ends, when the bytes come in pieces of this size.
fn end(bytes: &[u8], piece: usize) -> (Option<usize>, usize) {
    let mut scan = Scan::default();
    for upto in (piece..bytes.len() + piece).step_by(piece) {
        if let Some(end) = scan.end(&bytes[..upto.min(bytes.len())]) {
            return (Some(end), scan.lines);
        }
    }
    (None, scan.lines)
}

/// Whether `head`, which was let through, says the same to another reader, and says once how its body is framed.
fn is_read_the_same(head: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 300];
    let mut request = httparse::Request::new(&mut fields);
    // pingora parses heads with httparse as well, and refuses what it refuses.
    let Ok(status) = request.parse(head) else { return };
    assert_eq!(status, httparse::Status::Complete(head.len()), "it ends elsewhere");
    let lines: Vec<&[u8]> = head.split(|byte| *byte == b'\n').skip(1).filter(|line| line.len() > 1).collect();
    assert_eq!(lines.len(), request.headers.len(), "another number of fields");
    for (line, field) in lines.iter().zip(request.headers.iter()) {
        assert!(line.starts_with(field.name.as_bytes()) && line[field.name.len()] == b':', "another name");
    }
    let of = |name: &str| -> Vec<&[u8]> {
        request.headers.iter().filter(|f| f.name.eq_ignore_ascii_case(name)).map(|f| f.value).collect()
    };
    match (&of("content-length")[..], &of("transfer-encoding")[..]) {
        ([], []) => {}
        ([length], []) => {
            let length = std::str::from_utf8(length).expect("digits");
            assert!(length.parse::<i64>().is_ok_and(|length| length >= 0), "no length: {length}");
        }
        ([], [coding]) => {
            assert!(coding.eq_ignore_ascii_case(b"chunked") && request.version == Some(1), "no frame")
        }
        (lengths, codings) => panic!("{} lengths, {} codings", lengths.len(), codings.len()),
    }
}

/// Reads a chunked body in the plainest way. Returns where it ends, `None` if it is not whole.
fn chunks(mut body: &[u8]) -> Result<Option<usize>, ()> {
    let whole = body.len();
    loop {
        let Ok(status) = httparse::parse_chunk_size(body) else { return Err(()) };
        let httparse::Status::Complete((begin, size)) = status else { return Ok(None) };
        body = &body[begin..];
        if size == 0 {
            break;
        }
        let Some(data) = usize::try_from(size).ok().filter(|size| *size < body.len()) else {
            return Ok(None);
        };
        let Some(end) = body[data..].get(..2) else { return Ok(None) };
        if end != b"\r\n" {
            return Err(());
        }
        body = &body[data + 2..];
    }
    loop {
        let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
        body = &body[end + 2..];
        if end == 0 {
            return Ok(Some(whole - body.len()));
        }
    }
}

#[test]
fn a_request_means_one_thing_in_whatever_pieces_it_comes() {
    func_fuzz::bytes(&HEADS, &TOKENS, |bytes| {
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let bytes = &bytes[blank..];
        let (at, lines) = end(bytes, bytes.len().max(1));
        assert_eq!((at, lines), end(bytes, 1));
        assert_eq!((at, lines), end(bytes, 7));
        let Some(at) = at else { return };
        let (head, body) = bytes.split_at(at);
        let mut whole = Inspection::default();
        if whole.head(head).is_err() {
            return;
        }
        is_read_the_same(head);
        let mut single = Inspection::default();
        single.head(head).expect("it was let through before");
        let verdict = whole.body(body);
        assert_eq!(verdict, body.chunks(1).try_for_each(|byte| single.body(byte)));
        if !whole.is_chunked() || verdict.is_err() {
            return;
        }
        assert_eq!(format!("{whole:?}"), format!("{single:?}"));
        let end = chunks(body).expect("what is let through is a chunked body to others");
        assert_eq!(whole.is_done(), end.is_some(), "the body ends elsewhere");
    });
}

#[test]
fn no_client_speaks_for_another() {
    let seeds = [
        "X-Forwarded-For: 6.6.6.6\nX-Forwarded-For: 9.9.9.9, 10.0.0.2\nX-Real-IP: 6.6.6.6",
        "X-Forwarded-For: ::ffff:10.0.0.1, unknown,, [::1]:80\nForwarded: for=6.6.6.6\nProxy: x",
        "X_Forwarded_For: a\nX-Forwarded-Host: b\nX-Forwarded-Proto: https\nX-Original-URL: /admin",
    ];
    let tokens = [
        ",",
        " ",
        ":",
        "\n",
        "10.0.0.1",
        "9.9.9.9",
        "::1",
        "X-Forwarded-For: ",
        "X-Real-IP: ",
        "Client-IP: ",
        "_",
        "-",
    ];
    let networks: Vec<Network> = vec!["10.0.0.0/8".parse().expect("a network")];
    func_fuzz::texts(&seeds, &tokens, |text| {
        for (peer, trusted) in [("9.9.9.9", false), ("10.0.0.1", true)] {
            let mut head = RequestHeader::build("GET", b"/", None).expect("a request");
            for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
                let (Ok(name), Ok(value)) =
                    (name.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>())
                else {
                    continue;
                };
                head.append_header(name, value).expect("a header");
            }
            let addr: IpAddr = peer.parse().expect("an address");
            identity::tell(&mut head, Some(addr), &networks, trusted, Some("a".into())).expect("told");
            let only = |name: &str| {
                let mut values = head.headers.get_all(name).iter();
                let value = values.next().expect("one").to_str().expect("text").to_owned();
                assert!(values.next().is_none(), "{name} has two lines");
                value
            };
            let (client, list) = (only("x-real-ip"), only("x-forwarded-for"));
            let client: IpAddr = client.parse().expect("an address");
            let list: Vec<&str> = list.split(',').map(str::trim).collect();
            assert_eq!(list.last(), Some(&peer));
            if trusted {
                let is = |item: &&str| item.parse::<IpAddr>().is_ok_and(|addr| addr == client);
                let at = list.iter().rposition(is).expect("it is of the list");
                let after = list[at + 1..].iter();
                assert!(after.clone().all(|item| item.parse().is_ok_and(|addr| is_of(&networks, addr))));
            } else {
                assert_eq!((client, list), (addr, vec![peer]));
                assert_eq!(
                    (only("x-forwarded-host"), only("x-forwarded-proto")),
                    ("a".into(), "http".into())
                );
            }
            for name in head.headers.keys().map(http::HeaderName::as_str) {
                assert!(!name.contains('_') && name != "proxy" && name != "forwarded", "{name}");
                let speaks =
                    ["client-ip", "x-client-ip", "true-client-ip", "x-original-url", "x-forwarded-port"];
                assert!(trusted || !speaks.contains(&name), "{name}");
            }
        }
    });
}

#[test]
fn a_network_has_its_own_address() {
    let seeds = ["10.0.0.0/8", "::1", "::ffff:10.0.0.0/104", "fd00::/8", "0.0.0.0/0"];
    func_fuzz::texts(&seeds, &["/", ":", ".", "0", "96", "128", "::ffff:"], |text| {
        let Ok(network) = text.parse::<Network>() else { return };
        let (addr, prefix) = text.split_once('/').unwrap_or((text, "128"));
        let addr = addr.parse::<IpAddr>().expect("an address");
        // `::/0` has no IPv4 addresses, though they can be written as addresses of it.
        let mapped = addr.is_ipv6() && addr.to_canonical().is_ipv4();
        if mapped && prefix.parse::<u8>().is_ok_and(|prefix| prefix < 96) {
            return;
        }
        assert!(is_of(&[network], addr), "{text}");
    });
}
