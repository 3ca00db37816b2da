//! Linux capabilities that a process which starts as root may keep.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A capability that images need which start as root and then become another user, as those of nginx, httpd, redis and
/// postgres do. There is no other one: none of these reaches beyond the instance's own files, processes and ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Capability {
    Chown,
    DacOverride,
    Fowner,
    Kill,
    NetBindService,
    Setgid,
    Setuid,
}

/// A text that names no capability which an instance may have.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not a capability that an instance may have")]
pub struct NotCapability;

impl Capability {
    /// Every one, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::Chown,
        Self::DacOverride,
        Self::Fowner,
        Self::Kill,
        Self::NetBindService,
        Self::Setgid,
        Self::Setuid,
    ];

    /// Returns its name without `CAP_`, as Docker takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chown => "CHOWN",
            Self::DacOverride => "DAC_OVERRIDE",
            Self::Fowner => "FOWNER",
            Self::Kill => "KILL",
            Self::NetBindService => "NET_BIND_SERVICE",
            Self::Setgid => "SETGID",
            Self::Setuid => "SETUID",
        }
    }

    /// Returns all of them: what a release has that says nothing.
    pub fn all() -> Vec<Self> {
        Self::ALL.to_vec()
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Capability {
    type Err = NotCapability;

    /// Reads `CHOWN`, `CAP_CHOWN` or `chown`.
    fn from_str(text: &str) -> Result<Self, NotCapability> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        Self::ALL.into_iter().find(|capability| capability.name() == name).ok_or(NotCapability)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_is_read_as_docker_and_as_the_kernel_write_it() {
        for capability in Capability::ALL {
            assert_eq!(capability.name().parse(), Ok(capability));
            assert_eq!(format!("cap_{}", capability.name().to_lowercase()).parse(), Ok(capability));
            let written = serde_json::to_string(&capability).expect("it is written");
            assert_eq!(written, format!("\"{capability}\""));
        }
        assert_eq!("SYS_ADMIN".parse::<Capability>(), Err(NotCapability));
    }

    #[test]
    fn all_of_them_are_in_order() {
        assert!(Capability::ALL.is_sorted_by_key(|capability| capability.name()));
    }
}
