//! The stream between pingora and a client's socket: counts and inspects the bytes that pass.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use async_trait::async_trait;
use func_model::Refusal;
use pingora::protocols::raw_connect::ProxyDigest;
use pingora::protocols::tls::{SslDigest, TlsRef};
use pingora::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, Stream,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Connection;
use crate::inspection::Inspection;

/// A client's socket, watched.
#[derive(Debug)]
pub(crate) struct Guard {
    stream: Stream,
    connection: Arc<Connection>,
    inspection: Inspection,
}

impl Guard {
    pub(crate) fn new(stream: Stream, connection: Arc<Connection>) -> Self {
        Self { stream, connection, inspection: Inspection::default() }
    }

    /// Recovers the guard from the stream that pingora returns.
    pub(crate) fn of(stream: Stream) -> Option<Box<Self>> {
        stream.into_any().downcast().ok()
    }

    pub(crate) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns the socket itself, for bytes outside a request.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// Inspects a request's head, and what came with it of its body.
    ///
    /// # Errors
    /// The refusal to send to the client.
    pub(crate) fn inspect(&mut self, head: &[u8], body: &[u8]) -> Result<(), Refusal> {
        self.inspection.head(head)?;
        self.inspection.body(body)
    }
}

fn late(connection: &Connection, refusal: Refusal) -> io::Error {
    connection.blame(refusal);
    io::Error::new(io::ErrorKind::TimedOut, "the client is too slow")
}

impl AsyncRead for Guard {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        if !guard.connection.is_parsed() {
            // The head was complete: whatever pingora misses in it does not come.
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let before = buf.filled().len();
        match Pin::new(&mut guard.stream).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                guard.connection.has_read(bytes.len());
                Poll::Ready(guard.inspection.body(bytes).map_err(|refusal| {
                    guard.connection.blame(refusal);
                    io::Error::new(io::ErrorKind::InvalidData, "the request's body is refused")
                }))
            }
            Poll::Pending if guard.connection.reads_nothing() => {
                Poll::Ready(Err(late(&guard.connection, Refusal::SlowBody)))
            }
            other => other,
        }
    }
}

impl Guard {
    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Ready(Ok(bytes)) => self.connection.has_written(*bytes),
            Poll::Pending if self.connection.writes_nothing() => {
                return Poll::Ready(Err(late(&self.connection, Refusal::SlowBody)));
            }
            Poll::Ready(Err(_)) | Poll::Pending => {}
        }
        written
    }
}

impl AsyncWrite for Guard {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = Pin::new(&mut guard.stream).poll_write(cx, buf);
        guard.wrote(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let guard = self.get_mut();
        let written = Pin::new(&mut guard.stream).poll_write_vectored(cx, bufs);
        guard.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guard = self.get_mut();
        let flushed = Pin::new(&mut guard.stream).poll_flush(cx);
        if flushed.is_pending() && guard.connection.writes_nothing() {
            return Poll::Ready(Err(late(&guard.connection, Refusal::SlowBody)));
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Guard {
    async fn shutdown(&mut self) {
        self.stream.shutdown().await;
    }
}

#[async_trait]
impl Peek for Guard {
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        self.stream.try_peek(buf).await
    }
}

impl UniqueID for Guard {
    fn id(&self) -> UniqueIDType {
        self.stream.id()
    }
}

impl Ssl for Guard {
    fn get_ssl(&self) -> Option<&TlsRef> {
        self.stream.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.stream.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.stream.selected_alpn_proto()
    }
}

impl GetTimingDigest for Guard {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.stream.get_timing_digest()
    }
}

impl GetProxyDigest for Guard {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.stream.get_proxy_digest()
    }

    fn set_proxy_digest(&mut self, digest: ProxyDigest) {
        self.stream.set_proxy_digest(digest);
    }
}

impl GetSocketDigest for Guard {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.stream.get_socket_digest()
    }

    fn set_socket_digest(&mut self, digest: SocketDigest) {
        self.stream.set_socket_digest(digest);
    }
}
