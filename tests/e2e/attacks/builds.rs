//! Builds: what a Dockerfile may ask for.

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

/// No app reads or writes what the builds of another keep, and none builds on the image of another.
#[test]
fn builds_of_one_app_read_nothing_of_another() {
    let world = &World::new();
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
