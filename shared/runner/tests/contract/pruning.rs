//! Pruning: what builds leave behind goes, and what is of use stays.

use func_model::ImageDigest;
use func_store::Lock;

use crate::images::{context, probe};
use crate::world::{App, LONG, World, world};

/// Far more than any build cache has: nothing of this machine's cache is removed.
const ALL: u64 = 1 << 60;

/// Builds an image of the app `blog` that differs from others by its mark.
async fn built(world: &World, mark: &str) -> (ImageDigest, Vec<String>) {
    let dockerfile =
        format!("FROM scratch\nCOPY probe /\nLABEL mark={mark}\nEXPOSE 8080\nENTRYPOINT [\"/probe\"]\n");
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe())]);
    let (built, lines) = world.build(files, LONG).await;
    (built.unwrap(), lines)
}

async fn is_there(world: &World, image: &ImageDigest) -> bool {
    world.runner.facts(image).await.unwrap().is_some()
}

#[tokio::test]
async fn only_images_without_a_tag_and_without_a_container_are_removed() {
    let (world, other) = (world().await, world().await);
    let (lost, _) = built(&world, "lost").await;
    let (used, _) = built(&world, "used").await;
    let (tagged, _) = built(&world, "tagged").await;
    let (theirs, _) = built(&other, "theirs").await;
    let id = world.release("blog", App { image: Some(used.clone()), ..App::default() });
    world.start(&id).await;
    world.runner.tag(&tagged, &id.release).await.unwrap();
    for _ in 0..2 {
        world.runner.prune(ALL).await.unwrap();
    }
    assert!(!is_there(&world, &lost).await);
    for image in [&used, &tagged, &theirs] {
        assert!(is_there(&world, image).await, "{image}");
    }
}

#[tokio::test]
async fn an_image_of_an_app_that_is_being_deployed_is_not_removed() {
    let world = world().await;
    let (image, _) = built(&world, "new").await;
    let deploy = Lock::try_deploy(&world.data, &"blog".parse().unwrap()).unwrap().expect("it is free");
    world.runner.prune(ALL).await.unwrap();
    assert!(is_there(&world, &image).await, "it has no tag yet");
    drop(deploy);
    world.runner.prune(ALL).await.unwrap();
    assert!(!is_there(&world, &image).await);
}

#[tokio::test]
async fn the_build_cache_below_its_limit_is_kept() {
    let world = world().await;
    built(&world, "first").await;
    world.runner.prune(ALL).await.unwrap();
    let (_, lines) = built(&world, "second").await;
    assert!(lines.iter().any(|line| line.starts_with("CACHED ")), "{lines:?}");
}
