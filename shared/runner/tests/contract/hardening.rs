//! What an instance may not do, proven from inside it.

use std::net::{Ipv4Addr, SocketAddr};

use func_model::{Allowance, Egress, Resources, SeenState};
use func_runner::{Firewall, Guard, Guarded, Kept, Policy, Start, memory_bound};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::images::{context, probe};
use crate::sweep::docker as cli;
use crate::world::{App, LONG, TOGETHER_BYTES, claim, docker_of, get, until, world};

const MIB: u64 = 1024 * 1024;

/// CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID and NET_BIND_SERVICE, as the kernel counts them.
const KEPT: &str = "00000000000004eb";
const NONE: &str = "0000000000000000";

/// Checks the capabilities of a process, and that it gains none.
async fn has_capabilities(addr: SocketAddr, expected: &str) {
    let status = get(addr, "/status").await;
    let value = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(value(set), expected, "{set}");
    }
    assert_eq!(value("CapAmb"), NONE);
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(value("Seccomp"), "2");
}

#[tokio::test]
async fn an_image_that_starts_as_root_can_become_another_user_and_no_more() {
    let world = world().await;
    let id = world.serving("blog");
    world.poise(&id).await;
    let addr = world.start(&id).await.addr;
    has_capabilities(addr, KEPT).await;
    assert_eq!(get(addr, "/become/1000").await, "it ran, and ended with 42");
}

#[tokio::test]
async fn an_app_may_give_up_its_capabilities() {
    let world = world().await;
    let id = world.release("blog", App { capabilities: Some(Vec::new()), ..App::default() });
    let addr = world.start(&id).await.addr;
    has_capabilities(addr, NONE).await;
    assert_eq!(get(addr, "/become/1000").await, "PermissionDenied");
}

#[tokio::test]
async fn an_image_with_a_user_has_no_capability_and_listens_on_port_80() {
    let world = world().await;
    let config = json!({ "Entrypoint": ["/probe"], "User": "1000:1000" });
    let app = App { port: Some(80), ..App::default() };
    let id = world.release_of(config, &[("probe", &probe(), 0o755)], app).await;
    let addr = world.start(&id).await.addr;
    assert_eq!(addr.port(), 80);
    has_capabilities(addr, NONE).await;
}

#[tokio::test]
async fn read_only_files_are_written_in_tmp_and_run_alone() {
    let world = world().await;
    let id = world.release("blog", App { read_only: true, ..App::default() });
    world.poise(&id).await;
    let addr = world.start(&id).await.addr;
    for (path, outcome) in [("/x", "ReadOnlyFilesystem"), ("/tmp/x", "written"), ("/run/x", "written")] {
        assert_eq!(get(addr, &format!("/write{path}")).await, outcome, "{path}");
    }
    let mounts = get(addr, "/mounts").await;
    let tmp = mounts.lines().find(|line| line.contains(" /tmp tmpfs ")).unwrap_or_default();
    assert!(tmp.contains("size=65536k"), "{tmp}");
}

#[tokio::test]
async fn an_instance_that_writes_more_than_it_may_is_ended_and_its_log_says_why() {
    let world = world().await;
    let most = Resources { disk_bytes: 8 * MIB, ..Allowance::default().max };
    let docker = docker_of(&world.installation, &world.data, None, most);
    let id = world.serving("blog");
    let addr = docker.start(&claim(&id), LONG).await.unwrap().addr;
    assert_eq!(get(addr, "/fill/7").await, "written");
    assert_eq!(docker.end_if_over_disk(&id).await.unwrap(), None, "less than it may");
    assert_eq!(get(addr, "/fill/9").await, "written");
    let written = docker.end_if_over_disk(&id).await.unwrap().expect("more than it may");
    assert!((9 * MIB..20 * MIB).contains(&written), "{written}");
    until("it has ended", || async { docker.end_if_over_disk(&id).await.unwrap().is_none() }).await;
    assert!(TcpStream::connect(addr).await.is_err(), "nothing listens");
    let kept = world.kept(&id);
    assert!(kept.contains("it has written 9 MiB to its files, and may write 8 MiB (`limits.disk`"), "{kept}");
}

