//! Answers that the edge gives itself: refusals, in words for anybody.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use func_model::Refusal;
use http::{StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::Stream;
use pingora::proxy::Session;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tracing::debug;

use crate::limits::{DISCARD_BYTES, DISCARD_WITHIN};
use crate::page;

/// Answers a request with a refusal. Little of the request's body is read: the connection is closed after it.
pub(crate) async fn refuse(session: &mut Session, refusal: &Refusal, request_id: &str) {
    if let Err(e) = write(session, refusal, request_id).await {
        debug!(request.id = request_id, "the client left before it was answered: {e}");
        return;
    }
    // Whether the rest came or not, it is done.
    let _ = tokio::time::timeout(DISCARD_WITHIN, discard_body(session)).await;
}

async fn discard_body(session: &mut Session) {
    let mut read = 0;
    while let Ok(Some(bytes)) = session.read_request_body().await {
        read += bytes.len();
        if read > DISCARD_BYTES {
            return;
        }
    }
}

/// Gives the type and the bytes: a page if a browser waits, else a line.
fn body(refusal: &Refusal) -> (&'static str, Bytes) {
    if let Refusal::Starting { app } = refusal {
        return (page::CONTENT_TYPE, page::html(app).into());
    }
    ("text/plain; charset=utf-8", format!("{}\n", refusal.text()).into())
}

async fn write(session: &mut Session, refusal: &Refusal, request_id: &str) -> pingora::Result<()> {
    let (content_type, body) = body(refusal);
    let mut header = ResponseHeader::build(refusal.status(), Some(6))?;
    header.insert_header(header::CONTENT_TYPE, content_type)?;
    header.insert_header(header::CONTENT_LENGTH, body.len())?;
    header.insert_header(header::CACHE_CONTROL, "no-store")?;
    header.insert_header("x-request-id", request_id)?;
    if let Some(seconds) = refusal.retry_after_s() {
        header.insert_header(header::RETRY_AFTER, seconds)?;
    }
    session.as_downstream_mut().set_keepalive(None);
    session.write_response_header(Box::new(header), false).await?;
    let body = if session.req_header().method == http::Method::HEAD { Bytes::new() } else { body };
    session.write_response_body(Some(body), true).await
}

/// Returns a complete response for a connection that never reaches the proxy.
fn whole(refusal: &Refusal) -> String {
    let (status, text) = (refusal.status(), refusal.text());
    let reason = StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or_default();
    let retry = refusal.retry_after_s().map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n\
         Cache-Control: no-store\r\n{retry}Connection: close\r\n\r\n{text}\n"
    )
}

/// Answers on a connection that never reaches the proxy, and reads a little of what its client still sends.
pub(crate) async fn turn_away(stream: &mut Stream, refusal: &Refusal) {
    let answer = whole(refusal);
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        AsyncWriteExt::shutdown(stream).await?;
        let (mut space, mut read) = (vec![0; 4 * 1024], 0);
        while read < DISCARD_BYTES {
            match stream.read(&mut space).await? {
                0 => break,
                n => read += n,
            }
        }
        std::io::Result::Ok(())
    };
    // A client that left or is too slow gets no response.
    let _ = tokio::time::timeout(DISCARD_WITHIN, told).await;
}

/// Answers on a connection that there is no place for, and waits for nothing: what has come already is read, so that
/// the client is not reset, and the answer is short enough for an empty socket.
pub(crate) async fn turn_away_at_once(stream: &mut Stream, refusal: &Refusal) {
    let answer = whole(refusal);
    let mut space = [0; 4 * 1024];
    poll_fn(|cx| {
        let mut buf = ReadBuf::new(&mut space);
        let _ = Pin::new(&mut *stream).poll_read(cx, &mut buf);
        let _ = Pin::new(&mut *stream).poll_write(cx, answer.as_bytes());
        let _ = Pin::new(&mut *stream).poll_shutdown(cx);
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_of_the_doors_own_is_whole() {
        let answer = whole(&Refusal::Full);
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}", body.len())) && head.contains("Retry-After: 1"));
    }
}
