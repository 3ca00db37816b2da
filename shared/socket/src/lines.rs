//! Lines of an answer, as they come.

use axum::body::{Body, Bytes};
use axum::response::Response;
use bytes::BytesMut;
use futures_util::{Stream, StreamExt};
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::task::JoinHandle;

use crate::CallError;
use crate::limits::LINE_BYTES_MAX;

/// Makes an answer of lines; each is sent when it comes. The caller's leaving drops the stream.
pub fn line_stream(lines: impl Stream<Item = String> + Send + 'static) -> Response {
    let bytes = lines.map(|mut line| {
        line.push('\n');
        Ok::<_, std::convert::Infallible>(Bytes::from(line))
    });
    let mut response = Response::new(Body::from_stream(bytes));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/x-ndjson"));
    response
}

/// The lines of an answer. Dropping it ends the call.
#[derive(Debug)]
pub struct Lines {
    service: String,
    body: Incoming,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    _connection: Connection,
}

/// The task of a call's connection. Dropping it ends the call.
#[derive(Debug)]
pub(crate) struct Connection(pub(crate) JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Lines {
    pub(crate) fn new(service: String, body: Incoming, connection: Connection) -> Self {
        Self { service, body, buffer: BytesMut::new(), searched: 0, _connection: connection }
    }

    /// Gives the next line, without its end; `None` when the answer is over. Awaits the service without a deadline:
    /// a service that ends ends the answer. Cancel-safe. What is not UTF-8 is replaced.
    ///
    /// # Errors
    /// [`CallError::Broken`] if the answer ends before its end, [`CallError::Long`] for a line beyond 1 MiB.
    pub async fn next(&mut self) -> Result<Option<String>, CallError> {
        loop {
            if let Some(at) = self.buffer[self.searched..].iter().position(|b| *b == b'\n') {
                let line = self.buffer.split_to(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(text(&line)));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_BYTES_MAX {
                return Err(CallError::Long { service: self.service.clone(), max: LINE_BYTES_MAX });
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(source)) => return Err(CallError::Broken { service: self.service.clone(), source }),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(text(&std::mem::take(&mut self.buffer))));
                }
            }
        }
    }

    /// Reads up to `max` bytes of what is left.
    pub(crate) async fn rest(mut self, max: usize) -> Result<BytesMut, CallError> {
        while let Some(frame) = self.body.frame().await {
            let frame =
                frame.map_err(|source| CallError::Broken { service: self.service.clone(), source })?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
            if self.buffer.len() > max {
                return Err(CallError::Long { service: self.service.clone(), max });
            }
        }
        Ok(std::mem::take(&mut self.buffer))
    }
}

fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}
