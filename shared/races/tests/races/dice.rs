//! Dice: all that is left to chance, from one seed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;
use std::time::Duration;

/// The dice of one story. Who throws the n-th time for the same thing gets the same roll, in whatever order the others
/// throw: which of the waiters of a `watch` is woken first is left to tokio's own dice.
pub struct Dice {
    seed: u64,
    thrown: Mutex<HashMap<u64, u64>>,
}

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self { seed, thrown: Mutex::default() }
    }

    /// Throws for something.
    pub fn roll(&self, what: impl Hash) -> Roll {
        let mut hasher = DefaultHasher::new();
        (self.seed, what).hash(&mut hasher);
        let what = hasher.finish();
        let mut thrown = self.thrown.lock().expect("unbroken");
        let times = thrown.entry(what).or_default();
        *times += 1;
        Roll(what.wrapping_add(times.wrapping_mul(0xd134_2543_de82_ef95)))
    }
}

/// SplitMix64: the same numbers for the same roll, on every machine.
pub struct Roll(u64);

impl Roll {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Gives a number from 0 up to `n`, without it.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    /// Whether something happens that happens `n` times in a thousand.
    pub fn hits(&mut self, n: u64) -> bool {
        self.below(1_000) < n
    }

    pub fn ms(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to.saturating_sub(from)))
    }
}
