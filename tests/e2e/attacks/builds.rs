//! Builds: what a Dockerfile may ask for, and what its steps reach and use.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};

use super::network::neighbour;
use crate::client::{Pushed, Repo};
use crate::world::{World, docker};

/// Addresses "outside", no other test's: a public one that is for documentation, and a private one.
const PUBLIC: &str = "203.0.113.77";
const PRIVATE: &str = "10.78.78.78";

/// Pushes an app that answers what one step of its build has printed into a file.
fn push(world: &World, app: &str, dockerfile: &str) -> Pushed {
    let repo = Repo::app(world, "1");
    repo.write("Dockerfile", dockerfile);
    repo.commit("a build of its own");
    repo.try_git(&["push", "--force", &world.ssh_url(app), "main"])
}

/// The test app on busybox, after these steps. No cache knows them.
fn with_steps(steps: &str) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock").as_nanos();
    format!(
        "FROM busybox:stable\nENV NOW={now}\n{steps}\nCOPY testapp version behave /\nCMD [\"/testapp\"]\n"
    )
}

fn steps_text(world: &World, app: &str, steps: &str) -> String {
    push(world, app, &with_steps(steps)).succeeded()
}

/// No app reads or writes what the builds of another keep, and none builds on the image of another.
#[test]
fn builds_of_one_app_read_nothing_of_another_on_the_engine_that_serves() {
    let world = &World::new();
    read_nothing_of_another(world);
    assert!(!engine_runs(world));
}

fn read_nothing_of_another(world: &World) {
    let cache = |steps: &str| format!("RUN --mount=type=cache,id=shared,target=/cache {steps}");
    steps_text(world, "one", &cache("echo of-one >/cache/mark"));
    let own = steps_text(world, "one", &cache("cat /cache/mark"));
    assert!(own.contains("of-one"), "an app finds what it kept: {own}");
    let renamed = "ARG BUILDKIT_CACHE_MOUNT_NS=one\nENV BUILDKIT_CACHE_MOUNT_NS=one\n";
    for before in ["", renamed] {
        let other = steps_text(
            world,
            "two",
            &format!("{before}{}", cache("ls -A /cache; echo none of $(ls /cache)")),
        );
        assert!(!other.contains("mark"), "{other}");
    }
    let image = format!("{}/one:1", world.installation);
    for asks in [
        format!("FROM {image}\n"),
        format!("ARG BASE={image}\nFROM ${{BASE}}\n"),
        format!("FROM busybox:stable\nCOPY --from=docker.io/{image} / /stolen\n"),
        format!("FROM busybox:stable\nRUN --mount=from={image},target=/stolen ls /stolen\n"),
    ] {
        let said = push(world, "two", &asks).failed();
        assert!(said.contains("is the image of an app") && said.contains("hint:"), "{said}");
    }
    let said = push(world, "two", &format!("# syntax={image}\nFROM scratch\n")).failed();
    assert!(said.contains("names a program that func does not run"), "{said}");
    assert_eq!(world.get("two.localhost", "/").1, "hello 1", "what was live stays so");
}

fn engine_runs(world: &World) -> bool {
    let name = format!("name=^{}-builds$", world.installation);
    !docker(&["ps", "-q", "--filter", &name]).is_empty()
}

/// A listener on every address of the host, which greets whoever connects.
fn greeter() -> u16 {
    let listener = TcpListener::bind(("0.0.0.0", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\nreached");
        }
    });
    port
}

/// An address of the host on the way to the outside.
fn host_address() -> String {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect((PUBLIC, 9)).expect("a route");
    socket.local_addr().expect("an address").ip().to_string()
}

/// A build on an engine of its own reaches the internet and nothing of this machine; what it uses has an end, and the
/// next build finds everything as it was.
#[test]
fn a_build_apart_reaches_nothing_of_this_machine_and_its_steps_have_limits() {
    let settings = [("build-engine", "apart"), ("build-memory", "1G"), ("build-disk", "200M")];
    let mut world = World::with(&settings);
    read_nothing_of_another(&world);
    assert!(engine_runs(&world));
    assert!(world.log().contains("taking over 2 of the 3 layers"), "base images stay where they are");
    assert!(!world.log().contains("the whole image is taken over"));
    neighbour(&world, &[PUBLIC, PRIVATE]);
    let port = greeter();
    reaches(&world, port, &[PUBLIC]);
    for asked in ["127.0.0.1", "localhost"] {
        let said = push(&world, "one", &with_steps(&format!("ADD http://{asked}:{port}/x /x"))).failed();
        assert!(!said.contains("reached"), "{said}");
    }
    let said = push(&world, "one", &with_steps("RUN tail -c 3000m /dev/zero >/dev/null")).failed();
    assert!(said.contains("137") || said.contains("Killed"), "more memory than there is: {said}");
    let bomb = "RUN i=0; while [ $i -lt 6000 ]; do sleep 30 & i=$((i + 1)); done; echo all of them";
    let said = push(&world, "one", &with_steps(bomb)).failed();
    assert!(said.contains("can't fork") && !said.contains("] all of them"), "{said}");
    let said =
        push(&world, "one", &with_steps("RUN dd if=/dev/zero of=/x bs=1M count=400; sleep 60")).failed();
    assert!(said.contains("more than 200 MiB of disk") && said.contains("hint:"), "{said}");
    let loud = steps_text(&world, "one", "RUN yes | head -c 20000000");
    assert!(loud.len() < 4_000_000, "{} bytes of output", loud.len());
    let fine = steps_text(&world, "one", "RUN echo as before");
    assert!(fine.contains(" as before"), "{fine}");
    world.stop();
    assert!(!engine_runs(&world), "it ends with func");
    std::fs::write(world.data().join("func-server.toml"), "build-egress = \"none\"\n").expect("written");
    world.start();
    reaches(&world, port, &[]);
}

/// Tries every kind of address from a step of a build.
fn reaches(world: &World, port: u16, wanted: &[&str]) {
    let gateway = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
    let of = |network: &str| docker(&["network", "inspect", "-f", gateway, network]);
    let (own, apps) = (of(&format!("{}-builds", world.installation)), of(&world.installation));
    assert_eq!(world.get("one.localhost", "/").0, 200);
    let app = docker(&[
        "inspect",
        "-f",
        "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        &world.containers()[0],
    ]);
    let host = host_address();
    let rows = [
        ("127.0.0.1", port),
        (&own, port),
        (&apps, port),
        (&host, port),
        ("172.17.0.1", port),
        (&app, 8080),
        ("169.254.169.254", 80),
        (PRIVATE, 8080),
        (PUBLIC, 8080),
    ];
    let tries: Vec<String> = rows
        .iter()
        .map(|(addr, port)| {
            format!("(printf 'GET / HTTP/1.0\\r\\n\\r\\n' | timeout 3 nc {addr} {port} | grep -q . && echo found-{addr}-) &")
        })
        .collect();
    let said = steps_text(world, "two", &format!("RUN {} wait; echo all tried", tries.join(" ")));
    println!("from a build, of {rows:?}:\n{said}");
    assert!(said.contains("all tried"), "{said}");
    for (addr, _) in rows {
        let found = said.lines().any(|line| line.trim_end().ends_with(&format!(" found-{addr}-")));
        assert_eq!(found, wanted.contains(&addr), "{addr}: {said}");
    }
}
