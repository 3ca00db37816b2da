//! An app of plain sockets: it records every byte it receives, and answers with the bytes that the request names.
//!
//! It answers `/naive...` as Python's `http.server` answers a GET: it does not read the body, which so becomes the next
//! request. It answers `/bytes/<hex>` with those bytes, and closes the connection after those of `/last/<hex>`. To any other
//! target it answers with the target, after the body. A connection to port [`TAKEN`] receives what has arrived since the
//! last such connection: one line for each connection, with Rust's escapes.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Where to ask what has arrived.
pub const TAKEN: u16 = 9_999;

type Connections = Mutex<Vec<Arc<Arrived>>>;

/// The bytes received on one connection.
#[derive(Default)]
struct Arrived {
    bytes: Mutex<Vec<u8>>,
    ended: AtomicBool,
}

/// Serves for ever.
pub fn serve(port: u16) -> ! {
    let connections = Arc::new(Connections::default());
    let taken = TcpListener::bind(("0.0.0.0", TAKEN)).expect("the port is free");
    let told = connections.clone();
    std::thread::spawn(move || taken.incoming().flatten().for_each(|stream| tell(stream, &told)));
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free");
    for stream in listener.incoming() {
        let arrived = Arc::new(Arrived::default());
        connections.lock().expect("no panic").push(arrived.clone());
        std::thread::spawn(move || {
            // Whoever left is not told.
            let _ = Connection { stream: stream?, held: Vec::new(), arrived: arrived.clone() }.serve();
            arrived.ended.store(true, Ordering::Relaxed);
            Ok::<_, std::io::Error>(())
        });
    }
    unreachable!("a listener goes on for ever")
}

fn tell(mut stream: TcpStream, connections: &Connections) {
    let mut connections = connections.lock().expect("no panic");
    for arrived in connections.iter() {
        let bytes = std::mem::take(&mut *arrived.bytes.lock().expect("no panic"));
        if !bytes.is_empty() {
            let _ = writeln!(stream, "{}", bytes.escape_ascii());
        }
    }
    connections.retain(|arrived| !arrived.ended.load(Ordering::Relaxed));
}

struct Connection {
    stream: TcpStream,
    /// Bytes received and not yet parsed.
    held: Vec<u8>,
    arrived: Arc<Arrived>,
}

impl Connection {
    fn serve(mut self) -> std::io::Result<()> {
        loop {
            let head = self.until(b"\r\n\r\n")?;
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            if !target.starts_with("/naive") {
                self.skip_body(&head.to_lowercase())?;
            }
            if let Some(bytes) = target.strip_prefix("/bytes/") {
                self.stream.write_all(&unhex(bytes))?;
            } else if let Some(bytes) = target.strip_prefix("/last/") {
                return self.stream.write_all(&unhex(bytes));
            } else {
                let length = target.len();
                let body = if head.starts_with("HEAD ") { "" } else { &target };
                write!(self.stream, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}")?;
            }
        }
    }

    fn skip_body(&mut self, head: &str) -> std::io::Result<()> {
        if head.contains("\r\ntransfer-encoding:") {
            loop {
                let line = self.until(b"\r\n")?;
                let size = String::from_utf8_lossy(&line).trim().to_owned();
                let size = usize::from_str_radix(&size, 16).map_err(std::io::Error::other)?;
                self.exactly(size + 2)?;
                if size == 0 {
                    return Ok(());
                }
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        self.exactly(length.and_then(|length| length.trim().parse().ok()).unwrap_or(0)).map(drop)
    }

    /// Reads up to and with `end`.
    fn until(&mut self, end: &[u8]) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.held.windows(end.len()).position(|window| window == end) {
                return self.exactly(at + end.len());
            }
            self.more()?;
        }
    }

    fn exactly(&mut self, size: usize) -> std::io::Result<Vec<u8>> {
        while self.held.len() < size {
            self.more()?;
        }
        Ok(self.held.drain(..size).collect())
    }

    fn more(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 4_096];
        let read = self.stream.read(&mut bytes)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.held.extend_from_slice(&bytes[..read]);
        self.arrived.bytes.lock().expect("no panic").extend_from_slice(&bytes[..read]);
        Ok(())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).filter_map(digit).collect()
}
