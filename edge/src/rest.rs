//! What the heads of a request and of its answer say about the rest of both.

use http::{Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use crate::connection::Connection;

/// The type of an answer that goes on for as long as there is news.
const EVENTS: &[u8] = b"text/event-stream";

/// Whether the client has more to send than this head.
///
/// Source: RFC 9112, section 6.3.
pub(crate) fn has_body(head: &RequestHeader) -> bool {
    let length = head.headers.get(header::CONTENT_LENGTH);
    length.is_some_and(|length| length != "0") || head.headers.contains_key(header::TRANSFER_ENCODING)
}

/// Tells the client's connection what an answer's head says about the rest of both.
pub(crate) fn answered(connection: &Connection, request: &RequestHeader, response: &ResponseHeader) {
    let (status, headers) = (response.status, &response.headers);
    if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
        return connection.body_begins();
    }
    let events = headers.get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().starts_with(EVENTS));
    connection.answer_begins(status == StatusCode::SWITCHING_PROTOCOLS || events);
    let no_body = request.method == Method::HEAD
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length == "0");
    if no_body {
        connection.answer_ended();
    }
}
