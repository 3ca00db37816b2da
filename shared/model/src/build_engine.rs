//! The setting that says which engine runs builds.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// Which Docker Engine runs the steps of builds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BuildEngine {
    /// One of its own in a container; the engine that serves where this machine cannot run a second one.
    #[default]
    Auto,
    /// One of its own in a container; without it builds fail.
    Apart,
    /// The engine that serves.
    Shared,
}

impl FromStr for BuildEngine {
    type Err = BuildEngineError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "apart" => Ok(Self::Apart),
            "shared" => Ok(Self::Shared),
            _ => Err(BuildEngineError),
        }
    }
}

impl fmt::Display for BuildEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Apart => "apart",
            Self::Shared => "shared",
        })
    }
}

/// A text is no [`BuildEngine`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("allowed are auto, apart and shared")]
pub struct BuildEngineError;
