//! Slots on paused time: who enters, what is renewed, what is left.

use tokio::time::advance;

use super::*;

fn slot() -> (Slots, Arc<Slot>) {
    let slots = Slots::new("edge".into());
    let slot = slots.slot(&"blog-v1.1".parse().expect("an instance"));
    (slots, slot)
}

fn endpoint() -> Endpoint {
    Endpoint { addr: "10.0.0.2:8080".parse().expect("an address"), generation: 7 }
}

/// A slot under a lease taken now.
fn held() -> (Slots, Arc<Slot>, LeaseId) {
    let (slots, slot) = slot();
    let lease = slot.new_lease();
    slot.hold(lease.clone(), endpoint(), Instant::now());
    (slots, slot, lease)
}

fn occupancy() -> (tempfile::TempDir, func_store::Occupancy) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = func_store::DataDir::open(folder.path()).expect("made");
    let occupancy = func_store::Occupancy::new(&data);
    (folder, occupancy)
}

/// What is to be done, in words: `renew edge#1`, `leave edge#1`.
fn duties(slots: &Slots) -> Vec<String> {
    let word = |duty: &Duty| match duty {
        Duty::Renew(lease) => format!("renew {lease}"),
        Duty::Leave(leaving) => format!("leave {}", leaving.lease),
    };
    slots.duties(false).iter().map(|(_, duty)| word(duty)).collect()
}

/// A flight that never lands.
fn never() -> watch::Receiver<Option<Landing>> {
    let (tell, told) = watch::channel(None);
    // Kept for as long as the test's process: dropping it would be a flight that is dead.
    Box::leak(Box::new(tell));
    told
}

#[tokio::test(start_paused = true)]
async fn nobody_enters_without_a_lease() {
    let (_slots, slot) = slot();
    assert!(slot.try_enter().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_trusted_until_a_margin_before_its_end_and_longer_only_where_it_is_occupied() {
    let (slots, slot, _) = held();
    let (_folder, occupancy) = occupancy();
    assert_eq!(slot.try_enter().expect("it is held").endpoint, endpoint());
    advance(TRUST).await;
    assert!(slot.try_enter().is_none());
    slots.set_away(true);
    assert!(slot.try_enter().is_none(), "the cleaner may see no lease");
    assert_eq!(slots.unoccupied().len(), 1);
    slot.occupy(occupancy.occupy(&slot.id).expect("locked").expect("nobody stops it"));
    assert!(slot.try_enter().is_some(), "what is warm is served from memory");
    assert!(slots.unoccupied().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_vacant_and_what_is_in_use_is_not() {
    let (slots, slot, _) = held();
    let (_folder, occupancy) = occupancy();
    slot.occupy(occupancy.occupy(&slot.id).expect("locked").expect("nobody stops it"));
    let in_flight = slot.try_enter().expect("it is held");
    advance(Duration::from_millis(LEASE_MS) * 10).await;
    duties(&slots);
    assert!(occupancy.vacate(&slot.id).expect("asked").is_none());
    drop(in_flight);
    advance(LINGER).await;
    duties(&slots);
    assert!(occupancy.vacate(&slot.id).expect("asked").is_some());
    slot.occupy(occupancy.occupy(&slot.id).expect("locked").expect("nobody stops it"));
    assert!(occupancy.vacate(&slot.id).expect("asked").is_some(), "without a lease nothing is occupied");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_renewed_for_as_long_as_it_takes() {
    let (slots, slot, lease) = held();
    let in_flight = slot.try_enter().expect("it is held");
    for _ in 0..100 {
        advance(RENEW).await;
        assert_eq!(duties(&slots), [format!("renew {lease}")]);
        slot.renewed(&lease, Some(endpoint()), Instant::now());
    }
    drop(in_flight);
    assert_eq!(duties(&slots), [""; 0]);
    advance(LINGER).await;
    assert_eq!(duties(&slots), [format!("leave {lease}")]);
    assert!(slot.try_enter().is_none(), "what is left is entered no more");
}

#[tokio::test(start_paused = true)]
async fn who_is_waiting_keeps_the_lease() {
    let (slots, slot, lease) = held();
    let waiting = slot.join(1, never).expect("there is a place");
    advance(LINGER).await;
    assert_eq!(duties(&slots), [""; 0]);
    drop(waiting);
    assert_eq!(duties(&slots), [format!("leave {lease}")]);
}

#[tokio::test(start_paused = true)]
async fn a_forsaken_endpoint_is_entered_by_nobody_but_keeps_its_lease() {
    let (slots, slot, lease) = held();
    let in_flight = slot.try_enter().expect("it is held");
    slot.forsake(endpoint().generation - 1);
    assert!(slot.try_enter().is_some(), "another generation was meant");
    slot.forsake(endpoint().generation);
    assert!(slot.try_enter().is_none());
    advance(RENEW).await;
    assert_eq!(duties(&slots), [format!("renew {lease}")]);
    drop(in_flight);
}

#[tokio::test(start_paused = true)]
async fn a_newer_lease_replaces_the_older_which_is_left() {
    let (slots, slot, old) = held();
    let new = slot.new_lease();
    assert_ne!(old, new);
    slot.hold(new.clone(), endpoint(), Instant::now());
    assert_eq!(duties(&slots), [format!("leave {old}")]);
    slot.renewed(&old, None, Instant::now());
    assert!(slot.try_enter().is_some(), "a late answer about the old lease changes nothing");
}

#[tokio::test(start_paused = true)]
async fn only_so_many_may_wait_and_a_place_is_free_again_when_one_leaves() {
    let (_slots, slot) = slot();
    let first = slot.join(2, never).expect("a place");
    let _second = slot.join(2, || unreachable!("the flight is under way")).expect("a place");
    assert!(slot.join(2, never).is_none());
    drop(first);
    assert!(slot.join(2, never).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_flight_that_died_is_begun_anew() {
    let (_slots, slot) = slot();
    let _first = slot.join(9, || watch::channel(None).1).expect("a place");
    let mut begun = false;
    let _second = slot.join(9, || {
        begun = true;
        never()
    });
    assert!(begun);
}

#[tokio::test(start_paused = true)]
async fn without_a_ledger_no_lease_is_given_up() {
    let (slots, _slot, lease) = held();
    slots.set_away(true);
    advance(LINGER * 100).await;
    assert_eq!(duties(&slots), [format!("renew {lease}")]);
}

#[tokio::test(start_paused = true)]
async fn the_edge_is_idle_when_the_last_request_ends() {
    let (slots, _slot) = slot();
    let requests: Vec<_> = (0..3).map(|_| slots.request()).collect();
    assert_eq!(slots.requests(), 3);
    let slots = Arc::new(slots);
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.idle().await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    drop(requests);
    waiting.await.expect("it is told");
}

#[tokio::test(start_paused = true)]
async fn a_slot_that_nobody_has_is_forgotten() {
    let (slots, slot) = slot();
    drop(slot);
    duties(&slots);
    assert!(slots.all.read().expect("no panic").is_empty());
}
