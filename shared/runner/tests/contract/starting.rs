//! Starting: ready or gone, and why.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use func_model::SeenState;
use func_runner::{How, OverMemory, RunnerError, StartError, State, open_gate};
use tokio::time::sleep;

use crate::images::{archive, bytes};
use crate::sweep::docker as cli;
use crate::world::{App, GRACE, LONG, claim, get, until, world};

/// How long an app that never gets ready is waited for.
const SHORT: Duration = Duration::from_secs(2);

#[tokio::test]
async fn an_instance_starts_and_answers() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    assert_eq!(get(addr, "/").await, "hello");
    assert_eq!(world.runner.look(&id).await.unwrap(), State::Running { addr });
}

#[tokio::test]
async fn an_app_is_told_its_port_its_variables_and_its_name() {
    let world = world().await;
    let env = [("GREETING", "good day = yes"), ("PORT", "1")];
    let id = world.release("blog", App { mode: "serve", env: &env, ..App::default() });
    let addr = world.start(&id).await.addr;
    let env = get(addr, "/env").await;
    for line in ["PORT=8080", "GREETING=good day = yes", "HOSTNAME=blog"] {
        assert!(env.lines().any(|l| l == line), "{line} in {env}");
    }
}

#[tokio::test]
async fn starting_twice_is_the_same_as_once() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    let again = world.start(&id).await;
    assert_eq!((again.addr, again.how), (addr, How::Found));
    assert_eq!(world.containers().await.len(), 1);
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_goes_on() {
    let world = world().await;
    let id = world.serving("blog");
    tokio::time::timeout(Duration::from_millis(1), world.runner.start(&claim(&id), LONG)).await.unwrap_err();
    until("it runs", || async { matches!(world.runner.look(&id).await.unwrap(), State::Running { .. }) })
        .await;
}

#[tokio::test]
async fn a_container_that_is_over_is_replaced_and_its_output_kept() {
    let world = world().await;
    let (id, addr) = world.started("blog").await;
    get(addr, "/print/first-life").await;
    cli(&["kill", &world.containers().await[0]]);
    until("it is over", || async { world.runner.look(&id).await.unwrap() == State::Stopped }).await;
    let addr = world.start(&id).await.addr;
    assert_eq!(get(addr, "/").await, "hello");
    assert!(world.kept(&id).contains("first-life"), "{}", world.kept(&id));
    assert_eq!(world.containers().await.len(), 1);
}

#[tokio::test]
async fn what_was_taken_off_the_network_is_made_again() {
    let world = world().await;
    let (id, _) = world.started("blog").await;
    cli(&["network", "disconnect", "-f", &world.installation, &world.containers().await[0]]);
    let again = world.start(&id).await;
    assert_eq!(again.how, How::Made);
    assert_eq!(get(again.addr, "/").await, "hello");
    assert_eq!(world.containers().await.len(), 1);
}

#[tokio::test]
async fn an_exit_at_start_is_told_at_once_with_the_last_lines() {
    let world = world().await;
    let env = [("STATUS", "7"), ("LINES", "30")];
    let id = world.release("blog", App { mode: "exit", env: &env, ..App::default() });
    let begun = Instant::now();
    let error = world.start_fails(&id, Duration::from_secs(600)).await;
    assert!(begun.elapsed() < LONG, "it was not told at once");
    let StartError::Exited { status, memory, tail, .. } = error else { panic!("{error:?}") };
    assert_eq!((status, memory), (7, OverMemory::No));
    assert_eq!(tail.len(), func_model::limits::TAIL_LINES);
    assert!(tail.contains(&"line 29".to_owned()) && tail.contains(&"the end is near".to_owned()), "{tail:?}");
    assert!(world.kept(&id).contains("line 1\n"), "the log has at once what the error leaves out");
    world.is_empty().await;
    assert_eq!(world.kept(&id).matches("the end is near").count(), 1);
}

