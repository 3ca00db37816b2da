//! `func logs`: what an app, or its builds, have printed.

use std::io::Write;
use std::process::ExitCode;

use anyhow::ensure;
use func_model::plain_text;
use http::Method;

use crate::cli::Logs;

/// Prints the lines; ends with the reader of the standard output.
pub async fn run(logs: &Logs) -> anyhow::Result<ExitCode> {
    let data = logs.at.data()?;
    let mut out = std::io::stdout();
    if logs.build {
        let known = data.repository(&logs.app).exists() || data.logs(&logs.app).exists();
        ensure!(known, "there is no app {}: see func apps", logs.app);
        for line in func_store::tail(&data.logs(&logs.app), "build", logs.lines)? {
            if writeln!(out, "{}", plain_text(&line)).is_err() {
                break;
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    let uri = format!("/apps/{}/logs?lines={}&follow={}", logs.app, logs.lines, logs.follow);
    let mut lines = func_socket::call(&data.socket("cleaner"), Method::GET, &uri, None::<&()>).await?;
    while let Some(line) = lines.next().await? {
        if writeln!(out, "{}", plain_text(&line)).and_then(|()| out.flush()).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}
