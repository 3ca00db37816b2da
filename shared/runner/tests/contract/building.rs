//! Making images.

use std::time::Duration;

use bytes::Bytes;
use func_model::Asks;
use func_runner::{BuildFailed, BuildJob, RunnerError};
use futures_util::stream;
use tokio::sync::mpsc;

use crate::images::{archive, bytes, context, probe};
use crate::sweep::docker as cli;
use crate::world::{App, LONG, World, get, until, world};

const DOCKERFILE: &str = "FROM scratch\nCOPY probe /\nEXPOSE 8080\nENTRYPOINT [\"/probe\"]\n";

/// Gives an image that has the probe as its shell: `RUN` lines run the probe.
const SHELL: &str = "FROM scratch\nCOPY probe /bin/sh\n";

async fn fails(world: &World, dockerfile: &str) -> (String, Vec<String>) {
    let probe = probe();
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe)]);
    let (built, lines) = world.build(files, LONG).await;
    match built.expect_err("it must fail") {
        BuildFailed::Step { said } => (said, lines),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn a_dockerfile_becomes_an_image_that_runs_and_its_steps_are_told() {
    let world = world().await;
    let files = [("Dockerfile", DOCKERFILE.as_bytes()), ("probe", &probe())];
    let (built, lines) = world.build(context(&files), LONG).await;
    let digest = built.unwrap();
    assert!(lines.iter().any(|l| l.contains("[1/1] COPY probe /")), "{lines:?}");
    let id = world.release("blog", App { image: Some(digest.clone()), ..App::default() });
    let addr = world.start(&id).await.addr;
    assert_eq!(get(addr, "/").await, "hello");
    let format = "{{index .Config.Labels \"func.installation\"}} {{index .Config.Labels \"func.app\"}}";
    let labels = cli(&["image", "inspect", "--format", format, digest.as_str()]);
    assert_eq!(labels, [world.installation.as_str(), "blog"]);
    let (again, lines) = world.build(context(&files), LONG).await;
    assert_eq!(again.unwrap(), digest, "the same files give the same image");
    assert!(lines.iter().any(|l| l.starts_with("CACHED ")), "{lines:?}");
}

#[tokio::test]
async fn builds_of_the_same_files_at_the_same_time_each_tell_their_steps() {
    let world = world().await;
    // Nobody has built it before.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let (dockerfile, probe) = (format!("{DOCKERFILE}ENV NOW={now}\n"), probe());
    let stamped = [&probe[..], now.to_string().as_bytes()].concat();
    let files = [("Dockerfile", dockerfile.as_bytes()), ("probe", &stamped[..])];
    let build = || world.build(context(&files), LONG);
    let (one, two, three, four) = tokio::join!(build(), build(), build(), build());
    for (built, lines) in [one, two, three, four] {
        built.unwrap();
        assert!(lines.iter().any(|l| l.contains("[1/1] COPY probe /")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_failing_step_is_named_with_its_exit_code_and_its_output() {
    let world = world().await;
    let dockerfile = format!("{SHELL}ENV MODE=exit STATUS=3 LINES=3\nRUN make it\n");
    let (said, lines) = fails(&world, &dockerfile).await;
    assert_eq!(said, "`RUN make it` ended with exit code 3");
    for line in ["line 1", "line 2", "the end is near"] {
        assert!(lines.iter().any(|l| l == line), "{line} in {lines:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_dockerfile_is_told_in_its_own_words() {
    let world = world().await;
    let (said, _) = fails(&world, "FROM scratch\nCOPPY a b\n").await;
    assert!(said.contains("COPPY") && !said.contains("frontend"), "{said}");
    let (said, _) = fails(&world, "FROM scratch\nCOPY absent /\n").await;
    assert!(said.contains("absent") && !said.contains("/var/lib"), "{said}");
    let (built, _) = world.build(context(&[("README", b"x")]), LONG).await;
    let Err(BuildFailed::Step { said }) = built else { panic!("{built:?}") };
    assert!(said.contains("no Dockerfile"), "{said}");
}

#[tokio::test]
async fn a_base_image_that_cannot_be_had_is_named() {
    let world = world().await;
    // No address is asked: a name under .invalid has none.
    let (said, _) = fails(&world, "FROM registry.invalid/no/base:1\nCOPY probe /\n").await;
    assert!(said.contains("registry.invalid/no/base:1"), "{said}");
}

#[tokio::test]
async fn an_endless_build_is_ended_and_leaves_no_process() {
    let world = world().await;
    let mark = format!("endless-{}", world.installation);
    let dockerfile = format!("{SHELL}ENV MODE=silent\nRUN {mark}\n");
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe())]);
    let (built, lines) = world.build(files, Duration::from_secs(5)).await;
    assert!(matches!(built, Err(BuildFailed::Slow { .. })), "{built:?}");
    assert!(lines.iter().any(|l| l == "I never listen"), "it ran: {lines:?}");
    until("nothing of it runs", || async { !runs(&mark) }).await;
}

#[tokio::test]
async fn a_build_that_nobody_waits_for_is_ended() {
    let world = world().await;
    let mark = format!("dropped-{}", world.installation);
    let dockerfile = format!("{SHELL}ENV MODE=silent\nRUN {mark}\n");
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe())]);
    let (tx, mut rx) = mpsc::channel(8);
    let job = BuildJob {
        release: "blog-v1".parse().unwrap(),
        dockerfile: "Dockerfile".into(),
        asks: Asks::default(),
        within: LONG,
    };
    let printed = async {
        while let Some(line) = rx.recv().await {
            if line == "I never listen" {
                return runs(&mark);
            }
        }
        false
    };
    tokio::select! {
        built = world.runner.build(&job, files, tx) => panic!("it ended: {built:?}"),
        running = printed => assert!(running, "it runs as long as somebody waits"),
    }
    until("nothing of it runs", || async { !runs(&mark) }).await;
}

/// Whether a process of this machine has a word in its command.
fn runs(word: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut commands = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
    commands.any(|command| String::from_utf8_lossy(&command).contains(word))
}

#[tokio::test]
async fn a_context_that_breaks_off_is_told() {
    let world = world().await;
    let broken = std::io::Error::other("git archive ended with 128");
    let files = stream::iter(vec![Ok(Bytes::from(vec![0; 100])), Err(broken)]);
    let (built, _) = world.build(Box::pin(files), LONG).await;
    let Err(BuildFailed::Context(error)) = built else { panic!("{built:?}") };
    assert!(error.to_string().contains("128"));
}

#[tokio::test]
async fn builds_leave_no_connection_open() {
    let world = world().await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let files = || context(&[("Dockerfile", DOCKERFILE.as_bytes()), ("probe", &probe())]);
    world.build(files(), LONG).await.0.unwrap();
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().flatten().filter(is_build).count();
    until("the first build's thread is over", || async { threads() == 0 }).await;
    let before = open();
    for _ in 0..5 {
        world.build(files(), LONG).await.0.unwrap();
    }
    // Other tests open and close connections meanwhile: it comes back to a level, now and then.
    until("the connections are closed", || async { open() <= before + 2 }).await;
}

fn is_build(task: &std::fs::DirEntry) -> bool {
    std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "build")
}

