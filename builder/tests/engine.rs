//! Deploys on the real Docker Engine.

mod world;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use func_builder::Config;
use func_ledger::Watch;
use func_model::InstanceId;
use func_model::event::BuildEvent;
use func_runner::Docker;

use crate::world::{World, app, is_live, text};

static NEXT: AtomicU32 = AtomicU32::new(0);

struct Real {
    world: World,
    installation: String,
}

fn docker(args: &[&str]) -> String {
    let out = Command::new("docker").args(args).output().expect("docker runs");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

impl Drop for Real {
    fn drop(&mut self) {
        self.world.stop.cancel();
        let name = &self.installation;
        let containers = docker(&["ps", "-aq", "--filter", &format!("label=func.installation={name}")]);
        for container in containers.lines() {
            docker(&["rm", "-f", "-v", container]);
        }
        // By tag, and by label: an image whose deploy failed has no tag.
        for filter in [format!("reference={name}/*"), format!("label=func.installation={name}")] {
            let images = docker(&["images", "-aq", "--filter", &filter]);
            for image in images.lines() {
                docker(&["rmi", "-f", image]);
            }
        }
        docker(&["network", "rm", name]);
        func_runner::remove_group(name);
    }
}

impl Real {
    async fn new() -> Self {
        let installation =
            format!("functest-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut real = Self { world: World::asleep(), installation };
        real.world.restore().await;
        let engine = Docker::new(func_runner::Config {
            data: real.world.data.clone(),
            manifests: real.world.manifests.clone(),
            installation: real.installation.clone(),
            socket: None,
            outbound: func_runner::Outbound::default(),
            max: func_model::Allowance::default().max,
            together_bytes: 1 << 40,
            from_apps: false,
            builds: func_runner::Builds::default(),
            labels: Vec::new(),
        });
        engine.prepare().await.expect("the engine is there");
        let engine = Arc::new(engine);
        let config = Config { make: engine.clone(), start: engine, ..real.world.config() };
        real.world.run_with(config).await;
        real
    }

    async fn addr(&self, release: &str) -> SocketAddr {
        let id: InstanceId = format!("{release}.1").parse().expect("an instance");
        let records = self.world.ledger.records().await.expect("known").0;
        records[&id].endpoint().expect("it is warm").addr
    }

    async fn get(&self, release: &str, path: &str, headers: &str) -> String {
        let mut stream = TcpStream::connect(self.addr(release).await).expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("set");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("answered");
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn a_pushed_site_is_served_from_an_image_that_was_written_without_a_build() {
    let real = Real::new().await;
    let html = format!("<h1>hello</h1>{}", "<p>much text</p>".repeat(500));
    let began = Instant::now();
    let events =
        real.world.push("blog", &[("public/index.html", &html), ("public/404.html", "nothing")]).await;
    println!("push to live: {:?}", began.elapsed());
    assert!(is_live(&events, "blog-v1"), "{}", text(&events));
    let answer = real.get("blog-v1", "/", "").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&html), "{}", &answer[..200]);
    assert!(real.get("blog-v1", "/none", "").await.contains("nothing"));
    let squeezed = real.get("blog-v1", "/", "Accept-Encoding: br\r\n").await;
    assert!(squeezed.to_lowercase().contains("content-encoding: br"), "{}", &squeezed[..200]);
    let live = real.world.manifests.live(&app("blog")).expect("read").expect("live");
    let tag = format!("{}/blog:v1", real.installation);
    assert_eq!(docker(&["image", "inspect", "-f", "{{.Id}}", &tag]), live.image.to_string());
    println!("image: {} bytes", docker(&["image", "inspect", "-f", "{{.Size}}", &tag]));

    let changed = html.replace("hello", "changed");
    let began = Instant::now();
    let events = real.world.push("blog", &[("public/index.html", &changed)]).await;
    println!("one line changed, to live: {:?}", began.elapsed());
    assert!(is_live(&events, "blog-v2"), "{}", text(&events));
    assert!(real.get("blog-v2", "/", "").await.contains("changed"));
    let layers = |tag: &str| docker(&["image", "inspect", "-f", "{{index .RootFS.Layers 0}}", tag]);
    assert_eq!(layers(&tag), layers(&format!("{}/blog:v2", real.installation)), "the file server is shared");
}

#[tokio::test]
async fn a_pushed_dockerfile_is_built_and_served_and_a_bad_one_changes_nothing() {
    let real = Real::new().await;
    // The server of static sites is at hand as a program that needs nothing of its image.
    let server = std::fs::read(concat!(env!("OUT_DIR"), "/func-static")).expect("it is built");
    let work = real.world.dir.path().join("work-shop");
    real.world.commit("shop", &[("x", "x")]);
    std::fs::write(work.join("server"), server).expect("written");
    world::git(&work, &["add", "server"]);
    world::git(&work, &["update-index", "--chmod=+x", "server"]);
    let dockerfile = "FROM scratch\nCOPY server /server\nCOPY site /site\nEXPOSE 7000\nCMD [\"/server\"]\n";
    std::fs::write(work.join("Dockerfile"), dockerfile).expect("written");
    std::fs::create_dir(work.join("site")).expect("made");
    std::fs::write(work.join("site/index.html"), "from a Dockerfile").expect("written");
    world::git(&work, &["add", "Dockerfile", "site"]);
    world::git(&work, &["commit", "-q", "-m", "x"]);
    let repository = real.world.data.repository(&app("shop"));
    world::git(&work, &["push", "-q", repository.to_str().expect("text"), "HEAD:refs/heads/main"]);
    let revision = world::git(&work, &["rev-parse", "HEAD"]).parse().expect("a revision");
    let began = Instant::now();
    let events = real.world.build("shop", &revision).await.all().await;
    println!("Dockerfile to live: {:?}", began.elapsed());
    assert!(is_live(&events, "shop-v1"), "{}", text(&events));
    assert!(events.iter().any(|event| matches!(event, BuildEvent::Log { .. })), "{}", text(&events));
    assert!(real.get("shop-v1", "/", "").await.ends_with("from a Dockerfile"));
    assert_eq!(real.world.manifests.live(&app("shop")).expect("read").expect("live").port, 7000);

    let bad =
        real.world.push("shop", &[("Dockerfile", "FROM scratch\nCOPY missing /\nCMD [\"/x\"]\n")]).await;
    let said = text(&bad);
    assert!(said.contains("the build failed") && said.contains("v1 stays live"), "{said}");
    let nothing = text(&real.world.push("shop", &[("Dockerfile", "FROM scratch\nLABEL a=b\n")]).await);
    assert!(nothing.contains("the image of shop has no command to run; v1 stays live"), "{nothing}");
    assert!(real.get("shop-v1", "/", "").await.ends_with("from a Dockerfile"));
}
