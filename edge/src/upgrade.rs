//! Connections for upgrades (WebSocket): the answer is read when all of the request was written, and not before.
//!
//! pingora 0.9.1 (its issue 946) sends the empty body of an upgrade request through a pipe of its own. When the 101
//! is read before that pipe, it takes the end of the body for the end of the upgraded stream and closes both sides:
//! with a fast app on the same machine every tenth WebSocket is lost. pingora flushes the connection once after the
//! head, and once after the end of the body was taken out of the pipe: here reading begins with the second flush.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::l4::Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, OrErr, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// The flush after which the whole request was written: the head's is the first.
const REQUEST_FLUSHED: u8 = 2;
/// How long reading waits for it. An app may refuse an upgrade before it has read all of its body.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes connections that are read when the request was written.
#[derive(Debug)]
pub(crate) struct LateConnect;

impl LateConnect {
    /// Gives it in the form in which a peer takes it.
    pub(crate) fn shared() -> Arc<dyn Connect + Send + Sync> {
        Arc::new(Self)
    }
}

#[async_trait]
impl Connect for LateConnect {
    async fn connect(&self, addr: &SocketAddr) -> Result<Stream> {
        let addr = addr.as_inet().ok_or_else(|| Error::new_in(ErrorType::InternalError))?;
        let stream =
            TcpStream::connect(addr).await.or_err(ErrorType::ConnectError, "connect for an upgrade")?;
        stream.set_nodelay(true).or_err(ErrorType::ConnectError, "set nodelay")?;
        Ok(VirtualSocketStream::new(Box::new(Late { stream, flushes: 0, patience: None, reader: None }))
            .into())
    }
}

struct Late {
    stream: TcpStream,
    flushes: u8,
    patience: Option<Pin<Box<Sleep>>>,
    /// Who waits for the second flush.
    reader: Option<Waker>,
}

impl std::fmt::Debug for Late {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Late").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl VirtualSocket for Late {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            VirtualSockOpt::NoDelay => self.stream.set_nodelay(true),
            // The instance is on this machine: a connection does not die unseen.
            _ => Ok(()),
        }
    }
}

impl AsyncRead for Late {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.flushes < REQUEST_FLUSHED {
            let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                self.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            self.flushes = REQUEST_FLUSHED;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Late {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.flushes = self.flushes.saturating_add(1);
            let reader = if self.flushes >= REQUEST_FLUSHED { self.reader.take() } else { None };
            if let Some(reader) = reader {
                reader.wake();
            }
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    /// A connection whose other side has answered already.
    async fn answered() -> (Late, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream =
            TcpStream::connect(listener.local_addr().expect("its address")).await.expect("connected");
        let (mut app, _) = listener.accept().await.expect("accepted");
        app.write_all(b"101").await.expect("answered");
        stream.readable().await.expect("it is there");
        (Late { stream, flushes: 0, patience: None, reader: None }, app)
    }

    #[tokio::test]
    async fn an_early_answer_is_read_only_when_the_whole_request_was_written() {
        let (mut late, _app) = answered().await;
        let mut answer = [0; 3];
        let soon = Duration::from_millis(50);
        late.flush().await.expect("the head");
        assert!(timeout(soon, late.read_exact(&mut answer)).await.is_err(), "only the head was written");
        late.flush().await.expect("the end of the body");
        late.read_exact(&mut answer).await.expect("at once");
        assert_eq!(&answer, b"101");
    }

    #[tokio::test]
    async fn who_waits_to_read_is_woken_by_the_second_flush() {
        let (late, _app) = answered().await;
        let (mut reading, mut writing) = tokio::io::split(late);
        let reader = tokio::spawn(async move {
            let mut answer = [0; 3];
            reading.read_exact(&mut answer).await.map(|_| answer)
        });
        tokio::task::yield_now().await;
        writing.flush().await.expect("the head");
        writing.flush().await.expect("the end of the body");
        assert_eq!(&reader.await.expect("no panic").expect("read"), b"101");
    }

    #[tokio::test]
    async fn an_app_that_refuses_before_the_body_is_read_all_the_same() {
        let (mut late, _app) = answered().await;
        late.flush().await.expect("the head");
        let mut answer = [0; 3];
        late.read_exact(&mut answer).await.expect("after a while");
        assert_eq!(&answer, b"101");
    }
}
