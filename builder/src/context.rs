//! The build context: what `git archive` gives, less what `.dockerignore` leaves out.
//!
//! Files with the attribute `export-ignore` are left out by git itself.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use func_model::Revision;
use func_runner::ByteStream;

use crate::ignore::Ignore;
use crate::stream::written;

/// How much of git's complaint is kept.
const COMPLAINT_BYTES: u64 = 2_048;

/// Streams a commit's files as a tar, as they are read; no checkout, and nothing held in memory but a few chunks.
/// The stream ends with an error if git does.
pub fn context(repository: PathBuf, revision: Revision, ignore: Option<Ignore>) -> ByteStream {
    written(move |out| {
        let mut archive = Archive::start(&repository, &revision)?;
        let copied = match ignore {
            Some(ignore) => filtered(archive.output(), out, &ignore),
            None => io::copy(archive.output(), out).map(drop),
        };
        archive.end(copied)
    })
}

/// A `git archive` that runs; dropping it ends it.
struct Archive {
    git: Child,
    complaint: File,
}

impl Archive {
    fn start(repository: &Path, revision: &Revision) -> io::Result<Self> {
        let complaint = tempfile::tempfile()?;
        let git = Command::new("git")
            .arg("--git-dir")
            .arg(repository)
            .args(["archive", "--format=tar", revision.as_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaint.try_clone()?)
            .spawn()?;
        Ok(Self { git, complaint })
    }

    fn output(&mut self) -> &mut impl Read {
        self.git.stdout.as_mut().expect("its output is piped, and never taken")
    }

    fn end(mut self, copied: io::Result<()>) -> io::Result<()> {
        copied?;
        // What follows a tar's end is padding; git must not die of writing it.
        io::copy(self.output(), &mut io::sink())?;
        let status = self.git.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut said = String::new();
        self.complaint.seek(SeekFrom::Start(0))?;
        Read::by_ref(&mut self.complaint).take(COMPLAINT_BYTES).read_to_string(&mut said)?;
        Err(io::Error::other(format!("git archive ended with {status}: {}", said.trim())))
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.git.kill();
        let _ = self.git.wait();
    }
}

fn filtered(input: &mut impl Read, out: &mut impl Write, ignore: &Ignore) -> io::Result<()> {
    let mut archive = tar::Archive::new(input);
    let mut kept = tar::Builder::new(out);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if entry.header().entry_type().is_pax_global_extensions()
            || path.to_str().is_some_and(|path| ignore.leaves_out(path))
        {
            continue;
        }
        let mut header = entry.header().clone();
        match entry.link_name()?.map(std::borrow::Cow::into_owned) {
            Some(link) => kept.append_link(&mut header, path, link)?,
            None => kept.append_data(&mut header, path, &mut entry)?,
        }
    }
    kept.finish()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;

    use super::*;
    use crate::testing::Pushed;

    async fn read(mut stream: ByteStream) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(chunk) = stream.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all)
    }

    fn names(tar: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().expect("a tar").map(|entry| entry.expect("an entry"));
        let mut names: Vec<String> =
            entries.map(|entry| entry.path().expect("a path").to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[tokio::test]
    async fn links_long_names_and_exceptions_come_through_the_filter() {
        let pushed = Pushed::new();
        let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
        let revision = pushed.commit(&[
            ("Dockerfile", "x"),
            ("a/keep", "k"),
            ("a/drop", "d"),
            ("link", "-> a/keep"),
            (&long, "x"),
        ]);
        let ignore = Ignore::parse("a\n!a/keep\n");
        let tar = read(context(pushed.path(), revision, Some(ignore))).await.expect("a context");
        let names = names(&tar);
        assert!(names.contains(&"a/keep".to_owned()) && names.contains(&long), "{names:?}");
        assert!(!names.contains(&"a/drop".to_owned()), "{names:?}");
        let link = tar::Archive::new(&tar[..]).entries().expect("a tar").any(|entry| {
            entry.expect("an entry").link_name().expect("a name").is_some_and(|to| to == Path::new("a/keep"))
        });
        assert!(link);
    }

    #[tokio::test]
    async fn a_commit_that_is_not_there_breaks_the_stream_instead_of_ending_it() {
        let pushed = Pushed::new();
        let missing = "d".repeat(40).parse().expect("a revision");
        let error = read(context(pushed.path(), missing, None)).await.expect_err("git fails");
        assert!(error.to_string().contains("git archive ended with"), "{error}");
    }
}
