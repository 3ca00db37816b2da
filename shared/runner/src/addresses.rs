//! Addresses of instances: each new container has one that none had before it for as long as the subnet lasts.
//!
//! The engine gives an address again as soon as it is free. For a moment after a container has ended, whoever still
//! takes its address for that of one app would reach the next app there, and get its answer.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::models::NetworkInspect;

use crate::docker::SUBNET;

/// The addresses that may be given, one after the other, round and round.
#[derive(Debug)]
pub(crate) struct Addresses {
    next: AtomicU32,
}

impl Addresses {
    /// Begins anywhere: a process that was started anew does not give again what the one before it gave last.
    pub(crate) fn new() -> Self {
        let mut begin = [0; 4];
        // Without randomness it begins where every process does, and all else is the same.
        let _ = getrandom::fill(&mut begin);
        Self { next: AtomicU32::new(u32::from_ne_bytes(begin)) }
    }

    /// Gives the next address that is free; `None` if the network leaves the choice to the engine, or is full.
    pub(crate) fn next(&self, network: &NetworkInspect) -> Option<Ipv4Addr> {
        let subnet: Subnet = network.labels.as_ref()?.get(SUBNET)?.parse().ok()?;
        let taken = taken(network);
        (0..subnet.size())
            .map(|_| subnet.host(self.next.fetch_add(1, Ordering::Relaxed)))
            .find(|address| !taken.contains(address))
    }
}

fn taken(network: &NetworkInspect) -> HashSet<Ipv4Addr> {
    let containers = network.containers.iter().flatten().filter_map(|(_, c)| c.ipv4_address.as_deref());
    let gateways = network.ipam.iter().flat_map(|ipam| ipam.config.iter().flatten());
    let gateways = gateways.filter_map(|config| config.gateway.as_deref());
    containers.chain(gateways).filter_map(|text| text.split('/').next()?.parse().ok()).collect()
}

/// A network's addresses: `172.18.0.0/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Subnet {
    first: u32,
    bits: u32,
}

impl std::str::FromStr for Subnet {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, prefix) = text.split_once('/').ok_or(())?;
        let address: Ipv4Addr = address.parse().map_err(drop)?;
        let bits = 32_u32.checked_sub(prefix.parse().map_err(drop)?).ok_or(())?;
        // Smaller ones have no room for instances; larger ones are nobody's.
        if !(3..=24).contains(&bits) {
            return Err(());
        }
        Ok(Self { first: u32::from(address) >> bits << bits, bits })
    }
}

impl Subnet {
    /// Gives how many addresses hosts may have: not the first, the network's own; not the second, which the engine
    /// gives to the gateway; not the last, by which all are meant.
    fn size(self) -> u32 {
        (1 << self.bits) - 3
    }

    fn host(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.first + 2 + number % self.size())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use bollard::models::{EndpointResource, Ipam, IpamConfig};

    use super::*;

    fn network(subnet: &str, taken: &[&str]) -> NetworkInspect {
        let container = |(n, ip): (usize, &&str)| {
            let ipv4_address = Some(format!("{ip}/29"));
            (n.to_string(), EndpointResource { ipv4_address, ..Default::default() })
        };
        let config = vec![IpamConfig { gateway: Some("172.18.0.1".into()), ..Default::default() }];
        NetworkInspect {
            labels: Some(HashMap::from([(SUBNET.to_owned(), subnet.to_owned())])),
            containers: Some(taken.iter().enumerate().map(container).collect()),
            ipam: Some(Ipam { config: Some(config), ..Default::default() }),
            ..Default::default()
        }
    }

    #[test]
    fn every_address_of_a_subnet_is_given_once_before_the_first_comes_again() {
        let (addresses, network) = (Addresses::new(), network("172.18.0.0/29", &[]));
        let given: Vec<_> = (0..5).map(|_| addresses.next(&network).expect("one is free")).collect();
        let different: HashSet<_> = given.iter().copied().collect();
        assert_eq!(different, (2..7).map(|n| Ipv4Addr::new(172, 18, 0, n)).collect());
        assert_eq!(addresses.next(&network), Some(given[0]));
    }

    #[test]
    fn what_is_taken_is_not_given_and_a_full_network_leaves_it_to_the_engine() {
        let (addresses, full) = (Addresses::new(), ["172.18.0.2", "172.18.0.3", "172.18.0.5", "172.18.0.6"]);
        let network = |taken: &[&str]| network("172.18.0.0/29", taken);
        assert_eq!(addresses.next(&network(&full)), Some(Ipv4Addr::new(172, 18, 0, 4)));
        assert_eq!(addresses.next(&network(&[&full[..], &["172.18.0.4"]].concat())), None);
    }

    #[test]
    fn a_network_whose_subnet_the_engine_chose_gets_no_address_of_ours() {
        let (addresses, mut network) = (Addresses::new(), network("172.18.0.0/16", &[]));
        assert!(addresses.next(&network).is_some());
        network.labels = None;
        assert_eq!(addresses.next(&network), None);
        for text in ["172.18.0.0", "172.18.0.0/33", "172.18.0.0/31", "10.0.0.0/7", "x/16"] {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
    }
}
