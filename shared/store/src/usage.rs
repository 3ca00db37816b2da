//! Disk usage of the data folder, and the report of it that the git host reads.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use func_model::limits::DISK_REPORT_MS_MAX;
use func_model::{AppName, DiskReport, LogUsage, ROTATED, Volume};

use crate::disk::{read, remove, replace};
use crate::{DataDir, StoreError, io_error};

/// How many files and folders are looked at: of a hundred repositories with all refs that they may have.
const ENTRIES_MAX: usize = 5_000_000;

/// Usage of the data folder, in allocated bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FolderUsage {
    pub repositories: BTreeMap<AppName, u64>,
    pub logs: Vec<LogUsage>,
    /// Audit logs, manifests, repositories on their way in or out.
    pub own_bytes: u64,
    /// There is more than was looked at.
    pub is_cut: bool,
}

/// A walk, and how many entries it may still look at.
struct Walk {
    left: usize,
}

impl FolderUsage {
    /// Adds up a data folder. Blocks for as long as it takes to look at every file; what goes meanwhile is not counted.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn of(data: &DataDir) -> Result<Self, StoreError> {
        let mut walk = Walk { left: ENTRIES_MAX };
        let mut usage = Self { own_bytes: walk.bytes(data.manifest())?, ..Self::default() };
        usage.own_bytes += walk.bytes(data.audit())?;
        for entry in entries(&data.projects())? {
            let (bytes, name) = (walk.bytes(entry.path())?, entry.file_name());
            let app = name.to_str().and_then(|name| name.strip_suffix(".git")?.parse().ok());
            match app {
                Some(app) => drop(usage.repositories.insert(app, bytes)),
                None => usage.own_bytes += bytes,
            }
        }
        for entry in entries(&data.root().join("logs"))? {
            let app = entry.file_name().to_str().and_then(|name| name.parse::<AppName>().ok());
            match app.filter(|_| entry.path().is_dir()) {
                Some(app) => usage.logs.extend(walk.logs(&app, &entry.path())?),
                None => usage.own_bytes += walk.bytes(entry.path())?,
            }
        }
        usage.is_cut = walk.left == 0;
        Ok(usage)
    }
}

impl Walk {
    /// Adds up a file, or a folder and all that is in it; links are not followed.
    fn bytes(&mut self, path: PathBuf) -> Result<u64, StoreError> {
        let (mut bytes, mut paths) = (0, vec![path]);
        while let Some(path) = paths.pop() {
            if self.left == 0 {
                break;
            }
            self.left -= 1;
            let Some(found) = metadata(&path)? else { continue };
            bytes += on_disk(&found);
            if found.is_dir() {
                paths.extend(entries(&path)?.into_iter().map(|entry| entry.path()));
            }
        }
        Ok(bytes)
    }

    fn logs(&mut self, app: &AppName, folder: &Path) -> Result<Vec<LogUsage>, StoreError> {
        let mut logs = Vec::new();
        for entry in entries(folder)?.into_iter().take(self.left) {
            self.left -= 1;
            let Some(found) = metadata(&entry.path())? else { continue };
            logs.push(LogUsage {
                app: app.clone(),
                file: entry.file_name().to_string_lossy().into_owned(),
                bytes: on_disk(&found),
                used_ms: unix_ms(&found),
            });
        }
        Ok(logs)
    }
}

/// Returns the file system that a path is on.
///
/// # Errors
/// [`StoreError::Io`] if there is no such path.
pub fn volume(path: &Path) -> Result<Volume, StoreError> {
    let device = fs::metadata(path).map_err(io_error("look at", path))?.dev();
    let stat = rustix::fs::statvfs(path).map_err(|e| io_error("look at the disk of", path)(e.into()))?;
    Ok(Volume { device, bytes: stat.f_blocks.saturating_mul(stat.f_frsize) })
}

/// Removes a log file that was rotated out. Absent is done, and another file stays.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove_rotated(data: &DataDir, app: &AppName, file: &str) -> Result<(), StoreError> {
    let is_plain = file.ends_with(ROTATED) && !file.contains('/');
    if is_plain { remove(&data.logs(app).join(file)) } else { Ok(()) }
}

/// Leaves a report for the git host.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_disk_report(data: &DataDir, report: &DiskReport) -> Result<(), StoreError> {
    let path = report_file(data);
    let text =
        serde_json::to_vec(report).map_err(|source| StoreError::Corrupt { path: path.clone(), source })?;
    // The folder's group is the git host's.
    replace(&path, &text, 0o640)
}

