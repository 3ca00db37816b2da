//! The app that the end-to-end tests push. It listens on `$PORT` and does what it is asked by path and query.
//!
//! At start the file `/behave` may say otherwise: `exit` prints a line and exits with 3, `silent` never listens, `slow`
//! listens after 6 s, `stubborn` does not end when it is asked to, `narrow 3` answers one after the other, 3 ms each,
//! and lets five wait, as the servers of scripting languages do; `raw` is [`origin`].

mod origin;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, Request};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::{StreamExt, stream};
use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
use sha2::{Digest, Sha256};

type Asked = Query<BTreeMap<String, u64>>;

fn number(asked: &Asked, name: &str) -> u64 {
    asked.get(name).copied().unwrap_or(0)
}

fn main() {
    match behaviour().as_str() {
        "exit" => {
            println!("the database is not there");
            std::process::exit(3);
        }
        "silent" => loop {
            std::thread::sleep(Duration::from_secs(3_600));
        },
        "slow" => std::thread::sleep(Duration::from_secs(6)),
        "raw" => origin::serve(port()),
        other => {
            if let Some(ms) = other.strip_prefix("narrow ") {
                narrow(Duration::from_millis(ms.parse().expect("a number")));
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve());
}

fn port() -> u16 {
    std::env::var("PORT").expect("PORT is set").parse().expect("PORT is a port")
}

/// Serves with the shortest queue that is common.
fn narrow(takes: Duration) {
    let port = port();
    // Lets the many ask who come at the start.
    std::thread::sleep(Duration::from_millis(500));
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from(([0, 0, 0, 0], port))).expect("the port is free");
    listen(&socket, 5).expect("it listens");
    for stream in std::net::TcpListener::from(socket).incoming() {
        let mut stream = stream.expect("a connection");
        let (mut head, mut bytes) = (Vec::new(), [0; 1_024]);
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut bytes) {
                Ok(read @ 1..) => head.extend_from_slice(&bytes[..read]),
                Ok(0) | Err(_) => break,
            }
        }
        std::thread::sleep(takes);
        // Whoever left is not told.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nnarrow");
    }
}

fn behaviour() -> String {
    std::fs::read_to_string("/behave").unwrap_or_default().trim().to_owned()
}

/// Ends when it is asked to, unless it is stubborn.
async fn terminated(behaviour: String) {
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).expect("a signal");
    loop {
        terminate.recv().await;
        println!("asked to stop");
        if behaviour != "stubborn" {
            std::process::exit(0);
        }
    }
}

async fn serve() {
    let port = port();
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await.expect("the port is free");
    println!("listening on {port}");
    let app = Router::new()
        .route("/", get(|| async { format!("hello {}", version()) }))
        .route("/env", get(|| async { format!("{:?}", std::env::vars().collect::<BTreeMap<_, _>>()) }))
        .route("/headers", any(headers))
        .route("/start", get(|| async { start_time() }))
        .route("/upload", post(upload))
        .route("/download", get(download))
        .route(
            "/duplex",
            post(|request: Request| async { Body::from_stream(request.into_body().into_data_stream()) }),
        )
        .route("/sse", get(sse))
        .route("/tell", get(tell))
        .route("/drip", get(drip))
        .route("/slow", any(slow))
        .route("/eat", any(eat))
        .route("/hold", get(hold))
        .route("/exit", any(exit))
        .route("/ws", any(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) }))
        .route("/connect", get(connect))
        .layer(axum::middleware::map_request(tell_arrival));
    tokio::spawn(terminated(behaviour()));
    axum::serve(listener, app).await.expect("serving");
}

/// Prints a line for each request that has a `case`, before anything of its body is read.
async fn tell_arrival(request: Request) -> Request {
    if request.uri().query().is_some_and(|query| query.contains("case=")) {
        println!("arrived: {} {}", request.method(), request.uri());
    }
    request
}

/// Ends the process without an answer, after `ms`; with `read`, after the body has come whole.
async fn exit(asked: Asked, request: Request) {
    if number(&asked, "read") > 0 {
        let mut body = request.into_body().into_data_stream();
        while let Some(Ok(_)) = body.next().await {}
    }
    tokio::time::sleep(Duration::from_millis(number(&asked, "ms"))).await;
    std::process::exit(4)
}

