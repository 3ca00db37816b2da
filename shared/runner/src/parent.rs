//! The control group that holds all instances of an installation: together they use no more memory than it may, so that
//! the kernel ends one of them, and never func or the machine, when many are woken.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum};
use thiserror::Error;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// The kernel rounds limits to pages.
const PAGE_BYTES: u64 = 4096;

/// Why the memory of all instances together has no limit.
#[derive(Debug, Error)]
pub enum BoundError {
    #[error("the engine puts its containers into no control groups")]
    NoGroups,
    #[error("limit the memory of all apps together: {}", .path.display())]
    Group { path: PathBuf, source: io::Error },
}

/// The control group of all instances of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    /// As the engine takes it: a path, or the name of a systemd slice.
    name: String,
    /// Its folder, as far as memory goes, below the control groups' root.
    folder: PathBuf,
    /// The file in it that has the limit.
    file: &'static str,
    /// Whether systemd makes the folder, when the first instance starts.
    is_slice: bool,
}

impl Parent {
    fn new(installation: &str, is_slice: bool, is_first_version: bool) -> Self {
        let name = match is_slice {
            true => format!("{installation}.slice"),
            false => format!("/{installation}"),
        };
        let path = if is_slice { expanded(installation) } else { PathBuf::from(installation) };
        let (folder, file) = match is_first_version {
            true => (Path::new("memory").join(path), "memory.limit_in_bytes"),
            false => (path, "memory.max"),
        };
        Self { name, folder, file, is_slice }
    }

    /// Returns the group that an engine can put the instances of an installation into.
    pub(crate) fn of(installation: &str, engine: &SystemInfo) -> Option<Self> {
        let is_slice = match engine.cgroup_driver? {
            SystemInfoCgroupDriverEnum::SYSTEMD => true,
            SystemInfoCgroupDriverEnum::CGROUPFS => false,
            SystemInfoCgroupDriverEnum::EMPTY | SystemInfoCgroupDriverEnum::NONE => return None,
        };
        let is_first_version = match engine.cgroup_version {
            Some(SystemInfoCgroupVersionEnum::_2) => false,
            // An engine that does not say so knows only the first.
            Some(SystemInfoCgroupVersionEnum::_1 | SystemInfoCgroupVersionEnum::EMPTY) | None => true,
        };
        Some(Self::new(installation, is_slice, is_first_version))
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Limits the memory of all that is in the group. Repeatable. A group that is not there yet, and that only the engine
    /// may make, has nothing in it.
    pub(crate) fn bound(&self, bytes: u64) -> Result<(), BoundError> {
        let folder = Path::new(ROOT).join(&self.folder);
        let path = folder.join(self.file);
        let made = match folder.exists() {
            true => Ok(()),
            false if self.is_slice => return Ok(()),
            false => fs::create_dir(&folder),
        };
        let bounded = match made {
            Err(e) if e.kind() == ErrorKind::PermissionDenied => return Ok(()),
            Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(e),
            Ok(()) | Err(_) => write_limit(&path, bytes),
        };
        bounded.map_err(|source| BoundError::Group { path, source })
    }
}

fn write_limit(path: &Path, bytes: u64) -> io::Result<()> {
    let stands = fs::read_to_string(path)?.trim().parse::<u64>();
    match stands.is_ok_and(|stands| stands.abs_diff(bytes) < PAGE_BYTES) {
        true => Ok(()),
        false => fs::write(path, bytes.to_string()),
    }
}

/// Returns the folder of a slice: each dash in its name is one level.
///
/// Source: systemd.slice(5).
fn expanded(installation: &str) -> PathBuf {
    let ends = installation.match_indices('-').map(|(at, _)| at).chain([installation.len()]);
    ends.map(|end| format!("{}.slice", &installation[..end])).collect()
}

fn all(installation: &str) -> impl Iterator<Item = Parent> {
    let kinds = [(false, true), (false, false), (true, true), (true, false)];
    kinds.into_iter().map(move |(is_slice, first)| Parent::new(installation, is_slice, first))
}

/// Returns the limit of the memory of all instances of an installation together, in bytes; `None` if there is none.
pub fn memory_bound(installation: &str) -> Option<u64> {
    let limits = all(installation).filter_map(|parent| {
        let path = Path::new(ROOT).join(&parent.folder).join(parent.file);
        fs::read_to_string(path).ok()?.trim().parse::<u64>().ok()
    });
    // The first version has no word for "none", but a number near 2^63.
    limits.min().filter(|bytes| *bytes < 1 << 60)
}

/// Removes the control group of an installation that has no instances any more. What is not there, or in use, stays.
pub fn remove_group(installation: &str) {
    let controllers = fs::read_dir(ROOT).into_iter().flatten().flatten().map(|entry| entry.path());
    for folder in controllers.chain([PathBuf::from(ROOT)]) {
        let _ = fs::remove_dir(folder.join(installation));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_named_as_the_engines_driver_wants_it_and_found_where_the_kernel_has_it() {
        let engine = |driver, version| SystemInfo {
            cgroup_driver: Some(driver),
            cgroup_version: version,
            ..Default::default()
        };
        let shown = |driver, version| {
            Parent::of("func-3f2a", &engine(driver, version))
                .map(|p| format!("{} {}/{}", p.name, p.folder.display(), p.file))
        };
        use SystemInfoCgroupDriverEnum::{CGROUPFS, NONE, SYSTEMD};
        use SystemInfoCgroupVersionEnum::{_1, _2};
        let expected = "/func-3f2a memory/func-3f2a/memory.limit_in_bytes";
        assert_eq!(shown(CGROUPFS, Some(_1)).as_deref(), Some(expected));
        assert_eq!(shown(CGROUPFS, None).as_deref(), Some(expected));
        assert_eq!(shown(CGROUPFS, Some(_2)).as_deref(), Some("/func-3f2a func-3f2a/memory.max"));
        let expected = "func-3f2a.slice func.slice/func-3f2a.slice/memory.max";
        assert_eq!(shown(SYSTEMD, Some(_2)).as_deref(), Some(expected));
        assert_eq!(shown(NONE, Some(_2)), None);
        assert_eq!(Parent::of("func", &SystemInfo::default()), None);
    }
}
