//! What is wrong is told, with what to do; and nothing is lost.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use crate::client::{Repo, git_command};
use crate::world::{World, until};

#[test]
fn a_wrong_token_is_refused() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    let said = repo.push(&world.http_url_with("blog", "func_wrong")).failed();
    assert!(said.contains("Authentication failed") || said.contains("401"), "{said}");
    assert!(!world.data().join("projects/blog.git").exists(), "a stranger makes nothing");
    repo.push(&world.http_url("blog")).succeeded();
}

#[test]
fn a_new_token_replaces_the_old_one_at_once() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    let out = world.func(&["token"]);
    let token = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    repo.push(&world.http_url("blog")).failed();
    repo.push(&world.http_url_with("blog", &token)).succeeded();
}

#[test]
fn an_unknown_key_is_refused() {
    let world = World::new();
    let mut repo = Repo::site(&world, "one");
    world.make_key("stranger", "ed25519");
    repo.use_key(world.path("stranger"));
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("Permission denied"), "{said}");
    assert!(!world.data().join("projects/blog.git").exists(), "a stranger makes nothing");
}

#[test]
fn a_shell_over_ssh_is_refused_with_a_hint() {
    let world = World::new();
    let url = world.ssh_url("x");
    let address = url.trim_start_matches("ssh://func@").split('/').next().expect("an address").to_owned();
    let port = address.rsplit(':').next().expect("a port").to_owned();
    for command in [&["id"][..], &[][..], &["git-receive-pack"][..], &["git-receive-pack '../x'"][..]] {
        let key = world.path("id_ed25519");
        let out = Command::new("ssh")
            .args(["-F", "/dev/null", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "LogLevel=ERROR",
                "-p",
                &port,
                "-i",
            ])
            .arg(key)
            .arg("func@127.0.0.1")
            .args(command)
            .output()
            .expect("ssh runs");
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(!out.status.success() && said.contains("func:"), "{command:?}: {said}");
        assert!(!said.contains("uid="), "{said}");
    }
}

#[test]
fn a_name_that_is_none_is_refused_and_makes_nothing() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    for name in ["UPPER", "a_b", "-x", "x/y", "a.b", "..%2fx"] {
        for url in [world.ssh_url(name), world.http_url(name)] {
            let said = repo.push(&url).failed();
            assert!(!said.contains("is live"), "{name}: {said}");
        }
    }
    // Over HTTP the client itself resolves `..` before it asks.
    let said = repo.push(&world.ssh_url("../x")).failed();
    assert!(said.contains("app name"), "{said}");
    let projects: Vec<_> = std::fs::read_dir(world.data().join("projects")).expect("a folder").collect();
    assert!(projects.is_empty(), "{projects:?}");
}

#[test]
fn a_clone_of_what_is_not_there_is_a_clear_error() {
    let world = World::new();
    for url in [world.ssh_url("nothing"), world.http_url("nothing")] {
        let mut command = git_command(&world.path("id_ed25519"));
        let out = command.args(["clone", &url]).arg(world.path("clone")).output().expect("git runs");
        assert!(!out.status.success());
        assert!(String::from_utf8_lossy(&out.stderr).contains("nothing"), "{out:?}");
    }
    assert!(!world.data().join("projects/nothing.git").exists(), "a fetch makes nothing");
}

fn raw(world: &World, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.edge()).expect("the edge listens");
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).expect("set");
    // It may close before it has read everything.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn odd_host_headers_are_answered_and_the_edge_goes_on() {
    let world = World::new();
    Repo::site(&world, "one").push(&world.ssh_url("blog")).succeeded();
    let huge =
        format!("GET / HTTP/1.1\r\nHost: {}.localhost\r\nConnection: close\r\n\r\n", "a".repeat(60_000));
    let answer = raw(&world, huge.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 4") && answer.len() < 2_000, "{answer}");
    for host in
        ["Host: a b", "Host: ../x", "Host: blog.localhost\r\nHost: evil.localhost", "X: y", "Host: [::1]:80"]
    {
        let answer = raw(&world, format!("GET / HTTP/1.1\r\n{host}\r\nConnection: close\r\n\r\n").as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{host}: {answer}");
    }
    let answer = raw(
        &world,
        b"CONNECT blog.localhost:80 HTTP/1.1\r\nHost: blog.localhost:80\r\nConnection: close\r\n\r\n",
    );
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    raw(&world, b"\x00\xff\x16\x03\x01 nonsense\r\n\r\n");
    let (status, body) = world.get("unknown.localhost", "/");
    assert_eq!(status, 404);
    assert!(body.contains("unknown.localhost") && body.contains("git push func main"), "{body}");
    assert_eq!(world.get("blog.localhost", "/"), (200, "one".into()));
}

#[test]
fn an_unknown_key_in_func_toml_names_the_nearest_right_one() {
    let world = World::new();
    let repo = Repo::site(&world, "one");
    repo.write("func.toml", "prot = 80\n");
    repo.commit("a slip");
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("prot") && said.contains("`port`"), "{said}");
    repo.write("func.toml", "idle = \"1s\"\n");
    repo.commit("too short");
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("idle") && said.contains("5 s"), "{said}");
}

