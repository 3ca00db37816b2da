//! Which connections to an app are used again: none on which app and edge could disagree.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// An app that reads no body of a GET, as Python's `http.server` does: what follows a head is the next request.
struct Naive {
    addr: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Naive {
    /// `answer` gives the bytes to answer a request's target with.
    async fn new(answer: fn(&str) -> String) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("its address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = accepted.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answer));
            }
        });
        Self { addr, accepted }
    }

    async fn world(&self) -> World {
        World::new(Gate::new(), RestoredState::Warm(self.addr)).await
    }

    fn accepted(&self) -> usize {
        self.accepted.load(Ordering::Relaxed)
    }
}

async fn serve(mut stream: TcpStream, answer: fn(&str) -> String) {
    let (mut held, mut bytes) = (String::new(), [0; 1_024]);
    while let Ok(n @ 1..) = stream.read(&mut bytes).await {
        held.push_str(&String::from_utf8_lossy(&bytes[..n]));
        while let Some((head, rest)) = held.split_once("\r\n\r\n") {
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            held = rest.to_owned();
            let answered = answer(&target);
            if stream.write_all(answered.as_bytes()).await.is_err() || answered.contains("Connection: close")
            {
                return;
            }
        }
    }
}

fn named(target: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len())
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

/// A body that begins the next visitor's request.
const SMUGGLED: &str = "GET /attacker HTTP/1.1\r\nX-Ignore: ";

#[tokio::test]
async fn a_request_in_the_body_of_a_get_answers_nobody_else() {
    let naive = Naive::new(named).await;
    let world = naive.world().await;
    let length = format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n", SMUGGLED.len());
    let expects = format!("Expect: 100-continue\r\n{length}");
    for method in ["GET", "OPTIONS", "TRACE", "HEAD"] {
        for behind in [&length, &chunked, &expects] {
            world.send(&format!("{method} /x"), behind).await;
            let victim = world.send("GET /victim", "Cookie: secret\r\n").await;
            assert_eq!(body(&victim), "/victim", "after {method} with {behind:?}: {victim}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn a_get_without_a_body_shares_a_connection() {
    let naive = Naive::new(named).await;
    let world = naive.world().await;
    for _ in 0..5 {
        assert_eq!(body(&world.send("GET /", "").await), "/");
        assert_eq!(body(&world.send("GET /zero", "Content-Length: 0\r\n").await), "/zero");
    }
    assert_eq!(naive.accepted(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_connection_with_more_or_less_than_one_answer_is_not_used_again() {
    let odd = Naive::new(|target| match target {
        "/more" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".into(),
        "/none" => "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil".into(),
        "/same" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil".into(),
        "/chunks" => {
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil".into()
        }
        "/hint" => "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        "/close" => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok".into(),
        "/old" => "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".into(),
        target => named(target),
    })
    .await;
    let world = odd.world().await;
    for target in ["/more", "/none", "/same", "/chunks", "/hint", "/close", "/old"] {
        world.send(&format!("GET {target}"), "").await;
        let victim = world.send("GET /victim", "").await;
        assert_eq!(body(&victim), "/victim", "after {target}: {victim}");
    }
    // The first one, and one after each but the hint.
    assert_eq!(odd.accepted(), 7);
    world.end().await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_refused() {
    let odd = Naive::new(|target| match target {
        "/switch" => {
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nevil".into()
        }
        target => named(target),
    })
    .await;
    let world = odd.world().await;
    let switched = world.send("GET /switch", "").await;
    assert!(switched.starts_with("HTTP/1.1 502 ") && !switched.contains("evil"), "{switched}");
    assert_eq!(body(&world.send("GET /victim", "").await), "/victim");
    world.end().await;
}
