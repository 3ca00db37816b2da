//! The file server that goes into the image of every static site.

/// A static binary, built by `build.rs` from docker/recipes/static.
pub const SERVER: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/func-static"));