#[tokio::test]
async fn all_instances_together_use_no_more_memory_than_they_may() {
    let world = world().await;
    world.runner.bound_memory().await.expect("control groups that may be written: be root");
    world.runner.bound_memory().await.expect("it is repeatable");
    assert_eq!(memory_bound(&world.installation), Some(TOGETHER_BYTES));
    let (blog, _) = world.started("blog").await;
    // Its own limit allows it more than the group has.
    let greedy = world.release("shop", App { memory_bytes: Some(4 * TOGETHER_BYTES), ..App::default() });
    let shop = world.start(&greedy).await.addr;
    let request = format!("GET /eat/{} HTTP/1.1\r\n\r\n", 2 * TOGETHER_BYTES / MIB);
    let mut connection = TcpStream::connect(shop).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    until("the kernel ends one of them", || async {
        let states = [world.seen(&blog).await, world.seen(&greedy).await];
        states.iter().any(|state| !matches!(state, Some(SeenState::Running { .. })))
    })
    .await;
}

#[tokio::test]
async fn an_instance_is_ended_before_func_and_sees_no_cgroup_but_its_own() {
    let world = world().await;
    let (_, addr) = world.started("blog").await;
    assert!(get(addr, "/self").await.contains("oom_score_adj: \"500\\n\""));
    let cgroups = get(addr, "/cgroups").await;
    assert!(!cgroups.is_empty() && cgroups.lines().all(|line| line.ends_with(":/")), "{cgroups}");
}

#[tokio::test]
async fn an_operators_maximum_holds_for_releases_of_before() {
    let world = world().await;
    let most = Resources { memory_bytes: 32 * 1024 * 1024, pids: 16, ..Allowance::default().max };
    let docker = docker_of(&world.installation, &world.data, None, most);
    let addr = docker.start(&claim(&world.serving("blog")), LONG).await.unwrap().addr;
    let limits = get(addr, "/limits").await;
    assert!(limits.contains(&format!("memory={}\n", 32 * 1024 * 1024)), "{limits}");
    assert!(limits.contains("pids=16\n"), "{limits}");
}

#[tokio::test]
async fn an_instance_has_the_limits_of_its_manifest() {
    let world = world().await;
    let (_, addr) = world.started("blog").await;
    let limits = get(addr, "/limits").await;
    assert!(limits.contains(&format!("memory={}\n", 64 * 1024 * 1024)), "{limits}");
    assert!(limits.contains("pids=64\n"), "{limits}");
    assert!(limits.contains("cpu=50000"), "{limits}");
    let container = world.containers().await.remove(0);
    let format = "{{.HostConfig.MemorySwap}} {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.Privileged}}";
    let no_swap = [(64 * 1024 * 1024).to_string(), "no".to_owned(), "false".to_owned()];
    assert_eq!(cli(&["inspect", "--format", format, &container]), no_swap);
}

#[tokio::test]
async fn an_instance_sees_nothing_of_the_hosts_disk() {
    let world = world().await;
    let (_, addr) = world.started("blog").await;
    let container = world.containers().await.remove(0);
    let mounts =
        cli(&["inspect", "--format", "{{range .Mounts}}{{.Destination}} {{.RW}} {{end}}", &container]);
    assert_eq!(mounts, ["/etc/resolv.conf", "false"], "its name servers, and nothing else");
    assert!(!get(addr, "/mounts").await.contains("docker.sock"));
}

#[tokio::test]
async fn a_volume_of_the_image_is_memory_of_the_instance_and_no_folder_of_the_host() {
    let world = world().await;
    let dockerfile =
        "FROM scratch\nCOPY probe /\nVOLUME [\"/data/\", \"/var/lib/db\"]\nENTRYPOINT [\"/probe\"]\n";
    let files = context(&[("Dockerfile", dockerfile.as_bytes()), ("probe", &probe())]);
    let image = world.build(files, LONG).await.0.unwrap();
    let id = world.release("blog", App { image: Some(image), ..App::default() });
    let addr = world.start(&id).await.addr;
    let container = world.containers().await.remove(0);
    let mounts = cli(&["inspect", "--format", "{{range .Mounts}}{{.Destination}} {{end}}", &container]);
    assert_eq!(mounts, ["/etc/resolv.conf"], "no folder");
    let mounts = get(addr, "/mounts").await;
    for path in ["/data", "/var/lib/db"] {
        let mount = mounts.lines().find(|line| line.contains(&format!(" {path} tmpfs rw,nosuid,nodev")));
        assert!(mount.is_some_and(|mount| mount.contains("size=65536k")), "{path} in {mounts}");
    }
}

