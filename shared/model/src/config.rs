//! `func.toml`: what an app says about itself. Parsed by the builder, checked here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use thiserror::Error;

use crate::limits::{
    DRAIN_MS_MAX, DRAIN_MS_MIN, ENV_MAX, FREEZE_MS_MIN, HOSTS_MAX, IDLE_MS_MAX, IDLE_MS_MIN, WARM_AT_MAX,
};
use crate::{Allowance, Capability, Freeze, HostName, LimitsTable, Resources};

/// Every key of func.toml, for the error that names the nearest one.
pub const KEYS: &[&str] = &[
    "port",
    "hosts",
    "env",
    "idle",
    "drain",
    "limits",
    "capabilities",
    "read-only",
    "health",
    "freeze",
    "min",
    "warm-at",
    "waiting-page",
];
const MIB: u64 = 1024 * 1024;

/// The file as it is written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppFile {
    pub port: Option<u16>,
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `90s`, `5m`, `2h`.
    pub idle: Option<String>,
    /// As `idle`.
    pub drain: Option<String>,
    #[serde(default)]
    pub limits: LimitsTable,
    /// Names of [`Capability`]; none: all that there are.
    pub capabilities: Option<Vec<String>>,
    #[serde(default, rename = "read-only")]
    pub read_only: bool,
    pub health: Option<String>,
    /// `auto`, `off`, or a time.
    pub freeze: Option<String>,
    pub min: Option<u32>,
    /// Cron lines.
    #[serde(default, rename = "warm-at")]
    pub warm_at: Vec<String>,
    #[serde(default, rename = "waiting-page")]
    pub waiting_page: bool,
}

/// The file, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppConfig {
    pub port: Option<u16>,
    pub hosts: Vec<HostName>,
    pub env: BTreeMap<String, String>,
    /// `None`: the server's own default.
    pub idle_ms: Option<u64>,
    /// `None`: the server's own default.
    pub drain_ms: Option<u64>,
    pub limits: Resources,
    pub capabilities: Vec<Capability>,
    pub read_only: bool,
    pub health: Option<String>,
    pub freeze: Freeze,
    pub min: u32,
    /// Not checked yet: whoever has the calendar does that.
    pub warm_at: Vec<String>,
    pub waiting_page: bool,
}

/// Why a func.toml is refused. Each names the key, its value, and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("`{key} = {value}`: {allowed}")]
    Value { key: &'static str, value: String, allowed: String },
}

pub(crate) fn wrong(key: &'static str, value: impl ToString, allowed: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, value: value.to_string(), allowed: allowed.into() }
}

impl AppFile {
    /// Checks every value; `allowance` is the server's.
    ///
    /// # Errors
    /// [`ConfigError::Value`] for the first value that is not allowed.
    pub fn check(self, allowance: &Allowance) -> Result<AppConfig, ConfigError> {
        if self.port == Some(0) {
            return Err(wrong("port", 0, "a port from 1 to 65535"));
        }
        if self.hosts.len() > HOSTS_MAX {
            return Err(wrong(
                "hosts",
                format!("{} hosts", self.hosts.len()),
                format!("at most {HOSTS_MAX}"),
            ));
        }
        let mut hosts = Vec::with_capacity(self.hosts.len());
        for host in &self.hosts {
            if is_address(host) {
                return Err(wrong(
                    "hosts",
                    quoted(host),
                    "host names, `www.example.org`; addresses are the server's own",
                ));
            }
            let name =
                host.parse().map_err(|_| wrong("hosts", quoted(host), "host names, `www.example.org`"))?;
            if !hosts.contains(&name) {
                hosts.push(name);
            }
        }
        check_env(&self.env)?;
        check_health(self.health.as_deref())?;
        Ok(AppConfig {
            port: self.port,
            hosts,
            env: self.env,
            idle_ms: self.idle.as_deref().map(idle_ms).transpose()?,
            drain_ms: self.drain.as_deref().map(drain_ms).transpose()?,
            limits: self.limits.check(allowance, self.read_only)?,
            capabilities: capabilities(self.capabilities)?,
            read_only: self.read_only,
            health: self.health,
            freeze: self.freeze.as_deref().map(freeze).transpose()?.unwrap_or_default(),
            min: min(self.min.unwrap_or(0))?,
            warm_at: warm_at(self.warm_at)?,
            waiting_page: self.waiting_page,
        })
    }
}

