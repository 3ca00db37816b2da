//! What a client need not be sent again.

use crate::world::{DATE, DATE_SECS, folder};

#[test]
fn what_the_client_has_is_not_sent_again() {
    let site = folder().file("a.txt", "a".repeat(1000)).serve();
    let first = site.get("/a.txt");
    assert!(first.tag().starts_with('"') && first.tag().ends_with('"'), "it is strong: {}", first.tag());
    let again = site.get_with("/a.txt", &[("If-None-Match", first.tag())]);
    assert_eq!((again.status, again.text()), (304, ""));
    for name in ["etag", "last-modified", "cache-control", "vary"] {
        assert_eq!(again.header(name), first.header(name), "{name}");
        assert!(again.header(name).is_some(), "{name}");
    }
    assert_eq!(again.header("content-type"), None);
}

#[test]
fn one_known_tag_of_many_is_enough() {
    let site = folder().file("a.txt", "a").serve();
    let tags = format!("\"x,y\", W/{}", site.get("/a.txt").tag());
    assert_eq!(site.get_with("/a.txt", &[("If-None-Match", &tags)]).status, 304);
    assert_eq!(site.get_with("/a.txt", &[("If-None-Match", "\"x\""), ("If-None-Match", &tags)]).status, 304);
    assert_eq!(site.get_with("/a.txt", &[("If-None-Match", "\"x\"")]).status, 200);
}

#[test]
fn a_changed_page_of_the_same_size_and_time_is_sent_again() {
    let site = folder().file("a.txt", "old page").serve();
    let old = site.get("/a.txt");
    std::fs::remove_file(site.folder.path("a.txt")).expect("remove the file");
    let rewritten = folder().file("a.txt", "new page");
    std::fs::copy(rewritten.path("a.txt"), site.folder.path("a.txt")).expect("write the new page");
    let file = std::fs::File::options().write(true).open(site.folder.path("a.txt")).expect("open the file");
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(DATE_SECS))
        .expect("set its time");

    let new = site.get_with("/a.txt", &[("If-None-Match", old.tag())]);
    assert_eq!((new.status, new.text()), (200, "new page"));
    assert_eq!(new.header("last-modified"), old.header("last-modified"));
    assert_ne!(new.tag(), old.tag());
}

#[test]
fn a_tag_holds_for_the_same_content_in_the_next_image() {
    let tag =
        |secs| folder().file("a.txt", "page").dated("a.txt", secs).serve().get("/a.txt").tag().to_owned();
    assert_eq!(tag(DATE_SECS), tag(DATE_SECS + 1));
}

#[test]
fn the_date_that_was_sent_is_known_again() {
    let site = folder().file("a.txt", "a").serve();
    assert_eq!(site.get("/a.txt").header("last-modified"), Some(DATE));
    assert_eq!(site.get_with("/a.txt", &[("If-Modified-Since", DATE)]).status, 304);
    assert_eq!(site.get_with("/a.txt", &[("If-Modified-Since", "never")]).status, 200);
}

#[test]
fn after_a_rollback_the_older_page_is_sent() {
    let site = folder().file("a.txt", "older").serve();
    let newer = "Fri, 01 Jan 2021 00:00:01 GMT";
    assert_eq!(site.get_with("/a.txt", &[("If-Modified-Since", newer)]).text(), "older");
}

#[test]
fn a_normalised_time_is_not_told_and_not_believed() {
    for (secs, date) in [(0, "Thu, 01 Jan 1970 00:00:00 GMT"), (315_532_800, "Tue, 01 Jan 1980 00:00:00 GMT")]
    {
        let site = folder().file("a.txt", "a").dated("a.txt", secs).serve();
        let reply = site.get_with("/a.txt", &[("If-Modified-Since", date)]);
        assert_eq!((reply.status, reply.header("last-modified")), (200, None), "{date}");
    }
}

#[test]
fn a_time_ahead_of_the_clock_is_not_told() {
    let site = folder().file("a.txt", "a").dated("a.txt", 7_258_118_400).serve();
    assert_eq!(site.get("/a.txt").header("last-modified"), None);
}

#[test]
fn another_state_than_the_wanted_one_is_refused() {
    let site = folder().file("a.txt", "a").serve();
    let tag = site.get("/a.txt").tag().to_owned();
    assert_eq!(site.get_with("/a.txt", &[("If-Match", &tag)]).status, 200);
    assert_eq!(site.get_with("/a.txt", &[("If-Match", "\"x\"")]).status, 412);
    assert_eq!(site.get_with("/a.txt", &[("If-Unmodified-Since", DATE)]).status, 200);
    let earlier = "Thu, 31 Dec 2020 23:59:59 GMT";
    assert_eq!(site.get_with("/a.txt", &[("If-Unmodified-Since", earlier)]).status, 412);
}

#[test]
fn a_file_too_big_to_be_hashed_has_a_tag_as_well() {
    let site = folder().file("a.txt", "a").serve();
    let file = std::fs::File::create(site.folder.path("big.bin")).expect("make the file");
    file.set_len(func_static::limits::HASHED_BYTES_MAX + 1).expect("set its size");
    let head = site.ask("HEAD", "/big.bin", &[]);
    assert_eq!(site.get_with("/big.bin", &[("If-None-Match", head.tag())]).status, 304);
}

#[test]
fn a_hundred_first_requests_get_one_tag() {
    let site = folder().file("a.bin", vec![7; 4 * 1024 * 1024]).serve();
    let tags: Vec<String> = std::thread::scope(|scope| {
        let ask = || site.ask("HEAD", "/a.bin", &[]).tag().to_owned();
        let asked: Vec<_> = (0..100).map(|_| scope.spawn(ask)).collect();
        asked.into_iter().map(|thread| thread.join().expect("it got an answer")).collect()
    });
    assert!(tags.iter().all(|tag| *tag == tags[0]));
}
