//! The name of a gate.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NameError;
use crate::name::excerpt;

/// The name of the gate of one poised container: 32 hex digits in lower case, never used twice.
/// Its files are in `run/poised/<gate>/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GateName(u128);

impl GateName {
    /// Makes a name of a random number.
    pub fn new(random: u128) -> Self {
        Self(random)
    }
}

impl fmt::Display for GateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for GateName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(Self).ok_or_else(|| NameError::Gate(excerpt(text)))
    }
}

impl TryFrom<String> for GateName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<GateName> for String {
    fn from(gate: GateName) -> Self {
        gate.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_prints_and_parses_back_and_nothing_else_is_one() {
        let gate = GateName::new(0xab);
        assert_eq!(gate.to_string(), "000000000000000000000000000000ab");
        assert_eq!(gate.to_string().parse::<GateName>().ok(), Some(gate));
        for bad in [
            "",
            "ab",
            "../../../../../../../../etc/shadow",
            "+00000000000000000000000000000ab",
            "000000000000000000000000000000AB",
        ] {
            assert!(bad.parse::<GateName>().is_err(), "{bad:?}");
        }
    }
}
