//! The calls of the kernel that the gate makes, and its start.

use core::arch::{asm, global_asm};
use core::mem::MaybeUninit;
use core::ptr::null;

use libc::{c_char, c_int};

/// What a process is given: pointers to strings that end with NUL, each list with a null at its end.
pub struct Given {
    pub count: usize,
    pub arguments: *const *const c_char,
    pub environment: *const *const c_char,
}

/// A set of signals as the kernel has it: the lowest bit is signal 1.
pub type SignalSet = u64;

/// The number of an error, as in errno(3).
pub struct Errno(pub c_int);

#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {begin}",
    "ud2",
    begin = sym begin
);

#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x29, xzr", "mov x0, sp", "bl {begin}", "brk #1", begin = sym begin);

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("the gate has no start and no way to call the kernel on this architecture yet: add both here");

/// The kernel puts the number of arguments onto the stack, the arguments, a null, the environment, a null.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    let given = unsafe {
        let count = *stack;
        let arguments = stack.add(1).cast::<*const c_char>();
        Given { count, arguments, environment: arguments.add(count + 1) }
    };
    exit(crate::run(&given))
}

#[cfg(target_arch = "x86_64")]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") 0,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn call(number: libc::c_long, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    unsafe {
        asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") a as isize => result,
            in("x1") b, in("x2") c, in("x3") d, in("x4") 0,
            options(nostack),
        );
    }
    result
}

fn result(returned: isize) -> Result<c_int, Errno> {
    if returned < 0 { Err(Errno(-returned as c_int)) } else { Ok(returned as c_int) }
}

/// Opens a pipe for reading, whether or not somebody writes to it. `path` ends with NUL.
pub fn open(path: *const c_char) -> Result<c_int, Errno> {
    let flags = libc::O_RDONLY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    result(unsafe { call(libc::SYS_openat, libc::AT_FDCWD as usize, path as usize, flags as usize, 0) })
}

/// Reads one byte; gives how many came.
pub fn read(fd: c_int) -> Result<c_int, Errno> {
    let mut byte = MaybeUninit::<u8>::uninit();
    result(unsafe { call(libc::SYS_read, fd as usize, byte.as_mut_ptr() as usize, 1, 0) })
}

/// Waits until one of them has something to read, or no writer any more. A negative one is left out.
pub fn poll(fds: [c_int; 2]) {
    let mut wanted = fds.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    let no_timeout = null::<libc::timespec>() as usize;
    let no_mask = null::<libc::sigset_t>() as usize;
    unsafe { call(libc::SYS_ppoll, wanted.as_mut_ptr() as usize, wanted.len(), no_timeout, no_mask) };
}

/// Changes which signals are blocked; `how` is `SIG_BLOCK` or `SIG_SETMASK`. Gives those that were.
pub fn mask(how: c_int, signals: SignalSet) -> SignalSet {
    let mut before: SignalSet = 0;
    let (set, old) = ((&raw const signals) as usize, (&raw mut before) as usize);
    // It fails only for a `how` or an address that is none.
    unsafe { call(libc::SYS_rt_sigprocmask, how as usize, set, old, size_of::<SignalSet>()) };
    before
}

/// Opens a descriptor that can be read when one of these signals has come, which have to be blocked.
pub fn open_signals(signals: SignalSet) -> Result<c_int, Errno> {
    let (set, flags) = ((&raw const signals) as usize, libc::SFD_NONBLOCK | libc::SFD_CLOEXEC);
    let new = -1_isize as usize;
    result(unsafe { call(libc::SYS_signalfd4, new, set, size_of::<SignalSet>(), flags as usize) })
}

/// Reads one signal; gives its number.
pub fn read_signal(fd: c_int) -> Result<c_int, Errno> {
    let mut signal = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let (into, bytes) = (signal.as_mut_ptr() as usize, size_of::<libc::signalfd_siginfo>());
    let read = unsafe { call(libc::SYS_read, fd as usize, into, bytes, 0) };
    // The kernel gives a whole one, or fails.
    result(read).map(|_| unsafe { (*signal.as_ptr()).ssi_signo as c_int })
}

pub fn close(fd: c_int) {
    unsafe { call(libc::SYS_close, fd as usize, 0, 0, 0) };
}

/// Gives the kind and the permissions of a file. `path` ends with NUL.
pub fn mode(path: *const c_char) -> Result<libc::mode_t, Errno> {
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let into = stat.as_mut_ptr() as usize;
    let found = unsafe { call(libc::SYS_newfstatat, libc::AT_FDCWD as usize, path as usize, into, 0) };
    result(found).map(|_| unsafe { (*stat.as_ptr()).st_mode })
}

/// Says whether this process may execute a file, or search a folder. `path` ends with NUL. The ids that count are the
/// real ones: an instance has no others.
pub fn may_execute(path: *const c_char) -> Result<(), Errno> {
    let mode = libc::X_OK as usize;
    result(unsafe { call(libc::SYS_faccessat, libc::AT_FDCWD as usize, path as usize, mode, 0) }).map(drop)
}

/// Becomes another program; gives why it did not. `path` ends with NUL, the lists with a null.
pub fn execute(
    path: *const c_char,
    arguments: *const *const c_char,
    environment: *const *const c_char,
) -> Errno {
    let failed =
        unsafe { call(libc::SYS_execve, path as usize, arguments as usize, environment as usize, 0) };
    Errno(-failed as c_int)
}

/// Prints on the standard error. Nobody may be listening.
pub fn print(line: &[u8]) {
    unsafe { call(libc::SYS_write, libc::STDERR_FILENO as usize, line.as_ptr() as usize, line.len(), 0) };
}

pub fn exit(status: c_int) -> ! {
    loop {
        unsafe { call(libc::SYS_exit_group, status as usize, 0, 0, 0) };
    }
}
