//! The kinds of values: what each may be, and the error that says so.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use func_model::config::{duration_ms, size_bytes};
use func_model::{BuildEngine, Destination, DiskLimit, Egress, HostName, SecretUrl, redacted_url};
use thiserror::Error;

use super::given::{Source, Value};
use super::table::SETTINGS;

/// The smallest disk budget: less than a few small apps take.
const DISK_BYTES_LEAST: u64 = 16 * 1024 * 1024;

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// What is wrong with the settings.
#[derive(Debug, Error)]
pub enum SettingError {
    #[error("the setting `{name}` is \"{text}\" (from {source_name}); allowed is {allowed}", source_name = .from)]
    Value { name: &'static str, text: String, from: Source, allowed: String },
    #[error("{} cannot be read: {said}", .path.display())]
    File { path: PathBuf, said: String },
    #[error("{}: there is no setting `{key}`{}", .path.display(), Nearest(.key))]
    Unknown { path: PathBuf, key: String },
    #[error("{name} is in the environment, and there is no such setting{}", Nearest(&setting_name(.name)))]
    Variable { name: String },
}

/// The setting that a variable would be of: `edge-listen` for `FUNC_EDGE_LISTEN`.
fn setting_name(variable: &str) -> String {
    variable.trim_start_matches("FUNC_").to_lowercase().replace('_', "-")
}

/// Says which setting may have been meant.
struct Nearest<'a>(&'a str);

impl fmt::Display for Nearest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let near = |name: &&str| strsim::damerau_levenshtein(self.0, name);
        match SETTINGS.iter().map(|s| s.name).min_by_key(near) {
            Some(name) if near(&name) <= 3 => write!(f, ": did you mean `{name}`?"),
            Some(_) | None => f.write_str(": see `func serve --help`"),
        }
    }
}

/// How much memory the machine has.
fn machine_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

impl Value {
    pub(super) fn wrong(&self, allowed: impl Into<String>) -> SettingError {
        let text = redacted_url(&self.text).chars().take(200).collect();
        SettingError::Value { name: self.name, text, from: self.source.clone(), allowed: allowed.into() }
    }

    fn list<T: FromStr>(&self, allowed: &str) -> Result<Vec<T>, SettingError> {
        let items = self.text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(|item| item.parse().map_err(|_| self.wrong(allowed))).collect()
    }

    pub(super) fn host(&self) -> Result<HostName, SettingError> {
        self.text.parse().map_err(|_| self.wrong("a host name, like apps.example.org"))
    }

    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>, SettingError> {
        if self.text.trim() == "off" && self.name != "edge-listen" {
            return Ok(Vec::new());
        }
        let allowed =
            "an address with its port, like 127.0.0.1:8080 or [::1]:8080, or several, separated by commas";
        let addresses = self.list(allowed)?;
        if addresses.is_empty() { Err(self.wrong(allowed)) } else { Ok(addresses) }
    }

    pub(super) fn ips(&self) -> Result<Vec<IpAddr>, SettingError> {
        self.list("addresses without ports, like 127.0.0.1, separated by commas")
    }

    pub(super) fn networks(&self) -> Result<Vec<func_edge::Network>, SettingError> {
        self.list("addresses or networks without ports, like 127.0.0.1 or 10.0.0.0/8, separated by commas")
    }

    pub(super) fn build_engine(&self) -> Result<BuildEngine, SettingError> {
        self.text.trim().parse().map_err(|_| self.wrong("auto, apart or shared"))
    }

    /// As [`memory_bytes`](Self::memory_bytes), enough for a compiler.
    pub(super) fn build_bytes(&self) -> Result<u64, SettingError> {
        match self.memory_bytes()? {
            bytes if bytes >= 64 * 1024 * 1024 => Ok(bytes),
            _ => Err(self.wrong("a size of at least 64M, or a share of the machine's memory up to 90%")),
        }
    }

    pub(super) fn egress(&self) -> Result<Egress, SettingError> {
        self.text.trim().parse().map_err(|_| self.wrong("internet, none, or all"))
    }

    pub(super) fn destinations(&self) -> Result<Vec<Destination>, SettingError> {
        self.list("addresses with ports, like 10.0.0.5:5432 or 10.0.0.0/24:5432, separated by commas")
    }

    pub(super) fn redis(&self) -> Result<Option<SecretUrl>, SettingError> {
        let text = self.text.trim();
        if text == "memory" {
            return Ok(None);
        }
        let known = func_ledger::Redis::is_address(text);
        if known {
            Ok(Some(SecretUrl::new(text)))
        } else {
            Err(self.wrong("redis://host:port, redis+unix:///path, or memory"))
        }
    }

    pub(super) fn docker(&self) -> Result<SecretUrl, SettingError> {
        let text = self.text.trim();
        let known =
            text.starts_with('/') || ["unix:///", "tcp://", "http://"].iter().any(|s| text.starts_with(s));
        if known {
            Ok(SecretUrl::new(text))
        } else {
            Err(self.wrong("an absolute path, unix:///path, or tcp://host:port"))
        }
    }

    pub(super) fn branch(&self) -> Result<String, SettingError> {
        match git2::Reference::is_valid_name(&format!("refs/heads/{}", self.text)) {
            true => Ok(self.text.clone()),
            false => Err(self.wrong("the name of a branch, like main")),
        }
    }

