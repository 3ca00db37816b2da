//! What every ledger has to keep: the same tests on the one in memory and on a real Redis.

mod loss;
mod same;
mod world;

use func_ledger::{Change, Leaving, LedgerError, Settle};
use func_model::limits::{IDLE_MS, LEASE_MS};
use func_model::{Claim, CoolPermit, Entry, InstanceId, NotYet, Phase};
use world::{World, addr, app_name, lease, poised};

macro_rules! contract {
    ($($name:ident)*) => {
        mod memory {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(super::World::memory().await).await;
            })*
        }
        mod redis {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(super::World::redis().await).await;
            })*
        }
    };
}

contract! {
    the_first_to_enter_gets_the_claim_and_the_others_wait
    a_call_whose_answer_was_lost_can_be_made_again
    an_old_claim_is_stale
    a_failed_start_is_tried_again_only_after_its_backoff
    what_is_leased_is_never_cooled
    a_lease_ends_by_itself
    a_late_leave_keeps_the_newer_lease
    what_was_used_lately_is_not_cooled
    a_retired_instance_lets_nobody_in_and_is_cooled_at_once
    a_release_that_comes_back_lets_people_in_again
    a_permit_ends_once
    who_waits_hears_that_it_woke
    a_route_is_read_as_it_was_promoted
    an_app_that_is_dropped_has_no_route_and_no_way_in
    gone_counts_only_for_the_generation_that_was_seen
    what_was_to_be_stopped_can_be_adopted_again
    a_stray_is_adopted_or_discarded_but_never_under_a_claim
    what_is_leased_is_never_discarded
    a_stop_that_was_not_finished_is_done_anew_and_the_old_permit_is_over
    what_is_retired_is_cut_under_its_leases_when_its_time_is_over
    what_is_live_again_and_then_retired_has_its_time_anew
    only_what_is_over_is_forgotten
    an_unknown_instance_lets_nobody_in
    what_is_made_ahead_goes_with_the_first_claim_and_with_no_other
    what_is_made_ahead_counts_only_if_the_record_was_cold_all_the_time
    what_is_paused_is_claimed_and_cooled_as_what_is_not
    what_is_used_or_retired_is_not_paused
    a_claim_that_is_given_back_is_free_at_once
    a_claim_stands_for_as_long_as_it_is_extended
    a_start_that_resumes_keeps_the_time_of_the_last_real_one
}

async fn claim(world: &World, id: &InstanceId, holder: &str) -> Claim {
    match world.ledger.enter(id, &lease(holder, 1)).await.expect("it answers") {
        Entry::Claimed(claim) => claim,
        other => panic!("not a claim: {other:?}"),
    }
}

async fn cool(world: &World, id: &InstanceId, idle_ms: u64) -> Result<CoolPermit, NotYet> {
    world.ledger.cool(id, idle_ms).await.expect("it answers")
}

fn stale<T: std::fmt::Debug>(answer: Result<T, LedgerError>) {
    assert!(matches!(answer, Err(LedgerError::Stale(_))), "{answer:?}");
}

async fn the_first_to_enter_gets_the_claim_and_the_others_wait(world: World) {
    let id = world.live("blog").await;
    let claim = claim(&world, &id, "one").await;
    assert_eq!(world.ledger.enter(&id, &lease("two", 1)).await.expect("it answers"), Entry::Wait);
    let endpoint =
        world.ledger.woken(&claim, addr(), &lease("one", 1), None).await.expect("the claim stands");
    let entered = world.ledger.enter(&id, &lease("two", 2)).await.expect("it answers");
    assert_eq!(entered, Entry::Warm(endpoint));
    let (records, now_ms) = world.ledger.records().await.expect("it answers");
    assert_eq!(records[&id].leases.keys().cloned().collect::<Vec<_>>(), [lease("one", 1), lease("two", 2)]);
    assert!(records[&id].leased(now_ms) && records[&id].endpoint() == Some(endpoint));
    let (one, _) = world.ledger.record(&id).await.expect("it answers");
    assert_eq!(one.as_ref(), records.get(&id));
    let (none, _) = world.ledger.record(&"nobody-v1.1".parse().expect("an id")).await.expect("it answers");
    assert_eq!(none, None);
}

