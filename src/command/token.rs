//! `func token`: a new token for git over HTTP.

use std::process::ExitCode;

use func_model::{AuditAct, AuditEnd};
use func_store::{Audit, Token, audited, local};

use crate::cli;
use crate::server_info::ServerInfo;

/// Makes the token, in force at once, prints it, and leaves it in a file for its owner alone.
pub fn run(token: &cli::Token) -> anyhow::Result<ExitCode> {
    let data = token.at.data()?;
    let (_, text) = Token::make_file(&data)?;
    let by = local(rustix::process::getuid().as_raw());
    let record = audited(AuditAct::Token, None, by, AuditEnd::Done, "the old one is good no more");
    Audit::new(&data).record(&record)?;
    println!("{text}");
    if let Some(http) = ServerInfo::read(data.root()).and_then(|info| info.http) {
        let rest = http.trim_start_matches("http://");
        eprintln!("The old token is good no more. A remote with the new one:");
        eprintln!("  git remote set-url func http://func:{text}@{rest}/blog.git");
    }
    eprintln!("It is in {} as well.", Token::file(&data).display());
    Ok(ExitCode::SUCCESS)
}
