//! Connections for upgrades (WebSocket): the answer is read a moment later than it comes.
//!
//! pingora 0.9.1 (its issue 946) sends the empty body of an upgrade request through a pipe of its own. When the 101
//! is read before that pipe, it takes the end of the body for the end of the upgraded stream and closes both sides:
//! with a fast app on the same machine every tenth WebSocket is lost. Here the first read of such a connection waits
//! until the pipe has surely been emptied; everything after it goes at full speed.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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

/// How long the first read waits. The pipe is emptied within the same turn of the event loop; this is many turns.
const FIRST_READ_AFTER: Duration = Duration::from_millis(2);

/// Makes connections whose first read is late.
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
        Ok(VirtualSocketStream::new(Box::new(Late { stream, wait: Wait::Unread })).into())
    }
}

enum Wait {
    /// Nobody has asked for the answer yet.
    Unread,
    Waiting(Pin<Box<Sleep>>),
    Over,
}

struct Late {
    stream: TcpStream,
    wait: Wait,
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
        if matches!(self.wait, Wait::Unread) {
            self.wait = Wait::Waiting(Box::pin(sleep(FIRST_READ_AFTER)));
        }
        if let Wait::Waiting(wait) = &mut self.wait {
            if wait.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.wait = Wait::Over;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Late {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
