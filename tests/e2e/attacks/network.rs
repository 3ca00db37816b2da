//! What an instance reaches: every kind of address, tried from inside of one.

use std::fmt::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use crate::client::Repo;
use crate::world::{World, docker, until};

/// Addresses "outside", given to a neighbour that only the host knows the way to. The public one is for documentation.
const PUBLIC: &str = "198.51.100.77";
const PRIVATE: &str = "10.77.77.77";
const SHARED: &str = "100.64.77.77";
const LINK_LOCAL: &str = "169.254.77.77";
const METADATA: &str = "169.254.169.254";
/// Where the neighbour, and what else is beside func, listens.
const PORT: u16 = 8080;
/// An app that can try to connect, and has a shell to look from.
const DOCKERFILE: &str = "FROM busybox:stable\nCOPY testapp version behave /\nCMD [\"/testapp\"]\n";

fn run(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().expect("it can be run");
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Starts a server of the test's own beside func; it goes with the world.
fn beside(world: &World, name: &str, args: &[&str]) -> String {
    let (label, name) =
        (format!("functest.of={}", world.installation), format!("{}-{name}", world.installation));
    let listen = ["busybox:stable", "httpd", "-f", "-p", "8080"];
    docker(&[&["run", "-d", "--name", &name, "--label", &label], args, &listen].concat())
}

/// Makes a neighbour that listens at these addresses: a network namespace behind a wire to the host. Both go with its
/// container. No two of one process may have an address in common.
pub(super) fn neighbour(world: &World, addresses: &[&str]) {
    let id = beside(world, "neighbour", &["--network", "none"]);
    let pid = docker(&["inspect", "-f", "{{.State.Pid}}", &id]);
    let wire = format!("ft{pid}");
    let inside = |args: &[&str]| run("nsenter", &[&["-t", &pid, "-n", "ip"], args].concat());
    run("ip", &["link", "add", &wire, "type", "veth", "peer", "name", "eth0", "netns", &pid]);
    run("ip", &["link", "set", &wire, "up"]);
    inside(&["link", "set", "eth0", "up"]);
    inside(&["route", "add", "default", "dev", "eth0"]);
    for addr in addresses {
        inside(&["addr", "add", &format!("{addr}/32"), "dev", "eth0"]);
        run("ip", &["route", "add", &format!("{addr}/32"), "dev", &wire]);
    }
}

struct Probe<'a> {
    world: &'a World,
    container: String,
}

impl Probe<'_> {
    /// Returns whether the instance can open a connection.
    fn reaches(&self, addr: &str, port: u16) -> bool {
        let number = u32::from(addr.parse::<Ipv4Addr>().expect("an address"));
        self.world.get("one.localhost", &format!("/connect?ip={number}&port={port}")).1 == "connected"
    }

    /// Runs a shell line in the instance.
    fn sees(&self, line: &str) -> String {
        let out = Command::new("docker").args(["exec", &self.container, "sh", "-c", line]).output();
        String::from_utf8_lossy(&out.expect("docker runs").stdout).into_owned()
    }
}

fn inspected(name: &str, field: &str) -> String {
    docker(&[
        "inspect",
        "-f",
        &format!("{{{{range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end}}}}"),
        name,
    ])
}

/// How often the firewall has refused what went to a block.
fn refused(world: &World, block: &str) -> u64 {
    let table = run("nft", &["list", "table", "inet", &format!("func_{}", world.installation)]);
    let line = table.lines().find(|line| line.contains(&format!("ip daddr {block} counter")));
    let packets = line.and_then(|line| line.split("packets ").nth(1)?.split(' ').next()?.parse().ok());
    packets.unwrap_or_else(|| panic!("no rule for {block} in\n{table}"))
}

/// Starts func again with another policy. Its apps run on.
fn restart(world: &mut World, settings: &str) {
    world.stop();
    std::fs::write(world.data().join("func-server.toml"), settings).expect("written");
    world.start();
}