#[tokio::test]
async fn an_instance_reaches_no_other_and_the_host_reaches_all() {
    let world = world().await;
    let (_, blog) = world.started("blog").await;
    let (_, shop) = world.started("shop").await;
    assert_eq!(get(blog, "/").await, "hello");
    assert_eq!(get(shop, "/").await, "hello");
    assert_eq!(get(blog, &format!("/connect/{blog}")).await, "connected", "the probe can connect");
    for (from, to) in [(blog, shop), (shop, blog)] {
        assert_ne!(get(from, &format!("/connect/{to}")).await, "connected", "{from} reached {to}");
    }
}

#[tokio::test]
async fn an_instance_does_not_reach_what_listens_on_the_hosts_loopback() {
    let world = world().await;
    let (_, blog) = world.started("blog").await;
    let ours = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = ours.local_addr().unwrap().port();
    let format = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let gateway = cli(&["network", "inspect", "--format", format, &world.installation]).remove(0);
    for host in [gateway.as_str(), "127.0.0.1"] {
        assert_eq!(get(blog, &format!("/connect/{host}:{port}")).await, "ConnectionRefused", "{host}");
    }
}

#[tokio::test]
async fn a_guarded_network_keeps_its_instances_from_the_host_and_the_host_reaches_them() {
    let world = world().await;
    let (_, blog) = world.started("blog").await;
    let ours = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = ours.local_addr().unwrap().port();
    let format = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let gateway = cli(&["network", "inspect", "--format", format, &world.installation]).remove(0);
    let try_it = format!("/connect/{gateway}:{port}");
    assert_eq!(get(blog, &try_it).await, "connected", "without the guard");
    assert_eq!(world.runner.guard().await.unwrap(), Kept::Made);
    assert_eq!(world.runner.guard().await.unwrap(), Kept::Stood);
    assert_ne!(get(blog, &try_it).await, "connected");
    let table = format!("func_{}", world.installation);
    assert!(
        std::process::Command::new("nft")
            .args(["delete", "table", "inet", &table])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(world.runner.guard().await.unwrap(), Kept::Made, "they were gone");
    assert_ne!(get(blog, &try_it).await, "connected");
}

#[tokio::test]
async fn iptables_guards_a_network_as_nftables_does() {
    let world = world().await;
    let (_, blog) = world.started("blog").await;
    let ours = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
    let port = ours.local_addr().unwrap().port();
    let inspected =
        |format: &str| cli(&["network", "inspect", "--format", format, &world.installation]).remove(0);
    let gateway = inspected("{{range .IPAM.Config}}{{.Gateway}}{{end}}");
    let device = inspected("{{index .Options \"com.docker.network.bridge.name\"}}");
    let name = world.installation.clone();
    let guarded = Guarded { name: name.clone(), bridges: vec![device], subnets: Vec::new() };
    let iptables = Firewall::all().into_iter().find(|tool| tool.to_string() == "iptables").unwrap();
    let allow = vec![format!("{gateway}:{port}").parse().unwrap()];
    let tried = format!("/connect/{gateway}:{port}");
    for (policy, connects) in [
        (Policy::default(), false),
        (Policy { allow, ..Policy::default() }, true),
        (Policy { egress: Egress::All, ..Policy::default() }, false),
    ] {
        assert_eq!(iptables.keep(&guarded, &policy).await.unwrap(), Kept::Made);
        assert_eq!(iptables.keep(&guarded, &policy).await.unwrap(), Kept::Stood);
        assert_eq!(get(blog, &tried).await == "connected", connects, "{policy:?}");
        assert_eq!(get(blog, "/").await, "hello", "the host reaches it");
    }
    assert!(iptables.stands(&name).await);
    iptables.remove(&name).await.unwrap();
    assert!(!iptables.stands(&name).await);
    assert_eq!(get(blog, &tried).await, "connected", "nothing is left");
}
