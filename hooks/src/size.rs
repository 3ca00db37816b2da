//! How large the commits and tags of a push may be: func and git read them again and again.

use std::io;
use std::path::Path;
use std::process::Stdio;

use func_model::limits::COMMIT_BYTES;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Returns the id of a commit or a tag among the objects of a push that is larger than is read. Git keeps them in a folder
/// of their own until its refs change.
///
/// # Errors
/// If git cannot be run, or does not know them.
///
/// Source: git-receive-pack(1), QUARANTINE ENVIRONMENT.
pub async fn too_large(repository: &Path, quarantine: &Path) -> io::Result<Option<String>> {
    let mut git = Command::new("git");
    git.args(["cat-file", "--batch-all-objects", "--unordered", "--buffer"]);
    git.arg("--batch-check=%(objecttype) %(objectsize) %(objectname)").current_dir(repository);
    git.env("GIT_OBJECT_DIRECTORY", quarantine).env_remove("GIT_ALTERNATE_OBJECT_DIRECTORIES");
    git.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut running = git.spawn()?;
    let output = running.stdout.take().ok_or_else(|| io::Error::other("its output is taken"))?;
    let mut lines = BufReader::new(output).lines();
    while let Some(line) = lines.next_line().await? {
        if let Some(id) = large(&line) {
            return Ok(Some(id.to_owned()));
        }
    }
    let status = running.wait().await?;
    if status.success() {
        Ok(None)
    } else {
        Err(io::Error::other(format!("git cat-file ended with {status}")))
    }
}

/// Reads a line of git's, and returns the object's id if it is a commit or a tag that is too large.
fn large(line: &str) -> Option<&str> {
    let mut fields = line.split(' ');
    let (kind, size, id) = (fields.next()?, fields.next()?, fields.next()?);
    let is_large = size.parse::<u64>().map_or(true, |size| size > COMMIT_BYTES);
    (matches!(kind, "commit" | "tag") && is_large).then_some(id)
}
