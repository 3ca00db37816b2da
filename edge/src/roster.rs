//! All connections of the public door: admission, eviction, timeouts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use func_model::AddressBlock;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval};
use tracing::warn;

use crate::connection::Connection;
use crate::limits::{HEADS_BYTES_MAX, Limits, REFUSALS_TOLD, SWEEP};
use crate::metrics::Metrics;

/// Shards of the connection list, so that the sweep never blocks every accept and close at once.
const RINGS: u64 = 32;
/// Connections examined per shard to find one to evict.
const LOOKS: usize = 64;
/// A head up to this size is read even when unfinished heads have used up their memory.
const HEAD_BYTES_FREE: usize = 8 * 1024;

/// Connections in order of arrival, with a clock hand for eviction.
#[derive(Debug, Default)]
struct Ring {
    members: BTreeMap<u64, Arc<Connection>>,
    hand: u64,
}

impl Ring {
    /// Evicts a connection that has been waiting since before `now`. Returns whether it found one.
    fn make_room(&mut self, now: u32) -> bool {
        for _ in 0..LOOKS.min(self.members.len()) {
            let next = self.members.range(self.hand..).next().or_else(|| self.members.first_key_value());
            let Some((id, connection)) = next else { return false };
            self.hand = id + 1;
            if connection.give_way(now) {
                return true;
            }
        }
        false
    }
}

/// The connections of the edge.
pub(crate) struct Roster {
    limits: Limits,
    /// Addresses without a limit of their own.
    trusted: Box<dyn Fn(IpAddr) -> bool + Send + Sync>,
    metrics: Arc<Metrics>,
    rings: [Mutex<Ring>; RINGS as usize],
    addresses: Mutex<HashMap<AddressBlock, Ring>>,
    /// How many connections are open.
    open: watch::Sender<usize>,
    ids: AtomicU64,
    /// Seconds since the beginning, as the sweep counts them.
    now: AtomicU32,
    heads_bytes: AtomicUsize,
    refused: AtomicU64,
    closed: AtomicBool,
}

impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Roster").field("open", &*self.open.borrow()).finish_non_exhaustive()
    }
}

/// A place in the roster; dropping it frees it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    roster: &'a Roster,
    id: u64,
    /// The address block that counts it.
    address: Option<AddressBlock>,
    connection: Arc<Connection>,
}

impl Place<'_> {
    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.roster.ring(self.id).lock().members.remove(&self.id);
        if let Some(address) = self.address {
            let mut addresses = self.roster.addresses.lock();
            if let Some(ring) = addresses.get_mut(&address) {
                ring.members.remove(&self.id);
                if ring.members.is_empty() {
                    addresses.remove(&address);
                }
            }
        }
        self.roster.open.send_modify(|n| *n -= 1);
    }
}

/// One unfinished head's share of the memory for all of them.
#[derive(Debug)]
pub(crate) struct Heads<'a> {
    all: &'a AtomicUsize,
    bytes: usize,
}

impl Heads<'_> {
    /// Records a size of `bytes`. Returns whether there is memory for it.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        self.bytes += more;
        let all = self.all.fetch_add(more, Relaxed) + more;
        bytes <= HEAD_BYTES_FREE || all <= HEADS_BYTES_MAX
    }
}

impl Drop for Heads<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.all.fetch_sub(self.bytes, Relaxed);
        }
    }
}