    pub(super) fn url(&self) -> Result<Option<String>, SettingError> {
        let text = self.text.trim();
        match text {
            "" => Ok(None),
            _ if ["http://", "https://"].iter().any(|s| text.starts_with(s)) && text.contains("{host}") => {
                Ok(Some(text.to_owned()))
            }
            _ => Err(self.wrong("a pattern with {host} in it, like https://{host}")),
        }
    }

    pub(super) fn short_text(&self) -> Result<String, SettingError> {
        match self.text.len() {
            1..=1_000 => Ok(self.text.clone()),
            _ => Err(self.wrong("a text of 1 to 1000 bytes")),
        }
    }

    pub(super) fn duration_ms(&self, min_ms: u64, max_ms: u64) -> Result<u64, SettingError> {
        let shown = |ms: u64| {
            if ms.is_multiple_of(3_600_000) && ms > 0 {
                format!("{}h", ms / 3_600_000)
            } else {
                format!("{}s", ms / 1_000)
            }
        };
        match duration_ms(&self.text) {
            Some(ms) if (min_ms..=max_ms).contains(&ms) => Ok(ms),
            Some(_) | None => {
                let (min, max) = (shown(min_ms), shown(max_ms));
                Err(self.wrong(format!("a time from {min} to {max}, like 90s, 5m or 2h")))
            }
        }
    }

    pub(super) fn size_bytes(&self, min: u64) -> Result<u64, SettingError> {
        match size_bytes(&self.text) {
            Some(bytes) if bytes >= min => Ok(bytes),
            Some(_) | None => Err(self.wrong(format!("a size of at least {} bytes, like 512M or 8G", min))),
        }
    }

    pub(super) fn size_or_auto(&self) -> Result<Option<u64>, SettingError> {
        match (self.text.trim(), size_bytes(&self.text)) {
            ("auto", _) => Ok(None),
            (_, Some(bytes)) => Ok(Some(bytes)),
            (_, None) => Err(self.wrong("a size like 512M or 8G, or `auto`")),
        }
    }

    /// A size, or a share of the disk: `60%`.
    pub(super) fn disk_limit(&self) -> Result<DiskLimit, SettingError> {
        let text = self.text.trim();
        let share = text.strip_suffix('%').map(|percent| percent.trim().parse());
        match (share, size_bytes(text)) {
            (Some(Ok(percent @ 1..=95)), _) => Ok(DiskLimit::Percent(percent)),
            (None, Some(bytes @ DISK_BYTES_LEAST..)) => Ok(DiskLimit::Bytes(bytes)),
            (Some(_), _) | (None, Some(_) | None) => {
                Err(self.wrong("a size of at least 16M, like 40G, or a share of the disk from 1% to 95%"))
            }
        }
    }

    /// A size, or a share of the machine's memory: `2%`.
    pub(super) fn memory_bytes(&self) -> Result<u64, SettingError> {
        let text = self.text.trim();
        let share = text.strip_suffix('%').map(|percent| percent.trim().parse::<u64>());
        match (share, size_bytes(text)) {
            (Some(Ok(percent @ 0..=90)), _) => Ok(machine_bytes() / 100 * percent),
            (None, Some(bytes)) => Ok(bytes),
            (Some(_), _) | (None, None) => {
                Err(self
                    .wrong("a size like 512M, a share of the machine's memory from 0% to 90%, or 0 for none"))
            }
        }
    }

    /// As [`memory_bytes`](Self::memory_bytes), enough for one app.
    pub(super) fn apps_bytes(&self) -> Result<u64, SettingError> {
        match self.memory_bytes()? {
            bytes if bytes >= func_model::LEAST.memory_bytes => Ok(bytes),
            _ => Err(self.wrong("a size of at least 8M, or a share of the machine's memory up to 90%")),
        }
    }

    pub(super) fn number(&self) -> Result<usize, SettingError> {
        match self.text.trim().parse() {
            Ok(number @ 1..=10_000_000) => Ok(number),
            Ok(_) | Err(_) => Err(self.wrong("a number from 1 to 10000000")),
        }
    }

    pub(super) fn number_or_auto(&self) -> Result<Option<usize>, SettingError> {
        if self.text.trim() == "auto" {
            return Ok(None);
        }
        self.number().map(Some).map_err(|_| self.wrong("a number from 1 to 10000000, or `auto`"))
    }

    pub(super) fn head_bytes(&self) -> Result<usize, SettingError> {
        match size_bytes(&self.text).map(usize::try_from) {
            Some(Ok(bytes)) if (1024..=256 * 1024).contains(&bytes) => Ok(bytes),
            Some(_) | None => Err(self.wrong("a size from 1K to 256K, like 64K")),
        }
    }

    pub(super) fn yes_or_no(&self) -> Result<bool, SettingError> {
        match self.text.trim() {
            "yes" | "true" | "1" => Ok(true),
            "no" | "false" | "0" => Ok(false),
            _ => Err(self.wrong("yes or no")),
        }
    }

    pub(super) fn log_format(&self) -> Result<LogFormat, SettingError> {
        match self.text.trim() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(self.wrong("text or json")),
        }
    }
}
