//! `func`: one program, every part. See `func --help`.

mod cli;
mod command;
mod serve;
mod server_info;
mod settings;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cli::{Cli, Command, Hook};
use func_model::call::Pin;
use func_model::{plain_text, redacted};
use rustix::fs::Mode;

/// The allocator decides the proxy's speed: with glibc's, and a static binary, it is a third slower than nginx.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long what blocks may go on when everything else has ended.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(arguments()) {
        Ok(cli) => cli,
        Err(e) => return unclear(&e),
    };
    close(&cli.command);
    let run = async { run(cli).await };
    // What arrives is looked for between any few tasks: after 61, the default, a thousand new connections take milliseconds
    // until somebody else's request is even seen.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().event_interval(4).build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(e) => return fail(&anyhow::anyhow!(e).context("start the runtime")),
    };
    let ended = runtime.block_on(run);
    // What blocks (compressing a site, reading a disk) is not waited for.
    runtime.shutdown_timeout(LINGER);
    match ended {
        Ok(code) => code,
        Err(e) => fail(&e),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("func: {}", plain_text(&redacted(&format!("{error:#}"))));
    ExitCode::FAILURE
}

/// Shows the help that was asked for, or what is wrong with the arguments: a password may be among them.
fn unclear(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        error.exit();
    }
    eprint!("{}", plain_text(&redacted(&error.render().to_string())));
    ExitCode::from(2)
}

/// Keeps every file that func makes for the own user alone. `func init` writes into the repository of a person, who has
/// chosen for whom its files are.
fn close(command: &Command) {
    if !matches!(command, Command::Init(_)) {
        rustix::process::umask(Mode::RWXG | Mode::RWXO);
    }
}

/// The arguments; git calls a hook by the name of its file, which is a link to this program.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut arguments: Vec<_> = std::env::args_os().collect();
    let name = arguments.first().map(std::path::Path::new).and_then(|p| p.file_name()).unwrap_or_default();
    if serve::HOOKS.iter().any(|hook| name == *hook) {
        let hook = name.to_owned();
        arguments.splice(.., ["func".into(), "hook".into(), hook]);
    }
    arguments
}

async fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Serve(serve) => serve::run(serve).await,
        Command::Hook { hook: Hook::PostReceive } => command::hook::post_receive().await,
        Command::Hook { hook: Hook::PreReceive } => command::hook::pre_receive().await,
        Command::Apps(at) => command::apps::run(&at.data()?).await,
        Command::Logs(logs) => command::logs::run(&logs).await,
        Command::Trace(trace) => command::trace::run(&trace).await,
        Command::Releases(releases) => command::releases::run(&releases),
        Command::Rollback(rollback) => command::deploys::rollback(&rollback).await,
        Command::Pin(pin) => command::deploys::pin(&pin, Pin::Keep).await,
        Command::Unpin(pin) => command::deploys::pin(&pin, Pin::Lift).await,
        Command::Rm(rm) => command::deploys::remove(&rm).await,
        Command::Init(init) => command::init::run(&init),
        Command::Df(df) => command::df::run(&df).await,
        Command::Audit(audit) => command::audit::run(&audit),
        Command::Token(token) => command::token::run(&token),
        Command::Prepare(prepare) => command::prepare::run(&prepare),
        Command::Doctor(doctor) => command::doctor::run(doctor).await,
        Command::Health(health) => command::health::run(&health).await,
    }
}
