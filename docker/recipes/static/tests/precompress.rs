//! The copies that the builder writes, and that clients must be able to read.

use std::io::Read as _;

use func_static::{brotli, compressible, gzip, worthwhile};

/// A text of some size with as much order as prose has.
fn text(bytes: usize) -> Vec<u8> {
    let words = ["the", "edge", "wakes", "an", "instance", "and", "streams", "both", "bodies", "through"];
    let mut dice = 1_u32;
    let mut text = Vec::with_capacity(bytes + 16);
    while text.len() < bytes {
        dice = dice.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(words[(dice >> 24) as usize % words.len()].as_bytes());
        text.push(b' ');
    }
    text.truncate(bytes);
    text
}

fn from_gzip(copy: &[u8]) -> Vec<u8> {
    let mut original = Vec::new();
    flate2::read::GzDecoder::new(copy).read_to_end(&mut original).expect("read the copy");
    original
}

fn from_brotli(copy: &[u8]) -> Vec<u8> {
    let mut original = Vec::new();
    brotli::Decompressor::new(copy, 4096).read_to_end(&mut original).expect("read the copy");
    original
}

#[test]
fn a_copy_gives_back_the_original_at_every_quality() {
    for (bytes, times) in [(0, 1), (1, 1), (512, 1), (100_000, 1), (10_000, 60), (10_000, 220)] {
        let original = text(bytes).repeat(times);
        assert!(from_gzip(&gzip(&original)) == original, "gzip of {bytes} x {times}");
        assert!(from_brotli(&brotli(&original)) == original, "brotli of {bytes} x {times}");
    }
}

#[test]
fn the_same_bytes_give_the_same_copy() {
    let original = text(50_000);
    assert!(gzip(&original) == gzip(&original));
    assert!(brotli(&original) == brotli(&original));
}

#[test]
fn text_gains_and_noise_does_not() {
    let original = text(50_000);
    let (gzip_bytes, brotli_bytes) = (gzip(&original).len(), brotli(&original).len());
    assert!(brotli_bytes < gzip_bytes && worthwhile(original.len(), gzip_bytes));

    let noise = brotli(&text(50_000));
    assert!(!worthwhile(noise.len(), gzip(&noise).len()));
}

#[test]
fn a_gain_of_five_percent_is_worthwhile() {
    assert!(worthwhile(1000, 950));
    assert!(!worthwhile(1000, 951));
    assert!(!worthwhile(0, 20));
}

#[test]
fn the_builder_knows_what_to_compress() {
    assert!(compressible("assets/app.js", 10_000));
    assert!(!compressible("assets/photo.jpg", 10_000));
}
