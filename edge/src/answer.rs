//! Answers that the edge gives itself: refusals, in words for anybody.

use bytes::Bytes;
use func_model::Refusal;
use http::header;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use tracing::debug;

/// Answers a request with a refusal. The request's body is not read: the connection is closed after it.
pub(crate) async fn refuse(session: &mut Session, refusal: &Refusal, request_id: &str) {
    if let Err(e) = write(session, refusal, request_id).await {
        debug!(request.id = request_id, "the client left before it was answered: {e}");
    }
}

async fn write(session: &mut Session, refusal: &Refusal, request_id: &str) -> pingora::Result<()> {
    let body = Bytes::from(format!("{}\n", refusal.text()));
    let mut header = ResponseHeader::build(refusal.status(), Some(6))?;
    header.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
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
