//! A ledger that lost its memory says so to everybody, until the cleaner has restored it.

use std::collections::BTreeMap;

use func_ledger::{Cool, LedgerError, Memory, Redis, Restored, RestoredInstance, RestoredState, Watch};
use func_model::{Entry, InstanceId, NotYet, ReleaseNumber, Route};

use crate::world::{Ledger, RedisServer, addr, app_name, lease};

fn lost<T: std::fmt::Debug>(answer: Result<T, LedgerError>) {
    assert!(matches!(answer, Err(LedgerError::Lost)), "{answer:?}");
}

fn restored(id: &InstanceId) -> Restored {
    Restored {
        routes: BTreeMap::from([(
            app_name("blog"),
            Route { number: ReleaseNumber(1), hosts: vec![], waiting_page: false },
        )]),
        instances: BTreeMap::from([(
            id.clone(),
            RestoredInstance { state: RestoredState::Warm(addr()), retired: false },
        )]),
    }
}

async fn says_lost_until_it_is_restored(ledger: &dyn Ledger) {
    let id: InstanceId = "blog-v1.1".parse().expect("an instance");
    lost(ledger.enter(&id, &lease("edge", 1)).await);
    lost(ledger.keep(&[], &[]).await);
    lost(ledger.routes().await);
    lost(ledger.records().await);
    lost(
        ledger
            .promote(&id.release, &Route { number: ReleaseNumber(1), hosts: vec![], waiting_page: false })
            .await,
    );
    lost(ledger.cool(&id, 0).await);
    assert!(ledger.restore(&restored(&id)).await.expect("it answers"));
    assert!(!ledger.restore(&Restored::default()).await.expect("it answers"), "once is enough");
    assert_eq!(ledger.routes().await.expect("it knows").len(), 1);
    assert!(matches!(ledger.enter(&id, &lease("edge", 1)).await, Ok(Entry::Warm(_))));
}

#[tokio::test(start_paused = true)]
async fn a_new_ledger_in_memory_is_lost() {
    says_lost_until_it_is_restored(&Memory::new()).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_cooled_for_one_lease_time_after_a_loss() {
    let ledger = Memory::new();
    let id: InstanceId = "blog-v1.1".parse().expect("an instance");
    ledger.restore(&restored(&id)).await.expect("it answers");
    assert_eq!(ledger.cool(&id, 0).await.expect("it answers"), Err(NotYet::Quarantine));
    tokio::time::sleep(std::time::Duration::from_millis(func_model::limits::LEASE_MS)).await;
    assert!(ledger.cool(&id, 0).await.expect("it answers").is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_an_emptied_and_a_returning_old_redis_are_lost() {
    let server = RedisServer::start().await;
    let ledger = Redis::new(&server.url, "func:").expect("a good url");
    says_lost_until_it_is_restored(&ledger).await;
    let id: InstanceId = "blog-v1.1".parse().expect("an instance");
    assert_eq!(ledger.cool(&id, 0).await.expect("it answers"), Err(NotYet::Quarantine));
    server.cli(&["FLUSHALL"]);
    says_lost_until_it_is_restored(&ledger).await;
    // What a Redis that was restarted from an old file shows: our keys, restored for another run.
    server.cli(&["SET", "func:epoch", "0000000000000000000000000000000000000000"]);
    says_lost_until_it_is_restored(&ledger).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_not_there_is_away_and_not_lost() {
    let ledger = Redis::new("redis://127.0.0.1:1", "func:").expect("a good url");
    let answer = ledger.routes().await;
    assert!(matches!(answer, Err(LedgerError::Away(_))), "{answer:?}");
    assert!(Redis::new("nonsense://", "func:").is_err());
}
