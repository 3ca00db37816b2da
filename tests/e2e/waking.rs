//! Asleep when nobody asks, awake when somebody does, and never cut in between.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::client::Repo;
use crate::world::{World, until};

/// The shortest idle time that is allowed, so that the tests are short.
const IDLE: &[(&str, &str)] = &[("idle", "5s")];

fn live() -> World {
    let world = World::with(IDLE);
    Repo::app(&world, "one").push(&world.ssh_url("shop")).succeeded();
    world
}

fn asleep(world: &World) {
    until("it sleeps", || world.containers().is_empty());
}

#[test]
fn an_app_sleeps_when_it_is_idle_and_wakes_for_the_next_request() {
    let world = live();
    let (_, first) = world.get("shop.localhost", "/start");
    asleep(&world);
    until("it is at rest", || ["cold", "poised"].contains(&world.phase("shop").as_str()));
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
    let (_, second) = world.get("shop.localhost", "/start");
    assert_ne!(first, second, "it is another process");
}

#[test]
fn an_app_that_is_asked_now_and_then_stays_awake() {
    let world = live();
    let (_, first) = world.get("shop.localhost", "/start");
    for _ in 0..6 {
        std::thread::sleep(Duration::from_secs(2));
        assert_eq!(world.get("shop.localhost", "/start"), (200, first.clone()));
    }
}

#[test]
fn a_download_that_lasts_longer_than_the_idle_time_is_not_cut() {
    let world = live();
    // 24 chunks of 64 KiB, half a second between two: 12 s.
    let (status, body) = world.get("shop.localhost", "/download?bytes=1572864&ms=500");
    assert_eq!((status, body.len()), (200, 1_572_864));
}

#[test]
fn an_sse_stream_that_is_silent_for_longer_than_the_idle_time_is_not_cut() {
    let world = live();
    let (status, body) = world.get("shop.localhost", "/sse?n=2&ms=8000");
    assert_eq!((status, body.as_str()), (200, "data: 0\n\ndata: 1\n\n"));
}

async fn socket(
    world: &World,
) -> impl StreamExt<Item = tokio_tungstenite::tungstenite::Result<Message>> + SinkExt<Message> + Unpin {
    let mut request = format!("ws://{}/ws", world.edge()).into_client_request().expect("a request");
    request.headers_mut().insert("host", "shop.localhost".parse().expect("a header"));
    let (socket, response) = tokio_tungstenite::connect_async(request).await.expect("an upgrade");
    assert_eq!(response.status(), 101);
    socket
}

#[tokio::test]
async fn a_silent_websocket_is_not_cut() {
    let world = live();
    let mut socket = socket(&world).await;
    // Longer than the idle time, and than pingora's own limit on silent clients.
    tokio::time::sleep(Duration::from_secs(65)).await;
    assert!(socket.send(Message::text("still there?")).await.is_ok());
    let answer = socket.next().await.expect("an answer").expect("a message");
    assert_eq!(answer, Message::text("still there?"));
    drop(socket);
    asleep(&world);
}

/// pingora's issue 946: an upgrade was torn down when the 101 came before the empty body of the request was consumed.
#[tokio::test]
async fn every_one_of_many_fast_websockets_is_upgraded_and_echoes() {
    let world = live();
    for round in 0..20 {
        let sockets = (0..25).map(|n| {
            let world = &world;
            async move {
                let mut socket = socket(world).await;
                let text = Message::text(format!("{round} {n}"));
                assert!(socket.send(text.clone()).await.is_ok());
                assert_eq!(socket.next().await.expect("an answer").expect("a message"), text);
            }
        });
        futures_util::future::join_all(sockets).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_start_it_once() {
    let world = live();
    asleep(&world);
    let client = reqwest::Client::new();
    let asks = (0..1_000).map(|_| {
        let ask = client.get(format!("http://{}/start", world.edge())).header("host", "shop.localhost");
        async move {
            let response = ask.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a body"))
        }
    });
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{answers:?}");
    let processes: BTreeSet<_> = answers.iter().map(|(_, start)| start).collect();
    assert_eq!(processes.len(), 1, "one process answers all");
    assert_eq!(world.containers().len(), 1);
}

/// Asks an app many times at once that lets five wait, and answers one after the other.
async fn ask_narrow(asks: usize, takes_ms: u64) {
    let world = World::with(IDLE);
    let repo = Repo::app(&world, "one");
    repo.write("behave", &format!("narrow {takes_ms}"));
    repo.commit("a short queue");
    repo.push(&world.ssh_url("shop")).succeeded();
    asleep(&world);
    let client = reqwest::Client::new();
    let asks = (0..asks).map(|_| {
        let ask = client.get(format!("http://{}/", world.edge())).header("host", "shop.localhost");
        async move {
            let response = ask.send().await.expect("an answer");
            (response.status().as_u16(), response.text().await.expect("a body"))
        }
    });
    let answers = futures_util::future::join_all(asks).await;
    let failed: Vec<_> = answers.iter().filter(|answer| **answer != (200, "narrow".to_owned())).collect();
    assert!(failed.is_empty(), "{} of {}: {:?}", failed.len(), answers.len(), failed.first());
}

/// 687 of them were lost: all went at once, and the kernel gives a connection up that finds no room in the app's queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_requests_to_an_app_that_lets_five_wait_are_answered() {
    ask_narrow(1_000, 3).await;
}

/// It holds those it has for so long that it seems to take more.
#[tokio::test(flavor = "multi_thread")]
async fn many_first_requests_to_a_slow_app_that_lets_five_wait_are_answered() {
    ask_narrow(300, 30).await;
}

#[test]
fn an_app_that_died_is_woken_by_the_next_request() {
    let world = live();
    let (status, _) = world.curl("shop.localhost", "/exit", &["-X", "POST"]);
    assert_eq!(status, 502, "its own request is not repeated");
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn an_app_whose_container_is_removed_by_hand_is_woken_by_the_next_request() {
    let world = live();
    assert_eq!(world.get("shop.localhost", "/").0, 200);
    crate::world::docker(&["rm", "-f", &format!("{}-shop-v1.1", world.installation)]);
    assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
}

#[test]
fn a_stop_waits_for_nobody_but_a_request_that_comes_during_it_is_answered() {
    let world = live();
    asleep(&world);
    // Asked all the time while it wakes, idles and stops again: some fall into each phase.
    let began = Instant::now();
    let mut pause = Duration::from_millis(4_800);
    while began.elapsed() < Duration::from_secs(40) {
        assert_eq!(world.get("shop.localhost", "/"), (200, "hello one".into()));
        std::thread::sleep(pause);
        pause += Duration::from_millis(400);
    }
}
