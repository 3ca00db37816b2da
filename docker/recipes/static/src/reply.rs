//! The responses this server can give; every one of them says `nosniff` and `no-cache`.

use http::header::{
    ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    HeaderMap, HeaderValue, LAST_MODIFIED, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use crate::coding::Coding;
use crate::content::Content;
use crate::path::folder_location;
use crate::range::Span;
use crate::site::Representation;

pub type Reply = Response<Content>;

/// Gives a short text in place of a page.
pub fn text(status: StatusCode) -> Reply {
    let text = match status {
        StatusCode::BAD_REQUEST => "400: this address is malformed\n",
        StatusCode::FORBIDDEN => "403: this page may not be read\n",
        StatusCode::NOT_FOUND => "404: there is nothing at this address\n",
        StatusCode::METHOD_NOT_ALLOWED => "405: this site answers GET and HEAD only\n",
        StatusCode::PRECONDITION_FAILED => "412: this page is no longer what you had\n",
        StatusCode::RANGE_NOT_SATISFIABLE => "416: this file has no such part\n",
        StatusCode::SERVICE_UNAVAILABLE => "503: too many files are open; try again in a moment\n",
        _ => "500: this page could not be read\n",
    };
    let mut reply = reply(status, Content::from(text));
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
    reply
}

/// Refuses every method but the two that only read.
pub fn method_not_allowed() -> Reply {
    let mut reply = text(StatusCode::METHOD_NOT_ALLOWED);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}

/// Sends a client to a folder's own address, on this host, with the query it came with.
pub fn redirect(folder: &str, query: Option<&str>) -> Reply {
    let path = folder_location(folder);
    let whole = query.and_then(|query| HeaderValue::try_from(format!("{path}?{query}")).ok());
    let location = whole.or_else(|| HeaderValue::try_from(path).ok());

    let mut reply = reply(StatusCode::PERMANENT_REDIRECT, Content::empty());
    reply.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(0));
    reply.headers_mut().extend(location.map(|location| (LOCATION, location)));
    reply
}

/// Gives the whole of a file.
pub fn whole(chosen: Representation) -> Reply {
    let span = Span { start: 0, bytes: chosen.len };
    let mut reply = described(StatusCode::OK, &chosen, span);
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    identify(reply.headers_mut(), &chosen);
    reply.map(|_| Content::part(chosen.file, span))
}

/// Gives a part of a file.
pub fn part(chosen: Representation, span: Span) -> Reply {
    let range = format!("bytes {}-{}/{}", span.start, span.start + span.bytes - 1, chosen.len);
    let mut reply = described(StatusCode::PARTIAL_CONTENT, &chosen, span);
    reply.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    reply.headers_mut().extend(HeaderValue::try_from(range).map(|range| (CONTENT_RANGE, range)));
    identify(reply.headers_mut(), &chosen);
    reply.map(|_| Content::part(chosen.file, span))
}

/// Gives the site's page for what is not there: without a tag, since it is not what was asked for.
pub fn not_found(page: Representation) -> Reply {
    let span = Span { start: 0, bytes: page.len };
    described(StatusCode::NOT_FOUND, &page, span).map(|_| Content::part(page.file, span))
}

/// Says how long the file is of which a part was wanted that it does not have.
pub fn no_such_part(len: u64) -> Reply {
    let mut reply = text(StatusCode::RANGE_NOT_SATISFIABLE);
    reply
        .headers_mut()
        .extend(HeaderValue::try_from(format!("bytes */{len}")).map(|range| (CONTENT_RANGE, range)));
    reply
}

/// Says that the client has it already.
pub fn not_modified(chosen: &Representation) -> Reply {
    let mut reply = reply(StatusCode::NOT_MODIFIED, Content::empty());
    vary(reply.headers_mut(), chosen);
    identify(reply.headers_mut(), chosen);
    reply
}

/// Starts the answer that holds a part of a file: its type, its coding and its length.
fn described(status: StatusCode, chosen: &Representation, span: Span) -> Reply {
    let mut reply = reply(status, Content::empty());
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(chosen.content_type));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(span.bytes));
    if chosen.coding != Coding::Identity {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(chosen.coding.token()));
    }
    vary(headers, chosen);
    reply
}

/// Adds what the client can ask again with.
fn identify(headers: &mut HeaderMap, chosen: &Representation) {
    let modified = chosen.validators.modified.map(httpdate::fmt_http_date);
    headers.extend(HeaderValue::try_from(&chosen.validators.tag).map(|tag| (ETAG, tag)));
    headers
        .extend(modified.and_then(|date| HeaderValue::try_from(date).ok()).map(|date| (LAST_MODIFIED, date)));
}

fn vary(headers: &mut HeaderMap, chosen: &Representation) {
    if chosen.varies {
        headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

fn reply(status: StatusCode, content: Content) -> Reply {
    let mut reply = Response::new(content);
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    reply
}
