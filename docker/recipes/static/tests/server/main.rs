//! The server as its clients see it: the real binary, a real folder, bytes over TCP.

mod caching;
mod codings;
mod lifetime;
mod pages;
mod ranges;
mod safety;
mod world;
