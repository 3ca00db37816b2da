//! The compose deployment: five containers on one image, a data folder of the test's own.

use std::path::PathBuf;
use std::process::Command;

use crate::client::Repo;
use crate::world::{World, docker, free_port, until};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// func as containers, each part's user its own. The program is the one that these tests were built with.
pub struct Compose {
    folder: tempfile::TempDir,
    project: String,
    /// Holds keys and the client's side; it has no server of its own.
    pub world: World,
}

impl Compose {
    fn up() -> Self {
        let world = World::prepared(&[]);
        let folder = tempfile::Builder::new().prefix("func-image-").tempdir().expect("a temporary folder");
        let (func, dockerfile) = (env!("CARGO_BIN_EXE_func"), root().join("docker/Dockerfile"));
        let strip = Command::new("strip").arg("-o").arg(folder.path().join("func")).arg(func).status();
        assert!(strip.expect("strip runs").success());
        std::fs::copy(dockerfile, folder.path().join("Dockerfile")).expect("copied");
        let project = world.installation.clone();
        let image = format!("{project}/itself:test");
        docker(&["build", "-q", "-t", &image, folder.path().to_str().expect("a path")]);
        let env = [
            ("FUNC_DATA", world.data().display().to_string()),
            ("FUNC_IMAGE", image),
            ("FUNC_EDGE_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("FUNC_SSH_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("FUNC_HTTP_LISTEN", format!("127.0.0.1:{}", free_port())),
            ("FUNC_IDLE", "5s".to_owned()),
            ("FUNC_LOG", "debug".to_owned()),
        ];
        let env: String = env.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        std::fs::write(folder.path().join("env"), env).expect("written");
        let compose = Self { folder, project, world };
        compose.run(&["up", "-d"]);
        compose
    }

    fn run(&self, args: &[&str]) -> String {
        let more = self.folder.path().join("more.yaml");
        let more = more.exists().then(|| ["-f".into(), more.into_os_string()]);
        let out = Command::new("docker-compose")
            .args(["-f"])
            .arg(root().join("docker/compose.yaml"))
            .args(more.into_iter().flatten())
            .arg("--env-file")
            .arg(self.folder.path().join("env"))
            .args(["-p", &self.project])
            .args(args)
            .output()
            .expect("docker-compose runs");
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert!(out.status.success(), "docker-compose {args:?}: {text}");
        text
    }

    /// The id of a service's container.
    pub fn container(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project={}", self.project);
        let service = format!("label=com.docker.compose.service={service}");
        docker(&["ps", "-q", "--filter", &project, "--filter", &service]).trim().to_owned()
    }

    fn states(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let format = "{{.Label \"com.docker.compose.service\"}} {{.Status}}";
        docker(&["ps", "--filter", &filter, "--format", format]).lines().map(str::to_owned).collect()
    }

    fn healthy(&self) {
        until("all five are healthy", || {
            let states = self.states();
            states.len() == 5 && states.iter().all(|s| s.contains("(healthy)"))
        });
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.states().join("\n"), self.run(&["logs", "--tail", "60"]));
        }
        let filter = format!("label=com.docker.compose.project={}", self.project);
        let ids = docker(&["ps", "-aq", "--filter", &filter]);
        for id in ids.lines() {
            let _ = Command::new("docker").args(["rm", "-fv", id]).output();
        }
    }
}