async fn a_call_whose_answer_was_lost_can_be_made_again(world: World) {
    let id = world.live("blog").await;
    let first = claim(&world, &id, "one").await;
    assert_eq!(claim(&world, &id, "one").await, first);
    let woken = world.ledger.woken(&first, addr(), &lease("one", 1), None).await.expect("the claim stands");
    assert_eq!(world.ledger.woken(&first, addr(), &lease("one", 1), None).await.expect("said before"), woken);
    stale(
        world.ledger.woken(&first, "10.0.0.3:1".parse().expect("an address"), &lease("one", 1), None).await,
    );
}

async fn an_old_claim_is_stale(world: World) {
    let id = world.live("blog").await;
    let old = claim(&world, &id, "one").await;
    world.ledger.failed(&old).await.expect("the claim stands");
    stale(world.ledger.woken(&old, addr(), &lease("one", 1), None).await);
    stale(world.ledger.failed(&old).await);
    assert_eq!(world.phase(&id).await, "broken");
}

async fn a_failed_start_is_tried_again_only_after_its_backoff(world: World) {
    let id = world.live("blog").await;
    let first = claim(&world, &id, "one").await;
    assert_eq!(world.ledger.failed(&first).await.expect("the claim stands"), 1_000);
    let entry = world.ledger.enter(&id, &lease("two", 1)).await.expect("it answers");
    assert!(matches!(entry, Entry::Broken { retry_ms: 1..=1_000 }), "{entry:?}");
    world.pass(1_050).await;
    let second = claim(&world, &id, "two").await;
    assert_eq!(world.ledger.failed(&second).await.expect("the claim stands"), 2_000);
}

async fn what_is_leased_is_never_cooled(world: World) {
    let (id, first) = world.warm("blog").await;
    assert_eq!(cool(&world, &id, 0).await, Err(NotYet::Leased));
    let kept = world.ledger.keep(&[(id.clone(), first.clone())], &[]).await.expect("it answers");
    assert_eq!(kept, [world.ledger.records().await.expect("it answers").0[&id].endpoint()]);
    world.ledger.retire(&id).await.expect("it answers");
    assert_eq!(cool(&world, &id, 0).await, Err(NotYet::Leased), "a retired one is drained first");
}

async fn a_lease_ends_by_itself(world: World) {
    let (id, _) = world.warm("blog").await;
    world.pass(LEASE_MS + 100).await;
    assert!(cool(&world, &id, 0).await.is_ok());
}

async fn leave(world: &World, id: &InstanceId, lease: &func_model::LeaseId) {
    let leaving = Leaving { id: id.clone(), lease: lease.clone(), idle_for_ms: 0 };
    world.ledger.keep(&[], &[leaving]).await.expect("it answers");
}

async fn a_late_leave_keeps_the_newer_lease(world: World) {
    let (id, first) = world.warm("blog").await;
    assert!(matches!(world.ledger.enter(&id, &lease("edge", 2)).await, Ok(Entry::Warm(_))));
    leave(&world, &id, &first).await;
    assert_eq!(cool(&world, &id, 0).await, Err(NotYet::Leased));
    leave(&world, &id, &lease("edge", 2)).await;
    assert!(cool(&world, &id, 0).await.is_ok());
}

async fn what_was_used_lately_is_not_cooled(world: World) {
    let (id, first) = world.warm("blog").await;
    leave(&world, &id, &first).await;
    assert_eq!(cool(&world, &id, IDLE_MS).await, Err(NotYet::Used));
    assert!(cool(&world, &id, 0).await.is_ok());
    assert_eq!(
        world.ledger.enter(&id, &lease("edge", 3)).await.expect("it answers"),
        Entry::Wait,
        "it is being stopped"
    );
}

