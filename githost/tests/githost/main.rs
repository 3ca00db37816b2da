//! The real git and ssh programs against the git host.

mod both;
mod http;
mod leaving;
mod ssh;
mod world;
