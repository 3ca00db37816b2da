//! The rules in iptables, where there is no nft: a chain of the network's own, which is replaced in one transaction, and
//! a jump to it for each bridge.

use std::fmt::Write;
use std::path::PathBuf;

use super::rules::{DNS_PORT, Packets, Verdict};
use super::{Firewall, FirewallError, Guarded, Kept, program, short_name};

const PREROUTING: &str = "PREROUTING";
/// How many jumps to one chain are looked for: there is one, unless somebody else has made more.
pub(super) const JUMPS_MAX: usize = 8;

/// The tools of one version of IP.
struct Family {
    tool: PathBuf,
    restore: PathBuf,
    is_v4: bool,
}

/// Returns the tools that are there.
fn families() -> Vec<Family> {
    let family = |tool: &str, is_v4| {
        Some(Family { tool: program(tool)?, restore: program(&format!("{tool}-restore"))?, is_v4 })
    };
    family("iptables", true).into_iter().chain(family("ip6tables", false)).collect()
}

impl Firewall {
    pub(super) async fn keep_iptables(
        &self,
        guarded: &Guarded,
        rules: &[(Packets, Verdict)],
    ) -> Result<Kept, FirewallError> {
        let mut kept = Kept::Stood;
        for family in families() {
            let key = format!("{} v4={}", guarded.name, family.is_v4);
            let wanted = chain(guarded, rules, family.is_v4);
            if self.stood.is(&key, &wanted, &self.listed(&family, guarded).await) {
                continue;
            }
            self.run(&family.restore, &["-w", "--noflush"], &wanted).await?;
            for bridge in &guarded.bridges {
                self.jump(&family, bridge, &chain_name(&guarded.name)).await?;
            }
            self.stood.note(&key, wanted, self.listed(&family, guarded).await);
            kept = Kept::Made;
        }
        let has_v6 = guarded.subnets.iter().any(|subnet| !subnet.is_ipv4());
        match has_v6 && families().iter().all(|family| family.is_v4) {
            true => Err(FirewallError::NoTool6),
            false => Ok(kept),
        }
    }

    /// Lets a bridge's packets go through the chain before anything else.
    async fn jump(&self, family: &Family, bridge: &str, chain: &str) -> Result<(), FirewallError> {
        let rule = ["-i", bridge, "-j", chain];
        let call = |verb: &'static str| [&["-w", "-t", "mangle", verb, PREROUTING], &rule[..]].concat();
        for _ in 0..JUMPS_MAX {
            if self.run(&family.tool, &call("-D"), "").await.is_err() {
                break;
            }
        }
        self.run(&family.tool, &call("-I"), "").await.map(drop)
    }

    /// Lists the chain and the jumps to it.
    async fn listed(&self, family: &Family, guarded: &Guarded) -> String {
        let name = chain_name(&guarded.name);
        let list = |chain: &str| ["-w", "-t", "mangle", "-S", chain].map(str::to_owned);
        let mut listed = String::new();
        for chain in [name.as_str(), PREROUTING] {
            let args = list(chain);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let text = self.run(&family.tool, &args, "").await.unwrap_or_default();
            // Another network's jumps come and go.
            text.lines().filter(|line| line.contains(&name)).for_each(|line| listed.extend([line, "\n"]));
        }
        listed
    }

    pub(super) async fn remove_iptables(&self, name: &str) -> Result<(), FirewallError> {
        let chain = chain_name(name);
        for family in families() {
            self.stood.forget(&format!("{name} v4={}", family.is_v4));
            let rules = self.run(&family.tool, &["-w", "-t", "mangle", "-S", PREROUTING], "").await?;
            for jump in rules.lines().filter(|line| line.ends_with(&format!("-j {chain}"))) {
                let rule: Vec<&str> = jump.split(' ').skip(1).collect();
                self.run(&family.tool, &[&["-w", "-t", "mangle", "-D"], &rule[..]].concat(), "").await?;
            }
            for verb in ["-F", "-X"] {
                // Absent is done.
                let _ = self.run(&family.tool, &["-w", "-t", "mangle", verb, &chain], "").await;
            }
        }
        Ok(())
    }
}

pub(super) fn chain_name(name: &str) -> String {
    short_name("FUNC-", name)
}

/// Returns the whole chain, replacing the one there is.
fn chain(guarded: &Guarded, rules: &[(Packets, Verdict)], is_v4: bool) -> String {
    let name = chain_name(&guarded.name);
    let mut text = format!("*mangle\n:{name} - [0:0]\n");
    for (packets, verdict) in rules {
        let (v4, v6) = packets.families();
        if !(if is_v4 { v4 } else { v6 }) {
            continue;
        }
        let verdict = match verdict {
            Verdict::Pass => "RETURN",
            Verdict::Drop => "DROP",
        };
        for matched in matched(*packets, is_v4) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "-A {name} {matched}-j {verdict}");
        }
    }
    text.push_str("COMMIT\n");
    text
}

fn matched(packets: Packets, is_v4: bool) -> Vec<String> {
    let icmp = if is_v4 { "icmp" } else { "ipv6-icmp" };
    match packets {
        Packets::Replies => vec!["-m conntrack --ctstate ESTABLISHED,RELATED --ctdir REPLY ".into()],
        Packets::Errors => vec![format!("-p {icmp} -m conntrack --ctstate RELATED ")],
        Packets::Neighbours => {
            [133, 135, 136].iter().map(|kind| format!("-p ipv6-icmp --icmpv6-type {kind} ")).collect()
        }
        Packets::To(block) => vec![format!("-d {block} ")],
        Packets::Tcp(block, port) => vec![format!("-d {block} -p tcp --dport {port} ")],
        Packets::Dns(block) => {
            ["tcp", "udp"].iter().map(|p| format!("-d {block} -p {p} --dport {DNS_PORT} ")).collect()
        }
        // IPv6 has no broadcast, and its multicast is among the blocks.
        Packets::Host => [&["LOCAL"][..], &["LOCAL", "BROADCAST", "ANYCAST", "MULTICAST"]]
            [usize::from(is_v4)]
        .iter()
        .map(|kind| format!("-m addrtype --dst-type {kind} "))
        .collect(),
        Packets::All => vec![String::new()],
    }
}
