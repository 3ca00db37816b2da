//! Compressed copies for the builder to write beside a file; the same bytes always give the same copy.

use std::io::Write as _;

use brotli::BrotliCompress;
use brotli::enc::BrotliEncoderParams;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::limits::COMPRESS_GAIN_PERCENT;

/// Brotli's quality up to a size in bytes; each takes about a second.
const QUALITIES: &[(usize, i32)] = &[(512 * 1024, 11), (2 * 1024 * 1024, 10)];

/// Brotli's quality for everything larger.
const QUALITY_OF_LARGE: i32 = 9;

/// Brotli's window, as a power of two: the largest of the standard (RFC 7932).
const WINDOW: i32 = 24;

/// Gives the content of `<file>.gz`, without a name and a time in it.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("writing to memory cannot fail");
    encoder.finish().expect("writing to memory cannot fail")
}

/// Gives the content of `<file>.br`, as small as a second or two can make it.
pub fn brotli(bytes: &[u8]) -> Vec<u8> {
    let step = QUALITIES.iter().find(|(size, _)| bytes.len() <= *size);
    let quality = step.map_or(QUALITY_OF_LARGE, |(_, quality)| *quality);
    let settings = BrotliEncoderParams {
        quality,
        lgwin: WINDOW,
        size_hint: bytes.len(),
        ..BrotliEncoderParams::default()
    };
    let mut copy = Vec::new();
    BrotliCompress(&mut &bytes[..], &mut copy, &settings).expect("reading and writing memory cannot fail");
    copy
}

/// Says whether a copy is so much smaller than its original that it is worth its place in the image.
pub fn worthwhile(original: usize, copy: usize) -> bool {
    copy as u64 * 100 <= original as u64 * (100 - COMPRESS_GAIN_PERCENT)
}
