//! Manifests: what is released. One file a release, and `current`, which says which one is live.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::PathBuf;

use func_model::{AppName, Release, ReleaseId, ReleaseNumber, Revision};

use crate::disk::{create, names, read, remove, replace};
use crate::{DataDir, StoreError, io_error};

/// The manifests of all apps. Calls block; they are short.
#[derive(Debug, Clone)]
pub struct Manifests {
    data: DataDir,
}

impl Manifests {
    /// Gives the manifests in a data folder.
    pub fn new(data: DataDir) -> Self {
        Self { data }
    }

    pub(crate) fn dir(&self, app: &AppName) -> PathBuf {
        self.data.manifest().join(app.as_str())
    }

    pub(crate) fn file(&self, id: &ReleaseId) -> PathBuf {
        self.dir(&id.app).join(format!("{}.json", id.number))
    }

    /// Gives the apps that have manifests. One of which only the last number is left is none: it was removed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn apps(&self) -> Result<Vec<AppName>, StoreError> {
        let mut apps = Vec::new();
        for app in names(&self.data.manifest(), "")? {
            if !self.numbers(&app)?.is_empty() || self.current(&app).is_err() || self.current(&app)?.is_some()
            {
                apps.push(app);
            }
        }
        Ok(apps)
    }

    /// Gives the numbers of an app's releases, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn numbers(&self, app: &AppName) -> Result<BTreeSet<ReleaseNumber>, StoreError> {
        self.numbers_with(app, ".json")
    }

    /// Returns the numbers by which files of an app with this suffix are named.
    pub(crate) fn numbers_with(
        &self,
        app: &AppName,
        suffix: &str,
    ) -> Result<BTreeSet<ReleaseNumber>, StoreError> {
        let dir = self.dir(app);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(e) => return Err(io_error("read", dir)(e)),
        };
        let mut numbers = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(io_error("read", &dir))?.file_name();
            let number: Option<ReleaseNumber> =
                name.to_str().and_then(|n| n.strip_suffix(suffix)).and_then(|n| n.parse().ok());
            numbers.extend(number);
        }
        Ok(numbers)
    }

    /// Reads a release; `None` if it has no manifest.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if the file is not a manifest, [`StoreError::Io`].
    pub fn release(&self, id: &ReleaseId) -> Result<Option<Release>, StoreError> {
        let path = self.file(id);
        let Some(text) = read(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|source| StoreError::Corrupt { path, source })
    }

    /// Stores a new release, durably.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if the number is taken, [`StoreError::Io`].
    pub fn add(&self, release: &Release) -> Result<(), StoreError> {
        let path = self.file(&release.id);
        let mut text = serde_json::to_vec_pretty(release)
            .map_err(|source| StoreError::Corrupt { path: path.clone(), source })?;
        text.push(b'\n');
        create(&path, &text, 0o644)
    }

    /// Removes a release's manifest, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove(&self, id: &ReleaseId) -> Result<(), StoreError> {
        remove(&self.file(id))
    }

    /// Gives the live release's number.
    ///
    /// # Errors
    /// [`StoreError::CorruptText`] if the file is not a number, [`StoreError::Io`].
    pub fn current(&self, app: &AppName) -> Result<Option<ReleaseNumber>, StoreError> {
        self.number(app, "current")
    }

    /// Gives the live release's manifest.
    ///
    /// # Errors
    /// As [`Manifests::current`] and [`Manifests::release`].
    pub fn live(&self, app: &AppName) -> Result<Option<Release>, StoreError> {
        match self.current(app)? {
            Some(number) => self.release(&ReleaseId { app: app.clone(), number }),
            None => Ok(None),
        }
    }

    /// Makes a release the live one: the durable commit point of a deploy.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn set_current(&self, id: &ReleaseId) -> Result<(), StoreError> {
        let before = self.current(&id.app).ok().flatten();
        replace(&self.dir(&id.app).join("current"), format!("{}\n", id.number.0).as_bytes(), 0o644)?;
        let before = before.map(|number| ReleaseId { app: id.app.clone(), number });
        before.iter().chain([id]).for_each(|id| self.touch(id));
        Ok(())
    }

    /// Takes the next number for a new release, durably: no number is given twice, even when its deploy fails.
    /// One builder works on an app at a time.
    ///
    /// # Errors
    /// [`StoreError::Io`], [`StoreError::CorruptText`].
    pub fn take_number(&self, app: &AppName) -> Result<ReleaseNumber, StoreError> {
        let given = self.number(app, "last")?;
        let newest = self.numbers(app)?.pop_last();
        let number = given.max(newest).map_or(ReleaseNumber(1), ReleaseNumber::next);
        replace(&self.dir(app).join("last"), format!("{}\n", number.0).as_bytes(), 0o644)?;
        Ok(number)
    }

    /// Gives the revision whose deploy failed last.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn failed(&self, app: &AppName) -> Result<Option<Revision>, StoreError> {
        Ok(read(&self.dir(app).join("failed"))?.and_then(|text| text.trim().parse().ok()))
    }

    /// Notes that a revision's deploy failed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn set_failed(&self, app: &AppName, revision: &Revision) -> Result<(), StoreError> {
        replace(&self.dir(app).join("failed"), format!("{revision}\n").as_bytes(), 0o644)
    }

    /// Gives how many deploys of a revision were begun and never ended: their builder was killed.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn attempts(&self, app: &AppName, revision: &Revision) -> Result<u32, StoreError> {
        let text = read(&self.dir(app).join("attempts"))?.unwrap_or_default();
        let (of, count) = text.trim().split_once(' ').unwrap_or_default();
        Ok(if of == revision.as_str() { count.parse().unwrap_or(0) } else { 0 })
    }

    /// Notes how many deploys of a revision were begun, durably; those of another revision are forgotten.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn set_attempts(&self, app: &AppName, revision: &Revision, count: u32) -> Result<(), StoreError> {
        replace(&self.dir(app).join("attempts"), format!("{revision} {count}\n").as_bytes(), 0o644)
    }

    /// Forgets the deploys that were begun.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn forget_attempts(&self, app: &AppName) -> Result<(), StoreError> {
        remove(&self.dir(app).join("attempts"))
    }

    /// Gives the live number of every app that has one.
    ///
    /// # Errors
    /// As [`Manifests::current`].
    pub fn all_current(&self) -> Result<BTreeMap<AppName, ReleaseNumber>, StoreError> {
        let mut all = BTreeMap::new();
        for app in self.apps()? {
            if let Some(number) = self.current(&app)? {
                all.insert(app, number);
            }
        }
        Ok(all)
    }

    /// Removes everything that is known of an app but its last number, and up to which its releases were removed: an
    /// instance of the old app may still run for a while, and must not be taken for one of a new app of the same name.
    /// `current` goes first of what goes: from then on the app is no more.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn remove_app(&self, app: &AppName) -> Result<(), StoreError> {
        let dir = self.dir(app);
        // Neither a number that cannot be read nor a full disk, which this would free, keeps the app: without the note only
        // what its last instance prints stays.
        let last = self.number(app, "last").unwrap_or_default();
        if let Some(last) = last.max(self.numbers(app)?.pop_last()) {
            let _ = replace(&dir.join("removed"), format!("{}\n", last.0).as_bytes(), 0o644);
        }
        remove(&dir.join("current"))?;
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(io_error("read", dir)(e)),
        };
        for entry in entries {
            let entry = entry.map_err(io_error("read", &dir))?;
            if entry.file_name() != "last" && entry.file_name() != "removed" {
                remove(&entry.path())?;
            }
        }
        Ok(())
    }

    /// Says whether a release went with its app: `true` as soon as the removal has begun, and ever after.
    ///
    /// # Errors
    /// [`StoreError::CorruptText`], [`StoreError::Io`].
    pub fn is_removed(&self, id: &ReleaseId) -> Result<bool, StoreError> {
        Ok(self.number(&id.app, "removed")?.is_some_and(|removed| id.number <= removed))
    }

    fn number(&self, app: &AppName, name: &str) -> Result<Option<ReleaseNumber>, StoreError> {
        let path = self.dir(app).join(name);
        let Some(text) = read(&path)? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| StoreError::CorruptText { path })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use func_model::RESOURCES;

    use super::*;

    fn manifests() -> (tempfile::TempDir, Manifests) {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        (dir, Manifests::new(data))
    }

    pub(crate) fn release(name: &str) -> Release {
        Release {
            id: name.parse().expect("a release"),
            revision: "a".repeat(40).parse().expect("a revision"),
            image: format!("sha256:{}", "b".repeat(64)).parse().expect("a digest"),
            recipe: "static".into(),
            port: 8080,
            hosts: vec![],
            env: BTreeMap::new(),
            limits: RESOURCES,
            capabilities: func_model::Capability::all(),
            read_only: false,
            idle_ms: 60_000,
            drain_ms: None,
            health: None,
            freeze: func_model::Freeze::Auto,
            min: 0,
            warm_at: Vec::new(),
            waiting_page: false,
            created_ms: 1,
        }
    }

    #[test]
    fn a_manifest_is_read_back_and_never_changed() {
        let (_dir, manifests) = manifests();
        let first = release("blog-v1");
        manifests.add(&first).expect("stored");
        assert_eq!(manifests.release(&first.id).expect("read"), Some(first.clone()));
        assert!(matches!(manifests.add(&first), Err(StoreError::Exists { .. })));
    }

    #[test]
    fn a_number_is_never_given_twice_even_when_its_release_is_gone() {
        let (_dir, manifests) = manifests();
        let app: AppName = "blog".parse().expect("a name");
        assert_eq!(manifests.take_number(&app).expect("v1"), ReleaseNumber(1));
        manifests.add(&release("blog-v1")).expect("stored");
        manifests.remove(&release("blog-v1").id).expect("removed");
        assert_eq!(manifests.take_number(&app).expect("v2"), ReleaseNumber(2));
    }

    #[test]
    fn attempts_are_counted_for_one_revision_and_forgotten_with_the_next() {
        let (_dir, manifests) = manifests();
        let app: AppName = "blog".parse().expect("a name");
        let revision = |digit: &str| -> Revision { digit.repeat(40).parse().expect("a revision") };
        assert_eq!(manifests.attempts(&app, &revision("a")).expect("read"), 0);
        manifests.set_attempts(&app, &revision("a"), 2).expect("noted");
        assert_eq!(manifests.attempts(&app, &revision("a")).expect("read"), 2);
        assert_eq!(manifests.attempts(&app, &revision("b")).expect("read"), 0);
        manifests.forget_attempts(&app).expect("forgotten");
        manifests.forget_attempts(&app).expect("twice is the same as once");
        assert_eq!(manifests.attempts(&app, &revision("a")).expect("read"), 0);
    }

    #[test]
    fn current_is_the_live_release() {
        let (_dir, manifests) = manifests();
        let first = release("blog-v1");
        manifests.add(&first).expect("stored");
        assert_eq!(manifests.live(&first.id.app).expect("read"), None);
        manifests.set_current(&first.id).expect("set");
        assert_eq!(manifests.live(&first.id.app).expect("read"), Some(first.clone()));
        assert_eq!(manifests.take_number(&first.id.app).expect("v2"), ReleaseNumber(2));
        manifests.remove_app(&first.id.app).expect("removed");
        manifests.remove_app(&first.id.app).expect("twice is the same as once");
        assert!(manifests.is_removed(&first.id).expect("known"), "what it still prints is nobody's");
        assert_eq!(manifests.apps().expect("read"), vec![]);
        let number = manifests.take_number(&first.id.app).expect("v3");
        assert_eq!(number, ReleaseNumber(3), "names are never used twice");
        let next = ReleaseId { number, ..first.id };
        assert!(!manifests.is_removed(&next).expect("known"), "the next app of the name is another");
    }

    #[test]
    fn an_app_is_removed_though_nothing_can_be_written() {
        let (dir, manifests) = manifests();
        let first = release("blog-v1");
        manifests.add(&first).expect("stored");
        manifests.set_current(&first.id).expect("set");
        // No file takes the place of a folder.
        fs::create_dir(dir.path().join("manifest/blog/removed")).expect("made");
        manifests.remove_app(&first.id.app).expect("removed");
        assert_eq!(manifests.live(&first.id.app).expect("read"), None);
        assert_eq!(manifests.apps().expect("read"), vec![]);
    }

    #[test]
    fn a_spoilt_manifest_is_told_apart_from_a_missing_one() {
        let (dir, manifests) = manifests();
        let id = release("blog-v1").id;
        fs::create_dir_all(dir.path().join("manifest/blog")).expect("made");
        fs::write(dir.path().join("manifest/blog/v1.json"), "{").expect("written");
        assert!(matches!(manifests.release(&id), Err(StoreError::Corrupt { .. })));
        fs::write(dir.path().join("manifest/blog/current"), "x").expect("written");
        assert!(matches!(manifests.current(&id.app), Err(StoreError::CorruptText { .. })));
    }
}
