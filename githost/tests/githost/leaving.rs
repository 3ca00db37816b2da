//! A client that leaves leaves nothing behind.

use std::process::Stdio;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::world::{WAYS, until, world};

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_client_that_leaves_in_the_middle_of_a_push_leaves_no_process() {
    let world = world().await;
    let line = format!("exec {} {} git-receive-pack blog", world.ssh_line(&["me"]), world.ssh_target());
    let mut command = world.command("sh");
    command.args(["-c", &line]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut ssh = command.spawn().expect("ssh starts");
    until("git runs", || world.processes() > 0).await;
    ssh.kill().await.expect("killed");
    until("git is gone", || world.processes() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_client_that_leaves_in_the_middle_of_a_push_leaves_no_process() {
    let world = world().await;
    let basic = STANDARD.encode(format!("me:{}", world.token));
    let mut stream = TcpStream::connect(world.http).await.expect("connected");
    let head = format!(
        "POST /blog/git-receive-pack HTTP/1.1\r\nhost: x\r\nauthorization: Basic {basic}\r\n\
         content-type: application/x-git-receive-pack-request\r\ncontent-length: 1000000\r\n\r\n00"
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    until("git runs", || world.processes() > 0).await;
    drop(stream);
    until("git is gone", || world.processes() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_the_hook_runs_leaves_no_process_and_loses_no_push() {
    let world = world().await;
    world.project("work").await;
    for way in WAYS {
        let begun = world.dir.path().join(format!("begun-{way:?}"));
        world.hook(&format!("touch {}; sleep 1000", begun.display()));
        let app = format!("blog-{way:?}").to_lowercase();
        let mut command = world.git_command("work", &["push", &world.url(way, &app), "main"]);
        command.process_group(0);
        let mut push = command.spawn().expect("git starts");
        until("the hook runs", || begun.exists()).await;
        let group = i32::try_from(push.id().expect("an id")).expect("small");
        let group = rustix::process::Pid::from_raw(group).expect("not zero");
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).expect("killed");
        push.wait().await.expect("it ends");
        until("all processes are gone", || world.processes() == 0).await;
        let pushed = world.id(&world.dir.path().join("work"), "main").await;
        assert_eq!(world.id(&world.repository(&app), "refs/heads/main").await, pushed, "{way:?}");
    }
}