async fn a_retired_instance_lets_nobody_in_and_is_cooled_at_once(world: World) {
    let (old, first) = world.warm("blog").await;
    let new = world.release("blog", 2).await;
    assert_eq!(world.ledger.enter(&old, &lease("edge", 2)).await.expect("it answers"), Entry::Retired);
    assert_eq!(world.ledger.keep(&[(old.clone(), first.clone())], &[]).await.expect("it answers"), [None]);
    leave(&world, &old, &first).await;
    assert!(cool(&world, &old, IDLE_MS).await.is_ok());
    assert!(matches!(world.ledger.enter(&new, &lease("edge", 3)).await, Ok(Entry::Claimed(_))));
}

async fn a_release_that_comes_back_lets_people_in_again(world: World) {
    let (old, _) = world.warm("blog").await;
    world.release("blog", 2).await;
    let entry = world.ledger.introduce(&old, &lease("builder", 1)).await.expect("it answers");
    assert!(matches!(entry, Entry::Warm(_)), "{entry:?}");
    assert!(matches!(world.ledger.enter(&old, &lease("edge", 2)).await, Ok(Entry::Warm(_))));
}

async fn a_permit_ends_once(world: World) {
    let (id, first) = world.warm("blog").await;
    leave(&world, &id, &first).await;
    let permit = cool(&world, &id, 0).await.expect("nothing holds it");
    assert_eq!(cool(&world, &id, 0).await, Err(NotYet::NotWarm));
    world.ledger.cooled(&permit).await.expect("the permit stands");
    stale(world.ledger.cooled(&permit).await);
    assert_eq!(world.phase(&id).await, "cold");
}

async fn who_waits_hears_that_it_woke(world: World) {
    let id = world.live("blog").await;
    let mut changes = world.ledger.changes();
    let claim = claim(&world, &id, "one").await;
    world.ledger.woken(&claim, addr(), &lease("one", 1), None).await.expect("the claim stands");
    let heard =
        async { while changes.recv().await.expect("the ledger lives") != Change::Instance(id.clone()) {} };
    // A listener that has just connected may have missed it: it is told that it may have.
    tokio::time::timeout(std::time::Duration::from_secs(20), heard).await.expect("it is told");
}

async fn a_route_is_read_as_it_was_promoted(world: World) {
    let release: func_model::ReleaseId = "blog-v7".parse().expect("a release");
    let hosts = vec!["example.org".parse().expect("a host")];
    let route = func_model::Route { number: release.number, hosts, waiting_page: true };
    world.ledger.promote(&release, &route).await.expect("promoted");
    world.ledger.promote(&release, &route).await.expect("twice is the same as once");
    let routes = world.ledger.routes().await.expect("it answers");
    assert_eq!(routes.into_iter().collect::<Vec<_>>(), [(app_name("blog"), route)]);
    assert_eq!(world.phase(&release.instance()).await, "cold");
}

async fn an_app_that_is_dropped_has_no_route_and_no_way_in(world: World) {
    let blog = world.live("blog").await;
    let other = world.live("blog-v2").await;
    world.ledger.drop_route(&app_name("blog")).await.expect("dropped");
    world.ledger.drop_route(&app_name("blog")).await.expect("twice is the same as once");
    let routes = world.ledger.routes().await.expect("it answers");
    assert_eq!(routes.keys().map(ToString::to_string).collect::<Vec<_>>(), ["blog-v2"]);
    assert_eq!(world.ledger.enter(&blog, &lease("edge", 1)).await.expect("it answers"), Entry::Retired);
    assert!(matches!(world.ledger.enter(&other, &lease("edge", 1)).await, Ok(Entry::Claimed(_))));
}

