//! Opening what Docker keeps shut: containers of other networks that the operator lets instances reach.
//!
//! Docker itself drops what goes from one of its bridges to another. Only `DOCKER-USER`, which it asks first, can let
//! such packets through: an exception has its rule there as well.

use std::fmt::Write;
use std::path::Path;

use func_model::Destination;
use tracing::warn;

use super::iptables::JUMPS_MAX;
use super::{Firewall, FirewallError, Guarded, Kept, Policy, program, short_name};

const DOCKER_USER: &str = "DOCKER-USER";
const FILTER: [&str; 3] = ["-w", "-t", "filter"];

impl Firewall {
    /// Makes the exceptions hold for other networks of Docker's as well. Docker's networks are IPv4 unless somebody
    /// wants otherwise; so are the exceptions.
    pub(super) async fn keep_open(&self, guarded: &Guarded, policy: &Policy) -> Result<Kept, FirewallError> {
        let allow: Vec<_> = policy.allow.iter().filter(|to| to.block.is_ipv4()).collect();
        let (key, wanted) = (key(&guarded.name), chain(guarded, &allow));
        let Some(tool) = &self.iptables else {
            if !allow.is_empty() && !self.stood.is(&key, &wanted, "") {
                warn!("without iptables, instances do not reach what egress-allow names in other containers");
                self.stood.note(&key, wanted, String::new());
            }
            return Ok(Kept::Stood);
        };
        if allow.is_empty() {
            // Once is enough to remove what an earlier process has made.
            if !self.stood.is(&key, &wanted, "") {
                self.remove_open(&guarded.name).await?;
                self.stood.note(&key, wanted, String::new());
            }
            return Ok(Kept::Stood);
        }
        if self.stood.is(&key, &wanted, &self.listed_open(tool, &guarded.name).await) {
            return Ok(Kept::Stood);
        }
        let docker_user = self.run(tool, &[&FILTER[..], &["-S", DOCKER_USER]].concat(), "").await;
        let (Ok(_), Some(restore)) = (docker_user, program("iptables-restore")) else {
            // The engine makes no rules, and so drops nothing.
            return Ok(Kept::Stood);
        };
        self.run(&restore, &["-w", "--noflush"], &wanted).await?;
        let name = chain_name(&guarded.name);
        let jump = |verb: &'static str| [&FILTER[..], &[verb, DOCKER_USER, "-j", &name]].concat();
        for _ in 0..JUMPS_MAX {
            if self.run(tool, &jump("-D"), "").await.is_err() {
                break;
            }
        }
        self.run(tool, &jump("-I"), "").await?;
        let listed = self.listed_open(tool, &guarded.name).await;
        self.stood.note(&key, wanted, listed);
        Ok(Kept::Made)
    }

    /// Lists the chain and the jump to it.
    async fn listed_open(&self, tool: &Path, name: &str) -> String {
        let name = chain_name(name);
        let mut listed = String::new();
        for chain in [name.as_str(), DOCKER_USER] {
            let text = self.run(tool, &[&FILTER[..], &["-S", chain]].concat(), "").await.unwrap_or_default();
            text.lines().filter(|line| line.contains(&name)).for_each(|line| listed.extend([line, "\n"]));
        }
        listed
    }

    /// Removes the exceptions from Docker's chain. Absent is done.
    pub(super) async fn remove_open(&self, name: &str) -> Result<(), FirewallError> {
        self.stood.forget(&key(name));
        let Some(tool) = &self.iptables else { return Ok(()) };
        let chain = chain_name(name);
        for verb in [&["-D", DOCKER_USER, "-j", &chain][..], &["-F", &chain], &["-X", &chain]] {
            let _ = self.run(tool, &[&FILTER[..], verb].concat(), "").await;
        }
        Ok(())
    }
}

fn key(name: &str) -> String {
    format!("{name} open")
}

fn chain_name(name: &str) -> String {
    short_name("FUNC-OPEN-", name)
}

/// Returns the whole chain, replacing the one there is.
fn chain(guarded: &Guarded, allow: &[&Destination]) -> String {
    let name = chain_name(&guarded.name);
    let mut text = format!("*filter\n:{name} - [0:0]\n");
    for bridge in &guarded.bridges {
        for Destination { block, port } in allow {
            // As the instance named it: a published port is another address by now.
            let to = format!("-m conntrack --ctorigdst {block} --ctorigdstport {port}");
            // Writing to a String does not fail.
            let _ = writeln!(text, "-A {name} -i {bridge} -p tcp {to} --ctdir ORIGINAL -j ACCEPT");
            let _ = writeln!(text, "-A {name} -o {bridge} -p tcp {to} --ctdir REPLY -j ACCEPT");
        }
    }
    text.push_str("COMMIT\n");
    text
}
