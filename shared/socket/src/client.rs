//! The asking side.

use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::debug;

use crate::address::Address;
use crate::limits::{ANSWER_BYTES_MAX, ANSWER_WITHIN, CONNECT_EVERY, CONNECT_TRIES};
use crate::lines::Connection;
use crate::{CallError, Lines};

/// Calls a service: `path` is its socket, and the file's stem its name in errors (`builder.sock`, "the builder").
/// `body` is sent as JSON. Gives the answer's lines.
///
/// # Errors
/// [`CallError::NotRunning`] if nobody listens, [`CallError::Refused`] for an answer that is not 2xx, others as
/// their names say.
pub async fn call(
    path: &Path,
    method: Method,
    uri: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Result<Lines, CallError> {
    call_within(path, method, uri, body, ANSWER_WITHIN).await
}

/// As [`call`]; the answer begins within `within`.
async fn call_within(
    path: &Path,
    method: Method,
    uri: &str,
    body: Option<&(impl Serialize + Sync)>,
    within: Duration,
) -> Result<Lines, CallError> {
    let service = service(path);
    let request = request(&service, method, uri, body)?;
    let stream = connect(&service, path).await?;
    let broken = |source| CallError::Broken { service: service.clone(), source };
    let asked = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            if let Err(e) = connection.await {
                debug!(error = %e, "the call's connection ended");
            }
        }));
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, connection))
    };
    let (response, connection) = match timeout(within, asked).await {
        Ok(answered) => answered?,
        Err(_) => return Err(CallError::Slow { service, within_s: within.as_secs() }),
    };
    let (head, incoming) = response.into_parts();
    let lines = Lines::new(service, incoming, connection);
    if head.status.is_success() {
        return Ok(lines);
    }
    let said = lines.rest(ANSWER_BYTES_MAX).await?;
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    let said = if said.is_empty() { format!("it answered {}", head.status) } else { said };
    Err(CallError::Refused { status: head.status, said })
}

/// As [`call`], for an answer that is one JSON value.
///
/// # Errors
/// As [`call`]; [`CallError::Json`] if the answer is another value than expected.
pub async fn call_json<T: DeserializeOwned>(
    path: &Path,
    method: Method,
    uri: &str,
    body: Option<&(impl Serialize + Sync)>,
) -> Result<T, CallError> {
    call_json_within(path, method, uri, body, ANSWER_WITHIN).await
}

/// As [`call_json`], for an answer that is whole within `within`: for work that takes its time. Dropping the future
/// closes the connection.
///
/// # Errors
/// As [`call_json`]; [`CallError::Slow`] after `within`.
pub async fn call_json_within<T: DeserializeOwned>(
    path: &Path,
    method: Method,
    uri: &str,
    body: Option<&(impl Serialize + Sync)>,
    within: Duration,
) -> Result<T, CallError> {
    let service = service(path);
    let answered = async { call_within(path, method, uri, body, within).await?.rest(ANSWER_BYTES_MAX).await };
    let bytes = match timeout(within, answered).await {
        Ok(bytes) => bytes?,
        Err(_) => return Err(CallError::Slow { service, within_s: within.as_secs() }),
    };
    serde_json::from_slice(&bytes).map_err(|source| CallError::Json { service, source })
}

/// Gives the name of the service that listens on a socket, for errors. Cleaner and builder have one more each, for other
/// users: for starts, and for builds.
fn service(path: &Path) -> String {
    match path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy() {
        stem if stem == "start" => "cleaner".to_owned(),
        stem if stem == "deploy" => "builder".to_owned(),
        stem => stem.into_owned(),
    }
}

fn request(
    service: &str,
    method: Method,
    uri: &str,
    body: Option<&impl Serialize>,
) -> Result<Request<Full<Bytes>>, CallError> {
    let failed = |source| CallError::Request { service: service.to_owned(), source };
    let json = match body {
        Some(body) => serde_json::to_vec(body).map_err(|e| failed(e.into()))?,
        None => Vec::new(),
    };
    Request::builder()
        .method(method)
        .uri(uri)
        .header(HOST, "func")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(json)))
        .map_err(|e| failed(e.into()))
}

async fn connect(service: &str, path: &Path) -> Result<UnixStream, CallError> {
    let service = service.to_owned();
    let mut tries = 0;
    loop {
        let connected = match Address::of(path) {
            Ok(address) => UnixStream::connect(address.path()).await,
            Err(e) => Err(e),
        };
        tries += 1;
        match connected {
            Ok(stream) => return Ok(stream),
            // The backlog is full.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && tries < CONNECT_TRIES => {
                tokio::time::sleep(CONNECT_EVERY).await;
            }
            Err(source) => {
                return Err(match source.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        CallError::NotRunning { service, source }
                    }
                    io::ErrorKind::PermissionDenied => CallError::Forbidden { service, source },
                    _ => CallError::Connect { service, source },
                });
            }
        }
    }
}