#[test]
fn an_instance_reaches_the_internet_and_neither_the_host_nor_what_is_private() {
    let mut world = World::new();
    for app in ["one", "two"] {
        let repo = Repo::app(&world, app);
        repo.write("Dockerfile", DOCKERFILE);
        repo.commit("with a shell");
        repo.push(&world.ssh_url(app)).succeeded();
    }
    assert_eq!(world.get("two.localhost", "/").0, 200);
    neighbour(&world, &[PUBLIC, PRIVATE, SHARED, LINK_LOCAL]);
    beside(&world, "published", &["-p", "8080"]);
    let one = format!("{}-one-v1.1", world.installation);
    let (two, published) =
        (format!("{}-two-v1.1", world.installation), format!("{}-published", world.installation));
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let host_port = listener.local_addr().expect("an address").port();
    let published_port: u16 = docker(&["port", &published, "8080"])
        .lines()
        .find_map(|line| line.rsplit(':').next()?.parse().ok())
        .expect("a published port");
    let (gateway, other) = (inspected(&one, "Gateway"), inspected(&two, "IPAddress"));
    let (docker0, beside) = (inspected(&published, "Gateway"), inspected(&published, "IPAddress"));
    // What it is, address, port; with egress internet, none, all, and all but allowed by name.
    let rows = [
        ("itself", "127.0.0.1", PORT, [true, true, true]),
        ("the host, at the bridge's gateway", &*gateway, host_port, [false; 3]),
        ("the host, at another of its addresses", &docker0, host_port, [false; 3]),
        ("another container's published port", &gateway, published_port, [false; 3]),
        ("the same at another address of the host", &docker0, published_port, [false; 3]),
        ("another container", &beside, PORT, [false; 3]),
        ("another app", &other, PORT, [false; 3]),
        ("the cloud's metadata", METADATA, 80, [false; 3]),
        ("link-local", LINK_LOCAL, PORT, [false; 3]),
        ("a private network", PRIVATE, PORT, [false, false, true]),
        ("a provider's shared network", SHARED, PORT, [false, false, true]),
        ("a public address", PUBLIC, PORT, [true, false, true]),
    ];
    let mut table =
        String::from("| from an instance | address | internet | none | all |\n|---|---|---|---|---|\n");
    let mut found = vec![[false; 3]; rows.len()];
    for (column, egress) in ["internet", "none", "all"].into_iter().enumerate() {
        if egress != "internet" {
            restart(&mut world, &format!("egress = \"{egress}\"\n"));
        }
        let probe = Probe { world: &world, container: one.clone() };
        std::thread::scope(|scope| {
            let tried = rows.iter().map(|(_, addr, port, _)| scope.spawn(|| probe.reaches(addr, *port)));
            for (row, tried) in tried.collect::<Vec<_>>().into_iter().enumerate() {
                found[row][column] = tried.join().expect("tried");
            }
        });
    }
    for ((what, addr, port, _), found) in rows.iter().zip(&found) {
        let [internet, none, all] = found.map(|reached| if reached { "reached" } else { "no" });
        let _ = writeln!(table, "| {what} | {addr}:{port} | {internet} | {none} | {all} |");
    }
    println!("{table}");
    for ((what, addr, port, wanted), found) in rows.iter().zip(&found) {
        assert_eq!(found, wanted, "{what}, {addr}:{port}; internet, none, all:\n{table}");
    }
    assert!(refused(&world, "169.254.0.0/16") > 0, "the metadata service was refused by the rule");
    no_name_server_names_another_app(&Probe { world: &world, container: one.clone() }, &two);
    removed_rules_come_back(&Probe { world: &world, container: one }, &gateway, host_port);
    exceptions_hold(&mut world, &gateway, host_port, &beside);
    nothing_is_left(world);
}

/// The tests' own removal once left the chain of the exceptions in Docker's.
fn nothing_is_left(world: World) {
    let option = "{{index .Options \"com.docker.network.bridge.name\"}}";
    let device = docker(&["network", "inspect", "-f", option, &world.installation]);
    let digits = device.strip_prefix("func").expect("the device of an installation").to_owned();
    let rules = || run("iptables", &["-w", "-S"]) + &run("nft", &["list", "tables"]);
    assert!(rules().contains(&digits), "there are rules while it runs");
    let installation = world.installation.clone();
    drop(world);
    let left = rules();
    assert!(!left.contains(&digits) && !left.contains(&installation), "{left}");
}

fn no_name_server_names_another_app(probe: &Probe<'_>, other: &str) {
    let conf = probe.sees("cat /etc/resolv.conf");
    assert!(conf.contains("nameserver ") && !conf.contains("127.0.0.11"), "{conf}");
    let answer =
        probe.sees(&format!("nslookup {other} 2>&1; nslookup {other}.{} 2>&1", probe.world.installation));
    assert!(!answer.contains("Address 1:") || !answer.contains(other), "{answer}");
    assert!(!probe.sees(&format!("ping -c 1 -W 1 {other} 2>&1")).contains('('), "its name has no address");
}

fn removed_rules_come_back(probe: &Probe<'_>, gateway: &str, port: u16) {
    let table = format!("func_{}", probe.world.installation);
    let stand = || {
        Command::new("nft").args(["list", "table", "inet", &table]).output().is_ok_and(|o| o.status.success())
    };
    run("nft", &["delete", "table", "inet", &table]);
    until("the rules are back", stand);
    assert!(!probe.reaches(gateway, port), "the host, once the rules are back");
    assert!(probe.world.log().contains("the firewall's rules were gone, and are made again"));
}

fn exceptions_hold(world: &mut World, gateway: &str, port: u16, container: &str) {
    let allow = format!("{gateway}:{port},{PRIVATE}:{PORT},{container}:{PORT}");
    restart(world, &format!("egress-allow = \"{allow}\"\n"));
    let probe = Probe { world, container: format!("{}-one-v1.1", world.installation) };
    for (addr, port, wanted) in [
        (gateway, port, true),
        (PRIVATE, PORT, true),
        (container, PORT, true),
        (gateway, world.edge().port(), false),
        (SHARED, PORT, false),
    ] {
        assert_eq!(probe.reaches(addr, port), wanted, "{addr}:{port}, of {allow} allowed");
    }
}
