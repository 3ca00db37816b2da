//! Git programs, started with nothing of the server's own environment and settings.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use crate::limits::{GIT_CPU_SECONDS, GIT_FILE_BYTES, GIT_MEMORY_BYTES, STREAM_BYTES};

/// How much of git's complaint is kept.
const COMPLAINT_BYTES: u64 = 2_048;
/// Where programs are looked for if the server has no `PATH`.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A git that runs, and whose output is read; dropping it ends it.
pub struct Git {
    child: Child,
    verb: &'static str,
    complaint: File,
    /// Removed when it has ended.
    _folder: TempDir,
}

/// Makes the folder that git takes for the repository: only the objects are the app's. What the repository's own
/// configuration says is never read, whoever wrote it; no replaced objects, and no attribute that puts a commit's
/// message into files again and again.
fn folder() -> io::Result<TempDir> {
    let folder = tempfile::Builder::new().prefix("func-git-").tempdir()?;
    for name in ["objects", "refs", "info"] {
        std::fs::create_dir(folder.path().join(name))?;
    }
    std::fs::write(folder.path().join("HEAD"), "ref: refs/heads/main\n")?;
    std::fs::write(folder.path().join("info/attributes"), "* -export-subst\n")?;
    Ok(folder)
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
        let (complaint, folder) = (tempfile::tempfile()?, folder()?);
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
        let git = Self { child: command.spawn()?, verb, complaint, _folder: folder };
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
