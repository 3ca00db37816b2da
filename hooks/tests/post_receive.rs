//! The hook against a builder of a few lines.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use func_hooks::{HookError, PostReceive, post_receive};
use func_model::event::BuildEvent;
use func_model::{AppName, ReleaseNumber};
use futures_util::stream;

struct World {
    dir: tempfile::TempDir,
}

fn app() -> AppName {
    "blog".parse().expect("a name")
}

impl World {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("builder.sock")
    }

    fn verdict(&self) -> PathBuf {
        self.dir.path().join("verdict")
    }

    fn failed(&self) -> bool {
        std::fs::read_to_string(self.verdict()).is_ok_and(|text| text == "failed")
    }

    fn env(&self) -> PostReceive {
        PostReceive {
            app: app(),
            builder: self.socket(),
            branch: "main".into(),
            verdict: Some(self.verdict()),
            by: None,
            audit: func_store::Audit::new(&func_store::DataDir::open(self.dir.path()).expect("its folders")),
        }
    }

    async fn builder(self, events: Vec<BuildEvent>) -> Self {
        let path = self.socket();
        let answer = move || {
            let lines: Vec<String> =
                events.iter().map(|e| serde_json::to_string(e).expect("an event")).collect();
            async { func_socket::line_stream(stream::iter(lines)) }
        };
        let router = Router::new().route("/builds", post(answer));
        tokio::spawn(async move { func_socket::serve(&path, router, std::future::pending()).await });
        up(&self.socket()).await;
        self
    }

    async fn push(&self, line: &str) -> String {
        let mut said = Vec::new();
        post_receive(line.as_bytes(), &mut said, self.env()).await.expect("the hook works");
        String::from_utf8(said).expect("text")
    }
}

async fn up(path: &Path) {
    for _ in 0..200 {
        if tokio::net::UnixStream::connect(path).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the socket does not answer");
}

fn main_pushed() -> String {
    format!("{} {} refs/heads/main\n", "0".repeat(40), "a".repeat(40))
}

fn live() -> BuildEvent {
    BuildEvent::Live {
        release: "blog-v1".parse().expect("a release"),
        urls: vec!["http://blog.localhost:8080".into()],
        took_ms: 1_234,
    }
}

#[tokio::test]
async fn the_pusher_reads_what_the_builder_says_and_a_good_deploy_leaves_no_verdict() {
    let world = World::new().builder(vec![BuildEvent::Step { text: "static site".into() }, live()]).await;
    let said = world.push(&main_pushed()).await;
    assert_eq!(
        said,
        "-----> static site\n-----> blog-v1 is live (1.2 s)\n       http://blog.localhost:8080\n"
    );
    assert!(!world.verdict().exists());
}

#[tokio::test]
async fn a_failed_deploy_is_noted_and_told_with_what_stays() {
    let failed = BuildEvent::Failed {
        reason: "blog-v8 did not answer on port 8080 within 30 s".into(),
        hint: Some("listen on $PORT, or set `port` in func.toml".into()),
        tail: vec!["bound to 3000".into()],
        stays: Some(ReleaseNumber(7)),
    };
    let world = World::new().builder(vec![failed]).await;
    let said = world.push(&main_pushed()).await;
    assert!(said.contains("within 30 s; v7 stays live\n !     hint: listen on $PORT"), "{said}");
    assert!(world.failed());
}

#[tokio::test]
async fn a_builder_that_stops_half_way_is_a_failed_deploy() {
    let world = World::new().builder(vec![BuildEvent::Step { text: "static site".into() }]).await;
    let said = world.push(&main_pushed()).await;
    assert!(said.contains("the builder stopped before the deploy of blog ended"), "{said}");
    assert!(world.failed());
}

#[tokio::test]
async fn a_builder_that_does_not_run_is_a_failed_deploy() {
    let world = World::new();
    let said = world.push(&main_pushed()).await;
    assert!(said.contains("the builder does not run: start it with `func serve all`"), "{said}");
    assert!(world.failed());
}

#[tokio::test]
async fn another_branch_does_not_ask_the_builder() {
    let world = World::new();
    let said = world.push(&main_pushed().replace("main", "dev")).await;
    assert!(said.contains("func deploys main: git push func dev:main"), "{said}");
    assert!(!world.verdict().exists());
}

#[tokio::test]
async fn a_pusher_who_left_is_no_failed_deploy() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let world = World::new().builder(vec![live()]).await;
    let ended = post_receive(main_pushed().as_bytes(), Gone, world.env()).await;
    assert!(matches!(ended, Err(HookError::Output(_))), "{ended:?}");
    assert!(!world.verdict().exists());
}
