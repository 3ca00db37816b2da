//! Entity tags: strong, by content, one for each content coding.
//!
//! The files of an image carry normalised times, so two states of a page may share their size and their time;
//! a tag made of these would answer "not modified" to somebody who has the old page. Therefore the tag is a hash of
//! the content, taken when a file is first asked for and remembered under the file's identity.
//!
//! A file over [`HASHED_BYTES_MAX`] would hold up its first answer, and is not hashed: its tag is made of size, time
//! and the time of its last change of inode, which no archive sets and the kernel sets whenever a file is unpacked.
//! It is as strong, but unpacking the same image again changes it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use crate::coding::Coding;
use crate::limits::{CHUNK_BYTES, HASHED_BYTES_MAX, HASHES_MAX};

/// Bytes of the hash that go into a tag: enough that no two states ever share one by chance.
const TAG_BYTES: usize = 16;

type Hash = [u8; TAG_BYTES];

/// One state of one file, as the kernel tells it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FileState {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The hashes taken so far, each once, however many ask for it at the same time.
#[derive(Debug, Default)]
pub struct Hashes {
    known: Mutex<HashMap<FileState, Arc<Mutex<Option<Hash>>>>>,
}

impl Hashes {
    /// Gives the entity tag of a file in a coding, with its quotes; reads the file if it has no hash yet.
    ///
    /// # Errors
    /// If the file cannot be read to the size that its metadata say.
    pub fn tag(&self, file: &File, metadata: &Metadata, coding: Coding) -> io::Result<String> {
        let state = FileState::from(metadata);
        let stem = if state.len <= HASHED_BYTES_MAX {
            hex(self.hash(file, state)?)
        } else {
            let ((s, ns), (cs, cns)) = (state.modified, state.changed);
            format!("{:x}-{s:x}.{ns:x}-{cs:x}.{cns:x}", state.len)
        };
        Ok(match coding {
            Coding::Identity => format!("\"{stem}\""),
            Coding::Brotli | Coding::Gzip => format!("\"{stem}-{}\"", coding.token()),
        })
    }

    fn hash(&self, file: &File, state: FileState) -> io::Result<Hash> {
        let slot = self.slot(state);
        let mut slot = locked(&slot);
        if let Some(hash) = *slot {
            return Ok(hash);
        }
        let hash = hash_of(file, state.len)?;
        *slot = Some(hash);
        Ok(hash)
    }

    /// Gives the place of a file's hash. A full table starts anew: taking hashes again is cheaper than an order of age.
    fn slot(&self, state: FileState) -> Arc<Mutex<Option<Hash>>> {
        let mut known = locked(&self.known);
        if known.len() >= HASHES_MAX && !known.contains_key(&state) {
            known.clear();
        }
        Arc::clone(known.entry(state).or_default())
    }
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Locks, also after a panic elsewhere: what these locks guard is whole at every moment.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hash_of(file: &File, len: u64) -> io::Result<Hash> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; usize::try_from(CHUNK_BYTES.min(len)).map_err(io::Error::other)?];
    let mut at = 0;
    while at < len {
        match file.read_at(&mut chunk, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                hasher.update(&chunk[..read]);
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut hash = [0; TAG_BYTES];
    hash.copy_from_slice(&hasher.finalize()[..TAG_BYTES]);
    Ok(hash)
}

fn hex(hash: Hash) -> String {
    hash.iter().fold(String::with_capacity(2 * TAG_BYTES), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::time::SystemTime;

    fn tag(hashes: &Hashes, path: &Path, coding: Coding) -> String {
        let file = File::open(path).expect("open the file");
        let metadata = file.metadata().expect("read the metadata");
        hashes.tag(&file, &metadata, coding).expect("take the tag")
    }

    fn write(path: &Path, content: &str) {
        fs::write(path, content).expect("write the file");
        File::options()
            .write(true)
            .open(path)
            .expect("open the file")
            .set_modified(SystemTime::UNIX_EPOCH)
            .expect("set");
    }

    #[test]
    fn equal_size_and_time_but_other_content_is_another_tag() {
        let folder = tempfile::tempdir().expect("make a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(&one, "old page");
        write(&two, "new page");
        let hashes = Hashes::default();
        let old = tag(&hashes, &one, Coding::Identity);
        assert_ne!(old, tag(&hashes, &two, Coding::Identity));
        fs::rename(&two, &one).expect("exchange the file");
        assert_ne!(old, tag(&hashes, &one, Coding::Identity));
    }

    #[test]
    fn the_same_content_in_another_process_is_the_same_tag() {
        let folder = tempfile::tempdir().expect("make a folder");
        let (one, two) = (folder.path().join("one"), folder.path().join("two"));
        write(&one, "page");
        write(&two, "page");
        assert_eq!(tag(&Hashes::default(), &one, Coding::Gzip), tag(&Hashes::default(), &two, Coding::Gzip));
    }

    #[test]
    fn each_coding_has_its_own_tag() {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("page");
        write(&path, "");
        let tags = [Coding::Brotli, Coding::Gzip, Coding::Identity]
            .map(|coding| tag(&Hashes::default(), &path, coding));
        assert_eq!(tags[2], "\"e3b0c44298fc1c149afbf4c8996fb924\"");
        assert_eq!(tags[1], "\"e3b0c44298fc1c149afbf4c8996fb924-gzip\"");
        assert_eq!(tags[0], "\"e3b0c44298fc1c149afbf4c8996fb924-br\"");
    }

    #[test]
    fn a_big_file_is_tagged_without_being_read() {
        let folder = tempfile::tempdir().expect("make a folder");
        let path = folder.path().join("big");
        File::create(&path).expect("make the file").set_len(HASHED_BYTES_MAX + 1).expect("set its size");
        let hashes = Hashes::default();
        assert_eq!(tag(&hashes, &path, Coding::Identity), tag(&hashes, &path, Coding::Identity));
        assert!(locked(&hashes.known).is_empty());
    }

    #[test]
    fn no_more_hashes_are_remembered_than_the_limit() {
        let hashes = Hashes::default();
        let state = FileState { device: 0, inode: 0, len: 0, modified: (0, 0), changed: (0, 0) };
        for inode in 0..HASHES_MAX as u64 + 10 {
            hashes.slot(FileState { inode, ..state });
            assert!(locked(&hashes.known).len() <= HASHES_MAX);
        }
    }
}
