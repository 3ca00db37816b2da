//! `func hook pre-receive` and `post-receive`: what git runs before and after a push changes refs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use func_hooks::{Admission, HookError, PostReceive};
use func_model::AppName;
use func_store::{Audit, DataDir};

use crate::server_info::ServerInfo;

/// Deploys what was pushed. The git host has put what it needs into the environment.
pub async fn post_receive() -> anyhow::Result<ExitCode> {
    let variable = |name: &str| {
        std::env::var(name)
            .with_context(|| format!("{name} is not set: this is for the git host of func to call"))
    };
    let app: AppName = variable("FUNC_APP")?.parse()?;
    let root = PathBuf::from(variable("FUNC_DATA")?);
    let data = DataDir::at(&root)?;
    let branch = ServerInfo::read(&root).map_or_else(|| "main".to_owned(), |info| info.branch);
    // An unreadable one would be a fault of the git host: the push is in the repository, and is deployed.
    let by = std::env::var("FUNC_PRINCIPAL").ok().and_then(|text| serde_json::from_str(&text).ok());
    let env = PostReceive {
        app,
        builder: data.socket("deploy"),
        branch,
        verdict: std::env::var_os("FUNC_VERDICT").map(PathBuf::from),
        by,
        audit: Audit::new(&data),
    };
    let input = tokio::io::BufReader::new(tokio::io::stdin());
    match func_hooks::post_receive(input, std::io::stdout(), env).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Nobody is there to be told.
        Err(HookError::Output(_)) => Ok(ExitCode::FAILURE),
        Err(e) => Err(e.into()),
    }
}

/// Lets a push change the repository in the current folder, or not; git runs its hooks there.
pub async fn pre_receive() -> anyhow::Result<ExitCode> {
    let input = tokio::io::BufReader::new(tokio::io::stdin());
    let quarantine = std::env::var_os("GIT_QUARANTINE_PATH").map(PathBuf::from);
    match func_hooks::pre_receive(input, std::io::stdout(), Path::new("."), quarantine.as_deref()).await {
        Ok(Admission::Taken) => Ok(ExitCode::SUCCESS),
        Ok(Admission::Refused) | Err(HookError::Output(_)) => Ok(ExitCode::FAILURE),
        Err(e) => Err(e.into()),
    }
}
