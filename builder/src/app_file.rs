//! Reading an app's func.toml.

use func_model::config::{AppConfig, AppFile, ConfigError, KEYS};
use func_model::{Allowance, LIMIT_KEYS};
use func_schedule::{Schedule, ScheduleError};
use thiserror::Error;
use toml::de::DeTable;

/// The file's name, at the root of the repository.
pub const NAME: &str = "func.toml";
/// How much of a wrong name may differ from the right one.
const DISTANCE_MAX: usize = 2;

/// Why a func.toml is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppFileError {
    #[error("unknown key `{key}` in func.toml, line {line}: {instead}")]
    UnknownKey { key: String, line: usize, instead: String },
    #[error("func.toml, line {line}: {said}")]
    Syntax { line: usize, said: String },
    #[error("func.toml: {0}")]
    Value(#[from] ConfigError),
    #[error("func.toml: `warm-at`: {0}; five fields in UTC: `0 7 * * MON-FRI`")]
    WarmAt(#[from] ScheduleError),
}

/// Reads and checks the file's text; `allowance` is the server's.
///
/// # Errors
/// [`AppFileError::UnknownKey`] with the nearest right name, [`AppFileError::Syntax`] for what is not TOML or of the
/// wrong type, [`AppFileError::Value`] and [`AppFileError::WarmAt`] for a value that is not allowed.
pub fn parse(text: &str, allowance: &Allowance) -> Result<AppConfig, AppFileError> {
    let table = DeTable::parse(text).map_err(|e| syntax(text, &e))?;
    check_keys(text, table.get_ref(), "", KEYS)?;
    let limits = table.get_ref().iter().find(|(key, _)| key.get_ref().as_ref() == "limits");
    if let Some(limits) = limits.and_then(|(_, value)| value.get_ref().as_table()) {
        check_keys(text, limits, "limits.", LIMIT_KEYS)?;
    }
    let file: AppFile = toml::from_str(text).map_err(|e| syntax(text, &e))?;
    let config = file.check(allowance)?;
    for line in &config.warm_at {
        line.parse::<Schedule>()?;
    }
    Ok(config)
}

fn check_keys(text: &str, table: &DeTable<'_>, prefix: &str, known: &[&str]) -> Result<(), AppFileError> {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if !known.contains(&name) {
            let line = line_of(text, key.span().start);
            let shown: String = name.chars().take(40).flat_map(char::escape_default).collect();
            return Err(AppFileError::UnknownKey {
                key: format!("{prefix}{shown}"),
                line,
                instead: instead(name, prefix),
            });
        }
    }
    Ok(())
}

/// Gives the nearest right name, or all of them when none is near.
fn instead(name: &str, prefix: &str) -> String {
    let top = KEYS.iter().map(|key| ((*key).to_owned(), *key));
    let limits = LIMIT_KEYS.iter().map(|key| (format!("limits.{key}"), *key));
    let near = |right: &str| strsim::damerau_levenshtein(&name.to_lowercase(), right);
    let nearest = top
        .chain(limits)
        .map(|(shown, last)| (near(last), shown.starts_with(prefix), shown, last))
        .filter(|(distance, _, _, last)| *distance <= DISTANCE_MAX && *distance < last.len())
        .min_by_key(|(distance, here, _, _)| (*distance, !*here));
    match nearest {
        Some((_, _, shown, _)) => format!("did you mean `{shown}`?"),
        None if prefix.is_empty() => format!("the keys are {}", KEYS.join(", ")),
        None => format!("the limits are {}", LIMIT_KEYS.join(", ")),
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> AppFileError {
    let line = error.span().map_or(1, |span| line_of(text, span.start));
    let said = error.message().lines().next().unwrap_or("this is not TOML").to_owned();
    AppFileError::Syntax { line, said }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        parse(text, &Allowance::default()).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_whole_file_is_read() {
        let text = "port = 3000\nhosts = [\"www.example.org\"]\nidle = \"5m\"\nhealth = \"/up\"\n\
                    freeze = \"10s\"\nmin = 1\nwarm-at = [\"0 7 * * MON-FRI\"]\nwaiting-page = true\n\
                    [env]\nMODE = \"x\"\n[limits]\nmemory = \"256M\"\ncpus = 0.5\npids = 64\n";
        let config = parse(text, &Allowance::default()).expect("it is right");
        assert_eq!(
            (config.port, config.idle_ms, config.limits.cpus_milli),
            (Some(3_000), Some(300_000), 500)
        );
        assert_eq!((config.freeze, config.min), (func_model::Freeze::AfterMs(10_000), 1));
        assert_eq!((config.warm_at, config.waiting_page), (vec!["0 7 * * MON-FRI".to_owned()], true));
        assert!(parse("", &Allowance::default()).is_ok());
    }

    #[test]
    fn an_unknown_key_is_told_with_the_nearest_right_name_and_its_line() {
        assert_eq!(error("\nprot = 1"), "unknown key `prot` in func.toml, line 2: did you mean `port`?");
        assert!(error("[limits]\nmemroy = \"1G\"").contains("did you mean `limits.memory`?"));
        assert!(error("memory = \"1G\"").contains("did you mean `limits.memory`?"));
        assert!(error("Port = 1").contains("did you mean `port`?"));
        assert!(
            error("colour = 1")
                .contains("the keys are port, hosts, env, idle, drain, limits, capabilities, ")
        );
    }

    #[test]
    fn what_is_no_toml_or_of_the_wrong_type_is_told_with_its_line() {
        assert!(
            error("port = 1\nport = 2").starts_with("func.toml, line 2: "),
            "{}",
            error("port = 1\nport = 2")
        );
        assert!(error("port = \"x\"").starts_with("func.toml, line 1: invalid type"));
        assert!(error("= 3").starts_with("func.toml, line 1: "));
        assert!(
            error("warm-at = [\"daily\"]").starts_with("func.toml: `warm-at`: `daily` is not a cron line")
        );
        assert!(error("idle = \"1s\"").starts_with("func.toml: `idle = \"1s\"`"));
    }
}
