//! `func releases`: what can be rolled back to.

use std::process::ExitCode;

use anyhow::ensure;
use func_model::ReleaseId;
use func_store::Manifests;

use super::time::{ago, now_ms, print_table};
use crate::cli::Releases;

/// Lists an app's releases, the newest first.
pub fn run(releases: &Releases) -> anyhow::Result<ExitCode> {
    let app = &releases.app;
    let data = releases.at.data()?;
    let manifests = Manifests::new(data.clone());
    let (numbers, live, pinned) = (manifests.numbers(app)?, manifests.current(app)?, manifests.pinned(app)?);
    let known = !numbers.is_empty() || data.repository(app).exists();
    ensure!(known, "there is no app {app}: see func apps");
    if numbers.is_empty() {
        println!("{app} has no release yet.");
        return Ok(ExitCode::SUCCESS);
    }
    let now_ms = now_ms();
    let mut rows = vec![["RELEASE", "REVISION", "RECIPE", "MADE", ""].map(String::from).to_vec()];
    for number in numbers.into_iter().rev() {
        let Some(release) = manifests.release(&ReleaseId { app: app.clone(), number })? else { continue };
        let marks = [(live == Some(number), "live"), (pinned.contains(&number), "pinned")];
        let marks: Vec<_> = marks.into_iter().filter_map(|(has, mark)| has.then_some(mark)).collect();
        let revision = release.revision.short().to_owned();
        rows.push(vec![
            number.to_string(),
            revision,
            release.recipe,
            ago(release.created_ms, now_ms),
            marks.join(", "),
        ]);
    }
    print_table(&rows);
    Ok(ExitCode::SUCCESS)
}
