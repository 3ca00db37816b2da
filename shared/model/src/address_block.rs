//! What counts as one client among addresses.

use std::net::{IpAddr, Ipv6Addr};

/// The addresses that limits count as one client: a single IPv4 address, or an IPv6 /64, which one subscriber has whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressBlock(IpAddr);

impl AddressBlock {
    /// Returns the block of an address; an IPv4-mapped IPv6 address counts as the IPv4 one.
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => {
                let prefix = v6.to_bits() & (u128::MAX << 64);
                Self(IpAddr::V6(Ipv6Addr::from_bits(prefix)))
            }
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> AddressBlock {
        AddressBlock::of(text.parse().expect("an address"))
    }

    #[test]
    fn addresses_of_one_64_are_one_client_and_mapped_ones_are_their_ipv4() {
        assert_eq!(block("2001:db8:1:2::1"), block("2001:db8:1:2:ffff::9"));
        assert_ne!(block("2001:db8:1:2::1"), block("2001:db8:1:3::1"));
        assert_eq!(block("::ffff:10.0.0.1"), block("10.0.0.1"));
        assert_ne!(block("::ffff:10.0.0.1"), block("::ffff:10.0.0.2"));
        assert_ne!(block("10.0.0.1"), block("10.0.0.2"));
    }
}
