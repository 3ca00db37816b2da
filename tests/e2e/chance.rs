//! Chance with a seed: the same seed chooses the same things in the same order.

/// A small generator (SplitMix64), so that a seed means the same for ever.
pub struct Chance(u64);

impl Chance {
    /// Takes the seed from the variable, or a new one, and tells it.
    pub fn new(variable: &str) -> Self {
        use std::hash::BuildHasher;
        let given = std::env::var(variable).ok().map(|text| text.parse().expect("a seed is a number"));
        let seed = given.unwrap_or_else(|| std::hash::RandomState::new().hash_one(0) >> 32);
        eprintln!("the seed is {seed}; to choose the same again: {variable}={seed}");
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}
