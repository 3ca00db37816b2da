//! The file server of the `static` recipe: one folder, read only, over HTTP/1.1.
//!
//! The binary goes `FROM scratch` into every static site's image; the builder links this library for
//! [`compressible`], so that what it squeezes when it makes the image is what the server looks for.
//!
//! Nothing here writes a file, opens a name outside the root, or holds a whole file in memory.

mod answer;
mod coding;
mod condition;
pub mod config;
mod content;
mod farewell;
mod kind;
pub mod limits;
mod path;
#[cfg(feature = "precompress")]
mod precompress;
mod range;
mod reply;
mod server;
mod site;
mod tag;
mod tree;

pub use coding::Coding;
pub use kind::compressible;
#[cfg(feature = "precompress")]
pub use precompress::{brotli, gzip, worthwhile};
pub use server::{Bounds, serve};
pub use site::Site;
