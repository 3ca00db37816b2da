//! What apps get of the machine, and the most that they may ask for: eight settings, checked together.

use std::ops::RangeInclusive;
use std::str::FromStr;

use func_model::{Allowance, LEAST, Resources};

use super::given::{Given, Value};
use super::kinds::SettingError;

/// The most that any server may allow.
const TOP: RangeInclusive<f64> = 0.05..=512.0;
const PIDS_TOP: u32 = 100_000;

/// Reads the eight settings. A default above its maximum is the maximum: a machine may be small.
///
/// # Errors
/// [`SettingError::Value`] for the first that is no such number, or too small.
pub(super) fn read(given: &Given) -> Result<Allowance, SettingError> {
    let memory = |name| given.value(name).apps_bytes();
    let disk = |name| given.value(name).size_bytes(LEAST.disk_bytes);
    let max = Resources {
        memory_bytes: memory("app-memory-max")?,
        cpus_milli: cpus_milli(&given.value("app-cpus-max"))?,
        pids: pids(&given.value("app-pids-max"))?,
        disk_bytes: disk("app-disk-max")?,
        // Files in memory are bounded by the memory.
        tmp_bytes: memory("app-memory-max")?,
    };
    let default = Resources {
        memory_bytes: memory("app-memory")?,
        cpus_milli: cpus_milli(&given.value("app-cpus"))?,
        pids: pids(&given.value("app-pids"))?,
        disk_bytes: disk("app-disk")?,
        tmp_bytes: func_model::RESOURCES.tmp_bytes,
    };
    Ok(Allowance { default: default.at_most(max), max })
}

/// Reads CPUs as thousandths; nothing is all of the machine's.
fn cpus_milli(value: &Value) -> Result<u32, SettingError> {
    let machine = || std::thread::available_parallelism().map_or(1, usize::from);
    match (value.text.trim(), value.text.trim().parse::<f64>()) {
        ("", _) => Ok(u32::try_from(machine().saturating_mul(1_000)).unwrap_or(u32::MAX)),
        // Truncation cannot lose anything that matters: the range is checked first.
        (_, Ok(cpus)) if TOP.contains(&cpus) => Ok((cpus * 1_000.0).round() as u32),
        (_, Ok(_) | Err(_)) => Err(value.wrong("CPUs from 0.05 to 512, like 0.5 or 2")),
    }
}

fn pids(value: &Value) -> Result<u32, SettingError> {
    match u32::from_str(value.text.trim()) {
        Ok(pids) if (LEAST.pids..=PIDS_TOP).contains(&pids) => Ok(pids),
        Ok(_) | Err(_) => Err(value.wrong("a number of processes from 8 to 100000")),
    }
}
