//! What `make run` prints when everything is ready: how to push, where to look, how to stop.

use func_store::{DataDir, Token};

use crate::server_info::ServerInfo;
use crate::settings::Settings;

/// Says that func is ready: with the guide, or in a line. The guide shows a new token; a log only says where it is.
pub(super) fn tell(guide: bool, info: &ServerInfo, token: Option<&str>, data: &DataDir, settings: &Settings) {
    if guide {
        return print(info, token, data, settings);
    }
    if token.is_some() {
        tracing::info!("the token for git over HTTP is in {}", Token::file(data).display());
    }
    tracing::info!("func is ready");
}

fn print(info: &ServerInfo, token: Option<&str>, data: &DataDir, settings: &Settings) {
    let keys = keys(data, settings);
    println!("\nfunc is ready. In the repository of an app, called blog here:\n");
    if let Some(ssh) = &info.ssh {
        println!("  over SSH    git remote add func {ssh}/blog.git");
        println!("              git push func {}", info.branch);
        if keys == 0 {
            println!("              (no public key is let in yet: put yours into");
            println!("              {})", data.keys().join("authorized_keys").display());
        }
    }
    if let Some(http) = &info.http {
        let rest = http.trim_start_matches("http://");
        println!(
            "  over HTTP   git remote add func http://func:{}@{rest}/blog.git",
            token.unwrap_or("TOKEN")
        );
        println!("              git push func {}", info.branch);
        match token {
            Some(_) => println!("              (this token is shown only now)"),
            None => println!("              (TOKEN was shown at the first start; for a new one: func token)"),
        }
    }
    println!("  look        {}", info.app_url("blog"));
    println!("  commands    {} apps --data {}", program(), data.root().display());
    println!("  stop        Ctrl-C; apps that run go on running. All of it away: make clean-data\n");
}

/// This program as it can be typed: its name alone would have to be on the PATH.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "func".to_owned(), |path| path.display().to_string())
}

/// How many public keys are let in.
fn keys(data: &DataDir, settings: &Settings) -> usize {
    let mut files = vec![data.keys().join("authorized_keys")];
    if settings.own_keys {
        files.extend(super::parts::own_keys());
    }
    let lines = |text: String| text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')).count();
    files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).map(lines).sum()
}