async fn gone_counts_only_for_the_generation_that_was_seen(world: World) {
    let (id, first) = world.warm("blog").await;
    let generation = world.generation(&id).await;
    stale(world.ledger.gone(&id, generation - 1).await);
    world.ledger.gone(&id, generation).await.expect("it is that one");
    stale(world.ledger.gone(&id, generation).await);
    assert_eq!(world.phase(&id).await, "cold");
    let kept = world.ledger.keep(&[(id.clone(), first)], &[]).await.expect("it answers");
    assert_eq!(kept, [None], "the lease outlives the generation, the endpoint does not");
}

async fn a_stray_is_adopted_or_discarded_but_never_under_a_claim(world: World) {
    let id = world.live("blog").await;
    let cold = world.generation(&id).await;
    let claim = claim(&world, &id, "one").await;
    stale(world.ledger.settle(&id, cold, Settle::Adopt(addr())).await);
    stale(world.ledger.settle(&id, claim.generation, Settle::Discard).await);
    world.ledger.failed(&claim).await.expect("the claim stands");
    let broken = world.generation(&id).await;
    assert_eq!(world.ledger.settle(&id, broken, Settle::Adopt(addr())).await.expect("nobody has it"), None);
    assert_eq!(world.phase(&id).await, "warm");
    let unknown: InstanceId = "shop-v1.1".parse().expect("an instance");
    let permit =
        world.ledger.settle(&unknown, 0, Settle::Discard).await.expect("nobody knows it").expect("a permit");
    stale(world.ledger.settle(&unknown, 0, Settle::Discard).await);
    world.ledger.cooled(&permit).await.expect("the permit stands");
}

async fn what_is_leased_is_never_discarded(world: World) {
    let (id, first) = world.warm("blog").await;
    let warm = world.generation(&id).await;
    world.ledger.gone(&id, warm).await.expect("it is that one");
    // It was not gone: its container still runs, and its edge still has requests in it.
    world.ledger.keep(&[(id.clone(), first.clone())], &[]).await.expect("it answers");
    let permit = world.ledger.settle(&id, warm + 1, Settle::Discard).await.expect("it answers");
    assert_eq!(permit, None);
    leave(&world, &id, &first).await;
    assert!(world.ledger.settle(&id, warm + 1, Settle::Discard).await.expect("it answers").is_some());
}

async fn a_stop_that_was_not_finished_is_done_anew_and_the_old_permit_is_over(world: World) {
    let (id, first) = world.warm("blog").await;
    leave(&world, &id, &first).await;
    let old = cool(&world, &id, 0).await.expect("nothing holds it");
    let new = world.ledger.settle(&id, old.generation, Settle::Recool).await;
    let new = new.expect("it answers").expect("a permit");
    stale(world.ledger.cooled(&old).await);
    stale(world.ledger.settle(&id, old.generation, Settle::Recool).await);
    world.ledger.cooled(&new).await.expect("the permit stands");
    stale(world.ledger.settle(&id, new.generation + 1, Settle::Recool).await);
}

async fn what_was_to_be_stopped_can_be_adopted_again(world: World) {
    let (id, first) = world.warm("blog").await;
    leave(&world, &id, &first).await;
    let old = cool(&world, &id, 0).await.expect("nothing holds it").generation;
    world.ledger.settle(&id, old, Settle::Adopt(addr())).await.expect("somebody is in it");
    assert_eq!(world.phase(&id).await, "warm");
    stale(world.ledger.cooled(&CoolPermit { id, generation: old }).await);
}