impl Roster {
    pub(crate) fn new(
        limits: Limits,
        trusted: impl Fn(IpAddr) -> bool + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            limits,
            trusted: Box::new(trusted),
            metrics,
            rings: std::array::from_fn(|_| Mutex::default()),
            addresses: Mutex::default(),
            open: watch::Sender::new(0),
            ids: AtomicU64::new(0),
            now: AtomicU32::new(0),
            heads_bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Seconds since the start, counted by the sweep.
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Relaxed)
    }

    pub(crate) fn heads(&self) -> Heads<'_> {
        Heads { all: &self.heads_bytes, bytes: 0 }
    }

    fn ring(&self, id: u64) -> &Mutex<Ring> {
        &self.rings[(id % RINGS) as usize]
    }

    /// Admits a connection, evicting an idle one if needed; returns `None` if there is no room.
    pub(crate) fn admit(&self, address: IpAddr) -> Option<Place<'_>> {
        let now = self.now();
        let full = *self.open.borrow() >= self.limits.connections;
        if full && !self.make_room(now) {
            self.refuse("full");
            return None;
        }
        let address = (!(self.trusted)(address.to_canonical())).then(|| AddressBlock::of(address));
        let id = self.ids.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection::new(now));
        if let Some(address) = address {
            let mut addresses = self.addresses.lock();
            let ring = addresses.entry(address).or_default();
            // An address evicts its own connections only, however new.
            if ring.members.len() >= self.limits.connections_per_address {
                if !ring.make_room(u32::MAX) {
                    drop(addresses);
                    self.refuse("address");
                    return None;
                }
                self.metrics.closed("displaced");
            }
            ring.members.insert(id, connection.clone());
        }
        self.ring(id).lock().members.insert(id, connection.clone());
        self.open.send_modify(|n| *n += 1);
        Some(Place { roster: self, id, address, connection })
    }

    fn make_room(&self, now: u32) -> bool {
        let first = self.ids.load(Relaxed);
        let made = (first..first + RINGS).any(|id| self.ring(id).lock().make_room(now));
        if made {
            self.metrics.closed("displaced");
        }
        made
    }

    fn refuse(&self, why: &'static str) {
        self.refused.fetch_add(1, Relaxed);
        self.metrics.closed(why);
    }

    /// Waits until no connection is open.
    pub(crate) async fn empty(&self) {
        // It is there as long as this.
        let _ = self.open.subscribe().wait_for(|n| *n == 0).await;
    }

    /// Closes every connection without a request, now and from now on.
    pub(crate) fn close(&self) {
        self.closed.store(true, Relaxed);
        for ring in &self.rings {
            for connection in ring.lock().members.values() {
                connection.give_way(u32::MAX);
            }
        }
    }

    /// Whether no more requests are taken.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Relaxed)
    }

    /// Sweeps all connections once a second, for ever.
    pub(crate) async fn sweep_on(self: Arc<Self>) {
        let mut seconds = interval(SWEEP);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        seconds.tick().await;
        loop {
            seconds.tick().await;
            let now = self.next_second();
            for ring in &self.rings {
                self.look_over(ring, now);
                // Lets requests run between shards.
                yield_now().await;
            }
            self.report(now);
        }
    }

    fn next_second(&self) -> u32 {
        self.now.fetch_add(1, Relaxed) + 1
    }

    fn look_over(&self, ring: &Mutex<Ring>, now: u32) {
        for connection in ring.lock().members.values() {
            if let Some(why) = connection.look(now, &self.limits) {
                self.metrics.closed(why);
            }
        }
    }

    fn report(&self, now: u32) {
        let open = *self.open.borrow();
        self.metrics.open(open);
        if u64::from(now).is_multiple_of(REFUSALS_TOLD.as_secs()) {
            let refused = self.refused.swap(0, Relaxed);
            if refused > 0 {
                warn!(
                    refused,
                    open,
                    "{refused} connections were refused: too many in all, or of one address (see the settings \
                     `connections` and `connections-per-address`)"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::connection::Phase;

    use super::*;

    fn roster(connections: usize, connections_per_address: usize) -> Roster {
        let limits = Limits { connections, connections_per_address, ..Limits::default() };
        let trusted = |address| address == IpAddr::from([10, 9, 9, 9]);
        Roster::new(limits, trusted, Arc::new(Metrics::new()))
    }

    impl Roster {
        fn sweep(&self) {
            let now = self.next_second();
            self.rings.iter().for_each(|ring| self.look_over(ring, now));
            self.report(now);
        }
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn an_address_over_its_number_displaces_only_its_own() {
        let roster = roster(100, 2);
        let other = roster.admit(address(2)).expect("a place");
        let (a, b) = (roster.admit(address(1)).expect("a place"), roster.admit(address(1)).expect("a place"));
        b.connection().begin(0);
        let c = roster.admit(address(1)).expect("a place");
        assert!(a.connection().is_cut() && !b.connection().is_cut() && !other.connection().is_cut());
        c.connection().begin(0);
        // The first is about to leave, and counts as long as it has not.
        assert!(roster.admit(address(1)).is_none());
        drop((a, b));
        roster.admit(address(1)).expect("a place again");
    }

    #[test]
    fn a_trusted_proxy_has_as_many_as_there_are() {
        let roster = roster(100, 2);
        let held: Vec<_> = (0..100).map(|_| roster.admit([10, 9, 9, 9].into()).expect("a place")).collect();
        assert!(roster.admit([10, 9, 9, 9].into()).is_none(), "none has waited for a second yet");
        drop(held);
        assert!(roster.rings.iter().all(|ring| ring.lock().members.is_empty()));
        assert_eq!(*roster.open.borrow(), 0);
    }

    #[test]
    fn ipv6_is_counted_by_64_bits() {
        let roster = roster(100, 1);
        let one = roster.admit("2001:db8::1".parse().expect("an address")).expect("a place");
        one.connection().begin(0);
        assert!(roster.admit("2001:db8::ffff:1".parse().expect("an address")).is_none());
        assert!(roster.admit("2001:db8:0:1::1".parse().expect("an address")).is_some());
    }

    #[test]
    fn a_full_door_closes_what_has_waited_longest_for_its_client() {
        let roster = roster(3, 100);
        let held: Vec<_> = (0..3).map(|n| roster.admit(address(n)).expect("a place")).collect();
        assert!(roster.admit(address(9)).is_none(), "all have just come");
        held[0].connection().begin(0);
        roster.sweep();
        assert!(roster.admit(address(9)).is_some());
        let cut: Vec<_> = held.iter().map(|place| place.connection().is_cut()).collect();
        assert_eq!(cut.iter().filter(|cut| **cut).count(), 1);
        assert!(!cut[0], "it has a request");
    }

    #[test]
    fn the_sweep_cuts_who_is_late() {
        let roster = roster(100, 100);
        let places: Vec<_> = (0..4).map(|n| roster.admit(address(n)).expect("a place")).collect();
        places[1].connection().enter(Phase::Head, 0);
        places[2].connection().enter(Phase::Kept, 0);
        places[3].connection().begin(0);
        let cut = || places.iter().map(|place| place.connection().is_cut()).collect::<Vec<_>>();
        (0..15).for_each(|_| roster.sweep());
        assert_eq!(cut(), [false; 4]);
        roster.sweep();
        assert_eq!(cut(), [true, true, false, false]);
        (0..75).for_each(|_| roster.sweep());
        assert_eq!(cut(), [true, true, true, false]);
    }
}
