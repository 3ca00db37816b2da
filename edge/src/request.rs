//! What is read out of a request's head.

use std::net::IpAddr;

use http::{HeaderMap, Method, header};
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

/// What decides which connection to the app a request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GET and the like, with nothing behind the head: may share a kept connection.
    Safe,
    /// Everything else: gets a connection of its own, which cannot be closing and serves nobody afterwards.
    Unsafe,
    /// A WebSocket: has its connection for itself.
    Upgrade,
}

impl Kind {
    pub(crate) fn of(session: &Session) -> Self {
        let request = session.req_header();
        match session.is_upgrade_req() {
            true => Self::Upgrade,
            false if shares(&request.method, &request.headers) => Self::Safe,
            false => Self::Unsafe,
        }
    }
}

/// Whether app and edge certainly agree on where a request and its answer end.
///
/// Many servers do not read the body of a GET, and take it for the next request on the connection; some write a body
/// after the head that answers HEAD. Either would answer whoever uses the connection next.
fn shares(method: &Method, headers: &HeaderMap) -> bool {
    let bodiless = !headers.contains_key(header::TRANSFER_ENCODING)
        && !headers.contains_key(header::EXPECT)
        && headers.get_all(header::CONTENT_LENGTH).iter().all(|length| length == "0");
    method.is_safe() && *method != Method::HEAD && bodiless
}

/// Whether the client asks where the time went.
pub(crate) fn is_traced(session: &Session) -> bool {
    session.req_header().headers.get(TRACE).is_some_and(|value| value == "1")
}

/// Returns the address that the connection comes from.
pub(crate) fn client(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|a| a.as_inet()).map(std::net::SocketAddr::ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(method: Method, headers: &[(header::HeaderName, &'static str)]) -> bool {
        let value = |(name, value): &(header::HeaderName, &'static str)| {
            (name.clone(), header::HeaderValue::from_static(value))
        };
        shares(&method, &headers.iter().map(value).collect())
    }

    #[test]
    fn only_a_safe_request_with_nothing_behind_its_head_shares_a_connection() {
        use header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
        assert!(shared(Method::GET, &[]) && shared(Method::OPTIONS, &[]));
        assert!(shared(Method::GET, &[(CONTENT_LENGTH, "0")]));
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD] {
            assert!(!shared(method.clone(), &[]), "{method}");
        }
        for length in ["1", "00", "0, 1", "+0", ""] {
            assert!(!shared(Method::GET, &[(CONTENT_LENGTH, length)]), "{length}");
        }
        assert!(!shared(Method::GET, &[(TRANSFER_ENCODING, "chunked")]));
        assert!(!shared(Method::GET, &[(EXPECT, "100-continue")]));
    }
}
