//! What an instance may not do, proven from inside it.

use std::net::Ipv4Addr;

use func_model::Egress;
use func_runner::{Firewall, Guarded, Kept, Policy};
use tokio::net::TcpListener;

use crate::images::{context, probe};
use crate::sweep::docker as cli;
use crate::world::{App, LONG, get, world};

#[tokio::test]
async fn an_instance_has_no_capabilities_and_gains_none() {
    let world = world().await;
    let (_, addr) = world.started("blog").await;
    let status = get(addr, "/status").await;
    let value = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(value(set), "0000000000000000", "{set}");
    }
    assert_eq!(value("NoNewPrivs"), "1");
    assert_eq!(value("Seccomp"), "2");
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
