//! An engine that is not there, and one that is shared by several processes of ours.

use func_runner::{Look, Make, RunnerError, Start, StartError, Stop};
use func_store::DataDir;

use crate::images::bytes;
use crate::sweep::docker as cli;
use crate::world::{LONG, claim, docker, world};

#[tokio::test]
async fn an_engine_that_is_away_is_told_by_every_power() {
    let dir = tempfile::tempdir().unwrap();
    let data = DataDir::open(dir.path()).unwrap();
    let absent = dir.path().join("docker.sock").display().to_string();
    let docker = docker("functest-0-0", &data, Some(absent));
    let id: func_model::InstanceId = "blog-v1.1".parse().unwrap();
    let away = |error: RunnerError| assert!(matches!(error, RunnerError::Away(_)), "{error:?}");
    away(docker.prepare().await.unwrap_err());
    away(docker.look(&id).await.unwrap_err());
    away(docker.load(bytes(vec![0])).await.unwrap_err());
    away(docker.stop(&id, LONG).await.unwrap_err());
    away(docker.prune(u64::MAX).await.unwrap_err());
    away(docker.seen().await.unwrap_err());
    away(docker.exits().await.err().unwrap());
    let error = docker.start(&claim(&id), LONG).await.unwrap_err();
    assert!(matches!(error, StartError::Runner(RunnerError::NoManifest { .. })), "{error:?}");
}

#[tokio::test]
async fn several_processes_make_one_network() {
    let world = world().await;
    cli(&["network", "rm", &world.installation]);
    let others: Vec<_> = (0..4).map(|_| docker(&world.installation, &world.data, None)).collect();
    let all = futures_util::future::join_all(others.iter().map(func_runner::Docker::prepare)).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
    let label = format!("label=func.installation={}", world.installation);
    assert_eq!(cli(&["network", "ls", "-q", "--filter", &label]).len(), 1);
}

#[tokio::test]
async fn a_network_of_that_name_that_is_open_is_refused() {
    let world = world().await;
    cli(&["network", "rm", &world.installation]);
    let label = format!("func.installation={}", world.installation);
    cli(&["network", "create", "--label", &label, &world.installation]);
    let error = docker(&world.installation, &world.data, None).prepare().await.unwrap_err();
    assert!(error.to_string().contains("reach each other"), "{error}");
}
