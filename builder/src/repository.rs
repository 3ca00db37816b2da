//! One app's repository, read without a checkout.

use std::io;
use std::path::Path;

use func_model::Revision;
use git2::{ErrorCode, ObjectType, Oid, Tree};
use thiserror::Error;

use crate::git::Git;
use crate::limits::{COMMIT_BYTES, FOLDER_BYTES};

/// Why a repository could not be read.
#[derive(Debug, Error)]
pub enum RepositoryError {
    #[error("the repository cannot be read")]
    Git(#[from] git2::Error),
    #[error("{} is not in the repository", revision.short())]
    NoRevision { revision: Revision },
    #[error("the commit {} holds no files", revision.short())]
    Empty { revision: Revision },
    #[error("the commit {} has more than {} KiB of message, author and signature", revision.short(), COMMIT_BYTES / 1024)]
    LargeCommit { revision: Revision },
    #[error("the commit {} has more than {} MiB of names at its root", revision.short(), FOLDER_BYTES / (1024 * 1024))]
    LargeRoot { revision: Revision },
    #[error("{name} is larger than {max} bytes")]
    Large { name: String, max: u64 },
    #[error("{name} is not a file of UTF-8 text")]
    NoText { name: String },
}

/// A repository; for one thread.
pub struct Repository {
    inner: git2::Repository,
}

impl Repository {
    /// Opens a bare repository.
    pub fn open(path: &Path) -> Result<Self, RepositoryError> {
        Ok(Self { inner: git2::Repository::open_bare(path)? })
    }

    /// Gives the commit that a branch leads to; `None` if there is no such branch.
    pub fn head(&self, branch: &str) -> Result<Option<Revision>, RepositoryError> {
        let found = self.inner.find_reference(&format!("refs/heads/{branch}"));
        let reference = match found {
            Ok(reference) => reference,
            Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        // The commit itself is not read: its message may be larger than all memory.
        let id = reference.resolve()?.target();
        Ok(id.and_then(|id| id.to_string().parse().ok()))
    }

    /// Gives a commit's files.
    ///
    /// # Errors
    /// [`RepositoryError::NoRevision`], [`RepositoryError::LargeCommit`], [`RepositoryError::LargeRoot`],
    /// [`RepositoryError::Empty`], [`RepositoryError::Git`].
    pub fn tree(&self, revision: &Revision) -> Result<Tree<'_>, RepositoryError> {
        let missing = || RepositoryError::NoRevision { revision: revision.clone() };
        let id = Oid::from_str(revision.as_str()).map_err(|_| missing())?;
        match self.inner.odb()?.read_header(id) {
            Ok((size, ObjectType::Commit)) if size as u64 > COMMIT_BYTES => {
                return Err(RepositoryError::LargeCommit { revision: revision.clone() });
            }
            Ok(_) => {}
            Err(e) if e.code() == ErrorCode::NotFound => return Err(missing()),
            Err(e) => return Err(e.into()),
        }
        let commit = match self.inner.find_commit(id) {
            Ok(commit) => commit,
            Err(e) if e.code() == ErrorCode::NotFound => return Err(missing()),
            Err(e) => return Err(e.into()),
        };
        if self.size(commit.tree_id())? > FOLDER_BYTES {
            return Err(RepositoryError::LargeRoot { revision: revision.clone() });
        }
        let tree = commit.tree()?;
        if tree.is_empty() { Err(RepositoryError::Empty { revision: revision.clone() }) } else { Ok(tree) }
    }

    /// Gives a subtree.
    pub fn subtree(&self, id: Oid) -> Result<Tree<'_>, RepositoryError> {
        Ok(self.inner.find_tree(id)?)
    }

    /// Gives a file's size in bytes, without reading it.
    pub fn size(&self, id: Oid) -> Result<u64, RepositoryError> {
        let (size, _) = self.inner.odb()?.read_header(id)?;
        Ok(size as u64)
    }

    /// Gives a file's content, all of it in memory: ask for its size first.
    pub fn bytes(&self, id: Oid) -> Result<Vec<u8>, RepositoryError> {
        Ok(self.inner.find_blob(id)?.content().to_vec())
    }

    /// Has `write` read a file's content as git gives it, little by little; an error in it is told by its
    /// [`io::Error`], and so is a git that does not end well. For files that are too large for memory.
    pub fn stream(&self, id: Oid, write: impl FnOnce(&mut dyn io::Read) -> io::Result<()>) -> io::Result<()> {
        let mut git = Git::start(self.inner.path(), "cat-file", &["blob", &id.to_string()])?;
        write(git.output())?;
        git.end()
    }

    /// Gives the text of a file at the root; `None` if there is no such entry.
    ///
    /// # Errors
    /// [`RepositoryError::Large`] beyond `max` bytes, [`RepositoryError::NoText`] if it is no file or not UTF-8.
    pub fn text(&self, tree: &Tree<'_>, name: &str, max: u64) -> Result<Option<String>, RepositoryError> {
        let Some(entry) = tree.get_name(name) else { return Ok(None) };
        let no_text = || RepositoryError::NoText { name: name.to_owned() };
        if !is_file(&entry) {
            return Err(no_text());
        }
        if self.size(entry.id())? > max {
            return Err(RepositoryError::Large { name: name.to_owned(), max });
        }
        String::from_utf8(self.bytes(entry.id())?).map(Some).map_err(|_| no_text())
    }
}

/// The mode of a link's entry.
const LINK: i32 = 0o120_000;
/// The bits of a mode that say what it is.
const KIND: i32 = 0o170_000;

/// Whether an entry is a link.
pub fn is_link(entry: &git2::TreeEntry<'_>) -> bool {
    entry.filemode() & KIND == LINK
}

/// Whether an entry is a plain file.
pub fn is_file(entry: &git2::TreeEntry<'_>) -> bool {
    entry.kind() == Some(ObjectType::Blob) && !is_link(entry)
}

/// Whether an entry is a folder.
pub fn is_folder(entry: &git2::TreeEntry<'_>) -> bool {
    entry.kind() == Some(ObjectType::Tree)
}