/// Whether a host is an IP address, as browsers see it: also in brackets, with a dot at the end, or in a short form
/// like `127.1`. No top-level domain is a number.
///
/// Source: WHATWG URL, "ends in a number".
fn is_address(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let last = host.rsplit('.').next().unwrap_or_default();
    bare.parse::<IpAddr>().is_ok() || (!last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", crate::name::excerpt(text))
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), ConfigError> {
    if env.len() > ENV_MAX {
        return Err(wrong("env", format!("{} variables", env.len()), format!("at most {ENV_MAX}")));
    }
    for (name, value) in env {
        let letters = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if name.is_empty() || !letters || name.as_bytes()[0].is_ascii_digit() {
            return Err(wrong(
                "env",
                quoted(name),
                "names of letters, digits and `_`, not starting with a digit",
            ));
        }
        if name == "PORT" {
            return Err(wrong("env", "PORT", "PORT is set by func; use `port = ...`"));
        }
        if value.contains('\0') {
            return Err(wrong("env", name, "no NUL in values"));
        }
    }
    Ok(())
}

fn capabilities(names: Option<Vec<String>>) -> Result<Vec<Capability>, ConfigError> {
    let Some(names) = names else { return Ok(Capability::all()) };
    let read = |name: &String| {
        let all = Capability::ALL.map(Capability::name).join(", ");
        name.parse().map_err(|_| wrong("capabilities", quoted(name), format!("a list of {all}")))
    };
    let mut capabilities = names.iter().map(read).collect::<Result<Vec<Capability>, _>>()?;
    capabilities.sort_unstable();
    capabilities.dedup();
    Ok(capabilities)
}

fn check_health(path: Option<&str>) -> Result<(), ConfigError> {
    match path {
        Some(p) if !p.starts_with('/') || p.len() > 1_024 || !p.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(wrong("health", quoted(p), "a path of up to 1024 visible ASCII characters, `/healthz`"))
        }
        Some(_) | None => Ok(()),
    }
}

fn idle_ms(text: &str) -> Result<u64, ConfigError> {
    let allowed =
        format!("a time from {} s to {} h: `90s`, `5m`, `2h`", IDLE_MS_MIN / 1_000, IDLE_MS_MAX / 3_600_000);
    match duration_ms(text) {
        Some(ms) if (IDLE_MS_MIN..=IDLE_MS_MAX).contains(&ms) => Ok(ms),
        Some(_) | None => Err(wrong("idle", quoted(text), allowed)),
    }
}

fn drain_ms(text: &str) -> Result<u64, ConfigError> {
    match duration_ms(text) {
        Some(ms) if (DRAIN_MS_MIN..=DRAIN_MS_MAX).contains(&ms) => Ok(ms),
        Some(_) | None => {
            let (min_s, max_h) = (DRAIN_MS_MIN / 1_000, DRAIN_MS_MAX / 3_600_000);
            Err(wrong("drain", quoted(text), format!("a time from {min_s} s to {max_h} h: `30s`, `10m`")))
        }
    }
}

fn freeze(text: &str) -> Result<Freeze, ConfigError> {
    match (text, duration_ms(text)) {
        ("auto", _) => Ok(Freeze::Auto),
        ("off", _) => Ok(Freeze::Off),
        (_, Some(ms)) if (FREEZE_MS_MIN..=IDLE_MS_MAX).contains(&ms) => Ok(Freeze::AfterMs(ms)),
        (_, Some(_) | None) => {
            let allowed = format!("`auto`, `off`, or a time of at least {} s: `10s`", FREEZE_MS_MIN / 1_000);
            Err(wrong("freeze", quoted(text), allowed))
        }
    }
}

fn min(number: u32) -> Result<u32, ConfigError> {
    match number {
        0 | 1 => Ok(number),
        more => Err(wrong("min", more, "0, or 1 to keep the app warm; func runs one instance of an app")),
    }
}

