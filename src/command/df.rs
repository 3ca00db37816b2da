//! `func df`: what is kept on disk, the budget, and what goes first.

use std::process::ExitCode;
use std::time::Duration;

use func_model::{DiskPart, DiskReport, Eviction, PartReport, size};
use func_store::DataDir;
use http::Method;

use super::time::print_table;
use crate::cli::Df;

/// An old engine adds up all of its containers and volumes.
const WITHIN: Duration = Duration::from_secs(5 * 60);

/// Prints what the cleaner measures now.
pub async fn run(df: &Df) -> anyhow::Result<ExitCode> {
    let report = ask(&df.at.data()?, WITHIN).await?;
    if df.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(ExitCode::SUCCESS);
    }
    print_table(&rows(&report));
    println!();
    for part in &report.parts {
        println!("{}", bound(part));
    }
    match report.refusal() {
        Some(_) => println!(
            "Pushes are refused: nothing more may go. Make room (func rm, func unpin), or raise `disk`."
        ),
        None => println!("First to go: {}", next(&report.next)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Asks the cleaner for a report.
pub async fn ask(data: &DataDir, within: Duration) -> anyhow::Result<DiskReport> {
    let socket = data.socket("cleaner");
    Ok(func_socket::call_json_within(&socket, Method::GET, "/disk", None::<&()>, within).await?)
}

fn rows(report: &DiskReport) -> Vec<Vec<String>> {
    let row = |name: &str, repository: Option<u64>, images: Option<u64>, logs: Option<u64>, total: u64| {
        let cell = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), size);
        vec![name.to_owned(), cell(repository), cell(images), cell(logs), size(total)]
    };
    let mut rows = vec![["", "REPOSITORY", "IMAGES", "LOGS", "TOTAL"].map(String::from).to_vec()];
    for app in &report.apps {
        let (repository, images, logs) = (app.repository_bytes, app.images_bytes, app.logs_bytes);
        let total = repository + images + logs;
        rows.push(row(app.app.as_str(), Some(repository), Some(images), Some(logs), total));
    }
    let shared = report.shared_layers_bytes;
    rows.push(row("(shared layers)", None, Some(shared), None, shared));
    rows.push(row("(build cache)", None, None, None, report.cache_bytes));
    rows.push(row("(func's own)", None, None, None, report.own_bytes));
    let (repositories, images, logs) = (report.repositories_bytes, report.images_bytes, report.logs_bytes);
    let total = repositories + images + logs + report.cache_bytes + report.own_bytes;
    rows.push(row("total", Some(repositories), Some(images), Some(logs), total));
    rows
}

fn bound(part: &PartReport) -> String {
    let of = match part.part {
        DiskPart::Everything => "budget",
        DiskPart::Engine => "budget of images and build cache",
        DiskPart::Data => "budget of repositories and logs",
    };
    let percent = part.used_bytes.saturating_mul(100) / part.budget_bytes.max(1);
    format!("{of}: {} of {} ({percent}%)", size(part.used_bytes), size(part.budget_bytes))
}

fn next(evictions: &[Eviction]) -> String {
    match evictions {
        [] => "nothing may go".to_owned(),
        some => some.iter().map(Eviction::text).collect::<Vec<_>>().join(", "),
    }
}
