//! Both ledgers answer any sequence of acts alike.

use func_ledger::{Leaving, Settle};
use func_model::{Claim, CoolPermit, Entry, FreezePermit, InstanceId, Record};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::world::{World, addr, lease, poised};

#[derive(Debug, Clone)]
enum Ask {
    Enter(u64),
    Introduce(u64),
    Woken(u64),
    Failed,
    GiveBack,
    Extend,
    Gone(u64),
    Renew(u64),
    Leave(u64),
    Cool(u64),
    Cut(u64),
    Cooled,
    Freeze(u64),
    Frozen,
    Settle(u64, u8),
    Retire,
    Promote,
    Forget(u64),
}

fn ask() -> impl Strategy<Value = Ask> {
    let serial = 1..4_u64;
    // How far behind the record's generation the caller's knowledge is.
    let behind = prop_oneof![4 => Just(0_u64), 1 => Just(1_u64)];
    prop_oneof![
        4 => serial.clone().prop_map(Ask::Enter),
        2 => serial.clone().prop_map(Ask::Introduce),
        4 => serial.clone().prop_map(Ask::Woken),
        1 => Just(Ask::Failed),
        1 => Just(Ask::GiveBack),
        1 => Just(Ask::Extend),
        1 => behind.clone().prop_map(Ask::Gone),
        2 => serial.clone().prop_map(Ask::Renew),
        3 => serial.prop_map(Ask::Leave),
        3 => prop_oneof![Just(0_u64), Just(3_600_000)].prop_map(Ask::Cool),
        2 => prop_oneof![Just(0_u64), Just(3_600_000)].prop_map(Ask::Cut),
        3 => Just(Ask::Cooled),
        3 => prop_oneof![Just(0_u64), Just(3_600_000)].prop_map(Ask::Freeze),
        3 => Just(Ask::Frozen),
        3 => (behind.clone(), 0..6_u8).prop_map(|(behind, how)| Ask::Settle(behind, how)),
        1 => Just(Ask::Retire),
        1 => Just(Ask::Promote),
        1 => behind.prop_map(Ask::Forget),
    ]
}

/// What one world remembers between acts, and how its answers are made comparable.
#[derive(Default)]
struct Hands {
    claim: Option<Claim>,
    permit: Option<CoolPermit>,
    freeze: Option<FreezePermit>,
}

