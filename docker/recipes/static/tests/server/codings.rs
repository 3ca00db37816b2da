//! Compressed copies: who gets which.

use crate::world::{Folder, folder};

/// A page of some size with both copies; what is in them tells them apart.
fn page() -> Folder {
    folder().file("app.js", "js".repeat(500)).file("app.js.br", "brotli").file("app.js.gz", "gzip")
}

#[test]
fn the_smallest_wanted_copy_is_sent_under_the_originals_type() {
    let site = page().serve();
    for (wish, coding, body) in [("gzip, deflate, br, zstd", "br", "brotli"), ("gzip", "gzip", "gzip")] {
        let reply = site.get_with("/app.js", &[("Accept-Encoding", wish)]);
        assert_eq!((reply.status, reply.text()), (200, body));
        assert_eq!(reply.header("content-encoding"), Some(coding));
        assert_eq!(reply.header("content-length"), Some(body.len().to_string().as_str()));
        assert_eq!(reply.header("content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
    }
}

#[test]
fn qualities_decide() {
    let site = page().serve();
    let coding = |wish| {
        let reply = site.get_with("/app.js", &[("Accept-Encoding", wish)]);
        reply.header("content-encoding").map(str::to_owned)
    };
    assert_eq!(coding("br;q=0.5, gzip;q=0.9").as_deref(), Some("gzip"));
    assert_eq!(coding("br;q=0, *").as_deref(), Some("gzip"));
    assert_eq!(coding("identity, br;q=0.9"), None);
    assert_eq!(coding("deflate"), None);
    assert_eq!(coding("br;q=oops"), None);
}

#[test]
fn without_a_wish_the_original_is_sent_and_says_that_it_varies() {
    let reply = page().serve().get("/app.js");
    assert_eq!((reply.body.len(), reply.header("content-encoding")), (1000, None));
    assert_eq!(reply.header("vary"), Some("Accept-Encoding"));
}

#[test]
fn wishes_on_several_lines_are_one_wish() {
    let reply =
        page().serve().get_with("/app.js", &[("Accept-Encoding", "br;q=0"), ("Accept-Encoding", "gzip")]);
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
}

#[test]
fn the_next_copy_takes_the_place_of_one_that_is_missing() {
    let site = folder()
        .file("a.css", "a".repeat(1000))
        .file("a.css.gz", "gzip")
        .file("b.css", "b".repeat(1000))
        .serve();
    assert_eq!(site.get_with("/a.css", &[("Accept-Encoding", "br, gzip")]).text(), "gzip");
    assert_eq!(site.get_with("/b.css", &[("Accept-Encoding", "br, gzip")]).body.len(), 1000);
}

#[test]
fn a_file_that_is_packed_already_or_small_has_no_copies() {
    let site = folder()
        .file("a.png", "p".repeat(1000))
        .file("a.png.gz", "x")
        .file("a.txt", "a")
        .file("a.txt.gz", "x");
    let site = site.serve();
    for target in ["/a.png", "/a.txt"] {
        let reply = site.get_with(target, &[("Accept-Encoding", "gzip")]);
        assert_eq!((reply.header("content-encoding"), reply.header("vary")), (None, None), "{target}");
    }
}

#[test]
fn each_copy_has_a_tag_of_its_own() {
    let site = page().serve();
    let tag = |wish| site.get_with("/app.js", &[("Accept-Encoding", wish)]).tag().to_owned();
    let (brotli, gzip, identity) = (tag("br"), tag("gzip"), tag("identity"));
    assert!(brotli != gzip && gzip != identity && identity != brotli);
    let ask =
        |known: &str| site.get_with("/app.js", &[("Accept-Encoding", "br"), ("If-None-Match", known)]).status;
    assert_eq!((ask(&brotli), ask(&gzip), ask(&identity)), (304, 200, 200));
}

#[test]
fn an_index_a_page_without_its_ending_and_the_page_for_what_is_missing_have_copies_too() {
    let long = "x".repeat(1000);
    let site = folder().file("index.html", &long).file("index.html.br", "1").file("about.html", &long);
    let site = site.file("about.html.br", "2").file("404.html", &long).file("404.html.br", "3").serve();
    for (target, status, body) in [("/", 200, "1"), ("/about", 200, "2"), ("/nothing", 404, "3")] {
        let reply = site.get_with(target, &[("Accept-Encoding", "br")]);
        assert_eq!(
            (reply.status, reply.text(), reply.header("content-encoding")),
            (status, body, Some("br"))
        );
    }
}

#[test]
fn a_copy_is_a_file_below_the_root_or_none() {
    let site = folder()
        .file("a.js", "a".repeat(1000))
        .file("a.js.br/index.html", "a folder")
        .link("a.js.gz", "../secret");
    let reply = site.serve().get_with("/a.js", &[("Accept-Encoding", "br, gzip")]);
    assert_eq!((reply.body.len(), reply.header("content-encoding")), (1000, None));
}

#[test]
fn an_archive_is_sent_as_what_it_is() {
    let site = folder().file("data.tar.gz", "archive").serve();
    let reply = site.get_with("/data.tar.gz", &[("Accept-Encoding", "gzip")]);
    assert_eq!(reply.header("content-type"), Some("application/gzip"));
    assert_eq!(reply.header("content-encoding"), None);
}
