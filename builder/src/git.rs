//! Git programs, started with nothing of the server's own environment and settings.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use tempfile::TempDir;

use crate::limits::{GIT_CPU_SECONDS, GIT_FILE_BYTES, GIT_MEMORY_BYTES, STREAM_BYTES};

/// How much of git's complaint is kept.
const COMPLAINT_BYTES: u64 = 2_048;
/// Where programs are looked for if the server has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Prefix of git's scratch folders, and the lock file in each that marks it as in use.
const PREFIX: &str = "func-git-";
const LOCK: &str = "lock";
/// How old a folder without a lock is at least when it is taken for one that was left.
const UNLOCKED_MAX: Duration = Duration::from_secs(60);

/// A git that runs, and whose output is read; dropping it ends it.
pub struct Git {
    child: Child,
    verb: &'static str,
    complaint: File,
    /// Removed when it has ended.
    _folder: TempDir,
    /// Says to other builders that the folder is in use.
    _lock: File,
}

/// Makes the folder that git takes for the repository: only the objects are the app's. What the repository's own
/// configuration says is never read, whoever wrote it; no replaced objects, and no attribute that puts a commit's
/// message into files again and again.
fn folder(within: &Path) -> io::Result<(TempDir, File)> {
    let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(within)?;
    let lock = File::create(folder.path().join(LOCK))?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    for name in ["objects", "refs", "info"] {
        std::fs::create_dir(folder.path().join(name))?;
    }
    std::fs::write(folder.path().join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(folder.path().join("info/attributes"), "* -export-subst\n")?;
    Ok((folder, lock))
}

/// Removes the folders of builders that were killed: what has ended holds no lock. Returns how many there were.
///
/// # Errors
/// If the folder of temporary files cannot be read; one that cannot be removed stays.
pub fn remove_stale(within: &Path) -> io::Result<usize> {
    let mut removed = 0;
    for entry in std::fs::read_dir(within)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if !is_ours || !entry.file_type()?.is_dir() || entry.metadata()?.uid() != geteuid().as_raw() {
            continue;
        }
        let stale = match File::open(entry.path().join(LOCK)) {
            Ok(lock) => rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
            // Another builder may be about to make it; older versions made none.
            Err(_) => entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age > UNLOCKED_MAX),
        };
        removed += usize::from(stale && std::fs::remove_dir_all(entry.path()).is_ok());
    }
    Ok(removed)
}

/// Bounds what a git may take. It has begun already, and takes all of its memory later.
fn bound(child: &Child) -> io::Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    for (resource, most) in [
        (Resource::Data, GIT_MEMORY_BYTES),
        (Resource::Cpu, GIT_CPU_SECONDS),
        (Resource::Fsize, GIT_FILE_BYTES),
        (Resource::Core, 0),
    ] {
        match prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(most) }) {
            // It has ended.
            Ok(_) | Err(rustix::io::Errno::SRCH) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

impl Git {
    /// Starts `git <verb> <arguments>` on a repository's objects, within limits of memory and CPU. What the user who runs func has set for git does not matter:
    /// it could change files, and run programs that a pushed .gitattributes names.
    pub fn start(repository: &Path, verb: &'static str, arguments: &[&str]) -> io::Result<Self> {
        let (complaint, (folder, lock)) = (tempfile::tempfile()?, folder(&std::env::temp_dir())?);
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(folder.path()).arg(verb).args(arguments).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
        command.env("HOME", "/nonexistent").env("LANG", "C");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("GIT_ATTR_NOSYSTEM", "1").env("GIT_OBJECT_DIRECTORY", repository.join("objects"));
        // The repository may be another user's; and a large file is streamed, not held in git's memory.
        let settings =
            [("safe.directory", "*".to_owned()), ("core.bigFileThreshold", STREAM_BYTES.to_string())];
        for (n, (key, value)) in settings.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{n}"), key).env(format!("GIT_CONFIG_VALUE_{n}"), value);
        }
        command.env("GIT_CONFIG_COUNT", settings.len().to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaint.try_clone()?);
        let git = Self { child: command.spawn()?, verb, complaint, _folder: folder, _lock: lock };
        bound(&git.child)?;
        Ok(git)
    }

    /// Gives what it writes.
    pub fn output(&mut self) -> &mut impl Read {
        self.child.stdout.as_mut().expect("its output is piped, and never taken")
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If it did not end well, with what it said.
    pub fn end(mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut said = Vec::new();
        self.complaint.seek(SeekFrom::Start(0))?;
        Read::by_ref(&mut self.complaint).take(COMPLAINT_BYTES).read_to_end(&mut said)?;
        let said = String::from_utf8_lossy(&said);
        Err(io::Error::other(format!("git {} ended with {status}: {}", self.verb, said.trim())))
    }
}

impl Drop for Git {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_a_killed_builder_left_are_removed_and_those_in_use_stay() {
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let within = temporary.path();
        let (used, _lock) = folder(within).expect("made");
        let (left, lock) = folder(within).expect("made");
        // As when its process is killed.
        let left = left.keep();
        drop(lock);
        let (young, other) = (within.join("func-git-young"), within.join("other"));
        std::fs::create_dir(&young).expect("made");
        std::fs::create_dir(&other).expect("made");
        assert_eq!(remove_stale(within).expect("looked"), 1);
        assert!(!left.exists() && used.path().exists() && young.exists() && other.exists());
    }

    #[test]
    fn git_that_reads_for_a_build_has_limits_of_memory_cpu_and_files() {
        let repository = tempfile::tempdir().expect("a temporary folder");
        git2::Repository::init_bare(repository.path()).expect("a repository");
        // It waits for its reader: more than a pipe holds.
        let mut git = Git::start(repository.path(), "help", &["--config"]).expect("started");
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", git.child.id())).expect("read");
        let has = |name: &str, most: u64| {
            let line = limits.lines().find(|line| line.starts_with(name)).expect("a limit");
            let values: Vec<&str> = line[name.len()..].split_whitespace().take(2).collect();
            assert_eq!(values, [most.to_string(), most.to_string()], "{name}");
        };
        has("Max data size", GIT_MEMORY_BYTES);
        has("Max cpu time", GIT_CPU_SECONDS);
        has("Max file size", GIT_FILE_BYTES);
        has("Max core file size", 0);
        let _ = io::copy(git.output(), &mut io::sink());
        git.end().expect("it ended well");
    }
}