#[tokio::test]
async fn an_app_that_uses_too_much_memory_is_told_so() {
    let world = world().await;
    let limit_bytes = 16 * 1024 * 1024;
    let id = world.release("blog", App { mode: "eat", memory_bytes: Some(limit_bytes), ..App::default() });
    let error = world.start_fails(&id, LONG).await;
    assert!(error.to_string().contains("more than its 16 MiB of memory"), "{error}");
    let StartError::Exited { status, memory, .. } = error else { panic!("{error:?}") };
    assert_eq!(status, 137);
    // The engine does not always say so: the kernel's word reaches it by another way than the exit.
    let told = [OverMemory::Certain { limit_bytes }, OverMemory::Likely { limit_bytes }];
    assert!(told.contains(&memory), "{memory:?}");
}

#[tokio::test]
async fn an_app_that_never_listens_is_silent_and_does_not_run_afterwards() {
    let world = world().await;
    let id = world.release("blog", App { mode: "silent", ..App::default() });
    let error = world.start_fails(&id, SHORT).await;
    let StartError::Silent { port, tail, .. } = error else { panic!("{error:?}") };
    assert_eq!((port, tail), (8080, vec!["I never listen".to_owned()]));
    world.is_empty().await;
    assert!(world.kept(&id).contains("I never listen"));
}

#[tokio::test]
async fn an_app_is_ready_when_its_health_path_says_so() {
    let world = world().await;
    let id = world.release("blog", App { mode: "late", health: Some("/healthz"), ..App::default() });
    let addr = world.start(&id).await.addr;
    assert_ne!(get(addr, "/healthz").await, "not yet");
    let release = world.manifests.release(&id.release).unwrap().unwrap();
    assert!(world.runner.ready(&release, addr).await);
}

#[tokio::test]
async fn an_app_that_stays_unhealthy_is_told_with_its_answer() {
    let world = world().await;
    let id = world.release("blog", App { mode: "sick", health: Some("/healthz"), ..App::default() });
    let error = world.start_fails(&id, SHORT).await;
    let StartError::Unhealthy { path, said, tail, .. } = error else { panic!("{error:?}") };
    assert_eq!((path.as_str(), said.as_str()), ("/healthz", "503 Service Unavailable"));
    assert_eq!(tail, ["listening on 8080"]);
    world.is_empty().await;
}

#[tokio::test]
async fn an_image_that_is_gone_is_told() {
    let world = world().await;
    let image = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
    let id = world.release("blog", App { image: Some(image), ..App::default() });
    assert!(matches!(world.start_fails(&id, LONG).await, StartError::NoImage { .. }));
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let world = world().await;
    let (image, tar) = archive(&world.installation, &["/nope"], &[("probe", Vec::new())]);
    world.runner.load(bytes(tar)).await.unwrap();
    let id = world.release("blog", App { image: Some(image), ..App::default() });
    let error = world.start_fails(&id, LONG).await;
    let StartError::NoCommand { said, .. } = error else { panic!("{error:?}") };
    assert!(said.contains("/nope") && !said.contains("OCI"), "{said}");
    world.is_empty().await;
}

#[tokio::test]
async fn an_image_without_a_command_is_told() {
    let world = world().await;
    let (image, tar) = archive(&world.installation, &[], &[("file", Vec::new())]);
    world.runner.load(bytes(tar)).await.unwrap();
    let id = world.release("blog", App { image: Some(image), ..App::default() });
    let error = world.start_fails(&id, LONG).await;
    assert!(matches!(error, StartError::NoCommand { .. }), "{error:?}");
    world.is_empty().await;
}

#[tokio::test]
async fn a_release_without_a_manifest_is_told() {
    let world = world().await;
    let error = world.start_fails(&"blog-v9.1".parse().unwrap(), LONG).await;
    assert!(matches!(error, StartError::Runner(RunnerError::NoManifest { .. })), "{error:?}");
}

#[tokio::test]
async fn a_network_that_was_removed_is_made_again() {
    let world = world().await;
    cli(&["network", "rm", &world.installation]);
    let (_, addr) = world.started("blog").await;
    assert_eq!(get(addr, "/").await, "hello");
    let seen = world.runner.seen().await.unwrap();
    assert_eq!(seen.containers[0].state, SeenState::Running { addr });
}

