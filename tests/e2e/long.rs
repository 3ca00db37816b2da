//! Clients whose requests are long: a stream, or a WebSocket, one after the other, each answered by one release.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::load::{Client, Counts};

pub type Socket = WebSocketStream<MaybeTlsStream<tokio::net::TcpStream>>;

/// How many lines a stream has, and how often one comes; as many messages has a WebSocket.
const LINES: usize = 50;
const EVERY: Duration = Duration::from_millis(100);

/// What is known of the releases: the live one's version, and how many long requests ended after theirs was replaced.
#[derive(Debug, Default)]
pub struct Versions {
    live: Mutex<String>,
    crossed: AtomicU64,
}

impl Versions {
    pub fn set_live(&self, version: &str) {
        version.clone_into(&mut self.live.lock().expect("no client panicked"));
    }

    pub fn crossed(&self) -> u64 {
        self.crossed.load(Ordering::Relaxed)
    }

    fn ended(&self, version: &str) {
        if *self.live.lock().expect("no client panicked") != version {
            self.crossed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A client of the test app that reads streams of 5 s.
pub fn streams(edge: SocketAddr, app: &str, versions: Arc<Versions>) -> Client {
    let (url, host) =
        (format!("http://{edge}/tell?n={LINES}&ms={}", EVERY.as_millis()), format!("{app}.localhost"));
    Box::new(move |stop, counts| {
        Box::pin(repeat(stop, counts, versions, move || stream(url.clone(), host.clone())))
    })
}

/// A client of the test app that talks over WebSockets for 5 s each.
pub fn sockets(edge: SocketAddr, app: &str, versions: Arc<Versions>) -> Client {
    let app = app.to_owned();
    Box::new(move |stop, counts| Box::pin(repeat(stop, counts, versions, move || socket(edge, app.clone()))))
}

/// One after the other; each says which version answered.
async fn repeat<F: Future<Output = Result<String, String>>>(
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    versions: Arc<Versions>,
    one: impl Fn() -> F,
) {
    while !stop.load(Ordering::Relaxed) {
        counts.sent.fetch_add(1, Ordering::Relaxed);
        match one().await {
            Ok(version) => {
                counts.answered.fetch_add(1, Ordering::Relaxed);
                versions.ended(&version);
            }
            Err(why) => {
                counts.fail(why);
                tokio::time::sleep(EVERY).await;
            }
        }
    }
}

async fn stream(url: String, host: String) -> Result<String, String> {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let answer = client.get(url).header("host", host).send().await.map_err(|e| format!("a stream: {e:?}"))?;
    let status = answer.status().as_u16();
    let text = answer.text().await.map_err(|e| format!("a stream: {status}, then {e:?}"))?;
    let lines: Vec<&str> = text.lines().collect();
    let version = lines.first().copied().unwrap_or_default().to_owned();
    match status == 200 && lines.len() == LINES && lines.iter().all(|line| *line == version) {
        true => Ok(version),
        false => Err(format!(
            "a stream: {status}, {} lines: {}",
            lines.len(),
            text.chars().take(100).collect::<String>()
        )),
    }
}

/// Opens a WebSocket to the test app.
pub async fn open(edge: SocketAddr, app: &str) -> Result<Socket, String> {
    let mut request = format!("ws://{edge}/ws").into_client_request().expect("a request");
    request.headers_mut().insert("host", format!("{app}.localhost").parse().expect("a header"));
    Ok(connect_async(request).await.map_err(|e| format!("a WebSocket is not opened: {e:?}"))?.0)
}

/// Says something and gives the answer.
pub async fn say(socket: &mut Socket, text: &str) -> Result<String, String> {
    socket
        .send(Message::text(text))
        .await
        .map_err(|e| format!("a WebSocket: {text:?} is not sent: {e:?}"))?;
    match socket.next().await {
        Some(Ok(Message::Text(answer))) => Ok(answer.as_str().to_owned()),
        other => Err(format!("a WebSocket: {text:?} is answered with {other:?}")),
    }
}

async fn socket(edge: SocketAddr, app: String) -> Result<String, String> {
    let mut socket = open(edge, &app).await?;
    let version = say(&mut socket, "version?").await?;
    for n in 0..LINES {
        tokio::time::sleep(EVERY).await;
        let answer = say(&mut socket, &n.to_string()).await?;
        if answer != n.to_string() {
            return Err(format!("a WebSocket: {n} is answered with {answer}"));
        }
    }
    let last = say(&mut socket, "version?").await?;
    let _ = socket.close(None).await;
    if last == version { Ok(version) } else { Err(format!("a WebSocket went from {version} to {last}")) }
}
