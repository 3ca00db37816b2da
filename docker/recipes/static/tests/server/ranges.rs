//! Parts of files.

use crate::world::{DATE, Served, folder};

fn digits() -> Served {
    folder().file("digits.txt", "0123456789").serve()
}

#[test]
fn a_part_is_sent_with_its_place_in_the_whole() {
    let site = digits();
    for (range, part, place) in [
        ("bytes=0-0", "0", "bytes 0-0/10"),
        ("bytes=2-5", "2345", "bytes 2-5/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=7-99", "789", "bytes 7-9/10"),
        ("bytes=-3", "789", "bytes 7-9/10"),
        ("bytes=-99", "0123456789", "bytes 0-9/10"),
    ] {
        let reply = site.get_with("/digits.txt", &[("Range", range)]);
        assert_eq!((reply.status, reply.text()), (206, part), "{range}");
        assert_eq!(reply.header("content-range"), Some(place), "{range}");
        assert_eq!(reply.header("content-length"), Some(part.len().to_string().as_str()), "{range}");
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{range}");
        assert!(reply.header("etag").is_some() && reply.header("last-modified").is_some(), "{range}");
    }
}

#[test]
fn a_whole_file_says_that_it_has_parts() {
    assert_eq!(digits().get("/digits.txt").header("accept-ranges"), Some("bytes"));
}

#[test]
fn a_part_that_is_not_there_is_refused_with_the_length() {
    let site = digits();
    for range in ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=99999999999999999999999-"] {
        let reply = site.get_with("/digits.txt", &[("Range", range)]);
        assert_eq!((reply.status, reply.header("content-range")), (416, Some("bytes */10")), "{range}");
    }
}

#[test]
fn what_is_not_one_range_gets_the_whole() {
    let site = digits();
    for range in ["bytes=0-1,4-5", "bytes=5-2", "lines=1-2", "bytes=", "bytes=x-y", "0-1"] {
        let reply = site.get_with("/digits.txt", &[("Range", range)]);
        assert_eq!((reply.status, reply.text()), (200, "0123456789"), "{range}");
    }
    let twice = site.get_with("/digits.txt", &[("Range", "bytes=0-1"), ("Range", "bytes=2-3")]);
    assert_eq!(twice.status, 200);
}

#[test]
fn a_download_goes_on_only_in_the_file_it_began_with() {
    let site = digits();
    let tag = site.get("/digits.txt").tag().to_owned();
    let weak = format!("W/{tag}");
    let later = "Fri, 01 Jan 2021 00:00:01 GMT";
    for (condition, status) in [(tag.as_str(), 206), (DATE, 206), ("\"x\"", 200), (&weak, 200), (later, 200)]
    {
        let reply = site.get_with("/digits.txt", &[("Range", "bytes=5-"), ("If-Range", condition)]);
        assert_eq!(reply.status, status, "{condition}");
    }
}

#[test]
fn parts_are_parts_of_the_original_not_of_a_copy() {
    let site = folder().file("a.txt", "a".repeat(1000)).file("a.txt.gz", "packed").serve();
    let gzip = ("Accept-Encoding", "gzip");
    let whole = site.get_with("/a.txt", &[gzip]);
    let part = site.get_with("/a.txt", &[gzip, ("Range", "bytes=990-")]);
    assert_eq!((part.status, part.text()), (206, "aaaaaaaaaa"));
    assert_eq!((part.header("content-encoding"), part.header("vary")), (None, Some("Accept-Encoding")));
    assert_ne!(part.tag(), whole.tag());
    let resumed = site.get_with("/a.txt", &[gzip, ("Range", "bytes=3-"), ("If-Range", whole.tag())]);
    assert_eq!((resumed.status, resumed.text()), (200, "packed"));
}

#[test]
fn what_the_client_has_is_not_sent_in_parts_either() {
    let site = digits();
    let tag = site.get("/digits.txt").tag().to_owned();
    let reply = site.get_with("/digits.txt", &[("Range", "bytes=0-1"), ("If-None-Match", &tag)]);
    assert_eq!(reply.status, 304);
}

#[test]
fn a_head_has_no_parts() {
    let reply = digits().ask("HEAD", "/digits.txt", &[("Range", "bytes=0-1")]);
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("10")));
}

#[test]
fn a_part_larger_than_a_chunk_is_whole() {
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let site = folder().file("big.bin", &content).serve();
    let reply = site.get_with("/big.bin", &[("Range", "bytes=65535-1000001")]);
    assert_eq!(reply.status, 206);
    assert!(reply.body == content[65_535..=1_000_001]);
}
