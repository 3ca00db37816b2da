//! Attacks on a running func, one file for each kind: from strangers at the doors, from inside instances and builds, and
//! from one part of func on another. docs/security.md lists them.

mod audit;
mod builds;
mod connections;
mod disk;
mod files;
mod framing;
mod handshakes;
mod identity;
mod inside;
mod lines;
mod network;
pub mod parts;
mod pooling;
mod pushes;
mod secrets;
mod stranger;
mod terminal;
mod uploads;
