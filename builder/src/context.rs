//! The build context: what `git archive` gives, less what `.dockerignore` leaves out.
//!
//! Files with the attribute `export-ignore` are left out by git itself.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use func_model::Revision;
use func_runner::ByteStream;

use crate::git::Git;
use crate::ignore::Ignore;
use crate::stream::written;

/// What a tar has beside its entries: the commit's id in front, zeros behind, and the last record filled up.
const TAR_END_BYTES: u64 = 64 * 1024;

/// Streams a commit's files as a tar, as they are read; no checkout, and nothing held in memory but a few chunks.
/// The stream ends with an error if git does, or gives more than `bytes_max` and a tar's end.
pub fn context(
    repository: PathBuf,
    revision: Revision,
    ignore: Option<Ignore>,
    bytes_max: u64,
) -> ByteStream {
    written(move |out| {
        let mut archive = Git::start(&repository, "archive", &["--format=tar", revision.as_str()])?;
        let mut input = archive.output().take(bytes_max.saturating_add(TAR_END_BYTES));
        match ignore {
            Some(ignore) => filtered(&mut input, out, &ignore)?,
            None => io::copy(&mut input, out).map(drop)?,
        }
        if input.limit() == 0 {
            return Err(io::Error::other("git gives more than the commit's trees say"));
        }
        // What follows a tar's end is padding; git must not die of writing it.
        io::copy(archive.output(), &mut io::sink())?;
        archive.end()
    })
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
    use std::path::Path;
    use std::process::Command;

    use futures_util::StreamExt;

    use super::*;
    use crate::testing::Pushed;

    const ROOM: u64 = 1024 * 1024 * 1024;

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
        let tar = read(context(pushed.path(), revision, Some(ignore), ROOM)).await.expect("a context");
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
        let error = read(context(pushed.path(), missing, None, ROOM)).await.expect_err("git fails");
        assert!(error.to_string().contains("git archive ended with"), "{error}");
    }

    /// Where the server's user has settings of git that change files and run a program.
    fn hostile_home() -> tempfile::TempDir {
        let home = tempfile::tempdir().expect("a temporary folder");
        let marker = home.path().join("marker");
        let settings = format!(
            "[core]\n\tautocrlf = true\n[filter \"lfs\"]\n\tsmudge = touch {} && cat\n\trequired = true\n",
            marker.display()
        );
        std::fs::write(home.path().join(".gitconfig"), settings).expect("written");
        home
    }

    /// Runs itself again with the hostile HOME, since a process does not change its own environment.
    #[tokio::test]
    async fn the_settings_of_the_servers_user_change_no_file_and_run_no_program() {
        const SOURCE: &str = "FUNC_TEST_SOURCE";
        if let Ok(source) = std::env::var(SOURCE) {
            let (path, revision) = source.split_once(' ').expect("a path and a revision");
            let tar = read(context(path.into(), revision.parse().expect("a revision"), None, ROOM)).await;
            let tar = tar.expect("a context");
            assert!(names(&tar).contains(&"Dockerfile".to_owned()));
            assert!(!tar.contains(&b'\r'), "lines end as they were pushed");
            return;
        }
        let (home, pushed) = (hostile_home(), Pushed::new());
        let revision =
            pushed.commit(&[("Dockerfile", "FROM scratch\n"), (".gitattributes", "* filter=lfs\n")]);
        let own = std::env::current_exe().expect("this program");
        let name = "context::tests::the_settings_of_the_servers_user_change_no_file_and_run_no_program";
        let again = Command::new(own)
            .args(["--exact", name])
            .env("HOME", home.path())
            .env_remove("GIT_CONFIG_GLOBAL")
            .env(SOURCE, format!("{} {revision}", pushed.path().display()))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&again.stdout);
        assert!(again.status.success() && said.contains("1 passed"), "{said}");
        assert!(!home.path().join("marker").exists(), "a program of the user's was run");
    }

    /// Both the configuration and the message would be the work of a stranger's few bytes.
    #[tokio::test]
    async fn nothing_that_the_repository_says_runs_and_no_message_is_put_into_files() {
        let pushed = Pushed::new();
        let marker = pushed.path().join("marker");
        let files = [
            ("Dockerfile", "$Format:%B$"),
            (".gitattributes", "[attr]both export-subst filter=x\n* both\n"),
            ("deep/.gitattributes", "* export-subst\n"),
            ("deep/file", "$Format:%B$"),
        ];
        let revision = pushed.commit(&files);
        let config = git2::Repository::open_bare(pushed.path()).and_then(|git| git.config());
        let mut config = config.expect("its settings");
        let program = format!("touch {}; cat", marker.display());
        for key in
            ["filter.x.smudge", "filter.x.clean", "core.fsmonitor", "core.sshCommand", "tar.tar.command"]
        {
            config.set_str(key, &program).expect("set");
        }
        config.set_str("core.attributesFile", "/dev/null").expect("set");
        let tar = read(context(pushed.path(), revision, None, ROOM)).await.expect("a context");
        let mut archive = tar::Archive::new(&tar[..]);
        let mut texts = archive.entries().expect("a tar").map(|entry| {
            let mut text = String::new();
            entry.expect("an entry").read_to_string(&mut text).map(|_| text).expect("text")
        });
        assert_eq!(texts.by_ref().filter(|text| text == "$Format:%B$").count(), 2);
        assert!(!marker.exists(), "a program of the repository's was run");
    }

    #[tokio::test]
    async fn a_context_that_is_larger_than_its_limit_breaks_the_stream() {
        let pushed = Pushed::new();
        let revision = pushed.commit(&[("Dockerfile", "x"), ("large", &"x".repeat(200_000))]);
        let error = read(context(pushed.path(), revision, None, 50_000)).await.expect_err("it is too large");
        assert!(error.to_string().contains("more than the commit's trees say"), "{error}");
    }
}
