//! The quick start: reads the commands out of README.md and does what they say, in a fresh clone.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::git_command;
use crate::world::{machine_turn, register, unregister, until};

/// A cold release build, and a start.
const RUN_LIMIT: Duration = Duration::from_secs(30 * 60);

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).expect("the README")
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The code block that follows `heading`, without comments.
fn block(heading: &str) -> Vec<String> {
    let readme = readme();
    let rest = readme.split_once(heading).unwrap_or_else(|| panic!("README.md has no {heading:?}")).1;
    let code = rest.split("```").nth(1).expect("a code block");
    let line = |l: &str| l.split("  #").next().unwrap_or_default().trim_end().to_owned();
    code.lines().skip(1).map(line).filter(|l| !l.is_empty()).collect()
}

struct Run {
    child: Child,
    installation: String,
    folder: PathBuf,
}

impl Drop for Run {
    fn drop(&mut self) {
        // make passes no signal on to what it runs: the whole group is asked.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-INT", "--", &group]).output();
        let _ = self.child.wait();
        unregister(&self.installation);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A clone of what is committed, with what is not on top.
fn checkout(folder: &Path) {
    let files = Command::new("git")
        .args(["ls-files", "-co", "--exclude-standard", "-z"])
        .current_dir(root())
        .output();
    let mut tar = Command::new("tar")
        .args(["--null", "-T", "-", "--ignore-failed-read", "-cf", "-"])
        .current_dir(root())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("tar runs");
    let list = files.expect("git runs").stdout;
    let mut stdin = tar.stdin.take().expect("a pipe");
    std::thread::spawn(move || std::io::Write::write_all(&mut stdin, &list));
    let mut unpack = Command::new("tar");
    unpack.args(["-xf", "-"]).current_dir(folder).stdin(tar.stdout.take().expect("a pipe"));
    assert!(unpack.status().expect("tar runs").success());
    tar.wait().expect("it has ended");
}

#[test]
fn a_stranger_who_follows_the_quick_start_sees_the_app_come_and_go() {
    use std::os::unix::process::CommandExt;

    let _turn = machine_turn();
    let folder = tempfile::Builder::new().prefix("func-quick-").tempdir().expect("a temporary folder").keep();
    checkout(&folder);
    let data = folder.join(".func");
    let installation = func_store::DataDir::open(&data).expect("a data folder").installation();
    register(&installation, &folder);
    let run = block("## Quick start");
    assert_eq!(run, ["make run", "make test"], "the quick start has exactly two commands");
    let log = folder.join("run.log");
    let file = std::fs::File::create(&log).expect("a log");
    // Ports of the system's choice, and the release build of this checkout: the commands are the README's.
    let target = std::env::var("CARGO_TARGET_DIR").map_or_else(|_| root().join("target"), PathBuf::from);
    let child = Command::new("bash")
        .args(["-c", &run[0]])
        .current_dir(&folder)
        .env("CARGO_TARGET_DIR", target)
        .env("FUNC_EDGE_LISTEN", "127.0.0.1:0")
        .env("FUNC_SSH_LISTEN", "127.0.0.1:0")
        .env("FUNC_HTTP_LISTEN", "127.0.0.1:0")
        .env("FUNC_IDLE", "5s")
        .stdin(Stdio::null())
        .stdout(file.try_clone().expect("a log"))
        .stderr(file)
        .process_group(0)
        .spawn()
        .expect("make runs");
    let mut run = Run { child, installation: installation.clone(), folder: folder.clone() };
    let text = || std::fs::read_to_string(&log).unwrap_or_default();
    let began = Instant::now();
    while !text().contains("func is ready. In the repository") || !text().contains("stop ") {
        let ended = run.child.try_wait().expect("its state");
        assert!(ended.is_none() && began.elapsed() < RUN_LIMIT, "make run: {}", text());
        std::thread::sleep(Duration::from_millis(200));
    }
    push_as_told(&folder, &text());
    let containers = || {
        let filter = format!("label=func.installation={installation}");
        crate::world::docker(&["ps", "-q", "--filter", &filter])
    };
    assert!(!containers().is_empty());
    until("it sleeps", || containers().is_empty());
}

/// Does what the README says of a first app, with the remote that `make run` printed.
fn push_as_told(folder: &Path, printed: &str) {
    let remote =
        printed.lines().find_map(|l| l.trim().strip_prefix("over HTTP   ")).expect("the line for HTTP");
    let steps: Vec<String> = block("### Your first app")
        .into_iter()
        .map(|step| if step.starts_with("git remote add func") { remote.to_owned() } else { step })
        .collect();
    assert!(steps.contains(&remote.to_owned()), "the README adds the remote: {steps:?}");
    let look = printed
        .lines()
        .find_map(|l| l.trim().strip_prefix("look "))
        .expect("the line to look")
        .trim()
        .to_owned();
    let site = folder.join("site");
    std::fs::create_dir(&site).expect("made");
    let script = steps.iter().filter(|s| !s.starts_with("curl")).cloned().collect::<Vec<_>>().join("\n");
    let mut bash = git_command(Path::new("/nowhere"));
    let env: Vec<_> = bash.get_envs().map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
    bash = Command::new("bash");
    bash.envs(env.into_iter().filter_map(|(k, v)| v.map(|v| (k, v))));
    let out = bash.args(["-e", "-c", &script]).current_dir(&site).output().expect("bash runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.contains("blog-v1 is live"), "{script}\n{said}");
    assert!(said.contains(&look), "the push and the guide name the same URL: {look}: {said}");
    // curl resolves *.localhost by itself.
    let out = Command::new("curl").args(["-sS", &look]).output().expect("curl runs");
    assert!(String::from_utf8_lossy(&out.stdout).contains("Hello"), "{out:?}");
}
