//! People who use an app through one edge: they ask again and again, or hold a stream or a WebSocket open.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// How long nothing may come before a test gives up: longer than any deadline of func's.
const SILENT: Duration = Duration::from_secs(120);
/// How long a visitor waits after an answer.
const PAUSE: Duration = Duration::from_millis(200);

/// One answer, as it came.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub text: String,
    pub took: Duration,
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        head.lines()
            .find_map(|line| line.split_once(": ").filter(|(n, _)| n.to_lowercase() == name))
            .map(|h| h.1)
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }
}

/// Sends a request on a connection of its own, as it is, and reads the answer to its end.
pub fn send(edge: SocketAddr, request: &[u8]) -> std::io::Result<Answer> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(edge)?;
    stream.set_read_timeout(Some(SILENT))?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, text, took: began.elapsed() })
}

/// Asks an app for a path.
pub fn get(edge: SocketAddr, app: &str, path: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n");
    send(edge, head.as_bytes()).unwrap_or_else(|e| Answer { status: 0, text: e.to_string(), took: SILENT })
}

/// One who asks for an app's page all the time.
pub struct Visitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<(Instant, Answer)>>,
}

impl Visitor {
    pub fn of(edge: SocketAddr, app: &str) -> Self {
        let (stop, app) = (Arc::new(AtomicBool::new(false)), app.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut visits = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                visits.push((Instant::now(), get(edge, &app, "/")));
                std::thread::sleep(PAUSE);
            }
            visits
        });
        Self { stop, thread }
    }

    /// Ends it, and gives when it asked and what it was told.
    pub fn end(self) -> Vec<(Instant, Answer)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Begins to read a stream of `seconds` events, one a second; gives its text when it has ended.
pub fn stream(edge: SocketAddr, app: &str, seconds: u64) -> JoinHandle<Answer> {
    let app = app.to_owned();
    std::thread::spawn(move || get(edge, &app, &format!("/sse?n={seconds}&ms=1000")))
}

/// A WebSocket in use: says something twice a second and wants to hear it again.
pub struct Chat {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, String>>,
}

impl Chat {
    pub fn of(edge: SocketAddr, app: &str) -> Self {
        let (stop, app) = (Arc::new(AtomicBool::new(false)), app.to_owned());
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let talk = talk(edge, &app, &stopped);
            runtime.expect("a runtime").block_on(talk).map_err(|e| e.to_string())
        });
        Self { stop, thread }
    }

    /// Ends it, and gives how often it was answered; or what broke it.
    pub fn end(self) -> Result<u64, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

async fn talk(
    edge: SocketAddr,
    app: &str,
    stop: &AtomicBool,
) -> Result<u64, tokio_tungstenite::tungstenite::Error> {
    let mut request = format!("ws://{edge}/ws").into_client_request()?;
    request.headers_mut().insert("host", format!("{app}.localhost").parse().expect("a header"));
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await?;
    let mut said = 0;
    while !stop.load(Ordering::Relaxed) {
        said += 1;
        socket.send(Message::text(said.to_string())).await?;
        match tokio::time::timeout(SILENT, socket.next()).await {
            Ok(Some(Ok(heard))) if heard == Message::text(said.to_string()) => {}
            Ok(Some(Err(e))) => return Err(e),
            Ok(Some(Ok(_)) | None) | Err(_) => {
                return Err(tokio_tungstenite::tungstenite::Error::ConnectionClosed);
            }
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(said)
}

/// A WebSocket that is open and says nothing.
pub struct Silent {
    socket: WebSocket<TcpStream>,
    opened: Instant,
}

impl Silent {
    pub fn open(edge: SocketAddr, app: &str) -> Self {
        let mut request = format!("ws://{edge}/ws").into_client_request().expect("a request");
        request.headers_mut().insert("host", format!("{app}.localhost").parse().expect("a header"));
        let stream = TcpStream::connect(edge).expect("connected");
        stream.set_read_timeout(Some(SILENT)).expect("set");
        let (socket, _) = client(request, stream).expect("a WebSocket");
        Self { socket, opened: Instant::now() }
    }

    /// Says nothing until it has been open for so long.
    pub fn stay(&self, open: Duration) {
        std::thread::sleep(open.saturating_sub(self.opened.elapsed()));
    }

    /// Says something, and gives what comes back.
    pub fn echo(&mut self, text: &str) -> String {
        self.socket.send(Message::text(text)).expect("sent");
        self.socket.read().expect("an answer").into_text().expect("text").to_string()
    }
}
