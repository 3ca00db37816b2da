//! Which file answers which address.

use std::fs::File;
use std::io::{Read as _, Write as _};

use crate::world::{Reply, folder};

#[test]
fn an_index_page_stands_for_its_folder() {
    let site = folder().file("index.html", "home").file("blog/index.html", "blog").serve();
    assert_eq!(site.get("/").text(), "home");
    assert_eq!(site.get("/?page=2").text(), "home");
    assert_eq!(site.get("/blog/").text(), "blog");
    assert_eq!(site.get("/index.html").text(), "home");
}

#[test]
fn a_folder_without_its_slash_is_redirected_with_its_query() {
    let site = folder().file("blog/post one/index.html", "post").serve();
    let reply = site.get("/blog/post%20one?a=1&b=%2F");
    assert_eq!(reply.status, 308);
    assert_eq!(reply.header("location"), Some("/blog/post%20one/?a=1&b=%2F"));
    assert!(reply.body.is_empty());
    assert_eq!(site.get("/blog/post%20one/").text(), "post");
}

#[test]
fn a_redirect_never_leaves_the_host() {
    let site = folder().file("evil.example/index.html", "a folder with an odd name").serve();
    for target in ["/evil.example", "//evil.example", "///evil.example", "http://other.test//evil.example"] {
        let reply = site.get(target);
        assert_eq!((reply.status, reply.header("location")), (308, Some("/evil.example/")), "{target}");
    }
    for target in ["/\\evil.example", "/%5cevil.example", "/%2fevil.example", "/%09/evil.example"] {
        assert_eq!(site.get(target).status, 400, "{target}");
    }
}

#[test]
fn a_folder_without_a_page_is_not_found() {
    let site = folder().file("blog/post.html", "post").serve();
    assert_eq!(site.get("/blog").status, 404);
    assert_eq!(site.get("/blog/").status, 404);
    assert_eq!(site.get("/").status, 404);
}

