//! The rules in nftables: a table of the network's own, which is replaced in one transaction.

use std::fmt::Write;

use super::rules::{DNS_PORT, Packets, Verdict};
use super::{Firewall, FirewallError, Guarded, Kept};

/// The chain in the table; its hook is behind connection tracking, and before destinations are rewritten.
const CHAIN: &str = "egress";
const HOOK: &str = "type filter hook prerouting priority mangle; policy accept;";

impl Firewall {
    pub(super) async fn keep_nft(
        &self,
        guarded: &Guarded,
        rules: &[(Packets, Verdict)],
    ) -> Result<Kept, FirewallError> {
        let wanted = table(guarded, rules);
        let name = table_name(&guarded.name);
        let list = ["-s", "list", "table", "inet", &name];
        let stands = self.run(&self.tool, &list, "").await.unwrap_or_default();
        if self.stood.is(&guarded.name, &wanted, &stands) {
            return Ok(Kept::Stood);
        }
        self.run(&self.tool, &["-f", "-"], &wanted).await?;
        let stands = self.run(&self.tool, &list, "").await?;
        self.stood.note(&guarded.name, wanted, stands);
        Ok(Kept::Made)
    }

    pub(super) async fn remove_nft(&self, name: &str) -> Result<(), FirewallError> {
        self.stood.forget(name);
        let name = table_name(name);
        let text = format!("table inet {name} {{}}\ndelete table inet {name}\n");
        self.run(&self.tool, &["-f", "-"], &text).await.map(drop)
    }
}

/// Returns the name of a network's table.
pub(super) fn table_name(name: &str) -> String {
    let letters = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("func_{}", name.chars().map(letters).collect::<String>())
}

/// Returns the whole table, replacing the one there is.
pub(super) fn table(guarded: &Guarded, rules: &[(Packets, Verdict)]) -> String {
    let name = table_name(&guarded.name);
    let mut text = format!("table inet {name} {{}}\ndelete table inet {name}\n");
    let bridges: Vec<String> = guarded.bridges.iter().map(|bridge| format!("\"{bridge}\"")).collect();
    // Writing to a String does not fail.
    let _ = writeln!(text, "table inet {name} {{\n\tchain {CHAIN} {{\n\t\t{HOOK}");
    if !bridges.is_empty() {
        let _ = writeln!(text, "\t\tiifname != {{ {} }} accept", bridges.join(", "));
        for (packets, verdict) in rules {
            let _ = writeln!(text, "\t\t{}{}", matched(*packets), word(*verdict));
        }
    }
    text.push_str("\t}\n}\n");
    text
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "accept",
        // The counters show refused packets: nft list table inet func_func.
        Verdict::Drop => "counter drop",
    }
}

fn matched(packets: Packets) -> String {
    let to = |block: func_model::Block| {
        let family = if block.is_ipv4() { "ip" } else { "ip6" };
        format!("{family} daddr {block} ")
    };
    match packets {
        Packets::Replies => "ct state established,related ct direction reply ".to_owned(),
        Packets::Errors => "meta l4proto { icmp, icmpv6 } ct state related ".to_owned(),
        Packets::Neighbours => {
            "icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } ".to_owned()
        }
        Packets::To(block) => to(block),
        Packets::Tcp(block, port) => format!("{}tcp dport {port} ", to(block)),
        Packets::Dns(block) => format!("{}meta l4proto {{ tcp, udp }} th dport {DNS_PORT} ", to(block)),
        Packets::Host => "fib daddr type { local, broadcast, anycast, multicast } ".to_owned(),
        Packets::All => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Policy, rules};
    use super::*;

    #[test]
    fn a_table_replaces_the_one_before_it_and_is_about_its_bridges_only() {
        let guarded = Guarded {
            name: "func-1.x".into(),
            bridges: vec!["func0".into(), "br-1".into()],
            subnets: vec!["172.18.0.0/16".parse().expect("a block")],
        };
        let text = table(&guarded, &rules::of(&guarded, &Policy::default()));
        assert!(text.starts_with("table inet func_func-1_x {}\ndelete table inet func_func-1_x\n"), "{text}");
        assert!(text.contains("iifname != { \"func0\", \"br-1\" } accept\n"), "{text}");
        assert!(text.contains("\t\tip daddr 172.18.0.0/16 counter drop\n"), "{text}");
        assert!(text.contains("\t\tip6 daddr fe80::/10 counter drop\n"), "{text}");
    }
}
