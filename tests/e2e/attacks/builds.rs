//! Builds: what a Dockerfile may ask for, and what its steps reach.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::client::{Pushed, Repo};
use crate::world::World;

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

/// A server on the host that counts who comes.
struct Visited {
    port: u16,
    count: Arc<AtomicUsize>,
}

impl Visited {
    fn listen(address: &str) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a port");
        let (port, count) =
            (listener.local_addr().expect("its address").port(), Arc::new(AtomicUsize::new(0)));
        let counted = count.clone();
        // It goes with the process: nothing waits for it.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecret";
                let _ = std::io::Write::write_all(&mut &stream, answer.as_bytes());
            }
        });
        Self { port, count }
    }

    fn visits(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

/// No app reads or writes what the builds of another keep, and none builds on the image of another.
fn apps_are_strangers(world: &World) {
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

#[test]
fn in_the_engine_that_serves_builds_are_kept_apart_and_the_hosts_loopback_is_not_read() {
    let world = World::new();
    apps_are_strangers(&world);
    let host = Visited::listen("127.0.0.1");
    for name in ["127.0.0.1", "localhost", "127.1", "0x7f000001", "2130706433"] {
        let said =
            push(&world, "one", &format!("FROM scratch\nADD http://{name}:{}/x /x\n", host.port)).failed();
        assert!(said.contains("own network is not for builds") && !said.contains("secret"), "{said}");
    }
    assert_eq!(host.visits(), 0);
}