async fn what_is_retired_is_cut_under_its_leases_when_its_time_is_over(world: World) {
    let (hour_ms, drain_ms) = (3_600_000, 200);
    let cut = async |id: &InstanceId, drain_ms| world.ledger.cut(id, drain_ms).await.expect("it answers");
    let (id, first) = world.warm("blog").await;
    assert_eq!(cut(&id, 0).await, Err(NotYet::NotWarm), "it is live");
    let next = world.release("blog", 2).await;
    assert_eq!(cut(&id, hour_ms).await, Err(NotYet::Used));
    assert_eq!(cut(&next, 0).await, Err(NotYet::NotWarm));
    world.pass(drain_ms).await;
    // Retired once more: the time goes on from the first.
    world.release("blog", 2).await;
    let permit = cut(&id, drain_ms).await.expect("its time is over");
    assert_eq!(cut(&id, 0).await, Err(NotYet::NotWarm), "it is being stopped");
    assert!(world.ledger.keep(&[(id.clone(), first)], &[]).await.is_ok());
    world.ledger.cooled(&permit).await.expect("the permit stands");
    assert_eq!(world.phase(&id).await, "cold");
}

async fn what_is_live_again_and_then_retired_has_its_time_anew(world: World) {
    let (id, _) = world.warm("blog").await;
    world.release("blog", 2).await;
    world.pass(1_500).await;
    assert!(matches!(world.ledger.introduce(&id, &lease("builder", 1)).await, Ok(Entry::Warm(_))));
    assert_eq!(world.ledger.cut(&id, 0).await.expect("it answers"), Err(NotYet::NotWarm));
    world.ledger.retire(&id).await.expect("it answers");
    assert_eq!(world.ledger.cut(&id, 1_500).await.expect("it answers"), Err(NotYet::Used));
    assert!(world.ledger.cut(&id, 0).await.expect("it answers").is_ok());
}

async fn only_what_is_over_is_forgotten(world: World) {
    let (id, first) = world.warm("blog").await;
    let warm = world.generation(&id).await;
    stale(world.ledger.forget(&id, warm).await);
    world.ledger.retire(&id).await.expect("it answers");
    stale(world.ledger.forget(&id, warm).await);
    world.ledger.gone(&id, warm).await.expect("it is that one");
    stale(world.ledger.forget(&id, warm + 1).await);
    leave(&world, &id, &first).await;
    stale(world.ledger.forget(&id, warm).await);
    world.ledger.forget(&id, warm + 1).await.expect("it is over");
    world.ledger.forget(&id, warm + 1).await.expect("twice is the same as once");
    assert_eq!(world.phase(&id).await, "absent");
}

async fn an_unknown_instance_lets_nobody_in(world: World) {
    let id: InstanceId = "nobody-v1.1".parse().expect("an instance");
    assert_eq!(world.ledger.enter(&id, &lease("edge", 1)).await.expect("it answers"), Entry::Retired);
    assert_eq!(world.ledger.keep(&[(id.clone(), lease("edge", 1))], &[]).await.expect("it answers"), [None]);
    assert_eq!(cool(&world, &id, 0).await, Err(NotYet::NotWarm));
    assert_eq!(world.phase(&id).await, "absent");
}

async fn what_is_made_ahead_goes_with_the_first_claim_and_with_no_other(world: World) {
    let id = world.live("blog").await;
    let generation = world.generation(&id).await;
    world.ledger.settle(&id, generation, Settle::Poise(poised())).await.expect("it is cold");
    assert_eq!(world.phase(&id).await, "cold");
    let first = claim(&world, &id, "one").await;
    assert_eq!(first.poised, Some(poised()));
    assert_eq!(claim(&world, &id, "one").await, first, "a lost answer is given again");
    world.ledger.failed(&first).await.expect("the claim stands");
    world.pass(1_050).await;
    assert_eq!(claim(&world, &id, "two").await.poised, None);
}

async fn what_is_made_ahead_counts_only_if_the_record_was_cold_all_the_time(world: World) {
    let id = world.live("blog").await;
    let before = world.generation(&id).await;
    let first = claim(&world, &id, "one").await;
    stale(world.ledger.settle(&id, before, Settle::Poise(poised())).await);
    let waking = world.generation(&id).await;
    stale(world.ledger.settle(&id, waking, Settle::Poise(poised())).await);
    world.ledger.give_back(&first).await.expect("the claim stands");
    world.ledger.retire(&id).await.expect("it answers");
    let cold = world.generation(&id).await;
    stale(world.ledger.settle(&id, cold, Settle::Poise(poised())).await);
}

