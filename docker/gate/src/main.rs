//! The gate of a poised container: waits for one byte in a named pipe, and becomes the app.
//!
//! `func-gate <pipe> <command> [argument...]`. The command is found as runc finds it, before the wait, so that what
//! cannot be run is told at once. What the app gets is what it would have got without: arguments, environment, folder,
//! user, signals, and no descriptor more. Exit status 127: the command is not there; 126: it cannot be run, or the pipe
//! cannot be read; one line on the standard error says why. 128 and a signal's number: the container was stopped before it was let
//! go; 143 after SIGTERM, 130 after SIGINT.
//!
//! There is one process of this program for every app at rest, so it is as small as it can be: no runtime of Rust's
//! (which would ignore SIGPIPE, and the app would inherit that), no C library, no allocator.
#![no_main]
// A build that ends at a panic is the one that counts: it has no standard library. Others are only checked and linted.
#![cfg_attr(panic = "abort", no_std)]
// The loops of `memory` stay loops.
#![no_builtins]
// It stands directly on the kernel: `kernel` and `text` are about nothing else.
#![allow(unsafe_code)]

mod command;
mod kernel;
#[cfg(panic = "abort")]
mod memory;
mod signals;
mod text;

use libc::{c_char, c_int};

use command::{CANNOT_RUN, Refusal, find};
use kernel::Given;
use signals::Signals;
use text::{Text, bytes};

const LINE_BYTES: usize = 512;
/// How much of a name is shown; it may be shown twice.
const NAME_BYTES: usize = 200;
/// A shell's status of a process that a signal has ended, less the signal's number.
const BY_SIGNAL: c_int = 128;

/// How a wait ends.
enum End {
    /// A byte came.
    Opened,
    /// This signal came, and no byte.
    Stopped(c_int),
}

/// Gives the exit status, if this program has not become another.
fn run(given: &Given) -> c_int {
    if given.count < 3 {
        return refuse(b"func-gate", &Refusal::new(CANNOT_RUN, b"give a pipe and a command"));
    }
    // Safe: there are so many.
    let (pipe, command) = unsafe { (*given.arguments.add(1), given.arguments.add(2)) };
    // Safe: it is an argument, which nothing changes.
    let name = unsafe { bytes(*command) };
    let program = match find(name, given) {
        Ok(program) => program,
        Err(refusal) => return refuse(name, &refusal),
    };
    match wait(pipe) {
        Ok(End::Opened) => {}
        Ok(End::Stopped(signal)) => return BY_SIGNAL + signal,
        // Safe: as above.
        Err(refusal) => return refuse(unsafe { bytes(pipe) }, &refusal),
    }
    let errno = kernel::execute(program.as_ptr(), command, given.environment);
    refuse(name, &Refusal::of(&errno))
}

/// Waits for a byte, or a signal that ends. A writer that leaves without a byte has died, or only looked whether somebody
/// waits here: the pipe is opened anew, before the old descriptor is closed, so that it always has a reader.
fn wait(pipe: *const c_char) -> Result<End, Refusal> {
    // Before there is a reader: who sees one may stop this.
    let signals = Signals::hold();
    let open = || kernel::open(pipe).map_err(|errno| Refusal { status: CANNOT_RUN, ..Refusal::of(&errno) });
    let mut reader = open()?;
    loop {
        kernel::poll([reader, signals.fd]);
        let read = kernel::read(reader);
        // A byte comes before a signal: who wrote it takes what ends from now on for the app.
        if matches!(read, Ok(1..)) {
            break;
        }
        if let Some(signal) = signals.came() {
            return Ok(End::Stopped(signal));
        }
        if let Ok(0) = read {
            let next = open()?;
            kernel::close(reader);
            reader = next;
        }
    }
    kernel::close(reader);
    signals.release();
    Ok(End::Opened)
}

#[cfg(panic = "abort")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    kernel::exit(CANNOT_RUN)
}

/// Prints one line, in one call, so that it is one line of the log as well; gives the exit status.
fn refuse(name: &[u8], refusal: &Refusal) -> c_int {
    let name = name.get(..NAME_BYTES).unwrap_or(name);
    let mut line = Text::<LINE_BYTES>::new();
    line.add(b"func-gate: \"");
    line.add(name);
    line.add(b"\": ");
    if !refusal.call.is_empty() {
        line.add(refusal.call);
        line.add(b" ");
        line.add(name);
        line.add(b": ");
    }
    line.add(refusal.said);
    line.add(b"\n");
    kernel::print(line.bytes());
    refusal.status
}