async fn answer(world: &World, hands: &mut Hands, id: &InstanceId, ask: &Ask) -> String {
    let ledger = &world.ledger;
    let generation = world.generation(id).await;
    let edge = |serial: &u64| lease("edge", *serial);
    let said = match ask {
        Ask::Enter(serial) => entry(hands, ledger.enter(id, &edge(serial)).await),
        Ask::Introduce(serial) => entry(hands, ledger.introduce(id, &edge(serial)).await),
        Ask::Woken(serial) => match &hands.claim {
            Some(claim) => {
                said(ledger.woken(claim, addr(), &edge(serial), Some(*serial)).await.map(|e| e.addr))
            }
            None => String::new(),
        },
        Ask::Failed => match &hands.claim {
            Some(claim) => said(ledger.failed(claim).await),
            None => String::new(),
        },
        Ask::GiveBack => match &hands.claim {
            Some(claim) => said(ledger.give_back(claim).await),
            None => String::new(),
        },
        Ask::Extend => match &hands.claim {
            Some(claim) => said(ledger.extend(claim).await),
            None => String::new(),
        },
        Ask::Gone(behind) => said(ledger.gone(id, generation.saturating_sub(*behind)).await),
        Ask::Renew(serial) => {
            let kept = ledger.keep(&[(id.clone(), edge(serial))], &[]).await;
            said(kept.map(|k| k.iter().map(|e| e.map(|e| e.addr)).collect::<Vec<_>>()))
        }
        Ask::Leave(serial) => {
            let leaving = Leaving { id: id.clone(), lease: edge(serial), idle_for_ms: 10 };
            said(ledger.keep(&[], &[leaving]).await.map(|_| ()))
        }
        Ask::Cool(idle_ms) => match ledger.cool(id, *idle_ms).await {
            Ok(Ok(permit)) => {
                hands.permit = Some(permit);
                "granted".into()
            }
            other => said(other.map(|r| r.map(|_| ()))),
        },
        Ask::Cut(drain_ms) => match ledger.cut(id, *drain_ms).await {
            Ok(Ok(permit)) => {
                hands.permit = Some(permit);
                "granted".into()
            }
            other => said(other.map(|r| r.map(|_| ()))),
        },
        Ask::Cooled => match &hands.permit {
            Some(permit) => said(ledger.cooled(permit).await),
            None => String::new(),
        },
        Ask::Freeze(after_ms) => match ledger.freeze(id, *after_ms).await {
            Ok(Ok(permit)) => {
                hands.freeze = Some(permit);
                "granted".into()
            }
            other => said(other.map(|r| r.map(|_| ()))),
        },
        Ask::Frozen => match &hands.freeze {
            Some(permit) => said(ledger.frozen(permit, addr()).await),
            None => String::new(),
        },
        Ask::Settle(behind, how) => {
            let settle = match how {
                0 => Settle::Adopt(addr()),
                1 => Settle::Reset,
                2 => Settle::Gone,
                3 => Settle::Discard,
                4 => Settle::Recool,
                _ => Settle::Poise(poised()),
            };
            said(
                ledger
                    .settle(id, generation.saturating_sub(*behind), settle)
                    .await
                    .map(|permit| permit.is_some()),
            )
        }
        Ask::Retire => said(ledger.retire(id).await),
        Ask::Promote => {
            let route = func_model::Route { number: id.release.number, hosts: vec![], waiting_page: false };
            said(ledger.promote(&id.release, &route).await)
        }
        Ask::Forget(behind) => said(ledger.forget(id, generation.saturating_sub(*behind)).await),
    };
    format!("{said} -> {}", shown(world, id).await)
}

fn entry(hands: &mut Hands, answer: Result<Entry, func_ledger::LedgerError>) -> String {
    match answer {
        Ok(Entry::Claimed(claim)) => {
            let said = format!("claimed {:?}", claim.poised);
            hands.claim = Some(claim);
            said
        }
        Ok(Entry::Warm(endpoint)) => format!("warm {}", endpoint.addr),
        Ok(Entry::Broken { .. }) => "broken".into(),
        other => said(other),
    }
}

fn said<T: std::fmt::Debug>(answer: Result<T, func_ledger::LedgerError>) -> String {
    format!("{answer:?}")
}

/// The record without what depends on the clock.
async fn shown(world: &World, id: &InstanceId) -> String {
    let (records, _) = world.ledger.records().await.expect("it answers");
    let Some(r) = records.get(id) else { return "absent".into() };
    let leases: Vec<_> = r.leases.keys().map(ToString::to_string).collect();
    let poised = r.poised.as_ref().map(|p| p.gate);
    let Record { failures, retired, start_ms, .. } = r;
    format!("{} {leases:?} {poised:?} failures {failures} retired {retired} start {start_ms}", r.phase.name())
}

#[tokio::test(flavor = "multi_thread")]
async fn any_sequence_of_acts_is_answered_alike() {
    // The ledger in memory runs on real time here as well: `pass` is not used.
    let (memory, redis) = (World::memory_now().await, World::redis().await);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let acts = prop::collection::vec(ask(), 40);
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..60 {
        let id: InstanceId = format!("app{round}-v1.1").parse().expect("an instance");
        let (mut left, mut right) = (Hands::default(), Hands::default());
        let sequence = acts.new_tree(&mut runner).expect("a sequence").current();
        for (at, ask) in sequence.iter().enumerate() {
            let a = answer(&memory, &mut left, &id, ask).await;
            let b = answer(&redis, &mut right, &id, ask).await;
            assert_eq!(a, b, "memory and Redis differ at {ask:?}, after {:?}", &sequence[..at]);
            seen.insert(a);
        }
    }
    assert!(seen.len() > 100, "the sequences reach only {} different states", seen.len());
}
