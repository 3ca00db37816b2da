//! The HTTP door: who has the token, and what HTTP itself demands.

use std::time::Duration;

use async_compression::tokio::write::GzipEncoder;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use func_store::Token;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::world::{LIMIT, Way, World, finished, world};

/// Sends bytes and gives the whole answer; the request must ask for the connection to be closed.
async fn exchange(world: &World, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.http).await.expect("connected");
    stream.write_all(request).await.expect("sent");
    let mut answer = Vec::new();
    timeout(LIMIT, stream.read_to_end(&mut answer)).await.expect("in time").expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(world: &World, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
    exchange(world, request.as_bytes()).await
}

fn authorization(token: &str) -> String {
    format!("authorization: Basic {}\r\n", STANDARD.encode(format!("me:{token}")))
}

/// The head of a v2 `ls-refs` request.
fn post(world: &World, more: &str) -> String {
    format!(
        "POST /blog/git-upload-pack HTTP/1.1\r\nhost: x\r\nconnection: close\r\ngit-protocol: version=2\r\n{}\
         content-type: application/x-git-upload-pack-request\r\n{more}\r\n",
        authorization(&world.token)
    )
}

const LS_REFS: &[u8] = b"0014command=ls-refs\n0000";

async fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzipEncoder::new(Vec::new());
    encoder.write_all(bytes).await.expect("compressed");
    encoder.shutdown().await.expect("finished");
    encoder.into_inner()
}

