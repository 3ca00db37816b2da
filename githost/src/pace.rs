//! How fast strangers may begin SSH handshakes: in all, and from one address block.

use std::num::NonZeroU32;
use std::time::Duration;

use func_model::AddressBlock;
use governor::clock::{Clock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter, state::keyed::HashMapStateStore};

use crate::limits::{
    HANDSHAKES_BURST, HANDSHAKES_OF_ONE, HANDSHAKES_OF_ONE_BURST, HANDSHAKES_PER_SECOND, PACE_BLOCKS_MAX,
};

/// Turns for handshakes. A handshake without a turn waits for one; its place at the door bounds how many wait.
pub(crate) struct Pace<C: Clock = DefaultClock> {
    all: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    each: RateLimiter<AddressBlock, HashMapStateStore<AddressBlock>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self::with_clock(DefaultClock::default())
    }
}

impl<C: Clock + Clone> Pace<C> {
    fn with_clock(clock: C) -> Self {
        let quota = |per_second: NonZeroU32, burst| Quota::per_second(per_second).allow_burst(burst);
        Self {
            all: RateLimiter::direct_with_clock(
                quota(HANDSHAKES_PER_SECOND, HANDSHAKES_BURST),
                clock.clone(),
            ),
            each: RateLimiter::new(
                quota(HANDSHAKES_OF_ONE, HANDSHAKES_OF_ONE_BURST),
                HashMapStateStore::default(),
                clock.clone(),
            ),
            clock,
        }
    }

    /// Waits for a turn: first among those of the same address block, so that no block uses up the turns of all.
    pub(crate) async fn turn(&self, block: AddressBlock) {
        while let Some(wait) = self.wait_of(block) {
            tokio::time::sleep(wait).await;
        }
        while let Some(wait) = self.wait_of_all() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Takes a block's turn, or says when there may be one.
    fn wait_of(&self, block: AddressBlock) -> Option<Duration> {
        if self.each.len() >= PACE_BLOCKS_MAX {
            // Forgets the blocks that have all their turns again.
            self.each.retain_recent();
        }
        self.each.check_key(&block).err().map(|until| until.wait_time_from(self.clock.now()))
    }

    fn wait_of_all(&self) -> Option<Duration> {
        self.all.check().err().map(|until| until.wait_time_from(self.clock.now()))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn block(last: u8) -> AddressBlock {
        AddressBlock::of([10, 0, 0, last].into())
    }

    #[test]
    fn one_address_waits_after_its_burst_and_another_does_not() {
        let clock = FakeRelativeClock::default();
        let pace = Pace::with_clock(clock.clone());
        for _ in 0..HANDSHAKES_OF_ONE_BURST.get() {
            assert_eq!(pace.wait_of(block(1)), None);
        }
        let wait = pace.wait_of(block(1)).expect("a wait");
        assert!(wait <= Duration::from_secs(1) / HANDSHAKES_OF_ONE.get(), "{wait:?}");
        assert_eq!(pace.wait_of(block(2)), None);
        clock.advance(wait);
        assert_eq!(pace.wait_of(block(1)), None);
    }

    #[test]
    fn all_together_wait_after_the_burst_of_all() {
        let clock = FakeRelativeClock::default();
        let pace = Pace::with_clock(clock.clone());
        for _ in 0..HANDSHAKES_BURST.get() {
            assert_eq!(pace.wait_of_all(), None);
        }
        clock.advance(pace.wait_of_all().expect("a wait"));
        assert_eq!(pace.wait_of_all(), None);
    }

    #[test]
    fn addresses_that_rest_are_forgotten() {
        let clock = FakeRelativeClock::default();
        let pace = Pace::with_clock(clock.clone());
        for n in 0..u32::try_from(PACE_BLOCKS_MAX).expect("a small number") {
            pace.wait_of(AddressBlock::of(std::net::Ipv4Addr::from_bits(n).into()));
        }
        clock.advance(Duration::from_secs(60));
        pace.wait_of(block(1));
        assert!(pace.each.len() <= 1, "{}", pace.each.len());
    }
}
