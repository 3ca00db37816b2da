//! `func token`: a new token for git over HTTP.

use std::process::ExitCode;

use func_store::Token;

use crate::cli;
use crate::server_info::ServerInfo;

/// Makes the token, in force at once, prints it, and leaves it in a file for its owner alone.
pub fn run(token: &cli::Token) -> anyhow::Result<ExitCode> {
    let data = token.at.data()?;
    let (_, text) = Token::make_file(&data)?;
    println!("{text}");
    if let Some(http) = ServerInfo::read(data.root()).and_then(|info| info.http) {
        let rest = http.trim_start_matches("http://");
        eprintln!("The old token is good no more. A remote with the new one:");
        eprintln!("  git remote set-url func http://func:{text}@{rest}/blog.git");
    }
    eprintln!("It is in {} as well.", Token::file(&data).display());
    Ok(ExitCode::SUCCESS)
}
