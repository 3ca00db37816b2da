//! The ledger: who may act now. In Redis, or in memory for a single process.
//!
//! It holds claims, leases, phases, routes and last-used times, and nothing that could not be rebuilt from the
//! manifests and from what runs. A ledger that does not know what runs says `Lost` to everybody until the cleaner has
//! restored it; a new one is lost from the beginning.

mod claim;
mod memory;
mod power;
mod redis;

pub use claim::keep_claim;
pub use memory::Memory;
pub use power::{
    Change, Cool, Enter, Leaving, LedgerError, Promote, Restored, RestoredInstance, RestoredState, Settle,
    Watch,
};
pub use redis::Redis;
