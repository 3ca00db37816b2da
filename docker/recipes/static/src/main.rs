//! `func-static`: the process inside a static site's container.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use func_static::config::{self, Command, Config, HELP, StartError};
use func_static::limits::{DESCRIPTORS, READER_STACK_BYTES, READERS_MAX};
use func_static::{Bounds, Site, serve};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a process ends with when its settings are wrong, by custom.
const WRONG_SETTING: u8 = 2;

fn main() -> ExitCode {
    let ended = match config::from_process() {
        Ok(Command::Serve(config)) => run(config),
        Ok(Command::Help) => {
            say(HELP.trim_end());
            Ok(())
        }
        Ok(Command::Version) => {
            say(concat!("func-static ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "func-static: {}", chain(&error));
            match error {
                StartError::Argument { .. } | StartError::Port { .. } => ExitCode::from(WRONG_SETTING),
                StartError::Root { .. } | StartError::Listen { .. } | StartError::Process(_) => {
                    ExitCode::FAILURE
                }
            }
        }
    }
}

fn run(config: Config) -> Result<(), StartError> {
    let Config { root, addr } = config;
    let site = Site::open(&root).map_err(|source| StartError::Root { root, source })?;
    raise_descriptors();
    let runtime = runtime().map_err(StartError::Process)?;
    let ended = runtime.block_on(async {
        let stop = Stop::listen().map_err(StartError::Process)?;
        let listener = TcpListener::bind(addr).await.map_err(|source| StartError::Listen { addr, source })?;
        let addr = listener.local_addr().map_err(|source| StartError::Listen { addr, source })?;
        say(&format!("listening on {addr}"));
        serve(listener, Arc::new(site), Bounds::USUAL, stop.asked()).await;
        Ok(())
    });
    // A read that hangs must not keep the process.
    runtime.shutdown_background();
    ended
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(READERS_MAX)
        .thread_stack_size(READER_STACK_BYTES)
        .build()
}

/// Raises the soft limit of open files as far as is useful and allowed; where it is not, fewer are served at once.
fn raise_descriptors() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let allowed = maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if current.is_some_and(|current| current < allowed) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum });
    }
}

/// The signals that ask the server to stop. Process 1 of a container gets none that it does not listen for.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn asked(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Prints a line, whether or not anybody reads it.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Gives an error with all of its causes, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}