fn warm_at(lines: Vec<String>) -> Result<Vec<String>, ConfigError> {
    match lines.len() <= WARM_AT_MAX {
        true => Ok(lines),
        false => Err(wrong("warm-at", format!("{} lines", lines.len()), format!("at most {WARM_AT_MAX}"))),
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, text[end..].trim_start()))
}

/// Reads `500ms`, `90s`, `5m`, `2h` or `1d` as ms.
pub fn duration_ms(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(unit_ms)
}

/// Reads `1024`, `512K`, `256M`, `256MiB` or `1G` as bytes; units are powers of 1024.
pub fn size_bytes(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let unit_bytes = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1024,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => 1024 * MIB,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(file: AppFile) -> String {
        file.check(&Allowance::default()).expect_err("it is wrong").to_string()
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = AppFile::default().check(&Allowance::default()).expect("nothing is wrong with nothing");
        assert_eq!((config.port, config.idle_ms, config.limits), (None, None, crate::RESOURCES));
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let idle = error(AppFile { idle: Some("1s".into()), ..AppFile::default() });
        assert_eq!(idle, "`idle = \"1s\"`: a time from 5 s to 24 h: `90s`, `5m`, `2h`");
        let powers = error(AppFile { capabilities: Some(vec!["SYS_ADMIN".into()]), ..AppFile::default() });
        assert!(powers.starts_with("`capabilities = \"SYS_ADMIN\"`: a list of CHOWN, "), "{powers}");
        let freeze = error(AppFile { freeze: Some("1s".into()), ..AppFile::default() });
        assert_eq!(freeze, "`freeze = \"1s\"`: `auto`, `off`, or a time of at least 3 s: `10s`");
        assert!(error(AppFile { min: Some(2), ..AppFile::default() }).contains("one instance"));
        assert!(
            error(AppFile { warm_at: vec!["* * * * *".into(); 17], ..AppFile::default() })
                .contains("at most 16")
        );
        assert!(error(AppFile { port: Some(0), ..AppFile::default() }).contains("1 to 65535"));
        assert!(error(AppFile { health: Some("healthz".into()), ..AppFile::default() }).contains("/healthz"));
        let env = BTreeMap::from([("PORT".to_owned(), "1".to_owned())]);
        assert!(error(AppFile { env, ..AppFile::default() }).contains("set by func"));
        assert!(error(AppFile { hosts: vec!["a b".into()], ..AppFile::default() }).contains("host names"));
    }

    #[test]
    fn an_app_keeps_the_capabilities_that_it_names() {
        let kept = |names: Option<Vec<String>>| {
            let file = AppFile { capabilities: names, ..AppFile::default() };
            file.check(&Allowance::default()).expect("they may be had").capabilities
        };
        assert_eq!(kept(None), Capability::ALL);
        assert_eq!(kept(Some(Vec::new())), []);
        let named = vec!["setuid".to_owned(), "CAP_CHOWN".to_owned(), "SETUID".to_owned()];
        assert_eq!(kept(Some(named)), [Capability::Chown, Capability::Setuid]);
    }

    #[test]
    fn an_ip_address_is_no_host_of_an_app() {
        for address in
            ["127.0.0.1", "10.0.0.1", "10.0.0.1.", "127.1", "2130706433", "::1", "[::1]", "fe80::1"]
        {
            let said = error(AppFile { hosts: vec![address.into()], ..AppFile::default() });
            assert!(said.starts_with(&format!("`hosts = \"{address}\"`")), "{said}");
            assert!(said.ends_with("addresses are the server's own"), "{said}");
        }
        let hosts = vec!["1.example.org".into(), "a1".into()];
        assert!(AppFile { hosts, ..AppFile::default() }.check(&Allowance::default()).is_ok());
    }

    #[test]
    fn times_and_sizes_are_read() {
        assert_eq!(duration_ms("90s"), Some(90_000));
        assert_eq!(duration_ms("2 h"), Some(7_200_000));
        assert_eq!(duration_ms("2"), None);
        assert_eq!(duration_ms("999999999999999999d"), None);
        assert_eq!(size_bytes("256M"), Some(256 * MIB));
        assert_eq!(size_bytes("1GiB"), Some(1024 * MIB));
        assert_eq!(size_bytes("99999999999999999G"), None);
    }
}
