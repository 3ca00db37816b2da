//! Egress: what an instance may reach beyond itself.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

/// Where instances may connect to. Never to the host, to link-local addresses or to other apps, whatever it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Egress {
    /// Public addresses.
    #[default]
    Internet,
    /// Nowhere.
    None,
    /// Private networks as well.
    All,
}

impl FromStr for Egress {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "internet" => Ok(Self::Internet),
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            _ => Err(EgressError),
        }
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internet => "internet",
            Self::None => "none",
            Self::All => "all",
        })
    }
}

/// Why a text is no [`Egress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("allowed are internet, none and all")]
pub struct EgressError;

/// A block of addresses, `10.0.0.0/8`; one address is a block of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    addr: IpAddr,
    prefix: u8,
}

impl Block {
    /// Returns the block of one address.
    pub fn one(addr: IpAddr) -> Self {
        Self { addr, prefix: if addr.is_ipv4() { 32 } else { 128 } }
    }

    /// Returns whether its addresses are IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.addr.is_ipv4()
    }

    /// Returns whether an address is in it.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                (u32::from(ours) ^ u32::from(theirs)).checked_shr(32 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => {
                (u128::from(ours) ^ u128::from(theirs)).checked_shr(128 - u32::from(self.prefix)).unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Block {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((addr, prefix)) = text.split_once('/') else {
            return text.parse().map(Self::one).map_err(|_| DestinationError);
        };
        let addr: IpAddr = addr.parse().map_err(|_| DestinationError)?;
        let prefix = prefix.parse().map_err(|_| DestinationError)?;
        let fits = prefix <= Self::one(addr).prefix;
        fits.then_some(Self { addr, prefix }).ok_or(DestinationError)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
    }
}

/// A TCP port that instances may reach by the operator's word: `10.0.0.5:5432`, `10.0.0.0/24:5432`, `[fd00::5]:5432`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Destination {
    pub block: Block,
    pub port: u16,
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (block, port) = text.rsplit_once(':').ok_or(DestinationError)?;
        let bare = block.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let block: Block = bare.unwrap_or(block).parse()?;
        if block.is_ipv4() == bare.is_some() {
            return Err(DestinationError);
        }
        match port.parse() {
            Ok(port @ 1..) => Ok(Self { block, port }),
            Ok(0) | Err(_) => Err(DestinationError),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.block.is_ipv4() {
            true => write!(f, "{}:{}", self.block, self.port),
            false => write!(f, "[{}]:{}", self.block, self.port),
        }
    }
}

/// Why a text is no [`Block`] or no [`Destination`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("allowed are addresses or blocks with a port, like 10.0.0.5:5432 or [fd00::5]:5432")]
pub struct DestinationError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_read_and_written() {
        for (text, shown) in [
            ("10.0.0.5:5432", "10.0.0.5/32:5432"),
            ("10.0.0.0/24:80", "10.0.0.0/24:80"),
            ("[fd00::5]:53", "[fd00::5/128]:53"),
            ("[fd00::/8]:53", "[fd00::/8]:53"),
        ] {
            assert_eq!(text.parse::<Destination>().map(|d| d.to_string()), Ok(shown.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_names_no_port_of_an_address_is_refused() {
        for text in [
            "",
            "10.0.0.5",
            "10.0.0.5:0",
            "10.0.0.5:65536",
            "db:5432",
            "10.0.0.0/33:1",
            "fd00::5:53",
            "[10.0.0.1]:1",
        ] {
            assert_eq!(text.parse::<Destination>(), Err(DestinationError), "{text}");
        }
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_others() {
        let block: Block = "172.16.0.0/12".parse().expect("a block");
        for (addr, inside) in
            [("172.16.0.1", true), ("172.31.255.255", true), ("172.32.0.0", false), ("::1", false)]
        {
            assert_eq!(block.contains(addr.parse().expect("an address")), inside, "{addr}");
        }
        let everything: Block = "0.0.0.0/0".parse().expect("a block");
        assert!(everything.contains("8.8.8.8".parse().expect("an address")));
    }
}
