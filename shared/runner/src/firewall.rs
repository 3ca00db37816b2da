//! The firewall of a bridge: what its containers may reach, kept by the kernel where the packets leave them.
//!
//! One chain sees every packet of a bridge before its destination is rewritten, so that the host's own addresses, the
//! ports that it publishes for other containers, and other bridges are all refused in one place. Docker never touches
//! that chain, and what it drops nothing behind it can accept.

mod iptables;
mod nft;
mod open;
mod rules;
mod stood;

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use func_model::{Block, Destination, Egress, chain};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tracing::warn;

use crate::gate_program::hex;
use stood::Stood;

/// How long one call of the tool may take; it takes some milliseconds.
const TOOL_WITHIN: Duration = Duration::from_secs(20);
/// How much of what the tool says is repeated.
const SAID_BYTES_MAX: usize = 300;
/// Where administrators' programs are, besides `PATH`.
const SYSTEM_PATHS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];

/// The network that is guarded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    /// What the rules are known by: the network's name, unique on the machine.
    pub name: String,
    /// The bridges of the network, by the names of their devices. They need not exist yet.
    pub bridges: Vec<String>,
    /// The addresses of its containers: none reaches another.
    pub subnets: Vec<Block>,
}

/// What its containers may reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    pub egress: Egress,
    /// The operator's exceptions, the host and other containers included.
    pub allow: Vec<Destination>,
    /// Name servers, at port 53; not with [`Egress::None`].
    pub resolvers: Vec<IpAddr>,
}

/// Whether `keep` had to make the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// They stood as they should.
    Stood,
    /// They were missing, or were not what they should be, and are now.
    Made,
}

/// Why there are no rules.
#[derive(Debug, Error)]
pub enum FirewallError {
    #[error("neither nft nor iptables is installed")]
    NoTool,
    #[error("ip6tables is not installed, and the network has IPv6")]
    NoTool6,
    #[error("{} needs root or CAP_NET_ADMIN: {said}", .tool.display())]
    Denied { tool: PathBuf, said: String },
    #[error("{} failed: {said}", .tool.display())]
    Failed { tool: PathBuf, said: String },
}

/// The machine's own tool for rules.
#[derive(Debug, Clone)]
pub struct Firewall {
    kind: Kind,
    tool: PathBuf,
    /// For what Docker itself would drop on the way to other containers; absent where only nft is.
    iptables: Option<PathBuf>,
    stood: Stood,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nft,
    Iptables,
}

impl fmt::Display for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Nft => "nftables",
            Kind::Iptables => "iptables",
        })
    }
}

impl Firewall {
    /// Returns the tool that this machine has: nft, else iptables.
    ///
    /// # Errors
    /// [`FirewallError::NoTool`].
    pub fn find() -> Result<Self, FirewallError> {
        Self::all().into_iter().next().ok_or(FirewallError::NoTool)
    }

    /// Returns every tool that this machine has, the better one first.
    pub fn all() -> Vec<Self> {
        // One without the other could look, and make nothing.
        let iptables = program("iptables").filter(|_| program("iptables-restore").is_some());
        let nft = program("nft");
        let with =
            |kind, tool: PathBuf| Self { kind, tool, iptables: iptables.clone(), stood: Stood::default() };
        let nft = nft.map(|tool| with(Kind::Nft, tool));
        nft.into_iter().chain(iptables.clone().map(|tool| with(Kind::Iptables, tool))).collect()
    }

    /// Makes the rules of a network what they should be, all of them at once. Repeatable.
    ///
    /// # Errors
    /// [`FirewallError`]; the rules are as they were.
    pub async fn keep(&self, guarded: &Guarded, policy: &Policy) -> Result<Kept, FirewallError> {
        let rules = rules::of(guarded, policy);
        let kept = match self.kind {
            Kind::Nft => self.keep_nft(guarded, &rules).await?,
            Kind::Iptables => self.keep_iptables(guarded, &rules).await?,
        };
        // The exceptions open what is shut: without them instances reach less, not more.
        let opened = self.keep_open(guarded, policy).await.unwrap_or_else(|error| {
            self.warn_closed(&guarded.name, &error);
            Kept::Stood
        });
        Ok(if opened == Kept::Made { Kept::Made } else { kept })
    }

    /// Warns once that the exceptions for other containers cannot be made.
    fn warn_closed(&self, name: &str, error: &FirewallError) {
        let (key, said) = (format!("{name} closed"), chain(error));
        if !self.stood.is(&key, &said, "") {
            warn!("instances do not reach what egress-allow names in other containers: {said}");
            self.stood.note(&key, said, String::new());
        }
    }

    /// Checks whether rules could be made, and changes nothing.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn check(&self) -> Result<(), FirewallError> {
        match self.kind {
            Kind::Nft => {
                let guarded = Guarded { name: "func-check".into(), bridges: vec![], subnets: vec![] };
                let text = nft::table(&guarded, &rules::of(&guarded, &Policy::default()));
                self.run(&self.tool, &["-c", "-f", "-"], &text).await.map(drop)
            }
            Kind::Iptables => {
                self.run(&self.tool, &["-w", "-t", "mangle", "-S", "PREROUTING"], "").await.map(drop)
            }
        }
    }

    /// Returns whether a network has rules at all.
    pub async fn stands(&self, name: &str) -> bool {
        match self.kind {
            Kind::Nft => self.run(&self.tool, &["list", "table", "inet", &nft::table_name(name)], "").await,
            Kind::Iptables => {
                let chain = iptables::chain_name(name);
                self.run(&self.tool, &["-w", "-t", "mangle", "-S", &chain], "").await
            }
        }
        .is_ok()
    }

    /// Removes the rules of a network. Absent is done.
    ///
    /// # Errors
    /// [`FirewallError`].
    pub async fn remove(&self, name: &str) -> Result<(), FirewallError> {
        match self.kind {
            Kind::Nft => self.remove_nft(name).await?,
            Kind::Iptables => self.remove_iptables(name).await?,
        }
        self.remove_open(name).await
    }

    async fn run(&self, tool: &Path, args: &[&str], input: &str) -> Result<String, FirewallError> {
        let failed = |said: String| FirewallError::Failed { tool: tool.to_owned(), said };
        let call = async {
            let mut command = Command::new(tool);
            command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.kill_on_drop(true).spawn()?;
            if let Some(mut stdin) = child.stdin.take() {
                stdin.write_all(input.as_bytes()).await?;
            }
            child.wait_with_output().await
        };
        let ended = tokio::time::timeout(TOOL_WITHIN, call).await;
        let out = match ended {
            Ok(out) => out.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed(format!("it did not end within {} s", TOOL_WITHIN.as_secs()))),
        };
        if out.status.success() {
            return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
        }
        let said = String::from_utf8_lossy(&out.stderr);
        let said: String = said.trim().chars().take(SAID_BYTES_MAX).collect();
        match said.contains("Operation not permitted") || said.contains("Permission denied") {
            true => Err(FirewallError::Denied { tool: tool.to_owned(), said }),
            false => Err(failed(said)),
        }
    }
}

/// Returns where a program is.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM_PATHS.iter().map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Returns a name for a chain or a device that has room for few characters.
pub(crate) fn short_name(prefix: &str, name: &str) -> String {
    format!("{prefix}{}", &hex(name.as_bytes())[..8])
}