async fn pushed() -> World {
    let world = world().await;
    world.project("work").await;
    world.must("work", &["push", &world.url(Way::Http, "blog"), "main"]).await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nobody_comes_in_and_is_told_how() {
    let world = world().await;
    world.project("work").await;
    let path = "/blog/info/refs?service=git-receive-pack";
    for headers in [String::new(), authorization("wrong"), "authorization: Bearer x\r\n".to_owned()] {
        let answer = get(&world, path, &headers).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert!(answer.contains("www-authenticate: Basic realm=\"func\"\r\n"), "{answer}");
        assert!(answer.contains("content-type: text/plain\r\n"), "{answer}");
        assert!(answer.contains("func: the token is missing or wrong"), "{answer}");
    }
    let url = format!("http://me:wrong@{}/blog", world.http);
    let said = world.git("work", &["push", &url, "main"]).await;
    assert!(!said.ok && said.text.contains("Authentication failed"), "{}", said.text);
    assert!(!world.repository("blog").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_holds_at_once_and_the_old_one_no_more() {
    let world = pushed().await;
    let path = "/blog/info/refs?service=git-upload-pack";
    let old = authorization(&world.token);
    assert!(get(&world, path, &old).await.starts_with("HTTP/1.1 200 "));
    let (_, token) = Token::make(&world.data).expect("a token");
    assert!(get(&world, path, &old).await.starts_with("HTTP/1.1 401 "));
    assert!(get(&world, path, &authorization(&token)).await.starts_with("HTTP/1.1 200 "));
    std::fs::remove_file(world.data.keys().join("token.sha256")).expect("removed");
    assert!(get(&world, path, &authorization(&token)).await.starts_with("HTTP/1.1 401 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_front_page_and_the_health_check_need_no_token() {
    let world = world().await;
    assert!(get(&world, "/", "").await.contains("git push http://"));
    assert!(get(&world, "/healthz", "").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_gits_type_and_is_never_cached() {
    let world = pushed().await;
    let mine = authorization(&world.token);
    for verb in ["upload-pack", "receive-pack"] {
        let answer = get(&world, &format!("/blog.git/info/refs?service=git-{verb}"), &mine).await;
        let kind = format!("content-type: application/x-git-{verb}-advertisement\r\n");
        assert!(answer.contains(&kind), "{answer}");
        assert!(answer.contains("cache-control: no-cache, max-age=0, must-revalidate\r\n"), "{answer}");
        assert!(answer.contains(&format!("# service=git-{verb}\n0000")), "{answer}");
    }
    let v2 = format!("{mine}git-protocol: version=2\r\n");
    let answer = get(&world, "/blog/info/refs?service=git-upload-pack", &v2).await;
    assert!(answer.contains("000eversion 2\n") && !answer.contains("# service"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dumb_protocol_and_odd_requests_are_refused() {
    let world = pushed().await;
    let mine = authorization(&world.token);
    for path in [
        "/blog/info/refs",
        "/blog/info/refs?service=git-upload-archive",
        "/blog/HEAD",
        "/blog.git/objects/info/packs",
        "/nothing",
    ] {
        let answer = get(&world, path, &mine).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("smart HTTP"), "{path}: {answer}");
    }
    for name in ["..%2fblog", "%2e%2e/blog", "x/../blog", "blog%00", ".git", "", "./blog"] {
        let answer = get(&world, &format!("/{name}/info/refs?service=git-upload-pack"), &mine).await;
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("is not an app name"),
            "{name}: {answer}"
        );
    }
    let wrong_type = post(&world, "content-length: 0\r\n").replace("-upload-pack-request", "-other");
    assert!(exchange(&world, wrong_type.as_bytes()).await.starts_with("HTTP/1.1 415 "));
    let wrong_encoding = post(&world, "content-encoding: br\r\ncontent-length: 0\r\n");
    assert!(exchange(&world, wrong_encoding.as_bytes()).await.starts_with("HTTP/1.1 415 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_may_be_compressed_chunked_or_both() {
    let world = pushed().await;
    let id = world.id(&world.repository("blog"), "main").await.expect("pushed");
    let packed = gzip(LS_REFS).await;
    for (encoding, body) in [("", LS_REFS), ("content-encoding: gzip\r\n", packed.as_slice())] {
        let length = format!("{encoding}content-length: {}\r\n", body.len());
        let whole = [post(&world, &length).as_bytes(), body].concat();
        let mut chunked = post(&world, &format!("{encoding}transfer-encoding: chunked\r\n")).into_bytes();
        for part in body.chunks(7) {
            chunked.extend(format!("{:x}\r\n", part.len()).bytes());
            chunked.extend(part);
            chunked.extend(b"\r\n");
        }
        chunked.extend(b"0\r\n\r\n");
        for request in [whole, chunked] {
            let answer = exchange(&world, &request).await;
            assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(&id), "{encoding}: {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_compressed_request_is_refused_and_leaves_no_process() {
    let world = pushed().await;
    let mut packed = gzip(LS_REFS).await;
    packed[12] ^= 0xff;
    packed.truncate(20);
    let head = post(&world, &format!("content-encoding: gzip\r\ncontent-length: {}\r\n", packed.len()));
    let answer = exchange(&world, &[head.as_bytes(), &packed].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    crate::world::until("git is gone", || world.processes() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_with_many_haves_is_compressed_by_git_and_works() {
    let world = pushed().await;
    let mut stream = String::new();
    for number in 1..=400 {
        stream.push_str(&format!(
            "commit refs/heads/long\ncommitter T <t@localhost> {number} +0000\ndata 1\nx\nM 100644 inline f{number}\n\
             data 1\nx\n"
        ));
    }
    std::fs::write(world.dir.path().join("stream"), stream).expect("written");
    let said = world.shell("git init --quiet far && cd far && git fast-import --quiet < ../stream").await;
    assert!(said.ok, "{}", said.text);
    let url = world.url(Way::Http, "blog");
    let mut command = world.git_command("far", &["fetch", &url, "main"]);
    command.env("GIT_CURL_VERBOSE", "1");
    let said = finished(command).await;
    assert!(said.ok, "{}", said.text);
    assert!(said.text.to_lowercase().contains("content-encoding: gzip"), "{}", said.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_the_go_ahead_gets_it_only_with_the_token() {
    let world = pushed().await;
    let more = format!("expect: 100-continue\r\ncontent-length: {}\r\n", LS_REFS.len());
    let mut stream = TcpStream::connect(world.http).await.expect("connected");
    stream.write_all(post(&world, &more).as_bytes()).await.expect("sent");
    let mut go_ahead = [0; 25];
    timeout(LIMIT, stream.read_exact(&mut go_ahead)).await.expect("in time").expect("read");
    assert_eq!(&go_ahead, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(LS_REFS).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("read");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let refused = post(&world, &more).replace(&authorization(&world.token), &authorization("wrong"));
    let answer = exchange(&world, refused.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_git_sends_in_chunks_arrives_whole() {
    let world = world().await;
    world.project("work").await;
    world.noise("work", 12_000_000).await;
    let url = world.url(Way::Http, "blog");
    let mut command = world.git_command(
        "work",
        &["-c", "http.postBuffer=65536", "-c", "core.compression=0", "push", &url, "main"],
    );
    command.env("GIT_CURL_VERBOSE", "1");
    let said = finished(command).await;
    assert!(said.ok && said.text.to_lowercase().contains("transfer-encoding: chunked"), "{}", said.text);
    let pushed = world.id(&world.dir.path().join("work"), "main").await;
    assert_eq!(world.id(&world.repository("blog"), "main").await, pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_or_never_ends_is_refused() {
    let world = world().await;
    let huge = format!("x-huge: {}\r\n", "a".repeat(100_000));
    assert!(get(&world, "/", &huge).await.starts_with("HTTP/1.1 431 "));
    let many: String = (0..100).map(|n| format!("x-{n}: a\r\n")).collect();
    assert!(get(&world, "/", &many).await.starts_with("HTTP/1.1 431 "));
    let mut stream = TcpStream::connect(world.http).await.expect("connected");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n").await.expect("sent");
    let mut answer = Vec::new();
    let limit = func_githost::limits::HTTP_HEAD + Duration::from_secs(10);
    timeout(limit, stream.read_to_end(&mut answer)).await.expect("in time").expect("read");
}
