//! One running git program, in a process group of its own, which never outlives its owner.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, prlimit, waitid,
};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::HostError;
use crate::call::{Call, Talk};
use crate::limits::{COMMAND_CPU_SECONDS, COMMAND_GRACE, COMMAND_MEMORY_BYTES};
use crate::verdict::Verdict;

/// Git's settings for every call, beside `core.hooksPath` and the limit of a push.
///
/// Objects are checked as they come; what old programs have written and harms nobody is let through ([`HARMLESS`]).
/// `gc.autoDetach` is off so that no process outlives its call; gc runs seldom, after the hook, and its progress is shown.
/// The last four bound git's memory: larger files are streamed and not deltified.
const SETTINGS: [(&str, &str); 13] = [
    ("receive.fsckObjects", "true"),
    ("safe.directory", "*"),
    ("receive.denyDeleteCurrent", "ignore"),
    ("receive.denyNonFastForwards", "false"),
    ("receive.advertisePushOptions", "false"),
    ("receive.autogc", "true"),
    ("gc.autoDetach", "false"),
    ("maintenance.autoDetach", "false"),
    ("uploadpack.allowFilter", "true"),
    ("core.bigFileThreshold", "32m"),
    ("pack.windowMemory", "64m"),
    ("pack.deltaCacheSize", "64m"),
    ("pack.threads", "2"),
];

/// Flaws of real old repositories, by the names that git 2.34 knows; it warns about names that it does not know.
///
/// Source: git-config(1), `receive.fsck.<msg-id>`; git-fsck(1).
const HARMLESS: [&str; 12] = [
    "badDate",
    "badDateOverflow",
    "badEmail",
    "badName",
    "badTimezone",
    "missingEmail",
    "missingNameBeforeEmail",
    "missingSpaceBeforeDate",
    "missingSpaceBeforeEmail",
    "nulInCommit",
    "zeroPaddedDate",
    "zeroPaddedFilemode",
];

/// How git is started.
pub(crate) struct Git {
    pub(crate) search_path: OsString,
    pub(crate) hooks: PathBuf,
    pub(crate) root: PathBuf,
    pub(crate) push_bytes_max: u64,
}

