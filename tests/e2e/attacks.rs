//! Attacks on a running func, one file for each kind: from strangers at the doors, from inside instances and builds, and
//! from one part of func on another. Each test failed before its defence was built; docs/security.md lists them.

mod handshakes;
mod pooling;
