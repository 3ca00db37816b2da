//! Where the program of a command is, as Go's `exec.LookPath` finds it, which runc uses.

use libc::{c_char, c_int};

use crate::kernel::{self, Errno, Given};
use crate::text::{Text, bytes};

const NOT_FOUND: c_int = 127;
pub const CANNOT_RUN: c_int = 126;
/// The longest path that the kernel takes, its final NUL counted.
const PATH_BYTES: usize = libc::PATH_MAX as usize;

/// Why a command cannot be run, in the words of Go.
pub struct Refusal {
    pub status: c_int,
    /// The file was not to be found by this call; empty for what else went wrong.
    pub call: &'static [u8],
    pub said: &'static [u8],
}

/// The path of a program; ends with NUL.
pub struct Program(Text<PATH_BYTES>);

/// Finds a command's program: one with a slash is a path, another is looked up in `PATH`. Only what may be executed and
/// is no folder counts.
pub fn find(name: &[u8], given: &Given) -> Result<Program, Refusal> {
    if name.contains(&b'/') {
        return Program::new(b"", name);
    }
    let absent = Refusal::new(NOT_FOUND, b"executable file not found in $PATH");
    if name.is_empty() {
        return Err(absent);
    }
    for folder in path(given).split(|b| *b == b':') {
        if let Ok(program) = Program::new(folder, name) {
            let said = b"cannot run executable found relative to current directory";
            return match folder.first() {
                Some(b'/') => Ok(program),
                Some(_) | None => Err(Refusal::new(NOT_FOUND, said)),
            };
        }
    }
    Err(absent)
}

impl Program {
    fn new(folder: &[u8], name: &[u8]) -> Result<Self, Refusal> {
        let mut path = Text::new();
        path.add(folder);
        path.add(if folder.is_empty() { b"" } else { b"/" });
        path.add(name);
        path.add(b"\0");
        if path.is_cut() {
            return Err(Refusal::of(&Errno(libc::ENAMETOOLONG)));
        }
        let absent = |errno| Refusal { call: b"stat", ..Refusal::of(&errno) };
        if kernel::mode(path.as_ptr()).map_err(absent)? & libc::S_IFMT == libc::S_IFDIR {
            return Err(Refusal::new(CANNOT_RUN, b"is a directory"));
        }
        kernel::may_execute(path.as_ptr()).map_err(|errno| Refusal::of(&errno))?;
        Ok(Self(path))
    }

    pub fn as_ptr(&self) -> *const c_char {
        self.0.as_ptr()
    }
}

impl Refusal {
    pub fn new(status: c_int, said: &'static [u8]) -> Self {
        Self { status, call: b"", said }
    }

    pub fn of(errno: &Errno) -> Self {
        let (status, said): (c_int, &'static [u8]) = match errno.0 {
            libc::ENOENT => (NOT_FOUND, b"no such file or directory"),
            libc::ENOTDIR => (NOT_FOUND, b"not a directory"),
            libc::EACCES => (CANNOT_RUN, b"permission denied"),
            libc::ENOEXEC => (CANNOT_RUN, b"exec format error"),
            libc::ENAMETOOLONG => (CANNOT_RUN, b"file name too long"),
            libc::E2BIG => (CANNOT_RUN, b"argument list too long"),
            libc::ENOMEM => (CANNOT_RUN, b"cannot allocate memory"),
            libc::ETXTBSY => (CANNOT_RUN, b"text file busy"),
            libc::ELOOP => (CANNOT_RUN, b"too many levels of symbolic links"),
            libc::EMFILE | libc::ENFILE => (CANNOT_RUN, b"too many open files"),
            _ => (CANNOT_RUN, b"input/output error"),
        };
        Self::new(status, said)
    }
}

/// Gives the value of `PATH`; empty if there is none.
fn path(given: &Given) -> &[u8] {
    let mut next = given.environment;
    // Safe: the list ends with a null.
    while let Some(variable) = unsafe { (*next).as_ref() } {
        // Safe: it is a text of the environment, which nothing changes.
        if let Some(value) = unsafe { bytes(variable) }.strip_prefix(b"PATH=") {
            return value;
        }
        // Safe: this was not the end.
        next = unsafe { next.add(1) };
    }
    b""
}