async fn what_is_paused_is_claimed_and_cooled_as_what_is_not(world: World) {
    let (id, edge) = world.warm("blog").await;
    leave(&world, &id, &edge).await;
    let permit = world.ledger.freeze(&id, 0).await.expect("it answers").expect("nobody uses it");
    let entry = world.ledger.enter(&id, &lease("two", 1)).await.expect("it answers");
    assert_eq!(entry, Entry::Wait, "it is being paused");
    world.ledger.frozen(&permit, addr()).await.expect("the permit stands");
    stale(world.ledger.frozen(&permit, addr()).await);
    assert_eq!(world.phase(&id).await, "frozen");
    let woken = claim(&world, &id, "one").await;
    world.ledger.woken(&woken, addr(), &lease("one", 1), None).await.expect("the claim stands");
    leave(&world, &id, &lease("one", 1)).await;
    let permit = world.ledger.freeze(&id, 0).await.expect("it answers").expect("nobody uses it");
    world.ledger.frozen(&permit, addr()).await.expect("the permit stands");
    world.ledger.cooled(&cool(&world, &id, 0).await.expect("it may be stopped")).await.expect("it stands");
    assert_eq!(world.phase(&id).await, "cold");
}

async fn what_is_used_or_retired_is_not_paused(world: World) {
    let (id, edge) = world.warm("blog").await;
    assert_eq!(world.ledger.freeze(&id, 0).await.expect("it answers"), Err(NotYet::Leased));
    leave(&world, &id, &edge).await;
    assert_eq!(world.ledger.freeze(&id, IDLE_MS).await.expect("it answers"), Err(NotYet::Used));
    let permit = world.ledger.freeze(&id, 0).await.expect("it answers").expect("nobody uses it");
    world.ledger.retire(&id).await.expect("it answers");
    stale(world.ledger.frozen(&permit, addr()).await);
    let (other, _) = world.warm("shop").await;
    world.ledger.retire(&other).await.expect("it answers");
    assert_eq!(world.ledger.freeze(&other, 0).await.expect("it answers"), Err(NotYet::NotWarm));
}

async fn a_claim_that_is_given_back_is_free_at_once(world: World) {
    let id = world.live("blog").await;
    let first = claim(&world, &id, "one").await;
    world.ledger.give_back(&first).await.expect("the claim stands");
    stale(world.ledger.give_back(&first).await);
    assert_ne!(claim(&world, &id, "two").await, first);
}

async fn a_start_that_resumes_keeps_the_time_of_the_last_real_one(world: World) {
    let id = world.live("blog").await;
    for (start_ms, known) in [(Some(120), 120), (None, 120), (Some(90), 90)] {
        let claim = claim(&world, &id, "one").await;
        world.ledger.woken(&claim, addr(), &lease("one", 1), start_ms).await.expect("the claim stands");
        let (records, _) = world.ledger.records().await.expect("it answers");
        assert_eq!(records[&id].start_ms, known);
        world.ledger.gone(&id, records[&id].generation).await.expect("it stopped");
    }
}

async fn a_claim_stands_for_as_long_as_it_is_extended(world: World) {
    let id = world.live("blog").await;
    let claim = claim(&world, &id, "one").await;
    let until = async || match world.ledger.records().await.expect("it answers").0[&id].phase {
        Phase::Waking { until_ms, .. } => until_ms,
        ref other => panic!("not waking: {other:?}"),
    };
    let before = until().await;
    world.pass(50).await;
    world.ledger.extend(&claim).await.expect("the claim stands");
    assert!(until().await >= before + 50);
    assert_eq!(world.ledger.enter(&id, &lease("two", 1)).await.expect("it answers"), Entry::Wait);
    world.ledger.woken(&claim, addr(), &lease("one", 1), None).await.expect("its generation is the same");
    stale(world.ledger.extend(&claim).await);
}
