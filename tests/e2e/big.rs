//! Large bodies and large repositories, in bounded memory.

use std::process::{Command, Stdio};

use crate::client::{Repo, git_command};
use crate::world::{World, memory, until};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

fn live() -> World {
    let world = World::with(&[("idle", "5s")]);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world
}

/// Runs a pipeline of the shell and gives its output.
fn shell(script: &str) -> String {
    let out =
        Command::new("bash").args(["-c", &format!("set -o pipefail; {script}")]).output().expect("bash runs");
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn a_gibibyte_goes_up_to_a_cold_app_and_another_comes_down_in_little_memory() {
    let world = live();
    until("it sleeps", || world.containers().is_empty());
    let url = format!("http://{}", world.edge());
    // A stream that is cheap to make and different everywhere.
    let source = format!("{{ seq 1 200000000 || true; }} | head -c {GIB}");
    let expected = shell(&format!("{source} | sha256sum | cut -d' ' -f1"));
    let sent = shell(&format!("{source} | curl -sS -T - -X POST -H 'Host: shop.localhost' {url}/upload"));
    assert_eq!(sent, format!("{GIB} {expected}"));
    let down = shell(&format!("curl -sS -H 'Host: shop.localhost' '{url}/download?bytes={GIB}' | sha256sum"));
    let chunks =
        "python3 -c \"import sys\nfor n in range(16384): sys.stdout.buffer.write(bytes([n & 255]) * 65536)\"";
    assert_eq!(down, shell(&format!("{chunks} | sha256sum")));
    let (_, highest) = memory(world.pid());
    assert!(highest < 100 * MIB, "func used up to {} MiB", highest / MIB);
}

#[test]
fn a_large_repository_is_pushed_in_bounded_memory_and_cloned_as_it_was() {
    let world = World::new();
    let repo = Repo::site(&world, "large");
    for n in 0..10 {
        shell(&format!("head -c {} /dev/urandom > {}/blob{n}", 50 * MIB, repo.path().display()));
    }
    // Only what is in public/ is served; the rest is just in the repository.
    repo.write("public/index.html", "large");
    repo.git(&["config", "core.compression", "0"]);
    repo.commit("500 MB");
    repo.push(&world.ssh_url("large")).succeeded();
    let (_, highest) = memory(world.pid());
    assert!(highest < 200 * MIB, "func used up to {} MiB", highest / MIB);
    assert_eq!(world.get("large.localhost", "/"), (200, "large".into()));
    let clone = world.path("clone");
    for url in [world.ssh_url("large"), world.http_url("large")] {
        let mut command = git_command(&world.path("id_ed25519"));
        let status = command.args(["clone", "-q", &url]).arg(&clone).stdout(Stdio::null()).status();
        assert!(status.expect("git runs").success());
        let sums = |folder: &std::path::Path| {
            shell(&format!("cd {} && sha256sum blob* index.html", folder.display()))
        };
        assert_eq!(sums(&clone), sums(repo.path()));
        std::fs::remove_dir_all(&clone).expect("removed");
    }
    let (_, highest) = memory(world.pid());
    assert!(highest < 200 * MIB, "func used up to {} MiB", highest / MIB);
}
