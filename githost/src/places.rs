//! The places for connections at one door: those whose client is not known yet apart from those whose client is.
//!
//! A stranger costs others nothing: every address may hold only so many connections that are still starting, the more
//! of them there are the likelier a further one of the same address is dropped, and when all places are taken the
//! address with the most loses its oldest to a newcomer.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use func_model::AddressBlock;
use tokio_util::sync::CancellationToken;

/// How many connections a door has room for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Connections whose client is not known yet.
    pub(crate) starting: usize,
    /// From how many of those on an address that holds some already is refused by chance.
    pub(crate) drop_from: usize,
    /// How likely that is at first, in percent; it rises to 100 when all places are taken.
    pub(crate) drop_percent: usize,
    /// Of one address block.
    pub(crate) starting_of_one: usize,
    /// Connections whose client is known.
    pub(crate) known: usize,
    /// Of one address block.
    pub(crate) known_of_one: usize,
}

impl Room {
    /// Returns it with at most this many places of each kind.
    pub(crate) fn within(self, places: usize) -> Self {
        let starting = self.starting.min(places);
        Self {
            starting,
            drop_from: self.drop_from.min(starting.div_ceil(2)),
            starting_of_one: self.starting_of_one.min(starting.div_ceil(2)),
            known: self.known.min(places),
            known_of_one: self.known_of_one.min(places.div_ceil(2)),
            ..self
        }
    }
}

/// The places of one door.
#[derive(Debug)]
pub(crate) struct Places {
    room: Room,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By the order in which they came.
    starting: BTreeMap<u64, Starting>,
    known: HashMap<AddressBlock, usize>,
}

#[derive(Debug)]
struct Starting {
    block: AddressBlock,
    evicted: CancellationToken,
}

/// One taken place; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    /// The client's address, an IPv4-mapped one as IPv4.
    pub(crate) address: IpAddr,
    block: AddressBlock,
    number: u64,
    evicted: CancellationToken,
}

impl Places {
    pub(crate) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self { room, state: Mutex::default() })
    }

    /// Takes a place for a client that is not known yet; `None` if its address holds its share, or by chance when many
    /// are starting. `dice` is a random number below 100.
    pub(crate) fn take(self: &Arc<Self>, address: IpAddr, dice: usize) -> Option<Place> {
        let address = address.to_canonical();
        let block = AddressBlock::of(address);
        let mut state = self.state();
        let mine = state.starting_of(block);
        let starting = state.starting.len();
        if mine >= self.room.starting_of_one || dice < self.room.drop_chance(starting, mine) {
            return None;
        }
        if starting >= self.room.starting && !state.evict_for(mine) {
            return None;
        }
        let (number, evicted) = (state.next, CancellationToken::new());
        state.next += 1;
        state.starting.insert(number, Starting { block, evicted: evicted.clone() });
        Some(Place { places: self.clone(), address, block, number, evicted })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Returns how likely a further connection is refused, in percent. An address that holds no starting one is never
    /// refused by chance: only whoever makes the crowd pays for it.
    ///
    /// Source: sshd_config(5), MaxStartups.
    fn drop_chance(&self, starting: usize, mine: usize) -> usize {
        if mine == 0 || starting < self.drop_from {
            return 0;
        }
        let span = self.starting.saturating_sub(self.drop_from).max(1);
        let over = (starting - self.drop_from).min(span);
        self.drop_percent + (100 - self.drop_percent) * over / span
    }
}

impl State {
    fn starting_of(&self, block: AddressBlock) -> usize {
        self.starting.values().filter(|starting| starting.block == block).count()
    }

    /// Ends the oldest starting connection of the address that holds the most, if those are more than the newcomer's.
    fn evict_for(&mut self, mine: usize) -> bool {
        let mut held: HashMap<AddressBlock, (usize, u64)> = HashMap::new();
        for (number, starting) in &self.starting {
            held.entry(starting.block).or_insert((0, *number)).0 += 1;
        }
        let most = held.into_values().max_by_key(|(count, oldest)| (*count, u64::MAX - oldest));
        let Some((count, oldest)) = most.filter(|(count, _)| *count > mine) else { return false };
        tracing::debug!(count, "a starting connection makes room for another address");
        if let Some(starting) = self.starting.remove(&oldest) {
            starting.evicted.cancel();
        }
        true
    }
}

