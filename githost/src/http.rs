//! The HTTP door: git's smart protocol for those who have the token.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use async_compression::tokio::bufread::GzipDecoder;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use func_model::Principal;
use futures_util::{StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::HostError;
use crate::admission::{Admission, admission};
use crate::call::{Call, Program, Protocol, Talk, app};
use crate::host::{Host, Outcome, log_error};
use crate::limits::{
    CHUNK_BYTES, CHUNKS_MAX, DISCARD, HTTP_CONNECTION, HTTP_HEAD, HTTP_HEAD_BYTES, HTTP_HEADERS_MAX, LOGIN,
    TOKEN_REFUSAL,
};
use crate::places::Place;
use crate::relay::{Ending, Input, Wire};

/// Sent to a client that finds no place.
pub(crate) const FULL: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\nconnection: close\r\n\
     content-type: text/plain\r\ncontent-length: 52\r\n\r\nfunc: too many connections: please try again later.\n";

const HELP: &str = "func: a git host. To deploy: git push http://func:<token>@<this host>/<app> main\n";
const NO_TOKEN: &str = "func: the token is missing or wrong. Use any user name, and as the password the token that func \
     showed or left in keys/token at its first start; `func token` makes a new one.\n";
const DUMB: &str = "func: only git's smart HTTP is served, which every git since 1.6.6 speaks\n";

/// What all HTTP connections share.
pub(crate) struct Http {
    pub(crate) host: Arc<Host>,
    pub(crate) tasks: TaskTracker,
    /// Set when what is in flight may end, and nothing new starts.
    pub(crate) shutdown: CancellationToken,
    /// Set when the time for that is over.
    pub(crate) cut: CancellationToken,
}

/// Serves one connection until the client leaves or has to.
pub(crate) async fn serve(http: Arc<Http>, stream: TcpStream, place: Arc<Place>) {
    let shared = (http.clone(), place.clone());
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let (http, place) = shared.clone();
        async move { Ok::<_, Infallible>(answer(&http, &place, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_HEAD)
        .max_headers(HTTP_HEADERS_MAX)
        .max_buf_size(HTTP_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let limit = tokio::time::sleep(http.host.within.saturating_add(HTTP_CONNECTION));
    let login = tokio::time::sleep(LOGIN);
    tokio::pin!(limit, login);
    let (mut leaving, mut starting) = (false, true);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(e) = ended {
                    tracing::debug!("an HTTP connection ended: {e}");
                }
                return;
            }
            () = http.shutdown.cancelled(), if !leaving => {
                leaving = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut login, if starting => {
                starting = false;
                if place.is_starting() {
                    leaving = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = place.evicted() => return,
            () = http.cut.cancelled() => return,
            () = &mut limit => return,
        }
    }
}

/// What a request is for.
enum Wanted {
    Help,
    Health,
    Git {
        program: Program,
        talk: Talk,
        repository: String,
    },
    /// A file of the dumb protocol, or anything else.
    Other,
}

fn wanted(request: &Request<Body>) -> Wanted {
    let path = request.uri().path();
    let is_get = *request.method() == Method::GET;
    if is_get && path == "/" {
        return Wanted::Help;
    }
    if is_get && path == "/healthz" {
        return Wanted::Health;
    }
    if is_get && let Some(repository) = path.strip_suffix("/info/refs") {
        let fields = request.uri().query().unwrap_or_default().split('&');
        let program = fields.filter_map(|field| field.strip_prefix("service=")).find_map(Program::from_name);
        let Some(program) = program else { return Wanted::Other };
        return Wanted::Git { program, talk: Talk::Refs, repository: repository.to_owned() };
    }
    if *request.method() == Method::POST
        && let Some((repository, name)) = path.rsplit_once('/')
        && let Some(program) = Program::from_name(name)
    {
        return Wanted::Git { program, talk: Talk::Turn, repository: repository.to_owned() };
    }
    Wanted::Other
}

async fn answer(http: &Http, place: &Place, request: Request<Body>) -> Response {
    let wanted = wanted(&request);
    match wanted {
        Wanted::Help => return text(StatusCode::OK, HELP),
        Wanted::Health => return text(StatusCode::OK, "ok\n"),
        Wanted::Git { .. } | Wanted::Other => {}
    }
    // The body is not read before this is decided: a push that is not let in sends nothing.
    match admission(&http.host.data, request.headers()).await {
        Admission::Granted => {}
        Admission::Missing => return challenge(),
        Admission::Wrong => {
            let by = Principal::Token { address: place.address };
            http.host.refusals.refused(by, "a wrong token").await;
            tokio::time::sleep(TOKEN_REFUSAL).await;
            return challenge();
        }
    }
    if !place.admit() {
        return refusal(&HostError::Crowded);
    }
    let Wanted::Git { program, talk, repository } = wanted else { return text(StatusCode::FORBIDDEN, DUMB) };
    let app = match app(&repository) {
        Ok(app) => app,
        Err(error) => return refusal(&error),
    };
    let protocol = header(request.headers(), "git-protocol").and_then(Protocol::from_text);
    let input = match input(program, talk, request) {
        Ok(input) => input,
        Err(why) => return text(StatusCode::UNSUPPORTED_MEDIA_TYPE, why),
    };
    let by = Principal::Token { address: place.address };
    run(http, Call { program, app, talk, protocol, by }, input).await
}

/// Gives the request's body as git shall read it, or says why it cannot be read.
fn input(program: Program, talk: Talk, request: Request<Body>) -> Result<Input, String> {
    if talk == Talk::Refs {
        return Ok(Box::pin(futures_util::stream::empty()));
    }
    let kind = format!("application/x-git-{}-request", program.verb());
    if header(request.headers(), "content-type") != Some(kind.as_str()) {
        return Err(format!("func: the content type must be {kind}\n"));
    }
    let encoding = header(request.headers(), "content-encoding").unwrap_or("identity").to_ascii_lowercase();
    let body = request.into_body().into_data_stream().map_err(io::Error::other);
    match encoding.as_str() {
        "identity" => Ok(Box::pin(body)),
        "gzip" | "x-gzip" => {
            let plain = GzipDecoder::new(StreamReader::new(body));
            Ok(Box::pin(ReaderStream::with_capacity(plain, CHUNK_BYTES)))
        }
        _ => Err("func: the content encoding must be gzip, or none\n".to_owned()),
    }
}

/// Runs git in a task of its own and answers as soon as it is known how: with git's first output, or with its end.
///
/// Not sooner: an answer would end the wait of a client that sent `Expect: 100-continue`.
async fn run(http: &Http, call: Call, input: Input) -> Response {
    let (output, mut chunks) = mpsc::channel(CHUNKS_MAX);
    let (ended, end) = oneshot::channel();
    let mut wire = Wire { input, output, left: http.cut.child_token() };
    let (host, served) = (http.host.clone(), call.clone());
    http.tasks.spawn(async move {
        // Nobody waits for the end once there was output.
        let _ = ended.send(host.serve(&served, &mut wire).await);
        drop(wire.output);
        // The answer is complete. What the client still sends is thrown away, so that it comes to read it.
        let rest = wire.input.for_each(|_| std::future::ready(()));
        let _ = tokio::time::timeout(DISCARD, rest).await;
    });
    if let Some(first) = chunks.recv().await {
        return stream(&call, Some(first), chunks);
    }
    match end.await.unwrap_or(Err(HostError::Panic)) {
        Ok(Outcome { ending: Ending::Exited(0), .. }) => stream(&call, None, chunks),
        Ok(Outcome { ending: Ending::Exited(_), .. }) => {
            text(StatusCode::INTERNAL_SERVER_ERROR, "func: git failed; the log of the git host says why\n")
        }
        Ok(Outcome { ending: Ending::Left, .. }) => {
            text(StatusCode::BAD_REQUEST, "func: the request is broken, or ended too early\n")
        }
        Ok(Outcome { ending: Ending::TooLong, .. }) => text(StatusCode::GATEWAY_TIMEOUT, call.too_long()),
        Err(error) => refusal(&error),
    }
}

/// Makes the answer that streams what git says, as it says it.
///
/// Source: gitprotocol-http(5); a v2 client wants no line about the service, but a push is never v2.
fn stream(call: &Call, first: Option<Bytes>, rest: mpsc::Receiver<Bytes>) -> Response {
    let verb = call.program.verb();
    let is_v2 = call.program == Program::UploadPack && call.protocol.as_ref().is_some_and(Protocol::is_v2);
    let (kind, intro) = match call.talk {
        Talk::Refs if is_v2 => ("advertisement", None),
        Talk::Refs => {
            let line = format!("# service=git-{verb}\n");
            ("advertisement", Some(Bytes::from(format!("{:04x}{line}0000", line.len() + 4))))
        }
        Talk::Turn | Talk::Whole => ("result", None),
    };
    let chunks = futures_util::stream::iter(intro.into_iter().chain(first)).chain(ReceiverStream::new(rest));
    let body = Body::from_stream(chunks.map(Ok::<_, Infallible>));
    respond(StatusCode::OK, &format!("application/x-git-{verb}-{kind}"), body)
}

fn challenge() -> Response {
    let mut response = text(StatusCode::UNAUTHORIZED, NO_TOKEN);
    let realm = HeaderValue::from_static("Basic realm=\"func\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, realm);
    response
}

fn refusal(error: &HostError) -> Response {
    log_error(error);
    let status = match error {
        HostError::Name(_) | HostError::NotGit(_) => StatusCode::BAD_REQUEST,
        HostError::NoSuchApp(_) => StatusCode::NOT_FOUND,
        HostError::Crowded => StatusCode::SERVICE_UNAVAILABLE,
        HostError::LowDisk { .. } | HostError::OverBudget { .. } => StatusCode::INSUFFICIENT_STORAGE,
        HostError::Make { .. }
        | HostError::Io { .. }
        | HostError::Spawn(_)
        | HostError::Wait(_)
        | HostError::HostKey { .. }
        | HostError::Store(_)
        | HostError::Panic => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, format!("func: {}\n", error.text()))
}

/// Git shows its user the body of a refusal only if it is exactly of this type.
fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    respond(status, "text/plain", body.into())
}

fn respond(status: StatusCode, kind: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(kind) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(header::EXPIRES, HeaderValue::from_static("Fri, 01 Jan 1980 00:00:00 GMT"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_full_door_is_well_formed() {
        let (head, body) = FULL.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.ends_with(&format!("\r\ncontent-length: {}", body.len())), "{head} {}", body.len());
    }
}
