//! Answers that the edge gives itself: refusals, in words for anybody.

use std::time::Duration;

use bytes::Bytes;
use func_model::Refusal;
use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tracing::debug;

use crate::page;

/// How much of a refused request's body is read, and for how long: a connection that is closed over unread bytes is
/// reset, and takes the answer with it.
const BODY_BYTES: usize = 256 * 1024;
const BODY_WITHIN: Duration = Duration::from_secs(1);

/// Answers a request with a refusal. Little of the request's body is read: the connection is closed after it.
pub(crate) async fn refuse(session: &mut Session, refusal: &Refusal, request_id: &str) {
    if let Err(e) = write(session, refusal, request_id).await {
        debug!(request.id = request_id, "the client left before it was answered: {e}");
        return;
    }
    // Whether the rest came or not, it is done.
    let _ = tokio::time::timeout(BODY_WITHIN, discard_body(session)).await;
}

async fn discard_body(session: &mut Session) {
    let mut read = 0;
    while let Ok(Some(bytes)) = session.read_request_body().await {
        read += bytes.len();
        if read > BODY_BYTES {
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
