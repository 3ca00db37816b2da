//! A local user at func's files.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::client::Repo;
use crate::world::World;

fn open_to_all(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).mode() & 0o777
}

/// A command as a user who has nothing here.
fn nobody(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]).stdin(Stdio::null());
    command
}

/// Ends what a test has in the background.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn folders_that_were_open_before_are_closed_and_nobody_holds_a_lock_or_reads_the_token() {
    let mut world = World::prepared(&[]);
    let data = world.data();
    open_to_all(&world.path(""), 0o755);
    for name in ["", "run", "keys", "projects", "manifest", "logs"] {
        open_to_all(&data.join(name), 0o755);
    }
    // As older versions made it, and Docker for a mount in it.
    let old = data.join("run/deploy-blog.lock");
    fs::write(&old, "").expect("written");
    open_to_all(&old, 0o644);
    let held = nobody("flock").arg("-x").arg(&old).args(["sleep", "300"]).spawn().expect("flock runs");
    let _held = Ended(held);
    crate::world::until("nobody holds the lock", || {
        let tried = Command::new("flock").args(["-n", "-x"]).arg(&old).arg("true").status();
        tried.is_ok_and(|status| !status.success())
    });
    world.start();
    Repo::site(&world, "one").push(&world.ssh_url("blog")).succeeded();
    for name in ["run", "keys", "projects", "manifest", "logs"] {
        assert_eq!(mode(&data.join(name)), 0o700, "{name}");
    }
    for name in ["run/deploy-blog.lock", "run/cleaner.lock", "keys/token", "keys/authorized_keys"] {
        let path = data.join(name);
        assert_eq!(mode(&path), 0o600, "{name}");
        let tried = nobody("flock").arg("-n").arg("-s").arg(&path).arg("true").output().expect("flock runs");
        assert!(!tried.status.success(), "nobody has {name}");
        let read = nobody("cat").arg(&path).output().expect("cat runs");
        assert!(!read.status.success() && read.stdout.is_empty(), "nobody reads {name}");
    }
    let umask = fs::read_to_string(format!("/proc/{}/status", world.pid())).expect("its state");
    assert!(umask.contains("Umask:\t0077"), "{umask}");
    let log = world.log();
    assert!(log.contains("keys/token") && !world.token.is_empty(), "the log names the file: {log}");
    assert!(!log.contains(&world.token), "the token is in no log");
}