#[test]
fn the_compose_deployment_takes_pushes_over_ssh_and_http_and_sleeps_and_wakes() {
    let compose = Compose::up();
    compose.healthy();
    let world = &compose.world;
    let token = std::fs::read_to_string(world.data().join("keys/token")).expect("the token's file");
    let token = token.trim().to_owned();
    let log = compose.run(&["logs", "--no-color", "githost"]);
    assert!(
        log.contains("keys/token") && !log.contains(&token),
        "the log names the file, and not the token: {log}"
    );
    let app = Repo::app(world, "one");
    let said = app.push(&world.ssh_url("shop")).succeeded();
    let engine = format!("name=^{}-builds$", world.installation);
    assert!(!docker(&["ps", "-q", "--filter", &engine]).is_empty(), "it was built apart");
    assert!(said.contains("shop-v1 is live"), "{said}");
    let site = Repo::site(world, "a site");
    site.push(&world.http_url_with("blog", &token)).succeeded();
    Repo::site(world, "over ssh").push(&world.ssh_url("page")).succeeded();
    Repo::app(world, "over http").push(&world.http_url_with("api", &token)).succeeded();
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    assert_eq!(world.get("blog.localhost", "/"), (200, "a site".into()));
    assert_eq!(world.get("page.localhost", "/"), (200, "over ssh".into()));
    assert_eq!(world.get("api.localhost", "/"), (200, "hello over http".into()));
    crate::attacks::parts::try_one_another(&compose);
    until("all apps together have a limit", || func_runner::memory_bound(&world.installation).is_some());
    app.write("version", "two");
    app.commit("the second");
    app.push(&world.ssh_url("shop")).succeeded();
    until("the new release answers", || world.get("shop.localhost", "/") == (200, "hello two".into()));
    app.write("behave", "exit");
    app.commit("broken");
    let said = app.push(&world.ssh_url("shop")).failed();
    assert!(said.contains("the database is not there") && said.contains("v2 stays live"), "{said}");
    until("all sleep", || world.containers().is_empty());
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
    // The edge opens a gate by itself, and asks the cleaner for what is not poised.
    until("it is poised", || world.phase("page") == "poised");
    let (_, head) = world.curl("page.localhost", "/", &["-o", "/dev/null", "-D", "-"]);
    assert!(head.contains("desc=poised"), "{head}");
    for door in ["edge", "githost"] {
        let log = compose.run(&["logs", "--no-color", door]);
        let odd = [" WARN ", " ERROR ", "was not opened"];
        let odd: Vec<_> = log.lines().filter(|line| odd.iter().any(|word| line.contains(word))).collect();
        assert!(odd.is_empty(), "the {door} lacks something: {odd:#?}");
    }
    // Redis comes back empty: what is warm answers, and what sleeps is woken as soon as the cleaner has restored it.
    compose.run(&["restart", "redis"]);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello two".into()));
    until("the ledger is restored", || world.get("blog.localhost", "/") == (200, "a site".into()));
    compose.run(&["restart", "edge", "githost", "builder", "cleaner"]);
    until("it answers again", || world.get("shop.localhost", "/") == (200, "hello two".into()));
    commands(&compose);
    let apps = String::from_utf8_lossy(&world.func(&["apps"]).stdout).into_owned();
    assert!(apps.contains("shop") && apps.contains("blog"), "{apps}");
    serve_under_the_units_filters(&compose);
}

/// Every part does its work with the system calls that its systemd unit leaves it.
fn serve_under_the_units_filters(compose: &Compose) {
    let mut services = String::from("services:\n");
    for (part, user) in [("edge", 7001), ("githost", 7002), ("builder", 0), ("cleaner", 0)] {
        let profile = compose.folder.path().join(format!("{part}.json"));
        crate::units::write_seccomp_profile(part, &profile);
        services.push_str(&format!(
            "  {part}:\n    user: \"{user}:{user}\"\n    group_add: [\"7000\"]\n    entrypoint: [func]\n    \
             security_opt: [\"seccomp:{}\"]\n",
            profile.display()
        ));
    }
    std::fs::write(compose.folder.path().join("more.yaml"), services).expect("written");
    compose.run(&["up", "-d"]);
    let world = &compose.world;
    for part in ["edge", "githost", "builder", "cleaner"] {
        let options = docker(&["inspect", "-f", "{{.HostConfig.SecurityOpt}}", &compose.container(part)]);
        assert!(options.contains("seccomp") && options.contains("no-new-privileges"), "{options}");
    }
    until("the edge answers", || world.get("shop.localhost", "/") == (200, "hello one".into()));
    let said = Repo::app(world, "filtered").push(&world.ssh_url("last")).succeeded();
    assert!(said.contains("last-v1 is live"), "{said}");
    assert_eq!(world.get("last.localhost", "/"), (200, "hello filtered".into()));
    until("it sleeps", || !world.containers().iter().any(|name| name.contains("last")));
    assert_eq!(world.get("last.localhost", "/"), (200, "hello filtered".into()));
}

/// Runs an operator's commands in the containers that the README names.
fn commands(compose: &Compose) {
    let world = &compose.world;
    let said = compose.run(&["exec", "-T", "cleaner", "func", "rollback", "shop", "v1"]);
    assert!(said.contains("shop-v1"), "{said}");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    let token = compose.run(&["exec", "-T", "-u", "7002", "githost", "func", "token"]);
    let token = token.lines().find(|line| line.starts_with("func_")).expect("a token").to_owned();
    Repo::site(world, "with another token").push(&world.http_url_with("more", &token)).succeeded();
    compose.run(&["exec", "-T", "cleaner", "func", "rm", "page", "--yes"]);
    assert!(!world.data().join("projects/page.git").exists());
    let log = compose.run(&["exec", "-T", "cleaner", "func", "audit"]);
    for line in ["push shop (main", "rollback shop (v1)", "remove page", "token (the old one"] {
        assert!(log.contains(line), "{line:?} is missing: {log}");
    }
}

#[test]
fn the_public_doors_and_redis_have_no_docker_socket() {
    let text = std::fs::read_to_string(root().join("docker/compose.yaml")).expect("the file");
    let part = |name: &str, next: &str| {
        let rest = text.split_once(&format!("\n  {name}:\n")).expect("a service").1;
        rest.split_once(&format!("\n  {next}:\n")).expect("the next service").0.to_owned()
    };
    assert!(part("builder", "edge").contains("docker.sock"), "the check can fail");
    assert!(!part("edge", "cleaner").contains("docker.sock"));
    assert!(!part("githost", "builder").contains("docker.sock"));
    assert!(!part("redis", "githost").contains("docker.sock"));
}
