//! The git program: func needs one that is new enough, and says so before a pusher finds out.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

/// The oldest git that does all that is asked of it: `--http-backend-info-refs` came with 2.34.
const OLDEST: (u32, u32) = (2, 34);
const WITHIN: Duration = Duration::from_secs(10);

/// Gives git's version line if it is new enough.
///
/// # Errors
/// If there is no git, or an old one; the text says what to do.
pub async fn check() -> anyhow::Result<String> {
    let asked = Command::new("git").arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let out = tokio::time::timeout(WITHIN, asked).await.context("git does not answer: reinstall it")?;
    let out = out.context("the program git is not there: apt-get install git")?;
    let line = String::from_utf8_lossy(&out.stdout).trim().to_owned();
    match version(&line) {
        Some(found) if found >= OLDEST => Ok(line),
        Some(_) | None => bail!("`{line}` is too old: func needs git {}.{} or newer", OLDEST.0, OLDEST.1),
    }
}

/// Reads `git version 2.47.3` as (2, 47).
fn version(line: &str) -> Option<(u32, u32)> {
    let mut numbers = line.strip_prefix("git version ")?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_however_it_is_written() {
        assert_eq!(version("git version 2.47.3"), Some((2, 47)));
        assert_eq!(version("git version 2.39.5 (Apple Git-154)"), Some((2, 39)));
        assert_eq!(version("git version 3.0.rc1"), Some((3, 0)));
        assert_eq!(version("something else"), None);
    }
}
