//! `func trace`: one request to an app, and where its time goes.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use func_model::AppName;
use func_model::call::AppStatus;
use func_socket::CallError;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::time::print_table;
use crate::cli::Trace;
use crate::server_info::ServerInfo;

/// Longer than any start: the edge gives up before.
const WITHIN: Duration = Duration::from_secs(90);
/// How long an app that was used just now, or may have been, is asked to rest, and how often.
const REST_WITHIN: Duration = Duration::from_secs(20);
const REST_AGAIN: Duration = Duration::from_millis(250);
/// How long it is waited for the next instance to be made ahead, and how often it is looked.
const POISED_WITHIN: Duration = Duration::from_secs(3);
const POISED_AGAIN: Duration = Duration::from_millis(50);

/// What one request gave.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    took: Duration,
}

/// Sends the request and prints the parts that the edge tells.
pub async fn run(trace: &Trace) -> anyhow::Result<ExitCode> {
    let data = trace.at.data()?;
    let info = ServerInfo::read(data.root()).context("no server has run here yet: func serve all")?;
    let edge = info.edge.context("the server is of another version: start it again")?;
    ensure!(trace.path.starts_with('/'), "`{}` is no path: it begins with /", trace.path);
    if trace.cold {
        rest(&data, trace).await?;
    }
    let host = format!("{}.{}", trace.app, info.domain);
    let answer = tokio::time::timeout(WITHIN, ask(edge, &host, &trace.path))
        .await
        .with_context(|| format!("{host} did not answer within {} s", WITHIN.as_secs()))??;
    println!("{host}{} answered {} in {} ms", trace.path, answer.status, ms(answer.took));
    print_table(&parts(&answer.headers));
    Ok(match answer.status.is_server_error() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Lets the app go to rest, as if its idle time were over. What was used just now is asked again for a while.
async fn rest(data: &func_store::DataDir, trace: &Trace) -> anyhow::Result<()> {
    let (uri, began) = (format!("/apps/{}/rest", trace.app), Instant::now());
    loop {
        let asked: Result<AppStatus, CallError> =
            func_socket::call_json(&data.socket("cleaner"), Method::POST, &uri, None::<&()>).await;
        match asked {
            Err(CallError::Refused { status: StatusCode::CONFLICT, .. }) if began.elapsed() < REST_WITHIN => {
                tokio::time::sleep(REST_AGAIN).await;
            }
            Err(e) => return Err(e.into()),
            Ok(_) => return poised(data, &trace.app).await,
        }
    }
}

/// Waits a little until the app is poised; one that is not will be started the plain way.
async fn poised(data: &func_store::DataDir, app: &AppName) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let apps: Vec<AppStatus> =
            func_socket::call_json(&data.socket("cleaner"), Method::GET, "/apps", None::<&()>).await?;
        let phase = apps.into_iter().find(|status| status.app == *app).map(|status| status.phase);
        let phase = phase.unwrap_or_default();
        if phase == "poised" || began.elapsed() > POISED_WITHIN {
            println!("{app} is {phase}");
            return Ok(());
        }
        tokio::time::sleep(POISED_AGAIN).await;
    }
}

async fn ask(edge: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
    let began = Instant::now();
    let reach = || format!("reach the edge at {edge}");
    let stream = TcpStream::connect(edge).await.with_context(reach)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.with_context(reach)?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(HOST, host)
        .header(CONNECTION, "close")
        .header("user-agent", "func-trace")
        .header("x-func-trace", "1")
        .body(Empty::<Bytes>::new())
        .with_context(|| format!("ask for {path}"))?;
    let response = sender.send_request(request).await.context("read the answer")?;
    let took = began.elapsed();
    // Only the head was asked for.
    connection.abort();
    Ok(Answer { status: response.status(), headers: response.headers().clone(), took })
}

fn ms(took: Duration) -> String {
    format!("{:.1}", took.as_secs_f64() * 1_000.0)
}

/// The rows of the `Server-Timing` headers: `claim;dur=0.4`, `cold;desc=poised`.
fn parts(headers: &HeaderMap) -> Vec<Vec<String>> {
    let lines = headers.get_all("server-timing").iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(part).collect()
}

fn part(metric: &str) -> Option<Vec<String>> {
    let mut fields = metric.split(';').map(str::trim);
    let name = fields.next().filter(|name| !name.is_empty())?;
    let (mut time, mut said) = (String::new(), String::new());
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "dur" => time = format!("{value:>10} ms"),
            "desc" => said = value.trim_matches('"').to_owned(),
            _ => {}
        }
    }
    Some(vec![format!("  {name}"), time, said])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_the_timing_is_a_row() {
        let mut headers = HeaderMap::new();
        headers.append("server-timing", "claim;dur=0.412, cold;desc=poised".parse().expect("a value"));
        headers.append("server-timing", "db;dur=53;desc=\"my db\", ,".parse().expect("a value"));
        let rows = parts(&headers);
        assert_eq!(rows[0], ["  claim", "     0.412 ms", ""]);
        assert_eq!(rows[1], ["  cold", "", "poised"]);
        assert_eq!(rows[2], ["  db", "        53 ms", "my db"]);
        assert_eq!(rows.len(), 3);
    }
}
