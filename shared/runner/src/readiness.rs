//! Whether an app is ready: it accepts a connection, or answers its health path with 2xx or 3xx.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use func_model::Release;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// The first pause between two tries; it doubles.
const PAUSE_MIN: Duration = Duration::from_micros(200);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// tokio's clock counts milliseconds: shorter pauses are slept on a thread.
const TIMER_MIN: Duration = Duration::from_millis(2);
/// How long one connection may take: on one machine it is made or refused at once.
const CONNECT: Duration = Duration::from_secs(1);
/// How long one answer of a health path may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How much of an answer is read to find its status line.
const STATUS_LINE_BYTES: usize = 512;

/// Why an app is not ready.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotReady {
    /// It accepts no connection.
    Silent,
    /// It accepts, and does not answer its health path as it should.
    Unhealthy { said: String },
}

/// Waits until the app is ready, until `deadline`.
///
/// # Errors
/// What the last try gave that came to an end.
pub(crate) async fn until_ready(
    release: &Release,
    addr: SocketAddr,
    deadline: Instant,
) -> Result<(), NotReady> {
    let mut last = NotReady::Silent;
    let mut pause = PAUSE_MIN;
    loop {
        match timeout_at(deadline, ready_once(release, addr)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => last = why,
            Err(_) => return Err(last),
        }
        if Instant::now() + pause >= deadline {
            return Err(last);
        }
        rest(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Asks once.
pub(crate) async fn ready_once(release: &Release, addr: SocketAddr) -> Result<(), NotReady> {
    let Ok(Ok(connection)) = timeout(CONNECT, TcpStream::connect(addr)).await else {
        return Err(NotReady::Silent);
    };
    let Some(path) = &release.health else { return Ok(()) };
    match timeout(ANSWER, status(connection, path)).await {
        Ok(Ok(Some((200..=399, _)))) => Ok(()),
        Ok(Ok(Some((_, said)))) => Err(NotReady::Unhealthy { said }),
        Ok(Ok(None)) => Err(NotReady::Unhealthy { said: "something that is not HTTP".to_owned() }),
        Ok(Err(_)) => Err(NotReady::Unhealthy { said: "a closed connection".to_owned() }),
        Err(_) => Err(NotReady::Unhealthy { said: "nothing".to_owned() }),
    }
}

async fn rest(pause: Duration) {
    if pause >= TIMER_MIN {
        tokio::time::sleep(pause).await;
    } else if tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.is_err() {
        tokio::task::yield_now().await;
    }
}

/// Asks for a path, and gives the status and its text; `None` if what comes is not HTTP.
async fn status(mut connection: TcpStream, path: &str) -> io::Result<Option<(u16, String)>> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: func-health\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(STATUS_LINE_BYTES);
    let mut limited = connection.take(STATUS_LINE_BYTES as u64);
    while !head.contains(&b'\n') {
        if limited.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    if head.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(status_line(&head))
}

/// Reads `HTTP/1.1 204 No Content` into the status and `204 No Content`.
fn status_line(head: &[u8]) -> Option<(u16, String)> {
    let line = head.split(|b| *b == b'\r' || *b == b'\n').next()?;
    let said = std::str::from_utf8(line.strip_prefix(b"HTTP/1.")?).ok()?.get(2..)?.trim();
    let status = said.get(..3)?.parse().ok()?;
    Some((status, said.chars().filter(|c| !c.is_control()).take(60).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_with_and_without_a_reason() {
        assert_eq!(status_line(b"HTTP/1.1 204 No Content\r\nA: b"), Some((204, "204 No Content".into())));
        assert_eq!(status_line(b"HTTP/1.0 503\r\n"), Some((503, "503".into())));
        for bad in [&b"SSH-2.0-x\r\n"[..], b"", b"HTTP/1.1 abc\r\n", b"HTTP/1.1", b"\xff\xfe"] {
            assert_eq!(status_line(bad), None);
        }
    }
}
