//! Where builds run: the build engine, and what happens where there is none.

use std::sync::atomic::{AtomicU32, Ordering};

use func_model::{Asks, BuildEngine, ImageDigest};
use func_runner::{BuildFailed, BuildJob, Builds, Config, Docker, Make};
use tokio::sync::mpsc;

use crate::images::context;
use crate::sweep::docker as cli;
use crate::world::{LONG, World, config, world};

/// An image that has a shell and no engine.
const NO_ENGINE: &str = "busybox:stable";

fn runner(world: &World, engine: BuildEngine, image: &str) -> Docker {
    let builds = Builds { engine, image: image.to_owned(), ..Builds::default() };
    Docker::new(Config { builds, ..config(&world.installation, &world.data) })
}

async fn build(world: &World, runner: &Docker) -> Result<ImageDigest, BuildFailed> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let text = format!(
        "FROM busybox:stable\nENV N={}\nRUN echo {}\n",
        NEXT.fetch_add(1, Ordering::Relaxed),
        world.installation
    );
    let job = BuildJob {
        release: "blog-v1".parse().unwrap(),
        dockerfile: "Dockerfile".to_owned(),
        asks: Asks::read(&text),
        within: LONG,
    };
    let (tx, mut rx) = mpsc::channel(64);
    let files = context(&[("Dockerfile", text.as_bytes())]);
    let (built, ()) =
        tokio::join!(runner.build(&job, files, tx), async { while rx.recv().await.is_some() {} });
    built
}

fn there_is(what: &str, world: &World) -> bool {
    let filter = format!("name={}-builds", world.installation);
    match what {
        "container" => !cli(&["ps", "-aq", "--filter", &filter]).is_empty(),
        _ => !cli(&["volume", "ls", "-q", "--filter", &filter]).is_empty(),
    }
}

#[tokio::test]
async fn a_build_apart_gives_its_image_to_the_engine_that_serves_and_the_build_engine_rests_when_told() {
    let world = world().await;
    let runner = runner(&world, BuildEngine::Apart, "docker:dind");
    let digest = build(&world, &runner).await.unwrap();
    let env = cli(&["image", "inspect", "-f", "{{.Config.Env}}", digest.as_str()]);
    assert!(env.concat().contains("N="), "{env:?}");
    runner.rest(false).await.unwrap();
    assert!(there_is("container", &world), "it was used just now");
    // Another process of ours finds it, with the settings of before.
    let other = self::runner(&world, BuildEngine::Auto, "docker:dind");
    let id = |_: &World| cli(&["ps", "-q", "--filter", &format!("name={}-builds", world.installation)]);
    let before = id(&world);
    build(&world, &other).await.unwrap();
    assert_eq!(id(&world), before, "one engine for both");
    other.rest(true).await.unwrap();
    assert!(!there_is("container", &world) && there_is("volume", &world));
    assert!(world.data.run("build-engine-works").exists());
    build(&world, &runner).await.expect("it starts again when it is needed");
    runner.rest(true).await.unwrap();
}

#[tokio::test]
async fn where_no_build_engine_starts_builds_run_on_the_engine_that_serves_unless_they_must_not() {
    let world = world().await;
    for image in [NO_ENGINE, "functest/absent:1"] {
        let error = build(&world, &runner(&world, BuildEngine::Apart, image)).await.unwrap_err();
        assert!(matches!(error, BuildFailed::Runner(_)), "{error:?}");
        build(&world, &runner(&world, BuildEngine::Auto, image)).await.expect("on the engine that serves");
        assert!(!there_is("container", &world) && !there_is("volume", &world), "nothing is left of {image}");
    }
    let why = std::fs::read_to_string(world.data.run("builds/shared")).unwrap();
    assert!(why.contains("pull the image"), "{why}");
}

/// Breaking the build engine must not give an attacker a build with fewer limits.
#[tokio::test]
async fn a_build_engine_that_has_worked_is_never_gone_round() {
    let world = world().await;
    std::fs::write(world.data.run("build-engine-works"), "").unwrap();
    let error = build(&world, &runner(&world, BuildEngine::Auto, NO_ENGINE)).await.unwrap_err();
    assert!(error.to_string().contains("dockerd"), "{error}");
}
