//! What a lost ledger is filled with.

use func_model::{GateName, Phase};

use super::*;
use crate::testing::{World, addr, blog, release};

/// Restores a ledger with one container, and gives its instance's record.
async fn restored(state: SeenState, taken: bool) -> func_model::Record {
    let world = World::lost(&[release("blog")]);
    world.engine.state().containers.insert(blog(), state);
    let _turn = taken.then(|| world.cleaner.turns.try_take(&blog()).expect("free"));
    restore(&world.cleaner).await.expect("restored");
    world.record(&blog()).await
}

#[tokio::test(start_paused = true)]
async fn what_runs_is_warm_and_what_is_paused_is_frozen() {
    let addr = addr();
    assert_eq!(restored(SeenState::Running { addr }, false).await.phase, Phase::Warm { addr });
    assert_eq!(restored(SeenState::Paused { addr }, false).await.phase, Phase::Frozen { addr });
    let old = SeenState::Poised { gate: GateName::new(1), fresh: false };
    let record = restored(old, false).await;
    assert_eq!((record.phase, record.poised), (Phase::Cold, None));
}

#[tokio::test(start_paused = true)]
async fn what_somebody_is_at_is_cold_a_stop_under_way_must_not_be_restored_as_warm() {
    let addr = addr();
    for state in [
        SeenState::Running { addr },
        SeenState::Paused { addr },
        SeenState::Poised { gate: GateName::new(1), fresh: true },
    ] {
        let record = restored(state, true).await;
        assert_eq!((record.phase, record.poised, record.retired), (Phase::Cold, None, false), "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_live_is_retired_and_without_a_manifest_not_known() {
    let world = World::lost(&[release("blog")]);
    let older: InstanceId = "blog-v2.1".parse().expect("an instance");
    let stranger: InstanceId = "wiki-v1.1".parse().expect("an instance");
    let not_live = func_model::Release { id: older.release.clone(), ..release("blog") };
    world.cleaner.config.manifests.add(&not_live).expect("written");
    for id in [&older, &stranger] {
        world.engine.state().containers.insert(id.clone(), SeenState::Running { addr: addr() });
    }
    restore(&world.cleaner).await.expect("restored");
    assert!(world.record(&older).await.retired);
    let records = world.cleaner.config.watch.records().await.expect("known").0;
    assert!(!records.contains_key(&stranger));
}
