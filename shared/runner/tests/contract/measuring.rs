//! Measuring: what images and the build cache take.

use func_model::Layers;

use crate::images::{context, probe};
use crate::world::{LONG, World, world};

/// Builds and tags a release whose second layer is a file of this many bytes.
async fn tagged(world: &World, release: &str, bytes: usize) {
    let dockerfile = "FROM scratch\nCOPY probe /\nCOPY noise /\nWORKDIR /nothing\nENTRYPOINT [\"/probe\"]\n";
    let noise: Vec<u8> = (0..bytes).map(|n| (n * n) as u8 ^ release.len() as u8).collect();
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe()), ("noise", &noise)]);
    let (built, _) = world.build(files, LONG).await;
    world.runner.tag(&built.unwrap(), &release.parse().unwrap()).await.unwrap();
}

async fn images(world: &World) -> Vec<(String, Layers)> {
    let mut images: Vec<_> = world.runner.images().await.unwrap();
    images.sort_by_key(|(release, _)| release.number);
    images.into_iter().map(|(release, layers)| (release.to_string(), layers)).collect()
}

#[tokio::test]
async fn each_release_has_its_layers_and_shares_those_that_are_the_same() {
    let world = world().await;
    tagged(&world, "blog-v1", 2_000_000).await;
    tagged(&world, "blog-v2", 3_000_000).await;
    for _ in 0..2 {
        let images = images(&world).await;
        let [(one, first), (two, second)] = &images[..] else { panic!("{images:?}") };
        assert_eq!([one.as_str(), two.as_str()], ["blog-v1", "blog-v2"]);
        let own = |these: &Layers, others: &Layers| -> u64 {
            these.iter().filter(|(id, _)| !others.contains_key(*id)).map(|(_, bytes)| bytes).sum()
        };
        assert_eq!((own(first, second), own(second, first)), (2_000_000, 3_000_000));
        let whole: u64 = first.values().sum();
        assert_eq!(whole - 2_000_000, probe().len() as u64, "the shared layer");
    }
}

/// The machine's cache is everybody's: it is only looked at.
#[tokio::test]
async fn the_engine_answers_for_its_build_cache_and_its_folder() {
    let world = world().await;
    tagged(&world, "blog-v1", 4_000_000).await;
    world.runner.cache().await.expect("the answer of this engine can be read");
    assert!(world.runner.root().await.unwrap().is_some_and(|root| root.is_absolute()));
}
