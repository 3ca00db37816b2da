//! What git runs in a repository when something was pushed. Git has accepted it by then, and ignores how this ends:
//! what a failed deploy should change is noted in a verdict file, for the server that runs git.

mod deploy;
#[cfg(test)]
mod fuzz_tests;
mod push;
mod refs;
mod size;

use std::io::{self, Write};
use std::path::PathBuf;

use func_crash::point;
use func_model::{AppName, AuditAct, AuditEnd, Principal};
use func_store::{Audit, audited};
use thiserror::Error;
use tokio::io::AsyncBufRead;

pub use crate::refs::{Admission, pre_receive};

use crate::deploy::{Verdict, deploy};
use crate::push::Push;

/// What the verdict file holds after a deploy that failed.
pub const FAILED: &str = "failed";

/// What a post-receive hook is told by the server that runs git.
#[derive(Debug, Clone)]
pub struct PostReceive {
    pub app: AppName,
    /// The builder's socket.
    pub builder: PathBuf,
    /// The branch that is deployed.
    pub branch: String,
    /// Gets [`FAILED`] when the deploy failed; untouched otherwise.
    pub verdict: Option<PathBuf>,
    /// Who pushes, as the door knows.
    pub by: Option<Principal>,
    pub audit: Audit,
}

/// Why a hook did not do its work.
#[derive(Debug, Error)]
pub enum HookError {
    #[error("read what git says about the push")]
    Input(#[source] io::Error),
    /// The pusher has left. The deploy goes on.
    #[error("tell the pusher")]
    Output(#[source] io::Error),
    #[error("note that the deploy failed")]
    Verdict(#[source] io::Error),
}

/// Reads the ref lines of a push, has the builder deploy the deploy branch, and tells the pusher what happens as it
/// happens. Everything else is told in one line: what was not deployed, and why.
///
/// # Errors
/// [`HookError::Input`] if git's lines cannot be read, [`HookError::Output`] if the pusher has left,
/// [`HookError::Verdict`] if the verdict cannot be noted. A failed deploy is no error.
///
/// Source: githooks(5), post-receive.
pub async fn post_receive(
    input: impl AsyncBufRead + Unpin,
    mut output: impl Write,
    env: PostReceive,
) -> Result<(), HookError> {
    let push = Push::read(input, &env.branch).await.map_err(HookError::Input)?;
    point("after_receive");
    let mut remarks = push.remarks(&env.app, &env.branch);
    remarks.extend(write_down(&env, &push));
    let told = tell(&mut output, &remarks).map_err(HookError::Output);
    let Some(revision) = push.deployed() else { return told };
    // The deploy is asked for even when nobody listens: the revision is in the repository.
    let verdict = deploy(&env, revision, |lines| tell(&mut output, lines)).await;
    match verdict {
        Verdict::Good => told,
        Verdict::Failed => {
            let noted = note(&env);
            point("after_verdict");
            noted
        }
        Verdict::Unheard(e) => Err(HookError::Output(e)),
    }
}

/// Writes the push into the audit log. Returns a line for the pusher if it cannot: git has taken the push already.
fn write_down(env: &PostReceive, push: &Push) -> Option<String> {
    let by = env.by.clone()?;
    let record = audited(AuditAct::Push, Some(&env.app), by, AuditEnd::Done, &push.summary(&env.branch));
    let written = env.audit.record(&record);
    written.err().map(|_| " !     the audit log of func could not be written".to_owned())
}

fn tell(output: &mut impl Write, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(output, "{line}")?;
    }
    output.flush()
}

fn note(env: &PostReceive) -> Result<(), HookError> {
    match &env.verdict {
        Some(path) => std::fs::write(path, FAILED).map_err(HookError::Verdict),
        None => Ok(()),
    }
}
