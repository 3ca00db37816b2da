//! The contract of a runner, on the real Docker. Each case asks only for the traits and a [`world::World`]:
//! for another runner, give `world` another `runner()`.

#![allow(clippy::unwrap_used)]

mod apart;
mod away;
mod building;
mod hardening;
mod images;
mod looking;
mod measuring;
mod pausing;
mod poising;
mod pruning;
mod remote;
mod same;
mod starting;
mod stopping;
mod sweep;
mod world;
