//! Pins: releases that stay, whatever goes for its age or for space. A file each beside the manifest.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use func_model::{AppName, ReleaseId, ReleaseNumber};

use crate::disk::{remove, replace};
use crate::usage::unix_ms;
use crate::{Manifests, StoreError, io_error};

impl Manifests {
    fn pin_file(&self, id: &ReleaseId) -> PathBuf {
        self.dir(&id.app).join(format!("{}.pin", id.number))
    }

    /// Pins a release, durably. Repeatable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn pin(&self, id: &ReleaseId) -> Result<(), StoreError> {
        replace(&self.pin_file(id), b"", 0o644)
    }

    /// Lets a release go again. Repeatable.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn unpin(&self, id: &ReleaseId) -> Result<(), StoreError> {
        remove(&self.pin_file(id))
    }

    /// Returns the pinned releases of an app.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn pinned(&self, app: &AppName) -> Result<BTreeSet<ReleaseNumber>, StoreError> {
        self.numbers_with(app, ".pin")
    }

    /// Returns when a release last became live, or ceased to be, in Unix ms; `None` if it has no manifest.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn used_ms(&self, id: &ReleaseId) -> Result<Option<u64>, StoreError> {
        let path = self.file(id);
        match fs::metadata(&path) {
            Ok(found) => Ok(Some(unix_ms(&found))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io_error("look at", path)(e)),
        }
    }

    /// Notes that a release is used now, in the time of its manifest. What fails costs only the order in which releases go.
    pub(crate) fn touch(&self, id: &ReleaseId) {
        let _ = File::open(self.file(id)).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::DataDir;
    use crate::manifests::tests::release;

    fn world() -> (tempfile::TempDir, Manifests) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(folder.path()).expect("its folders");
        (folder, Manifests::new(data))
    }

    #[test]
    fn a_pin_is_no_release_and_goes_with_its_app() {
        let (_folder, manifests) = world();
        let first = release("blog-v1");
        manifests.add(&first).expect("stored");
        for _ in 0..2 {
            manifests.pin(&first.id).expect("pinned");
        }
        let app = &first.id.app;
        assert_eq!(manifests.pinned(app).expect("read"), [first.id.number].into());
        assert_eq!(manifests.numbers(app).expect("read"), [first.id.number].into());
        manifests.unpin(&first.id).expect("unpinned");
        assert!(manifests.pinned(app).expect("read").is_empty());
        manifests.pin(&first.id).expect("pinned");
        manifests.remove_app(app).expect("removed");
        assert!(manifests.pinned(app).expect("read").is_empty());
    }

    #[test]
    fn a_release_is_used_when_it_becomes_live_and_when_another_does() {
        let (_folder, manifests) = world();
        let ids = ["blog-v1", "blog-v2", "blog-v3"].map(|name| {
            let release = release(name);
            manifests.add(&release).expect("stored");
            let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
            let file = File::open(manifests.file(&release.id)).expect("there");
            file.set_modified(long_ago).expect("set back");
            release.id
        });
        let used = || ids.each_ref().map(|id| manifests.used_ms(id).expect("read").expect("there") > 1_000);
        manifests.set_current(&ids[0]).expect("live");
        assert_eq!(used(), [true, false, false]);
        let before = manifests.used_ms(&ids[0]).expect("read");
        std::thread::sleep(Duration::from_millis(5));
        manifests.set_current(&ids[1]).expect("live");
        assert_eq!(used(), [true, true, false]);
        assert!(manifests.used_ms(&ids[0]).expect("read") > before);
    }
}
