//! How much a commit's files are, reckoned from its trees before anything is unpacked: a few kilobytes of folders that
//! hold one another can stand for more than any disk.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use func_model::Revision;
use git2::{Oid, Tree};
use thiserror::Error;

use crate::deadline::{Deadline, Overdue};
use crate::limits::{FOLDER_BYTES, FOLDERS_DEPTH, PATH_BYTES, TREE_ENTRIES};
use crate::repository::{Repository, RepositoryError};

/// A tar's block: a header is one, and content fills whole ones.
const BLOCK: u64 = 512;

/// Why a commit is more than func builds.
#[derive(Debug, Error)]
pub enum ExtentError {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Overdue(#[from] Overdue),
    #[error("the commit's files are {} MiB or more; at most {} MiB are built", mib(*bytes), mib(*max))]
    Bytes { bytes: u64, max: u64 },
    #[error("the commit has {entries} files and folders or more; at most {TREE_ENTRIES} are built")]
    Entries { entries: u64 },
    #[error("the commit's folders lie more than {FOLDERS_DEPTH} deep in one another")]
    Deep,
    #[error("a path of the commit is longer than {PATH_BYTES} bytes")]
    LongPath,
    #[error("a folder of the commit lists more than {} MiB of names", mib(FOLDER_BYTES))]
    LargeFolder,
}

/// What a folder holds, with all that is below it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// The size as a tar.
    pub bytes: u64,
    pub entries: u64,
    /// How many folders lie in one another.
    depth: usize,
    /// The longest path below it.
    path_bytes: usize,
}

impl Extent {
    /// Reckons a commit's files, each folder once, however often it is in others.
    ///
    /// # Errors
    /// [`ExtentError`], by the first limit that is met; `bytes_max` is for the size as a tar.
    pub fn of(
        repository: &Repository,
        revision: &Revision,
        bytes_max: u64,
        deadline: &Deadline,
    ) -> Result<Self, ExtentError> {
        let mut walk =
            Walk { repository, deadline, bytes_max, folders: HashMap::new(), sizes: HashMap::new() };
        let root = repository.tree(revision)?;
        walk.folder(&root, 0)
    }

    fn add(&mut self, name: &[u8], below: Self) {
        let header = if name.len() < 100 { BLOCK } else { 3 * BLOCK };
        self.bytes = self.bytes.saturating_add(header).saturating_add(below.bytes);
        self.entries = self.entries.saturating_add(1).saturating_add(below.entries);
        self.depth = self.depth.max(below.depth);
        self.path_bytes = self.path_bytes.max(name.len() + 1 + below.path_bytes);
    }

    fn check(&self, bytes_max: u64) -> Result<(), ExtentError> {
        if self.entries > TREE_ENTRIES {
            return Err(ExtentError::Entries { entries: self.entries });
        }
        if self.bytes > bytes_max {
            return Err(ExtentError::Bytes { bytes: self.bytes, max: bytes_max });
        }
        if self.path_bytes > PATH_BYTES {
            return Err(ExtentError::LongPath);
        }
        Ok(())
    }
}

struct Walk<'a> {
    repository: &'a Repository,
    deadline: &'a Deadline,
    bytes_max: u64,
    folders: HashMap<Oid, Extent>,
    sizes: HashMap<Oid, u64>,
}

impl Walk<'_> {
    /// Each entry that is looked at counts at least once in the sum, so that the limit of entries also ends the walk.
    fn folder(&mut self, tree: &Tree<'_>, depth: usize) -> Result<Extent, ExtentError> {
        let mut extent = Extent { depth: 1, ..Extent::default() };
        for entry in tree {
            self.deadline.check()?;
            let below = match entry.kind() {
                Some(git2::ObjectType::Tree) => self.subfolder(entry.id(), depth + 1)?,
                Some(git2::ObjectType::Blob) => self.file(entry.id())?,
                // A submodule is an empty folder.
                Some(_) | None => Extent::default(),
            };
            extent.add(entry.name_bytes(), below);
            extent.check(self.bytes_max)?;
        }
        Ok(extent)
    }

    fn subfolder(&mut self, id: Oid, depth: usize) -> Result<Extent, ExtentError> {
        let mut extent = match self.folders.get(&id) {
            Some(extent) => *extent,
            None if depth >= FOLDERS_DEPTH => return Err(ExtentError::Deep),
            None => {
                if self.repository.size(id)? > FOLDER_BYTES {
                    return Err(ExtentError::LargeFolder);
                }
                let tree = self.repository.subtree(id)?;
                let extent = self.folder(&tree, depth)?;
                self.folders.insert(id, extent);
                extent
            }
        };
        if depth + extent.depth > FOLDERS_DEPTH {
            return Err(ExtentError::Deep);
        }
        extent.depth += 1;
        Ok(extent)
    }

    fn file(&mut self, id: Oid) -> Result<Extent, ExtentError> {
        let bytes = match self.sizes.entry(id) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(self.repository.size(id)?),
        };
        Ok(Extent { bytes: bytes.div_ceil(BLOCK).saturating_mul(BLOCK), ..Extent::default() })
    }
}

fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

#[cfg(test)]
mod tests {
    use git2::{Repository as Git, Signature};

    use super::*;
    use crate::testing::{Pushed, minute};

    const ROOM: u64 = 1024 * 1024 * 1024;

    /// A bare repository and one file in it.
    fn made(bytes: &[u8]) -> (Pushed, Git, Oid) {
        let pushed = Pushed::new();
        let git = Git::open_bare(pushed.path()).expect("opened");
        let file = git.blob(bytes).expect("a file");
        (pushed, git, file)
    }

    fn folder(git: &Git, entries: &[(&str, Oid, i32)]) -> Oid {
        let mut folder = git.treebuilder(None).expect("a tree");
        for (name, id, mode) in entries {
            folder.insert(name, *id, *mode).expect("added");
        }
        folder.write().expect("a tree")
    }

    fn commit(git: &Git, tree: Oid, message: &str) -> Revision {
        let me = Signature::now("t", "t@t").expect("a name");
        let tree = git.find_tree(tree).expect("written");
        git.commit(None, &me, &me, message, &tree, &[]).expect("a commit").to_string().parse().expect("an id")
    }

    fn reckoned(pushed: &Pushed, revision: &Revision, max: u64) -> Result<Extent, ExtentError> {
        Extent::of(&Repository::open(&pushed.path()).expect("opened"), revision, max, &minute())
    }

    /// Folders in one another, each of which holds the next `wide` times.
    fn nested(git: &Git, file: Oid, deep: usize, wide: usize) -> Oid {
        let mut tree = folder(git, &[("f", file, 0o100_644)]);
        let names: Vec<String> = (0..wide).map(|n| n.to_string()).collect();
        for _ in 0..deep {
            let entries: Vec<_> = names.iter().map(|name| (name.as_str(), tree, 0o040_000)).collect();
            tree = folder(git, &entries);
        }
        tree
    }

    #[test]
    fn every_file_counts_as_a_tar_has_it() {
        let (pushed, git, file) = made(&[b'x'; 600]);
        let inner = folder(&git, &[("f", file, 0o100_644)]);
        let root = folder(&git, &[("a", inner, 0o040_000), ("b", inner, 0o040_000), ("c", file, 0o100_644)]);
        let extent = reckoned(&pushed, &commit(&git, root, "x"), ROOM).expect("it fits");
        assert_eq!((extent.entries, extent.bytes), (5, 5 * 512 + 3 * 1_024));
        assert_eq!((extent.depth, extent.path_bytes), (2, 4));
    }

    #[test]
    fn folders_that_hold_one_another_are_refused_at_once() {
        let (pushed, git, file) = made(&[b'x'; 1024 * 1024]);
        let bomb = commit(&git, nested(&git, file, 60, 2), "x");
        assert!(matches!(reckoned(&pushed, &bomb, u64::MAX), Err(ExtentError::Entries { .. })));
        let error = reckoned(&pushed, &bomb, ROOM).expect_err("it is too much").to_string();
        assert!(error.contains("MiB or more; at most 1024 MiB are built"), "{error}");
    }

    #[test]
    fn folders_may_not_lie_too_deep_in_one_another_nor_have_too_long_paths() {
        let (pushed, git, file) = made(b"x");
        let fits = commit(&git, nested(&git, file, FOLDERS_DEPTH - 1, 1), "x");
        assert!(reckoned(&pushed, &fits, ROOM).is_ok());
        let deep = commit(&git, nested(&git, file, FOLDERS_DEPTH, 1), "x");
        assert!(matches!(reckoned(&pushed, &deep, ROOM), Err(ExtentError::Deep)));
        let deeper = commit(&git, nested(&git, file, 5_000, 1), "x");
        assert!(matches!(reckoned(&pushed, &deeper, ROOM), Err(ExtentError::Deep)));
        let long = folder(&git, &[(&"n".repeat(PATH_BYTES), file, 0o100_644)]);
        let long = commit(&git, long, "x");
        assert!(matches!(reckoned(&pushed, &long, ROOM), Err(ExtentError::LongPath)));
    }

    #[test]
    fn a_commit_with_a_message_beyond_the_limit_is_not_read() {
        let (pushed, git, file) = made(b"x");
        let tree = nested(&git, file, 1, 1);
        let large = commit(&git, tree, &"m".repeat(2 * 1024 * 1024));
        let error = reckoned(&pushed, &large, ROOM).expect_err("refused").to_string();
        assert!(error.contains("more than 1024 KiB of message"), "{error}");
    }
}
