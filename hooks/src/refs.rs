//! How many refs a push may change and a repository may have: git and func read all of them again and again.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use func_model::limits::{COMMIT_BYTES, REF_UPDATES_MAX, REFS_MAX};
use tokio::io::AsyncBufRead;

use crate::HookError;
use crate::push::line;
use crate::size::too_large;

/// What git does with a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    Taken,
    Refused,
}

/// Reads the ref lines of a push before git changes a ref, and says why if it must not. What the push brought is in
/// `quarantine`, if it brought anything.
///
/// # Errors
/// [`HookError::Input`] if git's lines, the repository's refs or the push's objects cannot be read, [`HookError::Output`] if the pusher has
/// left.
///
/// Source: githooks(5), pre-receive.
pub async fn pre_receive(
    mut input: impl AsyncBufRead + Unpin,
    mut output: impl Write,
    repository: &Path,
    quarantine: Option<&Path>,
) -> Result<Admission, HookError> {
    let (mut changed, mut new) = (0, 0);
    while let Some(line) = line(&mut input).await.map_err(HookError::Input)? {
        changed += 1;
        let made = line.is_none_or(|line| line.bytes().take(40).all(|digit| digit == b'0'));
        new += usize::from(made);
    }
    let refused = if changed > REF_UPDATES_MAX {
        format!("this push changes {changed} refs, at most {REF_UPDATES_MAX} at once: push them in parts")
    } else if new > 0 && new + count(repository).map_err(HookError::Input)? > REFS_MAX {
        format!("the repository would have more than {REFS_MAX} refs: remove some with git push --delete")
    } else if let Some(quarantine) = quarantine
        && let Some(id) = too_large(repository, quarantine).await.map_err(HookError::Input)?
    {
        let (most, id) = (COMMIT_BYTES / 1024, id.get(..7).unwrap_or(&id));
        format!("{id} has more than {most} KiB of message: shorten it (git commit --amend) and push again")
    } else {
        return Ok(Admission::Taken);
    };
    writeln!(output, " !     {refused}").and_then(|()| output.flush()).map_err(HookError::Output)?;
    Ok(Admission::Refused)
}

/// Counts a repository's refs, up to a few more than it may have; one that is both packed and a file counts twice.
fn count(repository: &Path) -> io::Result<usize> {
    let mut count = packed(&repository.join("packed-refs"))?;
    let mut folders: Vec<PathBuf> = vec![repository.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                count += 1;
            }
            if count > REFS_MAX {
                return Ok(count);
            }
        }
    }
    Ok(count)
}

/// Counts the lines that are neither a comment nor what a tag leads to.
fn packed(file: &Path) -> io::Result<usize> {
    let mut file = match File::open(file) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(0),
        Err(e) => return Err(e),
    };
    let (mut count, mut begins) = (0, true);
    let mut chunk = [0; 64 * 1024];
    loop {
        let read = file.read(&mut chunk)?;
        if read == 0 || count > REFS_MAX {
            return Ok(count);
        }
        for byte in &chunk[..read] {
            count += usize::from(begins && !b"#^\n".contains(byte));
            begins = *byte == b'\n';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(repository: &Path, lines: &str) -> (Admission, String) {
        let mut said = Vec::new();
        let admission = pre_receive(lines.as_bytes(), &mut said, repository, None).await.expect("asked");
        (admission, String::from_utf8(said).expect("text"))
    }

    fn lines(old: char, count: usize) -> String {
        let (old, new) = (old.to_string().repeat(40), "a".repeat(40));
        (0..count).map(|n| format!("{old} {new} refs/heads/{n}\n")).collect()
    }

    fn repository(packed: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir_all(folder.path().join("refs/heads/deep")).expect("made");
        std::fs::write(folder.path().join("refs/heads/deep/one"), "x").expect("written");
        let id = "b".repeat(40);
        let refs: String = (0..packed).map(|n| format!("{id} refs/tags/{n}\n^{id}\n")).collect();
        std::fs::write(folder.path().join("packed-refs"), format!("# pack-refs with: peeled\n{refs}"))
            .expect("written");
        folder
    }

    #[tokio::test]
    async fn a_push_of_more_refs_than_are_read_is_refused() {
        let folder = repository(0);
        let fits = asked(folder.path(), &lines('0', REF_UPDATES_MAX)).await;
        assert_eq!(fits, (Admission::Taken, String::new()));
        let (admission, said) = asked(folder.path(), &lines('c', REF_UPDATES_MAX + 1)).await;
        assert_eq!(admission, Admission::Refused);
        assert!(said.contains("changes 10001 refs, at most 10000 at once"), "{said}");
    }

    #[tokio::test]
    async fn a_repository_with_all_refs_that_it_may_have_gets_no_new_ones() {
        let folder = repository(REFS_MAX - 2);
        assert_eq!(count(folder.path()).expect("counted"), REFS_MAX - 1);
        assert_eq!(asked(folder.path(), &lines('0', 1)).await.0, Admission::Taken);
        let (admission, said) = asked(folder.path(), &lines('0', 2)).await;
        assert_eq!(admission, Admission::Refused);
        assert!(said.contains("more than 50000 refs"), "{said}");
        assert_eq!(
            asked(folder.path(), &lines('c', 2)).await.0,
            Admission::Taken,
            "what is there may change"
        );
    }
}
