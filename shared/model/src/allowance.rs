//! What one instance may use of the machine: what an app asks for, and what the server allows.

use serde::Deserialize;

use crate::Resources;
use crate::config::{ConfigError, quoted, size_bytes, wrong};

const MIB: u64 = 1024 * 1024;
const GIB: u64 = 1024 * MIB;

/// The smallest of each that a container can be given and do something with.
pub const LEAST: Resources =
    Resources { memory_bytes: 8 * MIB, cpus_milli: 50, pids: 8, disk_bytes: MIB, tmp_bytes: MIB };

/// What an app gets when neither it nor the server says anything: half a GiB, one CPU, 256 processes and threads, a GiB
/// of files of its own.
pub const RESOURCES: Resources =
    Resources { memory_bytes: 512 * MIB, cpus_milli: 1_000, pids: 256, disk_bytes: GIB, tmp_bytes: 64 * MIB };

/// Every key of func.toml's `[limits]`.
pub const LIMIT_KEYS: &[&str] = &["memory", "cpus", "pids", "disk", "tmp"];

/// What the server gives to an app that does not ask, and the most that one may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub default: Resources,
    pub max: Resources,
}

impl Default for Allowance {
    /// For a server that sets no bounds: as much as can be written.
    fn default() -> Self {
        let max = Resources {
            memory_bytes: 1024 * GIB,
            cpus_milli: 512_000,
            pids: 100_000,
            disk_bytes: 1024 * GIB,
            tmp_bytes: 1024 * GIB,
        };
        Self { default: RESOURCES, max }
    }
}

/// The `[limits]` table as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsTable {
    /// `512M`, `1G`.
    pub memory: Option<String>,
    /// CPUs, `0.5` is half of one.
    pub cpus: Option<f64>,
    pub pids: Option<u32>,
    /// As `memory`.
    pub disk: Option<String>,
    /// As `memory`.
    pub tmp: Option<String>,
}

impl LimitsTable {
    pub(crate) fn check(self, allowance: &Allowance, read_only: bool) -> Result<Resources, ConfigError> {
        let Allowance { default, max } = allowance;
        if self.tmp.is_some() && !read_only {
            return Err(wrong(
                "limits.tmp",
                "set",
                "only with `read-only = true`: else /tmp counts in `disk`",
            ));
        }
        let memory_bytes =
            size("limits.memory", self.memory, default.memory_bytes, LEAST.memory_bytes..=max.memory_bytes)?;
        let tmp_max = max.tmp_bytes.min(memory_bytes);
        Ok(Resources {
            memory_bytes,
            cpus_milli: cpus_milli(self.cpus, default.cpus_milli, max.cpus_milli)?,
            pids: pids(self.pids, default.pids, max.pids)?,
            disk_bytes: size(
                "limits.disk",
                self.disk,
                default.disk_bytes,
                LEAST.disk_bytes..=max.disk_bytes,
            )?,
            tmp_bytes: size(
                "limits.tmp",
                self.tmp,
                default.tmp_bytes.min(tmp_max),
                LEAST.tmp_bytes..=tmp_max,
            )?,
        })
    }
}

fn size(
    key: &'static str,
    text: Option<String>,
    default: u64,
    range: std::ops::RangeInclusive<u64>,
) -> Result<u64, ConfigError> {
    let Some(text) = text else { return Ok(default) };
    match size_bytes(&text) {
        Some(bytes) if range.contains(&bytes) => Ok(bytes),
        Some(_) | None => {
            let (min, max) = (shown(*range.start()), shown(*range.end()));
            Err(wrong(key, quoted(&text), format!("a size from {min} to {max} (this server's limit)")))
        }
    }
}

fn cpus_milli(cpus: Option<f64>, default: u32, max: u32) -> Result<u32, ConfigError> {
    let (min, most) = (f64::from(LEAST.cpus_milli) / 1_000.0, f64::from(max) / 1_000.0);
    match cpus {
        None => Ok(default),
        // Truncation cannot lose anything that matters: the range is checked first.
        Some(cpus) if (min..=most).contains(&cpus) => Ok((cpus * 1_000.0).round() as u32),
        Some(cpus) => {
            Err(wrong("limits.cpus", cpus, format!("CPUs from {min} to {most} (this server's limit): `0.5`")))
        }
    }
}

fn pids(pids: Option<u32>, default: u32, max: u32) -> Result<u32, ConfigError> {
    match pids {
        None => Ok(default),
        Some(pids) if (LEAST.pids..=max).contains(&pids) => Ok(pids),
        Some(pids) => {
            let allowed = format!("from {} to {max} (this server's limit)", LEAST.pids);
            Err(wrong("limits.pids", pids, allowed))
        }
    }
}

/// Shows a size as it may be written: the largest unit that divides it.
fn shown(bytes: u64) -> String {
    let units = [(GIB, "G"), (MIB, "M"), (1024, "K")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        // A share of a machine's memory is seldom a round number.
        None if bytes >= MIB => format!("{}M", bytes / MIB),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> Allowance {
        let max = Resources {
            memory_bytes: GIB,
            cpus_milli: 2_000,
            pids: 512,
            disk_bytes: 2 * GIB,
            tmp_bytes: 64 * MIB,
        };
        Allowance { default: Resources { memory_bytes: 256 * MIB, ..RESOURCES }, max }
    }

    fn error(table: LimitsTable) -> String {
        table.check(&small(), false).expect_err("it is too much").to_string()
    }

    #[test]
    fn nobody_gets_more_than_the_server_allows() {
        let memory = LimitsTable { memory: Some("1024G".into()), ..LimitsTable::default() };
        assert_eq!(error(memory), "`limits.memory = \"1024G\"`: a size from 8M to 1G (this server's limit)");
        let pids = LimitsTable { pids: Some(100_000), ..LimitsTable::default() };
        assert_eq!(error(pids), "`limits.pids = 100000`: from 8 to 512 (this server's limit)");
        let cpus = LimitsTable { cpus: Some(3.0), ..LimitsTable::default() };
        assert_eq!(error(cpus), "`limits.cpus = 3`: CPUs from 0.05 to 2 (this server's limit): `0.5`");
        let disk = LimitsTable { disk: Some("3G".into()), ..LimitsTable::default() };
        assert!(error(disk).contains("from 1M to 2G"));
        for lots in ["lots", "1M"] {
            let memory = LimitsTable { memory: Some(lots.into()), ..LimitsTable::default() };
            assert!(error(memory).starts_with(&format!("`limits.memory = \"{lots}\"`")));
        }
    }

    #[test]
    fn an_app_that_asks_for_nothing_gets_the_servers_default() {
        let given = LimitsTable::default().check(&small(), true).expect("nothing is wrong with nothing");
        assert_eq!((given.memory_bytes, given.cpus_milli), (256 * MIB, 1_000));
    }

    #[test]
    fn files_in_memory_take_no_more_than_the_memory_and_are_had_only_when_the_others_are_read_only() {
        let table = LimitsTable { memory: Some("32M".into()), ..LimitsTable::default() };
        assert_eq!(table.check(&small(), true).expect("it may").tmp_bytes, 32 * MIB);
        let tmp = |text: &str| LimitsTable { tmp: Some(text.into()), ..LimitsTable::default() };
        assert!(tmp("65M").check(&small(), true).is_err());
        assert!(tmp("1M").check(&small(), true).is_ok());
        assert!(error(tmp("1M")).contains("read-only = true"));
    }
}