fn version() -> String {
    std::fs::read_to_string("/version").unwrap_or_default().trim().to_owned()
}

/// Differs from one start to the next.
fn start_time() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or_default().to_owned()
}

async fn headers(headers: HeaderMap) -> String {
    let line = |(name, value): (&axum::http::HeaderName, &axum::http::HeaderValue)| {
        format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()))
    };
    headers.iter().map(line).collect()
}

async fn upload(request: Request) -> String {
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    let mut body = request.into_body().into_data_stream();
    while let Some(chunk) = body.next().await {
        let Ok(chunk) = chunk else { return "broken off".into() };
        bytes += chunk.len() as u64;
        hash.update(&chunk);
    }
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("{bytes} {hex}")
}

/// `bytes` of zeros and counters; `ms` between chunks of 64 KiB.
async fn download(asked: Asked) -> Response {
    let (bytes, pause) = (number(&asked, "bytes"), Duration::from_millis(number(&asked, "ms")));
    let chunks = stream::unfold(0_u64, move |sent| async move {
        if sent >= bytes {
            return None;
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let size = (bytes - sent).min(64 * 1024);
        let chunk = Bytes::from(vec![(sent >> 16) as u8; size as usize]);
        Some((Ok::<_, Infallible>(chunk), sent + size))
    });
    ([("content-length", bytes.to_string())], Body::from_stream(chunks)).into_response()
}

async fn sse(asked: Asked) -> Response {
    let (count, pause) = (number(&asked, "n"), Duration::from_millis(number(&asked, "ms")));
    let events = stream::unfold(0, move |n| async move {
        if n >= count {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(format!("data: {n}\n\n")), n + 1))
    });
    ([("content-type", "text/event-stream")], Body::from_stream(events)).into_response()
}

/// `n` lines, each with the version.
async fn tell(asked: Asked) -> Body {
    let (count, pause) = (number(&asked, "n"), Duration::from_millis(number(&asked, "ms")));
    Body::from_stream(stream::unfold(0, move |n| async move {
        if n >= count {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>(format!("{}\n", version())), n + 1))
    }))
}

/// A body of known length, one byte at a time.
async fn drip(asked: Asked) -> Response {
    let (count, pause) = (number(&asked, "n"), Duration::from_millis(number(&asked, "ms")));
    let bytes = stream::unfold(0, move |n| async move {
        if n >= count {
            return None;
        }
        tokio::time::sleep(pause).await;
        Some((Ok::<_, Infallible>("."), n + 1))
    });
    ([("content-length", count.to_string())], Body::from_stream(bytes)).into_response()
}

async fn slow(asked: Asked) -> &'static str {
    println!("slow");
    tokio::time::sleep(Duration::from_millis(number(&asked, "ms"))).await;
    "done"
}

/// Keeps `mb` MiB of memory until it ends.
async fn hold(asked: Asked) -> &'static str {
    vec![1_u8; number(&asked, "mb") as usize * 1024 * 1024].leak();
    "held"
}

/// Uses memory until it is ended, or has `mb` MiB.
async fn eat(asked: Asked) -> String {
    let mut eaten = Vec::new();
    while eaten.len() < number(&asked, "mb") as usize {
        eaten.push(vec![1_u8; 1 << 20]);
    }
    format!("ate {}", eaten.len())
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let asked = matches!(&message, Message::Text(text) if text.as_str() == "version?");
        let answer = if asked { Message::Text(version().into()) } else { message };
        if matches!(answer, Message::Close(_)) || socket.send(answer).await.is_err() {
            return;
        }
    }
}

/// Tries to reach `a.b.c.d` (as a number) at `port`, and tells what came of it.
async fn connect(asked: Asked) -> String {
    let ip = std::net::Ipv4Addr::from(number(&asked, "ip") as u32);
    let target = (ip, number(&asked, "port") as u16);
    match tokio::time::timeout(Duration::from_secs(2), tokio::net::TcpStream::connect(target)).await {
        Ok(Ok(_)) => "connected".into(),
        Ok(Err(e)) => format!("refused: {e}"),
        Err(_) => "no answer".into(),
    }
}
