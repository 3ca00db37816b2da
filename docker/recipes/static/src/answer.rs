//! From a request to its response. All of it but the transport runs on a thread that may block on the disk.

use std::convert::Infallible;
use std::io::{self, Write as _};
use std::sync::Arc;

use http::request::Parts;
use http::{Method, Request, StatusCode};
use tokio::task::spawn_blocking;

use crate::coding;
use crate::condition::{self, Verdict};
use crate::content::Content;
use crate::path::{PathError, SitePath};
use crate::range::ByteRange;
use crate::reply::{self, Reply};
use crate::site::{Asset, Found, Representation, Site};

/// Answers one request; its body, if it has one, is not read.
pub async fn answer<B>(site: Arc<Site>, request: Request<B>) -> Result<Reply, Infallible> {
    let (head, _) = request.into_parts();
    let work = spawn_blocking(move || respond(&site, &head));
    Ok(work.await.unwrap_or_else(|_| reply::text(StatusCode::INTERNAL_SERVER_ERROR)))
}

fn respond(site: &Site, head: &Parts) -> Reply {
    let answered = match head.method {
        Method::GET => found(site, head).and_then(begun),
        Method::HEAD => found(site, head).map(|reply| reply.map(|_| Content::empty())),
        _ => Ok(reply::method_not_allowed()),
    };
    answered.unwrap_or_else(|error| failed(head.uri.path(), &error))
}

fn begun(reply: Reply) -> io::Result<Reply> {
    let (head, content) = reply.into_parts();
    Ok(Reply::from_parts(head, content.begun()?))
}

fn found(site: &Site, head: &Parts) -> io::Result<Reply> {
    let path = match SitePath::parse(head.uri.path()) {
        Ok(path) => path,
        Err(PathError::Malformed) => return Ok(reply::text(StatusCode::BAD_REQUEST)),
        Err(PathError::Hidden) => return missing(site, head),
    };
    match site.find(&path)? {
        Found::File(asset) => file(site, head, asset),
        Found::Folder(name) => Ok(reply::redirect(&name, head.uri.query())),
        Found::Nothing => missing(site, head),
    }
}

fn file(site: &Site, head: &Parts, asset: Asset) -> io::Result<Reply> {
    let (chosen, range) = chosen(site, head, asset)?;
    Ok(match (condition::judge(&head.headers, &chosen.validators), range) {
        (Verdict::NotModified, _) => reply::not_modified(&chosen),
        (Verdict::Failed, _) => reply::text(StatusCode::PRECONDITION_FAILED),
        (Verdict::Proceed, None) => reply::whole(chosen),
        (Verdict::Proceed, Some(range)) => match range.within(chosen.len) {
            Some(span) => reply::part(chosen, span),
            None => reply::no_such_part(chosen.len),
        },
    })
}

/// Chooses the form to send. Parts are parts of the file's own bytes; the whole may be a compressed copy.
fn chosen(site: &Site, head: &Parts, asset: Asset) -> io::Result<(Representation, Option<ByteRange>)> {
    let range = if head.method == Method::GET { ByteRange::from_headers(&head.headers) } else { None };
    if range.is_some() && condition::allows_range(&head.headers, &site.validators(&asset)?) {
        return Ok((site.identity(asset)?, range));
    }
    Ok((site.negotiated(asset, &coding::wanted(&head.headers))?, None))
}

fn missing(site: &Site, head: &Parts) -> io::Result<Reply> {
    let Some(page) = site.not_found()? else { return Ok(reply::text(StatusCode::NOT_FOUND)) };
    Ok(reply::not_found(site.negotiated(page, &coding::wanted(&head.headers))?))
}

/// Tells the client in general and the log in particular.
fn failed(path: &str, error: &io::Error) -> Reply {
    // Nobody may be reading the log; that must not end the process.
    let _ = writeln!(io::stderr(), "cannot read {path}: {error}");
    let out_of_descriptors = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    reply::text(match error.kind() {
        io::ErrorKind::PermissionDenied => StatusCode::FORBIDDEN,
        _ if out_of_descriptors.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error())) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;

    #[test]
    fn what_cannot_be_read_is_told_without_its_reason() {
        for (errno, status) in
            [(Errno::ACCESS, 403), (Errno::MFILE, 503), (Errno::NFILE, 503), (Errno::IO, 500)]
        {
            assert_eq!(failed("/page", &errno.into()).status(), status, "{errno}");
        }
    }
}
