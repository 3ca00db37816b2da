//! What was given: by flag, by environment, by file; and what was not.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use func_model::redacted_url;

use super::kinds::SettingError;
use super::table::{SETTINGS, Setting};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Flag,
    Variable,
    File(PathBuf),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("a flag"),
            Self::Variable => f.write_str("the environment"),
            Self::File(path) => path.display().fmt(f),
            Self::Default => f.write_str("the default"),
        }
    }
}

/// One setting's value as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    pub name: &'static str,
    pub text: String,
    pub source: Source,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = redacted_url(&self.text);
        f.debug_struct("Value").field("name", &self.name).field("text", &text).finish_non_exhaustive()
    }
}

/// Everything that was given on the command line and in the environment.
#[derive(Debug, Clone, Default)]
pub struct Given {
    values: BTreeMap<&'static str, Value>,
    file: Option<PathBuf>,
}

const FILE: &str = "config";
const FILE_NAME: &str = "func-server.toml";
const FILE_BYTES_MAX: u64 = 1024 * 1024;

fn arg(setting: &'static Setting) -> Arg {
    let default =
        if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
    Arg::new(setting.name)
        .long(setting.name)
        .env(setting.variable())
        // Help would show a password.
        .hide_env_values(true)
        .value_name("VALUE")
        .allow_hyphen_values(true)
        .help(format!("{}{default}", setting.help))
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(FILE)
            .long(FILE)
            .env("FUNC_CONFIG")
            .value_name("FILE")
            .value_parser(clap::value_parser!(PathBuf))
            .help(format!("a file of settings [default: {FILE_NAME} in the data folder, if there is one]"));
        command.arg(file).args(SETTINGS.iter().map(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Self { values: BTreeMap::new(), file: matches.get_one::<PathBuf>(FILE).cloned() };
        for setting in SETTINGS {
            let Some(text) = matches.get_one::<String>(setting.name) else { continue };
            let source = match matches.value_source(setting.name) {
                Some(ValueSource::EnvVariable) => Source::Variable,
                Some(_) | None => Source::Flag,
            };
            given.values.insert(setting.name, Value { name: setting.name, text: text.clone(), source });
        }
        Ok(given)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Given {
    /// Gives the value of a setting of the table: what was given, else its default.
    pub fn value(&self, name: &'static str) -> Value {
        let default = || {
            let text = SETTINGS.iter().find(|s| s.name == name).map_or("", |s| s.default);
            Value { name, text: text.to_owned(), source: Source::Default }
        };
        self.values.get(name).cloned().unwrap_or_else(default)
    }

    /// Adds what the file says and nobody else did.
    ///
    /// # Errors
    /// [`SettingError`] if the file cannot be read, or it or the environment names a setting that is none.
    pub(super) fn with_file(&self) -> Result<Self, SettingError> {
        known_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))?;
        let path = match &self.file {
            Some(path) => path.clone(),
            None => {
                let path = Path::new(&self.value("data").text).join(FILE_NAME);
                if !path.exists() {
                    return Ok(self.clone());
                }
                path
            }
        };
        let mut given = self.clone();
        for (name, text) in read(&path)? {
            let source = Source::File(path.clone());
            given.values.entry(name).or_insert(Value { name, text, source });
        }
        Ok(given)
    }
}

/// Variables of func's that are no settings: of clap, of the hooks, of the compose file, of tests.
const OTHER_VARIABLES: &[&str] = &["FUNC_CONFIG", "FUNC_APP", "FUNC_VERDICT", "FUNC_IMAGE", "FUNC_CRASH_AT"];

/// A slip in a variable's name would otherwise be a setting that is silently not made.
fn known_variables(names: impl Iterator<Item = String>) -> Result<(), SettingError> {
    for name in names.filter(|name| name.starts_with("FUNC_")) {
        if !OTHER_VARIABLES.contains(&name.as_str()) && !SETTINGS.iter().any(|s| s.variable() == name) {
            return Err(SettingError::Variable { name });
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<(&'static str, String)>, SettingError> {
    let unreadable = |said: String| SettingError::File { path: path.to_owned(), said };
    let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if size > FILE_BYTES_MAX {
        return Err(unreadable(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| unreadable(e.to_string()))?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| unreadable(flaw(&e, &text)))?;
    table
        .into_iter()
        .map(|(key, value)| {
            let setting = SETTINGS.iter().find(|s| s.name == key);
            let setting =
                setting.ok_or_else(|| SettingError::Unknown { path: path.to_owned(), key: shown(&key) })?;
            Ok((setting.name, written(&value)))
        })
        .collect()
}

/// A key of a file as an error shows it.
fn shown(key: &str) -> String {
    key.chars().take(64).flat_map(char::escape_default).collect()
}

/// Says what is wrong with a file and in which line, without the line: a password may be in it.
fn flaw(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = before.map(|before| format!("line {}: ", before.matches('\n').count() + 1));
    format!("{}{}", line.unwrap_or_default(), error.message())
}

/// A TOML value as it would be written in a flag.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Boolean(true) => "yes".into(),
        toml::Value::Boolean(false) => "no".into(),
        toml::Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}