impl Git {
    /// Starts git for a call, with an environment that has nothing of ours.
    ///
    /// # Errors
    /// [`HostError::Spawn`].
    pub(crate) fn start(
        &self,
        call: &Call,
        repository: &Path,
        verdict: &Verdict,
    ) -> Result<Process, HostError> {
        let mut command = Command::new("git");
        command.arg(call.program.verb());
        match call.talk {
            Talk::Whole => &mut command,
            Talk::Refs => command.args(["--stateless-rpc", "--http-backend-info-refs"]),
            Talk::Turn => command.arg("--stateless-rpc"),
        };
        command.arg(repository).current_dir("/").env_clear();
        command.env("PATH", &self.search_path).env("HOME", "/nonexistent").env("LANG", "C");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
        command.env("FUNC_APP", call.app.as_str()).env("FUNC_DATA", &self.root);
        command.env("FUNC_VERDICT", verdict.path());
        let by = serde_json::to_string(&call.by).map_err(|e| HostError::Spawn(e.into()))?;
        command.env("FUNC_PRINCIPAL", by);
        command.envs(func_crash::hooks_own());
        if let Some(protocol) = &call.protocol {
            command.env("GIT_PROTOCOL", protocol.as_str());
        }
        self.configure(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        Process::new(command.spawn().map_err(HostError::Spawn)?)
    }

    fn configure(&self, command: &mut Command) {
        let limit = self.push_bytes_max.to_string();
        let own = [("core.hooksPath", self.hooks.as_os_str()), ("receive.maxInputSize", limit.as_ref())];
        let fixed = SETTINGS.iter().map(|(key, value)| (*key, (*value).as_ref()));
        let mut count = 0;
        let own = own.into_iter().chain(fixed).map(|(key, value)| (key.to_owned(), value));
        let harmless = HARMLESS.iter().map(|name| (format!("receive.fsck.{name}"), OsStr::new("ignore")));
        for (key, value) in own.chain(harmless) {
            command.env(format!("GIT_CONFIG_KEY_{count}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{count}"), value);
            count += 1;
        }
        command.env("GIT_CONFIG_COUNT", count.to_string());
    }
}

/// A started git with its pipes. Dropped before it was waited for, its whole group is killed.
pub(crate) struct Process {
    child: Child,
    group: Pid,
    ended: bool,
}

/// Git's ends of the three pipes.
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Process {
    fn new(child: Child) -> Result<Self, HostError> {
        let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = pid.ok_or_else(|| HostError::Spawn(std::io::Error::other("no process id")))?;
        let process = Self { child, group, ended: false };
        process.bound().map_err(|e| HostError::Spawn(e.into()))?;
        Ok(process)
    }

    /// Bounds what git, and each program that it starts, may take. Nothing was sent to it yet.
    fn bound(&self) -> Result<(), Errno> {
        for (resource, most) in [
            (Resource::Data, COMMAND_MEMORY_BYTES),
            (Resource::Cpu, COMMAND_CPU_SECONDS),
            (Resource::Core, 0),
        ] {
            match prlimit(Some(self.group), resource, Rlimit { current: Some(most), maximum: Some(most) }) {
                // It has ended.
                Ok(_) | Err(Errno::SRCH) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hands out the pipes.
    ///
    /// # Errors
    /// [`HostError::Spawn`] if they were handed out before.
    pub(crate) fn pipes(&mut self) -> Result<Pipes, HostError> {
        match (self.child.stdin.take(), self.child.stdout.take(), self.child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok(Pipes { stdin, stdout, stderr }),
            _ => Err(HostError::Spawn(std::io::Error::other("its pipes are taken"))),
        }
    }

    /// Waits for the end and gives the exit status as a shell does: 128 and the signal, if one ended it.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`HostError::Wait`].
    pub(crate) async fn wait(&mut self) -> Result<u8, HostError> {
        use std::os::unix::process::ExitStatusExt;
        let status = self.child.wait().await.map_err(HostError::Wait)?;
        self.ended = true;
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        Ok(u8::try_from(code).unwrap_or(u8::MAX))
    }

    /// Ends the group: asked first, so that git removes its temporary objects, then killed.
    ///
    /// # Errors
    /// [`HostError::Wait`].
    pub(crate) async fn end(mut self) -> Result<(), HostError> {
        if self.ended {
            return Ok(());
        }
        // A group that is gone already is what we want.
        let _ = kill_process_group(self.group, Signal::TERM);
        let deadline = tokio::time::Instant::now() + COMMAND_GRACE;
        while !self.has_exited() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The leader is not reaped yet, so its number is still this group's and nobody else's.
        let _ = kill_process_group(self.group, Signal::KILL);
        self.wait().await.map(drop)
    }

    fn has_exited(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(self.group), look), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn git_and_what_it_starts_have_limits_of_memory_and_cpu() {
        let mut command = Command::new("sh");
        // Its own limits are set before it reads; those of what it starts are the same.
        command.args(["-c", "read go; sh -c 'ulimit -d; ulimit -t; ulimit -c'"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut process = Process::new(command.spawn().expect("started")).expect("bounded");
        let mut pipes = process.pipes().expect("its pipes");
        tokio::io::AsyncWriteExt::write_all(&mut pipes.stdin, b"go\n").await.expect("written");
        let mut said = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut pipes.stdout, &mut said).await.expect("read");
        process.wait().await.expect("ended");
        assert_eq!(said, format!("{}\n{COMMAND_CPU_SECONDS}\n0\n", COMMAND_MEMORY_BYTES / 1024));
    }
}