#[tokio::test]
async fn an_image_tells_its_ports_and_its_command() {
    let world = world().await;
    let facts = world.runner.facts(&world.image).await.unwrap().unwrap();
    assert_eq!(facts.ports, [8080, 9090]);
    assert!(facts.has_command && facts.size_bytes > 100_000, "{facts:?}");
    assert_eq!(facts.digest, world.image);
    let (bare, tar) = archive(&world.installation, &[], &[("file", Vec::new())]);
    world.runner.load(bytes(tar)).await.unwrap();
    assert!(!world.runner.facts(&bare).await.unwrap().unwrap().has_command);
    let absent = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    assert_eq!(world.runner.facts(&absent).await.unwrap(), None);
}

#[tokio::test]
async fn a_tag_keeps_an_image_and_is_removed_when_nothing_uses_it() {
    let world = world().await;
    let id = world.serving("blog");
    let tag = format!("{}/blog:v1", world.installation);
    for _ in 0..2 {
        world.runner.tag(&world.image, &id.release).await.unwrap();
    }
    let images = world.runner.seen().await.unwrap().images;
    assert_eq!(
        images.iter().map(|i| (i.tag.as_str(), &i.release)).collect::<Vec<_>>(),
        [(tag.as_str(), &id.release)]
    );
    world.start(&id).await;
    world.runner.remove_image(&tag).await.expect("in use is done");
    assert!(world.runner.facts(&world.image).await.unwrap().is_some());
    world.runner.stop(&id, LONG).await.unwrap();
    for _ in 0..2 {
        world.runner.remove_image(&tag).await.unwrap();
    }
    assert!(world.runner.seen().await.unwrap().images.is_empty());
    assert_eq!(world.runner.facts(&world.image).await.unwrap(), None);
}

#[tokio::test]
async fn an_archive_that_is_none_is_refused() {
    let world = world().await;
    let error = world.runner.load(bytes(vec![7; 4096])).await.expect_err("it is no tar");
    assert!(matches!(error, RunnerError::Refused { .. }), "{error:?}");
    let broken = stream::iter(vec![Err(std::io::Error::other("the disk is gone"))]);
    let error = world.runner.load(Box::pin(broken)).await.expect_err("it breaks off");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
}