impl Place {
    /// Moves to the places of known clients; `false` if there is none left, in all or for this address.
    pub(crate) fn admit(&self) -> bool {
        let mut state = self.places.state();
        let room = &self.places.room;
        if !state.starting.contains_key(&self.number) {
            // Admitted before; or evicted, and then it is over.
            return !self.evicted.is_cancelled();
        }
        let all: usize = state.known.values().sum();
        let mine = state.known.get(&self.block).copied().unwrap_or_default();
        if all >= room.known || mine >= room.known_of_one {
            return false;
        }
        state.starting.remove(&self.number);
        state.known.insert(self.block, mine + 1);
        true
    }

    /// Whether the client is still unknown.
    pub(crate) fn is_starting(&self) -> bool {
        self.places.state().starting.contains_key(&self.number)
    }

    /// Waits until the place has gone to another client.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    pub(crate) fn block(&self) -> AddressBlock {
        self.block
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.places.state();
        if state.starting.remove(&self.number).is_some() || self.evicted.is_cancelled() {
            return;
        }
        if let Some(mine) = state.known.get_mut(&self.block) {
            *mine -= 1;
            if *mine == 0 {
                state.known.remove(&self.block);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room =
        Room { starting: 10, drop_from: 6, drop_percent: 30, starting_of_one: 4, known: 3, known_of_one: 2 };
    /// Never refused by chance.
    const LUCKY: usize = 99;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn taken(places: &Arc<Places>, last: u8, count: usize) -> Vec<Place> {
        (0..count).map(|_| places.take(ip(last), LUCKY).expect("a place")).collect()
    }

    #[test]
    fn one_address_holds_its_share_of_starting_places_and_no_more() {
        let places = Places::new(ROOM);
        let held = taken(&places, 1, 4);
        assert!(places.take(ip(1), LUCKY).is_none());
        assert!(places.take("::ffff:10.0.0.1".parse().expect("an address"), LUCKY).is_none(), "the same one");
        assert!(places.take(ip(2), LUCKY).is_some());
        drop(held);
        assert!(places.take(ip(1), LUCKY).is_some());
        assert!(places.state().starting.is_empty(), "those who left are forgotten");
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let places = Places::new(ROOM);
        let address = |n: u16| IpAddr::from([0x2001, 0xdb8, 0, 7, n, 0, 0, n]);
        let _held: Vec<_> = (0..4).map(|n| places.take(address(n), LUCKY).expect("a place")).collect();
        assert!(places.take(address(9), LUCKY).is_none());
    }

    #[test]
    fn in_a_crowd_only_addresses_that_hold_places_are_refused_by_chance_and_ever_likelier() {
        assert_eq!(ROOM.drop_chance(5, 3), 0);
        let chances: Vec<_> = (6..=10).map(|starting| ROOM.drop_chance(starting, 1)).collect();
        assert_eq!(chances, [30, 47, 65, 82, 100]);
        assert!((0..=10).all(|starting| ROOM.drop_chance(starting, 0) == 0));
    }

    #[test]
    fn a_newcomer_takes_the_oldest_place_of_whoever_holds_the_most() {
        let places = Places::new(ROOM);
        let (many, few) = (taken(&places, 1, 4), taken(&places, 2, 3));
        let third = places.take(ip(3), 0).expect("a place in a crowd, whatever the dice says");
        let rest: Vec<_> = (4..6).map(|last| places.take(ip(last), 0).expect("a place")).collect();
        let newcomer = places.take(ip(6), 0).expect("a place although all are taken");
        let evicted = |held: &[Place]| held.iter().filter(|place| place.evicted.is_cancelled()).count();
        assert_eq!((evicted(&many), evicted(&few), evicted(&rest)), (1, 0, 0));
        assert!(many[0].evicted.is_cancelled() && !many[0].admit(), "an evicted client is not let in");
        assert!(third.admit() && newcomer.is_starting());
    }

    #[test]
    fn strangers_take_no_place_of_those_who_are_known() {
        let places = Places::new(ROOM);
        let known = taken(&places, 1, 2);
        assert!(known.iter().all(Place::admit) && known[0].admit(), "admitting twice is the same as once");
        let third = places.take(ip(1), LUCKY).expect("a place to start");
        assert!(!third.admit(), "its address has its share of known ones");
        let other = places.take(ip(2), LUCKY).expect("a place");
        assert!(other.admit());
        let late = places.take(ip(3), LUCKY).expect("a place to start");
        assert!(!late.admit(), "no more than the places in all");
        drop(other);
        assert!(late.admit());
        drop((known, late, third));
        assert!(places.state().known.is_empty() && places.state().starting.is_empty());
    }
}
