//! `func prepare`: the data folder, made for parts that run as users of their own.

use std::process::ExitCode;

use anyhow::{Context, ensure};
use func_store::{DataDir, Users};

use crate::cli::Prepare;

/// Makes every folder, and gives each to the user of its part.
pub fn run(prepare: &Prepare) -> anyhow::Result<ExitCode> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "only root gives folders to other users: run `func prepare` as root"
    );
    let (edge, githost) = (prepare.edge_user, prepare.githost_user);
    ensure!(edge != githost, "edge and git host must be different users: one could do what the other may");
    let (path, users) = (prepare.at.path(), Users { edge, githost, shared: prepare.group });
    let (_, changes) =
        DataDir::hand_out(&path, users).with_context(|| format!("prepare the folder {}", path.display()))?;
    changes.iter().for_each(|change| eprintln!("{change}"));
    Ok(ExitCode::SUCCESS)
}
