//! `func init`: adds the git remote, and says what to do next.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use func_model::{AppName, redacted_url};
use git2::Repository;

use crate::cli::Init;
use crate::server_info::ServerInfo;

const REMOTE: &str = "func";

/// Adds the remote `func` to the repository around the current folder.
pub fn run(init: &Init) -> anyhow::Result<ExitCode> {
    let repository =
        Repository::discover(".").context("this folder is in no git repository: run git init first")?;
    let name = match &init.name {
        Some(name) => name.clone(),
        None => folder_name(&repository)?,
    };
    let info = ServerInfo::read(&init.at.path());
    let local = info.as_ref().and_then(|i| i.ssh.clone().or_else(|| i.http.clone()));
    let server = init.server.clone().or(local).context(
        "no server is known on this machine: name its data folder with --data DIR, or it with --server ssh://host:7022",
    )?;
    let url = format!("{}/{name}.git", server.trim_end_matches('/'));
    let existing = repository.find_remote(REMOTE).ok().and_then(|r| r.url().map(str::to_owned).ok());
    match existing {
        Some(existing) if existing == url => {}
        Some(existing) => {
            let existing = redacted_url(&existing);
            bail!("the remote `{REMOTE}` is {existing} already: git remote remove {REMOTE}, or keep it")
        }
        None => drop(repository.remote(REMOTE, &url).context("add the remote")?),
    }
    let branch = info.as_ref().map_or("main", |i| i.branch.as_str());
    if url.starts_with("ssh") && init.server.is_none() && no_keys(&init.at.path()) {
        println!(
            "No public key is let in yet: put yours into {}/keys/authorized_keys\n",
            init.at.path().display()
        );
    }
    println!("The remote `{REMOTE}` is {}. To deploy what is committed:\n", redacted_url(&url));
    println!("  git push {REMOTE} {branch}\n");
    if repository
        .head()
        .ok()
        .and_then(|head| head.shorthand().map(str::to_owned).ok())
        .is_some_and(|h| h != branch)
    {
        println!("(this is not the branch {branch}: git push {REMOTE} HEAD:{branch})");
    }
    if let Some(info) = info.filter(|_| init.server.is_none()) {
        println!("It answers at {} then.", info.app_url(name.as_str()));
    }
    Ok(ExitCode::SUCCESS)
}

/// The folder's name, if it is one for an app.
fn folder_name(repository: &Repository) -> anyhow::Result<AppName> {
    let folder = repository.workdir().unwrap_or_else(|| repository.path());
    let name = folder.file_name().map(|n| n.to_string_lossy().to_lowercase().replace(['_', ' ', '.'], "-"));
    let name = name.unwrap_or_default();
    name.parse()
        .with_context(|| format!("name the app: func init NAME ({} has no name for one)", shown(folder)))
}

/// Whether the server's own file of keys is empty; unreadable is not empty.
fn no_keys(data: &Path) -> bool {
    match std::fs::read_to_string(data.join("keys/authorized_keys")) {
        Ok(text) => text.trim().is_empty(),
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
