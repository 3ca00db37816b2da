//! The end of a connection, such that its last answer arrives.
//!
//! Closing a socket on which something unread has come makes the kernel reset the connection, and the client may
//! lose the answer (a refusal, while it still sends a body). And when the process ends, its container's network goes
//! with it, and what the kernel had yet to send. So the sending side is closed first, and the socket itself when the
//! client closes too, or has had its time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

/// Bytes read at a time from a client that is no longer listened to.
const DISCARDED_BYTES: usize = 4096;

/// A connection that waits, at its end, until the client has what was written last.
#[derive(Debug)]
pub struct Farewell {
    stream: TcpStream,
    time: Duration,
    last_write: Option<Instant>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Open,
    /// Nothing more is written; the client may read until then.
    Waiting(Pin<Box<Sleep>>),
}

impl Farewell {
    /// Takes a connection, whose client has `time` after a write to fetch it.
    pub fn new(stream: TcpStream, time: Duration) -> Self {
        Self { stream, time, last_write: None, stage: Stage::Open }
    }

    fn stream(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().stream)
    }
}

impl AsyncRead for Farewell {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream().poll_read(context, buffer)
    }
}

impl AsyncWrite for Farewell {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.last_write = Some(Instant::now());
        self.stream().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.last_write = Some(Instant::now());
        self.stream().poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match &mut self.stage {
                Stage::Open => {
                    ready!(self.as_mut().stream().poll_shutdown(context))?;
                    // A client that was idle has everything already.
                    let Some(last) = self.last_write else { return Poll::Ready(Ok(())) };
                    self.stage = Stage::Waiting(Box::pin(sleep_until(last + self.time)));
                }
                Stage::Waiting(end) => {
                    if end.as_mut().poll(context).is_ready() {
                        return Poll::Ready(Ok(()));
                    }
                    let mut bytes = [0; DISCARDED_BYTES];
                    let mut buffer = ReadBuf::new(&mut bytes);
                    // A client that resets the connection is gone as well.
                    let read = ready!(self.as_mut().stream().poll_read(context, &mut buffer));
                    if read.is_err() || buffer.filled().is_empty() {
                        return Poll::Ready(Ok(()));
                    }
                }
            }
        }
    }
}