#[test]
fn an_empty_repository_is_told_what_to_do() {
    let world = World::new();
    let repo = Repo::empty(&world);
    repo.git(&["commit", "-q", "--allow-empty", "-m", "nothing"]);
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("holds no files") && said.contains("hint: commit some files"), "{said}");
    repo.write("README", "no app");
    repo.commit("nothing to run");
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("Dockerfile") && said.contains("index.html"), "{said}");
}

#[test]
fn a_dockerfile_that_never_ends_is_ended() {
    let world = World::with(&[("build-time", "10s")]);
    let repo = Repo::empty(&world);
    repo.write("Dockerfile", "FROM busybox:stable\nRUN echo begun && sleep 1234567\nCMD [\"true\"]\n");
    repo.commit("for ever");
    let said = repo.push(&world.ssh_url("slow")).failed();
    assert!(said.contains("begun"), "the step ran: {said}");
    assert!(said.contains("10 s") && said.contains("build"), "{said}");
    until("its process is gone", || {
        let out = Command::new("pgrep").args(["-f", "sleep 1234567"]).output().expect("pgrep runs");
        !out.status.success()
    });
}

#[test]
fn an_image_without_a_command_is_refused() {
    let world = World::new();
    let repo = Repo::empty(&world);
    repo.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n");
    repo.commit("nothing to start");
    let said = repo.push(&world.ssh_url("blog")).failed();
    assert!(said.contains("CMD"), "{said}");
}

#[test]
fn a_wrong_setting_ends_the_program_before_it_does_anything() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let run = |args: &[&str], env: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_func"));
        command.args(["serve", "all", "--data"]).arg(&data).args(args).envs(env.iter().copied());
        let out = command.output().expect("func runs");
        assert!(!out.status.success());
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    let said = run(&["--idle", "1s"], &[]);
    assert!(said.contains("`idle` is \"1s\"") && said.contains("from 5s to 24h"), "{said}");
    let said = run(&[], &[("FUNC_EDGE_LISTEN", "nowhere")]);
    assert!(said.contains("`edge-listen` is \"nowhere\"") && said.contains("the environment"), "{said}");
    let said = run(&["--redis", "redis://host:notaport"], &[]);
    assert!(said.contains("`redis`") && said.contains("redis+unix:///path"), "{said}");
    let said = run(&[], &[("FUNC_EDGE_LISTN", "127.0.0.1:0")]);
    assert!(said.contains("FUNC_EDGE_LISTN") && said.contains("did you mean `edge-listen`"), "{said}");
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "edge-listne = \"127.0.0.1:0\"\n").expect("written");
    let said = run(&["--config", file.to_str().expect("a path")], &[]);
    assert!(said.contains("did you mean `edge-listen`"), "{said}");
    assert!(!data.exists(), "nothing was made");
}

#[test]
fn a_flag_goes_before_the_environment_and_that_before_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("settings.toml");
    std::fs::write(&file, "idle = \"3s\"\n").expect("written");
    let run = |flag: Option<&str>, env: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_func"));
        command.args(["serve", "all", "--config"]).arg(&file);
        command.args(flag.map(|f| format!("--idle={f}"))).envs(env.map(|e| ("FUNC_IDLE", e)));
        let out = command.output().expect("func runs");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    assert!(run(None, None).contains("\"3s\""));
    assert!(run(None, Some("2s")).contains("\"2s\""));
    assert!(run(Some("1s"), Some("2s")).contains("\"1s\""));
}
