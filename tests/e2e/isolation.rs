//! What an instance cannot reach, tried from inside of one.

use std::net::Ipv4Addr;

use crate::client::Repo;
use crate::world::{World, docker};

fn number(ip: &str) -> u32 {
    ip.parse::<Ipv4Addr>().expect("an address").into()
}

#[test]
fn an_instance_reaches_neither_another_one_nor_anything_of_funcs() {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("one")).succeeded();
    Repo::app(&world, "two").push(&world.ssh_url("two")).succeeded();
    assert_eq!(world.get("two.localhost", "/").0, 200);
    let name = format!("{}-two-v1.1", world.installation);
    let ip = docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", &name]);
    let gateway = docker(&["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}", &name]);
    let own = |path: &str| world.get("one.localhost", path).1;
    let tried = own(&format!("/connect?ip={}&port=8080", number(&ip)));
    assert_ne!(tried, "connected", "another instance");
    let mut ports = vec![world.edge().port()];
    for url in [world.ssh_url("x"), world.http_url("x")] {
        let port =
            url.split(':').next_back().and_then(|rest| rest.split('/').next()).and_then(|p| p.parse().ok());
        ports.push(port.expect("a port"));
    }
    for port in ports {
        let tried = own(&format!("/connect?ip={}&port={port}", number(&gateway)));
        assert_ne!(tried, "connected", "func's port {port} on the host");
    }
    let itself = own(&format!("/connect?ip={}&port=8080", number("127.0.0.1")));
    assert_eq!(itself, "connected", "what is asked can connect at all");
}

#[test]
fn an_instance_has_few_capabilities_no_mount_but_its_name_servers_and_limits() {
    let world = World::new();
    Repo::app(&world, "one").push(&world.ssh_url("one")).succeeded();
    let name = format!("{}-one-v1.1", world.installation);
    let shown = |format: &str| docker(&["inspect", "-f", format, &name]);
    assert_eq!(shown("{{.HostConfig.CapDrop}}"), "[ALL]");
    assert_eq!(shown("{{len .HostConfig.CapAdd}}"), "7", "those of a server that becomes another user");
    assert!(shown("{{.HostConfig.SecurityOpt}}").contains("no-new-privileges"));
    assert_eq!(shown("{{.HostConfig.Privileged}}"), "false");
    let mounts = shown("{{range .Mounts}}{{.Destination}} {{.RW}};{{end}}");
    assert_eq!(mounts, "/etc/resolv.conf false;", "its name servers, and nothing else");
    assert_eq!(shown("{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}"), "536870912 256");
    assert_eq!(shown("{{.HostConfig.RestartPolicy.Name}}"), "no");
}