#[tokio::test]
async fn a_name_that_a_stranger_has_is_told_and_the_stranger_left_alone() {
    let world = world().await;
    let id = world.serving("blog");
    let name = format!("{}-{id}", world.installation);
    let strangers = Stranger(cli(&["create", "--name", &name, world.image.as_str()]).remove(0));
    let error = world.start_fails(&id, LONG).await;
    assert!(error.to_string().contains("is taken"), "{error}");
    world.runner.stop(&id, LONG).await.unwrap();
    world.runner.remove_container(&strangers.0, true).await.unwrap();
    assert!(!cli(&["inspect", "--format", "{{.Id}}", &strangers.0]).is_empty(), "it is still there");
}

/// It used to be looked at again without a pause, and given up before the engine had removed it.
#[tokio::test]
async fn a_name_that_is_taken_for_a_moment_is_waited_for() {
    let world = world().await;
    let id = world.serving("blog");
    let name = format!("{}-{id}", world.installation);
    let strangers = Stranger(cli(&["create", "--name", &name, world.image.as_str()]).remove(0));
    let going = async {
        sleep(Duration::from_millis(150)).await;
        tokio::task::spawn_blocking(|| drop(strangers)).await.unwrap();
    };
    let (started, ()) = tokio::join!(world.start(&id), going);
    assert_eq!(started.how, How::Made);
}

/// A container that is not func's; removed at the end.
struct Stranger(String);

impl Drop for Stranger {
    fn drop(&mut self) {
        cli(&["rm", "-f", "-v", &self.0]);
    }
}

#[tokio::test]
async fn the_next_start_does_not_wait_for_what_a_failed_one_left() {
    let world = world().await;
    let id = world.release("blog", App { mode: "exit", ..App::default() });
    for _ in 0..3 {
        let error = world.start_fails(&id, LONG).await;
        assert!(matches!(error, StartError::Exited { status: 1, .. }), "{error:?}");
    }
    world.is_empty().await;
    assert_eq!(world.kept(&id).matches("the end is near").count(), 3, "each output is kept once");
}

/// It used to be killed, whoever had requests in it.
#[tokio::test]
async fn what_ran_before_the_start_and_is_not_ready_goes_on() {
    let world = world().await;
    let id = world.release("blog", App { mode: "silent", ..App::default() });
    let poised = world.poise(&id).await;
    open_gate(&world.data.gates(), poised.gate).await.unwrap();
    let error = world.start_fails(&id, Duration::from_millis(500)).await;
    assert!(matches!(error, StartError::Silent { .. }), "{error:?}");
    assert!(matches!(world.seen(&id).await, Some(SeenState::Running { .. })));
    world.runner.stop(&id, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn an_address_that_was_left_is_not_given_to_the_next() {
    let world = world().await;
    let ids = ["blog", "shop"].map(|name| world.serving(name));
    let mut given = BTreeSet::new();
    for id in ids.iter().cycle().take(4) {
        given.insert(world.start(id).await.addr.ip());
        world.runner.stop(id, GRACE).await.unwrap();
    }
    assert_eq!(given.len(), 4, "{given:?}");
}

#[tokio::test]
async fn an_address_that_somebody_has_is_passed_over() {
    let world = world().await;
    let id = world.serving("blog");
    let addr = world.start(&id).await.addr;
    world.runner.stop(&id, GRACE).await.unwrap();
    let std::net::IpAddr::V4(ip) = addr.ip() else { panic!("{addr}") };
    // The next ones, as the subnet's order has them.
    let others: Vec<String> =
        (1..=3).map(|n| std::net::Ipv4Addr::from(u32::from(ip) + n).to_string()).collect();
    for other in &others {
        let (label, image) = (format!("func.installation={}", world.installation), world.image.to_string());
        let args = ["run", "-d", "--network", &world.installation, "--ip", other, "--label", &label];
        assert_eq!(cli(&[&args[..], &["-e", "MODE=serve", "-e", "PORT=8080", &image]].concat()).len(), 1);
    }
    let again = world.start(&id).await.addr.ip();
    assert!(again != addr.ip() && !others.contains(&again.to_string()), "{again}");
}
