//! Releases and instances: what can run, and one running copy of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::limits::{FREEZE_MS, RESUME_MS};
use crate::name::excerpt;
use crate::{AppName, Capability, HostName, ImageDigest, NameError, RESOURCES, Revision};

/// The number of a release within its app, from 1; printed `v7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReleaseNumber(pub u32);

impl ReleaseNumber {
    /// Gives the number after this one.
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Returns the default target of a rollback: the newest release older than the live one.
pub fn previous(numbers: &BTreeSet<ReleaseNumber>, live: ReleaseNumber) -> Option<ReleaseNumber> {
    numbers.range(..live).next_back().copied()
}

impl fmt::Display for ReleaseNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl FromStr for ReleaseNumber {
    type Err = NameError;
    /// Reads `v7` or `7`.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        match digits.parse::<u32>() {
            Ok(number) if plain && number > 0 => Ok(Self(number)),
            _ => Err(NameError::Release(excerpt(text))),
        }
    }
}

/// One release of one app; printed `blog-v7`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ReleaseId {
    pub app: AppName,
    pub number: ReleaseNumber,
}

impl ReleaseId {
    /// Gives the first replica's id. func runs one replica of a release.
    pub fn instance(&self) -> InstanceId {
        InstanceId { release: self.clone(), replica: 1 }
    }
}

impl fmt::Display for ReleaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.app, self.number)
    }
}

impl FromStr for ReleaseId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Release(excerpt(text));
        let (app, number) = text.rsplit_once("-v").ok_or_else(wrong)?;
        let id =
            Self { app: app.parse().map_err(|_| wrong())?, number: number.parse().map_err(|_| wrong())? };
        // One way to write it: `blog-v07` and `blog-vv7` are none.
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

/// One container of a release; printed `blog-v7.1` (release, replica).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceId {
    pub release: ReleaseId,
    pub replica: u16,
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.release, self.replica)
    }
}

impl FromStr for InstanceId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let wrong = || NameError::Instance(excerpt(text));
        let (release, replica) = text.rsplit_once('.').ok_or_else(wrong)?;
        let id = Self {
            release: release.parse().map_err(|_| wrong())?,
            replica: replica.parse().map_err(|_| wrong())?,
        };
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}
serde_as_text!(ReleaseId);
serde_as_text!(InstanceId);

/// What one instance may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    pub memory_bytes: u64,
    /// Thousandths of a CPU.
    pub cpus_milli: u32,
    pub pids: u32,
    /// What it may write to its own files, beside what is in memory.
    #[serde(default = "disk_bytes")]
    pub disk_bytes: u64,
    /// The size of each of `/tmp` and `/run` when its files are read-only.
    #[serde(default = "tmp_bytes")]
    pub tmp_bytes: u64,
}

/// What a release of before there was this limit has.
fn disk_bytes() -> u64 {
    RESOURCES.disk_bytes
}

/// As [`disk_bytes`].
fn tmp_bytes() -> u64 {
    RESOURCES.tmp_bytes
}

impl Resources {
    /// Returns the smaller of each.
    pub fn at_most(self, max: Self) -> Self {
        Self {
            memory_bytes: self.memory_bytes.min(max.memory_bytes),
            cpus_milli: self.cpus_milli.min(max.cpus_milli),
            pids: self.pids.min(max.pids),
            disk_bytes: self.disk_bytes.min(max.disk_bytes),
            tmp_bytes: self.tmp_bytes.min(max.tmp_bytes),
        }
    }
}

/// One runnable version of an app: the manifest that is stored as `manifest/<app>/v7.json` and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    #[serde(rename = "release")]
    pub id: ReleaseId,
    pub revision: Revision,
    pub image: ImageDigest,
    /// The name of the recipe that made the image.
    pub recipe: String,
    /// The TCP port on which the app listens; it is told by `$PORT`.
    pub port: u16,
    /// Hosts besides `<app>.<domain>`.
    pub hosts: Vec<HostName>,
    pub env: BTreeMap<String, String>,
    pub limits: Resources,
    /// What a process keeps that starts as root.
    #[serde(default = "Capability::all")]
    pub capabilities: Vec<Capability>,
    /// Whether its files cannot be written, but for `/tmp` and `/run`.
    #[serde(default)]
    pub read_only: bool,
    pub idle_ms: u64,
    /// How long its last requests may take once another release is live; `None`: the server's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_ms: Option<u64>,
    /// A path that answers 2xx or 3xx when the app is ready; without one an accepted connection is enough.
    pub health: Option<String>,
    /// When its process is paused.
    #[serde(default)]
    pub freeze: Freeze,
    /// How many instances are kept warm: none or one.
    #[serde(default)]
    pub min: u32,
    /// When it is woken ahead of time: cron, in UTC.
    #[serde(default)]
    pub warm_at: Vec<String>,
    /// Whether browsers are shown a page while it starts.
    #[serde(default)]
    pub waiting_page: bool,
    /// Unix time.
    pub created_ms: u64,
}

/// When an instance that nobody uses is paused: its process stands still, and its memory is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freeze {
    /// After [`FREEZE_MS`], if the app takes longer to start than to be resumed.
    #[default]
    Auto,
    AfterMs(u64),
    Off,
}

impl Freeze {
    /// Gives after how long without use it is paused; `None`: not at all. `start_ms`: how long the app took to start, 0
    /// if that is not known. What would be stopped first is not paused.
    pub fn after_ms(self, start_ms: u64, idle_ms: u64) -> Option<u64> {
        let after_ms = match self {
            Self::Auto => (start_ms > RESUME_MS).then_some(FREEZE_MS)?,
            Self::AfterMs(ms) => ms,
            Self::Off => return None,
        };
        (after_ms < idle_ms).then_some(after_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_back() {
        let id: InstanceId = "a-v1-v7.1".parse().expect("an app may be called a-v1");
        assert_eq!(id.release.app.as_str(), "a-v1");
        assert_eq!(id.release.number, ReleaseNumber(7));
        assert_eq!(id.to_string(), "a-v1-v7.1");
    }

    #[test]
    fn only_what_starts_slower_than_it_resumes_is_frozen_by_itself() {
        assert_eq!(Freeze::Auto.after_ms(RESUME_MS + 1, 60_000), Some(FREEZE_MS));
        assert_eq!(Freeze::Auto.after_ms(RESUME_MS, 60_000), None);
        assert_eq!(Freeze::Auto.after_ms(0, 60_000), None);
        assert_eq!(Freeze::Auto.after_ms(1_000, FREEZE_MS), None, "it is stopped then");
        assert_eq!(Freeze::AfterMs(7_000).after_ms(0, 60_000), Some(7_000));
        assert_eq!(Freeze::Off.after_ms(1_000, 60_000), None);
    }

    #[test]
    fn ids_that_are_none_are_refused() {
        for bad in [
            "",
            "blog",
            "blog-v0",
            "blog-v",
            "-v1",
            "blog-v+1",
            "blog-v1x",
            "blog-v99999999999",
            "blog-v01",
            "blog-vv1",
        ] {
            assert!(bad.parse::<ReleaseId>().is_err(), "{bad:?}");
        }
        for bad in ["blog-v1", "blog-v1.", "blog-v1.x", "blog.1", "blog-v1.01", "blog-v1.+1"] {
            assert!(bad.parse::<InstanceId>().is_err(), "{bad:?}");
        }
    }
}
