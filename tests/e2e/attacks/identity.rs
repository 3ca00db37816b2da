//! Nobody speaks for another client: an app hears of addresses, hosts and paths only from the edge and its own proxies.

use std::process::Command;

use crate::client::Repo;
use crate::world::World;

/// What a stranger says of himself, and what a proxy may say of its client.
const SAID: [&str; 10] = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-For: 9.9.9.9",
    "X-Forwarded-Port: 1",
    "X-Real-IP: 6.6.6.6",
    "True-Client-IP: 6.6.6.6",
    "Forwarded: for=6.6.6.6",
    "X-Original-URL: /admin",
    "X_Forwarded_For: 6.6.6.6",
    "Proxy: http://6.6.6.6",
    "X-Mine: kept",
];

/// What the app sees of a request that comes from an address of the loopback network.
fn seen(world: &World, from: &str) -> Vec<String> {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "60", "--interface", from, "-H", "Host: shop.localhost"]);
    SAID.iter().for_each(|line| {
        curl.args(["-H", line]);
    });
    let out = curl.arg(format!("http://{}/headers", world.edge())).output().expect("curl runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn only_the_edge_and_its_proxies_say_whose_request_it_is() {
    let world = World::with(&[("trusted-proxies", "127.0.9.0/24, ::1")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    let stranger = seen(&world, "127.0.0.9");
    let has = |lines: &[String], line: &str| lines.iter().any(|l| l == line);
    for own in
        ["x-forwarded-for: 127.0.0.9", "x-real-ip: 127.0.0.9", "x-forwarded-proto: http", "x-mine: kept"]
    {
        assert!(has(&stranger, own), "{own}: {stranger:?}");
    }
    assert!(
        !stranger.iter().any(|line| line.contains("6.6.6.6") || line.contains("9.9.9.9")),
        "{stranger:?}"
    );
    assert!(!stranger.iter().any(|line| line.starts_with("x-original-url") || line.contains("-port")));
    let proxy = seen(&world, "127.0.9.1");
    for kept in ["x-forwarded-for: 6.6.6.6, 9.9.9.9, 127.0.9.1", "x-real-ip: 9.9.9.9", "x-forwarded-port: 1"]
    {
        assert!(has(&proxy, kept), "{kept}: {proxy:?}");
    }
    assert!(
        !proxy
            .iter()
            .any(|line| line.contains('_') || line.starts_with("proxy") || line.starts_with("forwarded:"))
    );
}
