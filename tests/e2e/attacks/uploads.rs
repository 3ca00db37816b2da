//! A client that announces a body and never sends it keeps no app awake.

use std::io::{Read, Write};
use std::time::Duration;

use super::stranger::{connect, is_closed};
use crate::client::Repo;
use crate::visitor::{Silent, stream};
use crate::world::{World, until};

#[test]
fn a_half_sent_upload_keeps_no_app_awake_and_streams_are_left_alone() {
    let world = World::with(&[("idle", "5s")]);
    for app in ["shop", "news"] {
        Repo::app(&world, "one").push(&world.ssh_url(app)).succeeded();
    }
    let edge = world.edge();
    // Longer than the app is left after an early answer, and silent.
    let news = stream(edge, "news", 14);
    let mut silent = Silent::open(edge, "news");
    let upload = connect(edge, [127, 0, 0, 1]);
    let head = "POST /headers HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 1000000000\r\n\r\nbegun";
    (&upload).write_all(head.as_bytes()).expect("sent");
    let mut first = [0; 12];
    (&upload).read_exact(&mut first).expect("an early answer");
    assert_eq!(&first, b"HTTP/1.1 200");
    until("the app rests", || ["cold", "poised"].contains(&world.phase("shop").as_str()));
    assert!(is_closed(&upload), "the upload was ended, and not the app under it");
    let news = news.join().expect("no panic");
    assert!(news.text.contains("data: 13"), "{news:?}");
    // Longer than an upload may be silent behind an answer, and than an app without use is left.
    silent.stay(Duration::from_secs(16));
    assert_eq!(silent.echo("still there"), "still there");
}
