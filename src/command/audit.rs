//! `func audit`: who did what, and from where.

use std::io::Write;
use std::process::ExitCode;

use func_model::{AuditEnd, AuditRecord, plain_line, utc};
use func_store::Audit;

use crate::cli;

/// Prints the last records, the newest last.
pub fn run(audit: &cli::Audit) -> anyhow::Result<ExitCode> {
    let records = Audit::new(&audit.at.data()?).last(audit.lines, audit.app.as_ref())?;
    let mut out = std::io::stdout().lock();
    for record in &records {
        let line = if audit.json { serde_json::to_string(record)? } else { readable(record) };
        if writeln!(out, "{}", plain_line(&line)).is_err() {
            break;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A record as a person reads it: when, what, how it ended, who.
fn readable(record: &AuditRecord) -> String {
    let end = match record.end {
        AuditEnd::Done => "",
        AuditEnd::Failed => " FAILED",
        AuditEnd::Refused => " REFUSED",
    };
    let app = record.app.as_ref().map(|app| format!(" {app}")).unwrap_or_default();
    let detail = if record.detail.is_empty() { String::new() } else { format!(" ({})", record.detail) };
    let more = if record.unlisted > 0 { format!("; {} more before", record.unlisted) } else { String::new() };
    format!("{}  {}{app}{end}{detail}  by {}{more}", utc(record.at_ms), record.act, record.by)
}