/// Reads the last report; `None` if there is none, or it is too old to say anything.
///
/// # Errors
/// [`StoreError::Corrupt`], [`StoreError::Io`].
pub fn disk_report(data: &DataDir, now_ms: u64) -> Result<Option<DiskReport>, StoreError> {
    let path = report_file(data);
    let Some(text) = read(&path)? else { return Ok(None) };
    let report: DiskReport =
        serde_json::from_str(&text).map_err(|source| StoreError::Corrupt { path, source })?;
    Ok((now_ms.abs_diff(report.measured_ms) <= DISK_REPORT_MS_MAX).then_some(report))
}

fn report_file(data: &DataDir) -> PathBuf {
    data.run("deploy").join("disk.json")
}

/// Returns a file's allocated bytes, which differ from its length.
fn on_disk(found: &Metadata) -> u64 {
    found.blocks().saturating_mul(512)
}

/// When a file was last written to, in Unix ms.
pub(crate) fn unix_ms(found: &Metadata) -> u64 {
    let since = found.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn metadata(path: &Path) -> Result<Option<Metadata>, StoreError> {
    gone_is_none(fs::symlink_metadata(path), path)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, StoreError> {
    let read = fs::read_dir(folder).and_then(Iterator::collect);
    Ok(gone_is_none(read, folder)?.unwrap_or_default())
}

/// Git and func remove files at any time.
fn gone_is_none<T>(found: io::Result<T>, path: &Path) -> Result<Option<T>, StoreError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(e) => Err(io_error("read", path)(e)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use func_model::{DiskBudget, DiskUsage};

    use super::*;

    const MIB: usize = 1 << 20;

    fn data() -> (tempfile::TempDir, DataDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(folder.path()).expect("its folders");
        (folder, data)
    }

    fn put(data: &DataDir, file: &str, bytes: usize) {
        let path = data.root().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, vec![1; bytes]).expect("written");
    }

    #[test]
    fn repositories_and_logs_are_added_up_by_app_and_links_are_not_followed() {
        let (_folder, data) = data();
        put(&data, "projects/blog.git/objects/pack/a", 3 * MIB);
        put(&data, "projects/shop.git/HEAD", 10);
        put(&data, "projects/.removing-old-1/objects/b", MIB);
        put(&data, "logs/blog/build.log", MIB);
        put(&data, "logs/blog/build.log.1", 2 * MIB);
        put(&data, "audit/audit.log", MIB);
        std::os::unix::fs::symlink("/usr", data.projects().join("blog.git/link")).expect("linked");
        let usage = FolderUsage::of(&data).expect("added up");
        let mib = |bytes: u64| bytes / MIB as u64;
        let repositories: Vec<_> = usage.repositories.iter().map(|(a, b)| (a.as_str(), mib(*b))).collect();
        assert_eq!(repositories, [("blog", 3), ("shop", 0)]);
        let mut logs: Vec<_> = usage.logs.iter().map(|log| (log.file.as_str(), mib(log.bytes))).collect();
        logs.sort_unstable();
        assert_eq!(logs, [("build.log", 1), ("build.log.1", 2)]);
        assert_eq!((mib(usage.own_bytes), usage.is_cut), (2, false));
    }

    #[test]
    fn a_walk_ends_where_it_must() {
        let (_folder, data) = data();
        (0..100).for_each(|n| put(&data, &format!("projects/blog.git/{n}"), 1));
        let mut walk = Walk { left: 10 };
        walk.bytes(data.projects()).expect("added up");
        assert_eq!(walk.left, 0);
    }

    #[test]
    fn only_what_was_rotated_out_is_removed() {
        let (_folder, data) = data();
        let app = "blog".parse().expect("a name");
        put(&data, "logs/blog/build.log", 1);
        put(&data, "logs/blog/build.log.1", 1);
        for file in ["build.log", "../blog/build.log.1", "none.log.1"] {
            remove_rotated(&data, &app, file).expect("absent or another is done");
        }
        assert!(data.logs(&app).join("build.log.1").exists());
        remove_rotated(&data, &app, "build.log.1").expect("removed");
        assert!(!data.logs(&app).join("build.log.1").exists() && data.logs(&app).join("build.log").exists());
    }

    #[test]
    fn a_report_that_is_old_says_nothing() {
        let (_folder, data) = data();
        assert_eq!(disk_report(&data, 1).expect("none"), None);
        let report = DiskReport::new(1_000, &DiskUsage::default(), &BTreeSet::new(), DiskBudget::Whole(1));
        write_disk_report(&data, &report).expect("written");
        assert_eq!(disk_report(&data, 2_000).expect("read"), Some(report));
        assert_eq!(disk_report(&data, 1_001 + DISK_REPORT_MS_MAX).expect("read"), None);
    }
}