#[test]
fn the_ending_html_may_be_left_out() {
    let site = folder().file("about.html", "about").file("docs/v1.2.html", "docs").serve();
    assert_eq!(site.get("/about").text(), "about");
    assert_eq!(site.get("/about").header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(site.get("/docs/v1.2").text(), "docs");
    assert_eq!(site.get("/about.html").text(), "about");
    assert_eq!(site.get("/about/").status, 404);
}

#[test]
fn a_file_goes_before_a_folder_and_a_folder_before_a_page_without_its_ending() {
    let site = folder()
        .file("a", "file")
        .file("a.html", "page")
        .file("b/index.html", "folder")
        .file("b.html", "page");
    let site = site.file("c/post.html", "post").file("c.html", "page").serve();
    assert_eq!(site.get("/a").text(), "file");
    assert_eq!(site.get("/b").status, 308);
    assert_eq!(site.get("/c").text(), "page");
}

#[test]
fn a_file_is_not_a_folder() {
    let site = folder().file("a.txt", "a").serve();
    assert_eq!(site.get("/a.txt/").status, 404);
    assert_eq!(site.get("/a.txt/b").status, 404);
}

#[test]
fn the_sites_own_page_tells_what_is_missing() {
    let site = folder().file("404.html", "<h1>lost</h1>").serve();
    for target in ["/nothing", "/no/where/", "/.hidden", "/"] {
        let reply = site.get(target);
        assert_eq!((reply.status, reply.text()), (404, "<h1>lost</h1>"), "{target}");
        assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(reply.header("etag"), None);
    }
    let asked = site.get_with("/nothing", &[("If-None-Match", "*"), ("Range", "bytes=0-1")]);
    assert_eq!((asked.status, asked.text()), (404, "<h1>lost</h1>"));
    assert_eq!(site.get("/404").status, 200);
}

#[test]
fn without_a_page_of_its_own_a_short_text_tells_what_is_missing() {
    let reply = folder().serve().get("/nothing");
    assert_eq!((reply.status, reply.text()), (404, "404: there is nothing at this address\n"));
    assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[test]
fn a_page_that_appears_later_is_found() {
    let site = folder().serve();
    assert_eq!(site.get("/late.txt").status, 404);
    std::fs::write(site.folder.path("late.txt"), "late").expect("write the file");
    assert_eq!(site.get("/late.txt").text(), "late");
}

#[test]
fn names_of_all_scripts_are_found() {
    let site = folder().file("été/naïve file #1?.txt", "found").file("日本.txt", "found").serve();
    assert_eq!(site.get("/%C3%A9t%C3%A9/na%C3%AFve%20file%20%231%3F.txt").text(), "found");
    assert_eq!(site.get("/%E6%97%A5%E6%9C%AC.txt").text(), "found");
}

#[test]
fn a_head_has_the_headers_of_a_get_and_no_body() {
    let site =
        folder().file("a.txt", "a".repeat(1000)).file("a.txt.gz", "packed").file("d/index.html", "d").serve();
    let headers_of = |mut reply: Reply| {
        reply.headers.retain(|(name, _)| name != "date");
        reply.headers.sort();
        (reply.status, reply.headers)
    };
    for target in ["/a.txt", "/d", "/nothing", "/%00"] {
        let headers = [("Accept-Encoding", "gzip")];
        let head = site.ask("HEAD", target, &headers);
        assert!(head.body.is_empty(), "{target}");
        assert_eq!(headers_of(head), headers_of(site.get_with(target, &headers)), "{target}");
    }
}

#[test]
fn other_methods_are_not_allowed() {
    let site = folder().file("index.html", "home").serve();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        let reply = site.ask(method, "/", &[]);
        assert_eq!((reply.status, reply.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    assert_eq!(site.ask("OPTIONS", "*", &[]).status, 405);
    assert_eq!(site.ask("CONNECT", "other.test:443", &[]).status, 405);
}

#[test]
fn a_refusal_does_not_reset_a_client_that_is_still_sending() {
    const BODY_BYTES: usize = 16 * 1024 * 1024;
    let site = folder().file("index.html", "home").serve();
    let mut stream = site.connect();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BODY_BYTES}\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("send the head");
    stream.write_all(&vec![b'x'; BODY_BYTES]).expect("send the body");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("read the answer");
    assert_eq!(Reply::parse(&answer).status, 405);
}

#[test]
fn every_answer_forbids_to_sniff_and_asks_to_revalidate() {
    let site = folder().file("index.html", "home").file("d/index.html", "d").serve();
    let mut replies = vec![site.ask("POST", "/", &[]), site.ask("HEAD", "/", &[])];
    replies.extend(["/", "/d", "/nothing", "/%00"].map(|target| site.get(target)));
    replies.extend(["bytes=0-1", "bytes=9-"].map(|range| site.get_with("/", &[("Range", range)])));
    let tag = site.get("/").tag().to_owned();
    replies.extend(["If-None-Match", "If-Match"].map(|name| site.get_with("/", &[(name, &tag)])));
    replies.push(site.get_with("/", &[("If-Match", "\"other\"")]));
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [405, 200, 200, 308, 404, 400, 206, 416, 304, 200, 412]);
    for reply in replies {
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{reply:?}");
        assert_eq!(reply.header("cache-control"), Some("no-cache"), "{reply:?}");
        assert!(reply.header("date").is_some(), "{reply:?}");
    }
}

#[test]
fn an_empty_file_is_an_empty_page() {
    let site = folder().file("empty.txt", "").serve();
    let reply = site.get("/empty.txt");
    assert_eq!((reply.status, reply.header("content-length"), reply.text()), (200, Some("0"), ""));
}

#[test]
fn one_connection_carries_many_requests() {
    let site = folder().file("a.txt", "first\n").file("b.txt", "second\n").serve();
    let request = "GET /a.txt HTTP/1.1\r\nHost: a\r\n\r\nGET /nothing HTTP/1.1\r\nHost: a\r\n\r\n\
                   GET /b.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = String::from_utf8(site.raw(request.as_bytes())).expect("it is text");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 3, "{answer}");
    assert!(answer.contains("first\nHTTP/1.1 404") && answer.ends_with("second\n"), "{answer}");
}

#[test]
fn the_old_protocol_is_answered_too() {
    let site = folder().file("a.txt", "content").serve();
    let reply = Reply::parse(&site.raw(b"GET /a.txt HTTP/1.0\r\n\r\n"));
    assert_eq!((reply.status, reply.text()), (200, "content"));
}

#[test]
fn a_big_file_arrives_whole_in_little_memory() {
    const SIZE: u64 = 256 * 1024 * 1024;
    let site = folder().file("small.txt", "small").serve();
    let mut file = File::create(site.folder.path("big.bin")).expect("make the file");
    file.set_len(SIZE - 3).expect("set its size");
    std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).expect("go to its end");
    file.write_all(b"end").expect("write its end");

    let mut stream = site.connect();
    stream.write_all(b"GET /big.bin HTTP/1.0\r\n\r\n").expect("send the request");
    let (mut chunk, mut received, mut last) = (vec![0; 256 * 1024], 0, [0; 3]);
    while let read @ 1.. = stream.read(&mut chunk).expect("read the answer") {
        received += read as u64;
        let tail: Vec<u8> = last.iter().chain(&chunk[..read]).copied().collect();
        last.copy_from_slice(&tail[tail.len() - 3..]);
    }
    assert!((SIZE..SIZE + 1000).contains(&received), "{received}");
    assert_eq!(&last, b"end");
    assert!(site.memory_peak() < 16 * 1024 * 1024, "{} bytes", site.memory_peak());
}

#[test]
fn a_file_that_shrinks_while_it_is_sent_does_not_pass_for_whole() {
    let site = folder().serve();
    let file = File::create(site.folder.path("big.bin")).expect("make the file");
    file.set_len(64 * 1024 * 1024).expect("set its size");
    let mut stream = site.connect();
    stream.write_all(b"GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n").expect("send the request");
    stream.read_exact(&mut [0; 1000]).expect("read the start");
    file.set_len(1000).expect("shrink the file");
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest);
    assert!(rest.len() < 63 * 1024 * 1024, "{ended:?}, {} bytes", rest.len());
    assert_eq!(site.get("/big.bin").body.len(), 1000);
}
