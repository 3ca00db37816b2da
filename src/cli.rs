//! The command line.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand, ValueEnum};
use func_model::{AppName, ReleaseNumber};
use func_store::DataDir;

use crate::settings::Given;

/// git push func main, and the app answers at its host name; when nobody asks for it, it costs nothing.
#[derive(Debug, Parser)]
#[command(name = "func", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run func, or one part of it
    Serve(Serve),
    /// List the apps: release, phase, last used, URL
    Apps(At),
    /// Show what an app has printed
    Logs(Logs),
    /// Send an app one request, and show where its time goes
    Trace(Trace),
    /// List an app's releases
    Releases(Releases),
    /// Make an older release live again
    Rollback(Rollback),
    /// Keep a release, whatever goes for its age or for space
    Pin(Pin),
    /// Let a pinned release go like any other
    Unpin(Pin),
    /// Remove an app, its releases and its repository
    Rm(Rm),
    /// Add the git remote `func` to the repository in this folder
    Init(Init),
    /// Show what each app keeps on disk, the budget, and what goes first
    Df(Df),
    /// Show who pushed, rolled back, removed, made a token, or was refused, and from where
    Audit(Audit),
    /// Make a new token for git over HTTP; the old one is good no more
    Token(Token),
    /// Find out what is wrong with the machine, and how to mend it
    Doctor(Doctor),
    /// Find out whether a part of func on this machine answers; for health checks
    Health(Health),
    /// Make the data folder for parts that run as users of their own, as root; services do it before they start
    Prepare(Prepare),
    /// What git runs after a push
    #[command(hide = true)]
    Hook {
        #[command(subcommand)]
        hook: Hook,
    },
}

#[derive(Debug, Subcommand)]
pub enum Hook {
    /// Deploy what was pushed; reads git's lines from the standard input
    PostReceive,
    /// Refuse a push of too many refs; reads git's lines from the standard input
    PreReceive,
}

/// What to run. `all` is one process; the others share a Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    All,
    Githost,
    Builder,
    Edge,
    Cleaner,
}

#[derive(Debug, Args)]
pub struct Serve {
    #[arg(value_enum)]
    pub role: Role,
    /// Take over the doors of the edge that runs, with no connection refused; that one leaves (for `edge`)
    #[arg(long)]
    pub upgrade: bool,
    /// Print how to push and where to look, when everything is ready
    #[arg(long, hide = true)]
    pub guide: bool,
    #[command(flatten)]
    pub given: Given,
}

/// Where the server keeps its data.
#[derive(Debug, Args)]
pub struct At {
    /// The server's data folder [default: /var/func]
    #[arg(long, env = "FUNC_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

impl At {
    /// Gives the folder as it was named, or its default.
    pub fn path(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| crate::settings::DATA.into())
    }

    /// Opens a data folder that a server has made.
    pub fn data(&self) -> anyhow::Result<DataDir> {
        let path = self.path();
        let missing =
            || format!("{} is no data folder of func: name it with --data DIR or FUNC_DATA", path.display());
        // In a container there is what its part needs.
        let is_there = ["manifest", "keys"].iter().any(|name| path.join(name).is_dir());
        anyhow::ensure!(is_there, missing());
        DataDir::at(&path).with_context(missing)
    }
}

#[derive(Debug, Args)]
pub struct Logs {
    pub app: AppName,
    /// Go on as the app prints more
    #[arg(short, long)]
    pub follow: bool,
    /// Show the log of the builds instead
    #[arg(long, conflicts_with = "follow")]
    pub build: bool,
    /// How many lines
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: usize,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Audit {
    /// Of one app only
    #[arg(long)]
    pub app: Option<AppName>,
    /// As JSON, a line each
    #[arg(long)]
    pub json: bool,
    /// How many lines, the newest last
    #[arg(short = 'n', long, default_value_t = 100)]
    pub lines: usize,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Trace {
    pub app: AppName,
    /// What is asked for
    #[arg(default_value = "/")]
    pub path: String,
    /// Let it go to rest first, if nobody uses it
    #[arg(long)]
    pub cold: bool,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Releases {
    pub app: AppName,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Rollback {
    pub app: AppName,
    /// The release, `v7` [default: the newest before the live one]
    pub to: Option<ReleaseNumber>,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Pin {
    pub app: AppName,
    /// The release, `v7`
    pub release: ReleaseNumber,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Df {
    /// As JSON, sizes in bytes
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Rm {
    pub app: AppName,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The app's name [default: the folder's]
    pub name: Option<AppName>,
    /// Where the git host is, `ssh://host:7022` or `http://host:7080` [default: the server on this machine]
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Token {
    #[command(flatten)]
    pub at: At,
}

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub given: Given,
}

#[derive(Debug, Args)]
pub struct Health {
    #[arg(value_enum)]
    pub role: Role,
    #[command(flatten)]
    pub given: Given,
}

#[derive(Debug, Args)]
pub struct Prepare {
    /// The user of the edge, and its group: a number
    #[arg(long, default_value_t = 7001, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub edge_user: u32,
    /// The user of the git host, and its group
    #[arg(long, default_value_t = 7002, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub githost_user: u32,
    /// The group of both, which reads func-server.toml
    #[arg(long, default_value_t = 7000, value_name = "ID", value_parser = clap::value_parser!(u32).range(1..))]
    pub group: u32,
    #[command(flatten)]
    pub at: At,
}
