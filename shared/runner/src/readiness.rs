//! Whether an app is ready: it accepts a connection, or answers its health path with 2xx or 3xx.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use thiserror::Error;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The shortest pause between two tries.
const PAUSE_MIN: Duration = Duration::from_micros(100);
/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// A pause is this part of the time that the app has taken so far: that is how much is lost at most. With an eighth a
/// Python app of 40 ms lost up to 5; a connection that is refused costs 0.02 ms.
const PAUSE_PART: u32 = 32;
/// How long one connection may take: on one machine it is made or refused at once.
const CONNECT: Duration = Duration::from_secs(1);
/// How long one answer of a health path may take.
const ANSWER: Duration = Duration::from_secs(5);
/// How much of an answer is read to find its status line.
const STATUS_LINE_BYTES: usize = 512;

/// Why an app is not ready.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    #[error("it accepts no connection")]
    Silent,
    /// It accepts, and does not answer its health path as it should.
    #[error("it answered its health path with {said}")]
    Unhealthy { said: String },
}

/// Waits until the app is ready, until `deadline`. Without a health path an accepted connection is enough. The pauses
/// between the tries begin well below a millisecond and grow with the time that has passed.
///
/// # Errors
/// What the last try gave that came to an end.
pub async fn until_ready(health: Option<&str>, addr: SocketAddr, deadline: Instant) -> Result<(), NotReady> {
    let begun = Instant::now();
    let mut last = NotReady::Silent;
    let mut timer = None;
    loop {
        match timeout_at(deadline, ready_once(health, addr)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => last = why,
            Err(_) => return Err(last),
        }
        let pause = (begun.elapsed() / PAUSE_PART).clamp(PAUSE_MIN, PAUSE_MAX);
        if Instant::now() + pause >= deadline {
            return Err(last);
        }
        rest(&mut timer, pause).await;
    }
}

/// Asks once.
pub(crate) async fn ready_once(health: Option<&str>, addr: SocketAddr) -> Result<(), NotReady> {
    let Ok(Ok(connection)) = timeout(CONNECT, TcpStream::connect(addr)).await else {
        return Err(NotReady::Silent);
    };
    let Some(path) = health else { return Ok(()) };
    match timeout(ANSWER, status(connection, path)).await {
        Ok(Ok(Some((200..=399, _)))) => Ok(()),
        Ok(Ok(Some((_, said)))) => Err(NotReady::Unhealthy { said }),
        Ok(Ok(None)) => Err(NotReady::Unhealthy { said: "something that is not HTTP".to_owned() }),
        Ok(Err(_)) => Err(NotReady::Unhealthy { said: "a closed connection".to_owned() }),
        Err(_) => Err(NotReady::Unhealthy { said: "nothing".to_owned() }),
    }
}

/// Rests for a time. tokio's clock counts milliseconds; the kernel's timer, made when it is first needed, nanoseconds.
async fn rest(timer: &mut Option<AsyncFd<OwnedFd>>, pause: Duration) {
    if rest_exactly(timer, pause).await.is_err() {
        sleep(pause).await;
    }
}

async fn rest_exactly(timer: &mut Option<AsyncFd<OwnedFd>>, pause: Duration) -> io::Result<()> {
    let timer = match timer {
        Some(timer) => timer,
        None => {
            let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
            timer.insert(registered(timerfd_create(TimerfdClockId::Monotonic, flags)?)?)
        }
    };
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let after = Timespec { tv_sec: pause.as_secs().cast_signed(), tv_nsec: pause.subsec_nanos().into() };
    let setting = Itimerspec { it_interval: once, it_value: after };
    timerfd_settime(timer.get_ref(), TimerfdTimerFlags::empty(), &setting)?;
    let mut count = [0; 8];
    loop {
        let mut rung = timer.readable().await?;
        match rung.try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut count)?)) {
            Ok(read) => return read.map(drop),
            Err(_) => continue,
        }
    }
}

// Safe: the descriptor is owned, and is neither replaced nor closed before it is taken out of the reactor.
#[allow(unsafe_code)]
fn registered(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    Ok(unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?)
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
    Some((status, func_model::plain_line(said).chars().take(60).collect()))
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

    #[tokio::test]
    async fn a_rest_is_as_long_as_it_should_be() {
        let (mut timer, mut shortest) = (None, Duration::MAX);
        for _ in 0..50 {
            let begun = std::time::Instant::now();
            rest(&mut timer, PAUSE_MIN).await;
            assert!(begun.elapsed() >= PAUSE_MIN);
            shortest = shortest.min(begun.elapsed());
        }
        assert!(timer.is_some() && shortest < Duration::from_millis(1), "{shortest:?}");
    }
}
