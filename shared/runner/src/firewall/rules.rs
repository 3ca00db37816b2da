//! The rules of a bridge, in the order in which they are asked.

#[cfg(test)]
use std::net::IpAddr;

use func_model::{Block, Egress};

use super::{Guarded, Policy};

pub(super) const DNS_PORT: u16 = 53;

/// Addresses that no container reaches, whatever the policy: this network, loopback, link-local with the cloud's
/// metadata service, multicast, reserved; and IPv4 in the guise of IPv6.
///
/// Source: RFC 6890.
const NEVER: [&str; 11] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "::ffff:0:0/96",
    "64:ff9b::/96",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Addresses of private networks. Those that only documentation uses are nobody's, and count as public.
///
/// Source: RFC 1918, RFC 6598, RFC 6890, RFC 2544, RFC 4193; `fd00:ec2::254` (metadata) is among them.
const PRIVATE: [&str; 7] = [
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "fc00::/7",
];

/// Which packets a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packets {
    /// Answers in a connection that somebody else has opened, the edge above all.
    Replies,
    /// Errors about such connections.
    Errors,
    /// What finds a neighbour's hardware address in IPv6.
    Neighbours,
    To(Block),
    Tcp(Block, u16),
    /// Over TCP and UDP.
    Dns(Block),
    /// To an address of the host's own, or to many at once.
    Host,
    All,
}

/// What becomes of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Drop,
}

/// Returns the rules; the first that is about a packet decides.
pub(super) fn of(guarded: &Guarded, policy: &Policy) -> Vec<(Packets, Verdict)> {
    let pass = |packets| (packets, Verdict::Pass);
    let drop = |packets| (packets, Verdict::Drop);
    let mut rules = vec![pass(Packets::Replies), pass(Packets::Errors), pass(Packets::Neighbours)];
    rules.extend(policy.allow.iter().map(|to| pass(Packets::Tcp(to.block, to.port))));
    if policy.egress != Egress::None {
        rules.extend(policy.resolvers.iter().map(|addr| pass(Packets::Dns(Block::one(*addr)))));
    }
    rules.push(drop(Packets::Host));
    rules.extend(blocks(&NEVER).chain(guarded.subnets.iter().copied()).map(|block| drop(Packets::To(block))));
    match policy.egress {
        Egress::Internet => rules.extend(blocks(&PRIVATE).map(|block| drop(Packets::To(block)))),
        Egress::None => rules.push(drop(Packets::All)),
        Egress::All => {}
    }
    rules
}

fn blocks(texts: &'static [&str]) -> impl Iterator<Item = Block> {
    texts.iter().filter_map(|text| text.parse().ok())
}

/// Returns what becomes of a packet that opens a connection, as the kernel would decide it.
#[cfg(test)]
fn verdict(rules: &[(Packets, Verdict)], addr: IpAddr, port: u16, is_host: bool) -> Verdict {
    let about = |packets: &Packets| match packets {
        Packets::Replies | Packets::Errors | Packets::Neighbours => false,
        Packets::To(block) => block.contains(addr),
        Packets::Tcp(block, to) => block.contains(addr) && *to == port,
        Packets::Dns(block) => block.contains(addr) && port == DNS_PORT,
        Packets::Host => is_host,
        Packets::All => true,
    };
    rules.iter().find(|(packets, _)| about(packets)).map_or(Verdict::Pass, |(_, verdict)| *verdict)
}

impl Packets {
    /// Returns whether the rule is of use for IPv4, and for IPv6.
    pub(super) fn families(self) -> (bool, bool) {
        match self {
            Self::To(block) | Self::Tcp(block, _) | Self::Dns(block) => (block.is_ipv4(), !block.is_ipv4()),
            Self::Neighbours => (false, true),
            Self::Replies | Self::Errors | Self::Host | Self::All => (true, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guarded() -> Guarded {
        let subnets = vec!["172.18.0.0/16".parse().expect("a block")];
        Guarded { name: "func".into(), bridges: vec!["func0".into()], subnets }
    }

    fn policy(egress: Egress) -> Policy {
        Policy {
            egress,
            allow: vec!["10.0.0.5:5432".parse().expect("a destination")],
            resolvers: vec!["10.255.255.53".parse().expect("an address")],
        }
    }

    #[test]
    fn every_address_is_judged_as_the_table_says() {
        use Verdict::{Drop, Pass};
        // Address, port, whether it is the host's own; with internet, none, all.
        for (addr, port, is_host, verdicts) in [
            ("203.0.113.80", 80, false, [Pass, Drop, Pass]),
            ("2001:db8::80", 443, false, [Pass, Drop, Pass]),
            ("203.0.113.80", 80, true, [Drop; 3]),
            ("172.18.0.1", 22, true, [Drop; 3]),
            ("172.18.7.9", 8080, false, [Drop; 3]),
            ("169.254.169.254", 80, false, [Drop; 3]),
            ("127.0.0.1", 80, false, [Drop; 3]),
            ("0.0.0.0", 80, false, [Drop; 3]),
            ("224.0.0.1", 80, false, [Drop; 3]),
            ("255.255.255.255", 67, false, [Drop; 3]),
            ("fe80::1", 80, false, [Drop; 3]),
            ("::ffff:10.0.0.1", 80, false, [Drop; 3]),
            ("10.0.0.5", 5432, false, [Pass; 3]),
            ("10.0.0.5", 5433, false, [Drop, Drop, Pass]),
            ("192.168.1.1", 80, false, [Drop, Drop, Pass]),
            ("100.64.0.1", 80, false, [Drop, Drop, Pass]),
            ("fd00::1", 80, false, [Drop, Drop, Pass]),
            ("10.255.255.53", 53, false, [Pass, Drop, Pass]),
            ("10.255.255.53", 80, false, [Drop, Drop, Pass]),
        ] {
            let addr_read = addr.parse().expect("an address");
            let judged = [Egress::Internet, Egress::None, Egress::All]
                .map(|egress| verdict(&of(&guarded(), &policy(egress)), addr_read, port, is_host));
            assert_eq!(judged, verdicts, "{addr}:{port}");
        }
    }

    #[test]
    fn every_block_of_the_tables_is_one() {
        assert_eq!(blocks(&NEVER).count(), NEVER.len());
        assert_eq!(blocks(&PRIVATE).count(), PRIVATE.len());
    }
}
