use func_model::{DiskLimit, Layers, ReleaseNumber};

use super::*;
use crate::reconcile::compare;
use crate::testing::{World, release};

const MIB: u64 = 1 << 20;

/// blog-v1 to v4, each with an image of 10 MiB of its own, used in this order; v3 is live.
async fn world(disk_mib: u64) -> World {
    let world = with_images(World::cold(&[release("blog")]).await, disk_mib);
    // The first one's record goes: nothing of it runs.
    compare(&world.cleaner).await.expect("compared");
    compare(&world.cleaner).await.expect("compared");
    world
}

fn with_images(mut world: World, disk_mib: u64) -> World {
    let first = release("blog");
    Arc::get_mut(&mut world.cleaner).expect("alone").config.disk = DiskLimit::Bytes(disk_mib * MIB);
    let manifests = &world.cleaner.config.manifests;
    for number in 1..=4 {
        let id = ReleaseId { app: first.id.app.clone(), number: ReleaseNumber(number) };
        if number > 1 {
            manifests.add(&func_model::Release { id: id.clone(), ..first.clone() }).expect("stored");
        }
        let layers = Layers::from([(id.to_string(), 10 * MIB)]);
        world.engine.state().images.push((id, layers));
    }
    manifests.set_current(&id(3)).expect("live");
    world
}

fn id(number: u32) -> ReleaseId {
    ReleaseId { app: release("blog").id.app, number: ReleaseNumber(number) }
}

fn kept(world: &World) -> Vec<u32> {
    let numbers = world.cleaner.config.manifests.numbers(&release("blog").id.app).expect("read");
    numbers.into_iter().map(|number| number.0).collect()
}

#[tokio::test(start_paused = true)]
async fn old_releases_go_and_the_live_the_previous_and_the_pinned_stay() {
    let world = world(1).await;
    world.cleaner.config.manifests.pin(&id(4)).expect("pinned");
    let measured = measure(&world.cleaner).await.expect("measured");
    assert!(measured.report.refusal().is_some(), "30 MiB stay");
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [2, 3, 4]);
    world.cleaner.config.manifests.unpin(&id(4)).expect("unpinned");
    let measured = measure(&world.cleaner).await.expect("measured");
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn what_became_worth_keeping_since_it_was_chosen_stays() {
    let world = world(1).await;
    let measured = measure(&world.cleaner).await.expect("measured");
    assert_eq!(measured.evictions.len(), 2, "v1 and v4");
    let manifests = &world.cleaner.config.manifests;
    manifests.set_current(&id(4)).expect("live");
    manifests.pin(&id(1)).expect("pinned");
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [1, 2, 3, 4]);
    manifests.set_current(&id(2)).expect("live");
    manifests.unpin(&id(1)).expect("unpinned");
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [1, 2, 3], "v1 is what a rollback goes to now");
}

#[tokio::test(start_paused = true)]
async fn an_app_that_is_being_deployed_is_left_alone() {
    let world = world(1).await;
    let measured = measure(&world.cleaner).await.expect("measured");
    let lock = func_store::Lock::try_deploy(&world.cleaner.config.data, &id(1).app).expect("read");
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [1, 2, 3, 4]);
    drop(lock.expect("it was free"));
    evict(&world.cleaner, &measured).await;
    assert_eq!(kept(&world), [2, 3]);
}

#[tokio::test(start_paused = true)]
async fn the_build_cache_goes_before_any_release_and_only_as_much_as_must() {
    let world = world(52).await;
    world.engine.state().cache = CacheUsage { bytes: 30 * MIB, unused_bytes: 20 * MIB };
    // 40 of images, 30 of cache, and a few files.
    let measured = measure(&world.cleaner).await.expect("measured");
    assert!(measured.report.refusal().is_none());
    let [Eviction::Cache { bytes }] = measured.evictions[..] else { panic!("{:?}", measured.evictions) };
    assert!((18 * MIB..19 * MIB).contains(&bytes), "{bytes}");
    evict(&world.cleaner, &measured).await;
    assert_eq!(world.engine.state().pruned, [30 * MIB - bytes]);
    assert_eq!(kept(&world), [1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn without_the_ledger_no_release_goes() {
    let world = with_images(World::lost(&[release("blog")]), 1);
    let measured = measure(&world.cleaner).await.expect("measured");
    assert!(measured.evictions.is_empty(), "{:?}", measured.evictions);
}
