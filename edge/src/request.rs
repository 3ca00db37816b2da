//! What is read out of a request's head.

use http::header;
use pingora::proxy::Session;

/// The longest request id that is taken over.
const REQUEST_ID_BYTES: usize = 128;
/// A request with this header and the value 1 is told where its time went, even if it waited for no start.
const TRACE: &str = "x-func-trace";

/// The authority of a request: of its target where it has one, else of its only `Host` header.
///
/// Source: RFC 9112, section 3.2.
pub(crate) fn authority(session: &Session) -> Option<&str> {
    let request = session.req_header();
    if let Some(authority) = request.uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = request.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Gives the id that a trusted proxy sent, or a new one.
pub(crate) fn request_id(session: &Session, trusted: bool) -> String {
    let given = session.req_header().headers.get("x-request-id").and_then(|v| v.to_str().ok());
    let fits =
        |id: &&str| (1..=REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
    match given.filter(fits) {
        Some(id) if trusted => id.to_owned(),
        Some(_) | None => format!("{:032x}", rand::random::<u128>()),
    }
}

/// What decides which connection a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GET, HEAD and the like: may be sent on a kept connection.
    Safe,
    /// Everything else: has a new connection, which cannot be closing.
    Unsafe,
    /// A WebSocket: has its connection for itself.
    Upgrade,
}

impl Kind {
    pub(crate) fn of(session: &Session) -> Self {
        match session.is_upgrade_req() {
            true => Self::Upgrade,
            false if session.req_header().method.is_safe() => Self::Safe,
            false => Self::Unsafe,
        }
    }
}

/// Whether the client asks where the time went.
pub(crate) fn is_traced(session: &Session) -> bool {
    session.req_header().headers.get(TRACE).is_some_and(|value| value == "1")
}
