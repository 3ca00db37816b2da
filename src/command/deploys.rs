//! `func rollback`, `func pin`, `func unpin` and `func rm`: what the builder is asked, and what it says.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};
use func_model::ReleaseId;
use func_model::call::{Pin, PinCall, RemoveCall, RollbackCall};
use func_model::event::BuildEvent;
use func_store::DataDir;
use http::Method;
use serde::Serialize;

use crate::cli::{self, Rm, Rollback};

/// Makes an older release live again.
pub async fn rollback(rollback: &Rollback) -> anyhow::Result<ExitCode> {
    let call = RollbackCall { app: rollback.app.clone(), to: rollback.to };
    ask(&rollback.at.data()?, "/rollbacks", &call).await
}

/// Keeps a release, or lets it go.
pub async fn pin(given: &cli::Pin, pin: Pin) -> anyhow::Result<ExitCode> {
    let release = ReleaseId { app: given.app.clone(), number: given.release };
    ask(&given.at.data()?, "/pins", &PinCall { release, pin }).await
}

/// Removes an app, after asking.
pub async fn remove(rm: &Rm) -> anyhow::Result<ExitCode> {
    let data = rm.at.data()?;
    if !rm.yes && !confirmed(rm)? {
        println!("Nothing was removed.");
        return Ok(ExitCode::FAILURE);
    }
    ask(&data, "/removals", &RemoveCall { app: rm.app.clone() }).await
}

fn confirmed(rm: &Rm) -> anyhow::Result<bool> {
    let app = &rm.app;
    if !std::io::stdin().is_terminal() {
        bail!("this removes {app}, its releases and its repository: say --yes");
    }
    print!("Remove {app}, its releases and its repository? Type its name: ");
    std::io::stdout().flush().context("ask")?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("read the answer")?;
    Ok(answer.trim() == app.as_str())
}

/// Asks the builder and prints what it says; fails if it says that it failed.
async fn ask(data: &DataDir, uri: &str, call: &(impl Serialize + Sync)) -> anyhow::Result<ExitCode> {
    let mut lines = func_socket::call(&data.socket("builder"), Method::POST, uri, Some(call)).await?;
    let mut last = None;
    while let Some(line) = lines.next().await? {
        let event: BuildEvent = serde_json::from_str(&line).context("read what the builder says")?;
        for line in event.lines() {
            println!("{line}");
        }
        last = Some(event);
    }
    match last {
        Some(BuildEvent::Live { .. } | BuildEvent::Done { .. }) => Ok(ExitCode::SUCCESS),
        Some(_) => Ok(ExitCode::FAILURE),
        None => bail!("the builder said nothing: see its log"),
    }
}
