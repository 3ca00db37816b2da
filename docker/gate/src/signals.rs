//! The signals that end the gate while it waits.

use libc::c_int;

use crate::kernel::{self, SignalSet};

/// What images name as their `STOPSIGNAL`: the usual one, and those of PostgreSQL, nginx, HAProxy, Apache, systemd and
/// their like. The last is SIGRTMIN+3, as the kernel counts.
const ENDING: [c_int; 8] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGWINCH,
    37,
];
/// What poll(2) leaves out.
const NONE: c_int = -1;

/// Signals that are held back, to be read. Without that the kernel drops them: this is process 1, which gets no signal
/// that it has no handler for, and who stops the container would have to wait until it may kill.
pub struct Signals {
    /// Closed by the kernel when another program begins.
    pub fd: c_int,
    before: SignalSet,
}

impl Signals {
    /// Holds the signals back. Where that is forbidden they are dropped, as ever.
    pub fn hold() -> Self {
        let ending = ENDING.iter().fold(0, |set, signal| set | 1 << (signal - 1));
        let before = kernel::mask(libc::SIG_BLOCK, ending);
        match kernel::open_signals(ending) {
            Ok(fd) => Self { fd, before },
            Err(_) => Self { fd: NONE, before },
        }
    }

    /// Gives the number of one that has come.
    pub fn came(&self) -> Option<c_int> {
        kernel::read_signal(self.fd).ok()
    }

    /// Blocks what was blocked before, and nothing else: the next program inherits it. One that has come and was not
    /// read is dropped now, as it would have been without a gate, where it came before the app had a handler.
    pub fn release(self) {
        kernel::mask(libc::SIG_SETMASK, self.before);
        kernel::close(self.fd);
    }
}
