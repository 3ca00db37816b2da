//! File descriptors: how many this process may have, and how many of them are for whom.
//!
//! Strangers may connect to the edge and to the git host. Whatever they hold, there have to be enough for what func itself
//! opens: its sockets, git's processes, calls to the engine, files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many are kept for func's own work where there are enough.
const KEPT: usize = 2_048;
/// What a git command needs: its pipes, the files that it is handed, a call to the builder.
const OF_GIT_COMMAND: usize = 6;
/// What a connection to the edge needs: itself, and one to an app.
const OF_EDGE_CONNECTION: usize = 2;

/// Raises the limit as far as it may be, and gives it.
pub fn raise() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX))
}

/// How many connections strangers may have, by the limit as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// To the edge.
    pub edge: usize,
    /// To the git host, SSH and HTTP together.
    pub git: usize,
}

impl Shares {
    /// Reads the limit.
    pub fn of_this_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current;
        Self::of(limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX)))
    }

    fn of(limit: usize) -> Self {
        let kept = KEPT.min(limit / 2);
        Self { edge: ((limit - kept) / OF_EDGE_CONNECTION).max(1), git: (kept / OF_GIT_COMMAND / 2).max(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_few_there_are_some_are_kept() {
        assert_eq!(Shares::of(300), Shares { edge: 75, git: 12 });
        assert_eq!(Shares::of(1_024), Shares { edge: 256, git: 42 });
        assert_eq!(Shares::of(1 << 20), Shares { edge: ((1 << 20) - 2_048) / 2, git: 170 });
        for limit in [0, 1, 64, 4_096, usize::MAX] {
            let shares = Shares::of(limit);
            assert!(shares.edge >= 1 && shares.git >= 1);
        }
    }
}
