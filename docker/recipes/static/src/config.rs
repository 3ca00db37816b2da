//! What to serve and where: one argument and one variable.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Where the image keeps the site.
const ROOT: &str = "/site";

/// The port of an instance that was given none.
const PORT: u16 = 8080;

/// What `--help` prints.
pub const HELP: &str = "\
Serves a folder of files over HTTP.

Usage: func-static [ROOT]

Arguments:
  [ROOT]         the folder to serve [default: /site]

Options:
  -h, --help     print this help
  -V, --version  print the version

Environment:
  PORT           the port to listen on, 0 for a free one [default: 8080]
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Serve(Config),
    Help,
    Version,
}

/// What to serve and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    pub root: PathBuf,
    pub addr: SocketAddr,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("unexpected argument {}; usage: func-static [ROOT]", argument.display())]
    Argument { argument: OsString },
    #[error("PORT is {}; a number from 0 to 65535 is allowed", value.display())]
    Port { value: OsString },
    #[error("cannot serve {}", root.display())]
    Root { root: PathBuf, source: io::Error },
    #[error("cannot listen on {addr}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("cannot set up the process")]
    Process(#[source] io::Error),
}

/// Reads the arguments and the environment of this process.
///
/// # Errors
/// As [`command`].
pub fn from_process() -> Result<Command, StartError> {
    command(std::env::args_os().skip(1), std::env::var_os("PORT"))
}

/// Reads the arguments after the program's name, and the value of `PORT`; an empty one counts as none.
///
/// # Errors
/// [`StartError::Argument`] if there is more than one argument or an unknown option, [`StartError::Port`] if
/// the port is no port.
pub fn command(args: impl Iterator<Item = OsString>, port: Option<OsString>) -> Result<Command, StartError> {
    let mut root = None;
    for argument in args {
        match argument.to_str() {
            Some("-h" | "--help") => return Ok(Command::Help),
            Some("-V" | "--version") => return Ok(Command::Version),
            Some(option) if option.starts_with('-') => return Err(StartError::Argument { argument }),
            _ if root.is_some() => return Err(StartError::Argument { argument }),
            _ => root = Some(PathBuf::from(argument)),
        }
    }
    let port = match port.filter(|value| !value.is_empty()) {
        Some(value) => value.to_str().and_then(|text| text.parse().ok()).ok_or(StartError::Port { value })?,
        None => PORT,
    };
    let root = root.unwrap_or_else(|| PathBuf::from(ROOT));
    Ok(Command::Serve(Config { root, addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str], port: Option<&str>) -> Result<Command, StartError> {
        command(args.iter().map(OsString::from), port.map(OsString::from))
    }

    fn serve(root: &str, addr: &str) -> Command {
        Command::Serve(Config { root: PathBuf::from(root), addr: addr.parse().expect("an address") })
    }

    #[test]
    fn without_any_setting_it_serves_the_image() {
        assert_eq!(read(&[], None).expect("it is valid"), serve("/site", "0.0.0.0:8080"));
        assert_eq!(read(&[], Some("")).expect("it is valid"), serve("/site", "0.0.0.0:8080"));
    }

    #[test]
    fn the_root_and_the_port_can_be_set() {
        assert_eq!(read(&["public"], Some("81")).expect("it is valid"), serve("public", "0.0.0.0:81"));
    }

    #[test]
    fn help_and_version_need_nothing_else_to_be_right() {
        assert_eq!(read(&["--help"], Some("x")).expect("it is valid"), Command::Help);
        assert_eq!(read(&["a", "-V"], None).expect("it is valid"), Command::Version);
    }

    #[test]
    fn a_wrong_setting_is_named_with_its_value_and_what_is_allowed() {
        for value in ["x", "-1", "65536", "80 ", "8080/tcp"] {
            let error = read(&[], Some(value)).expect_err("it is no port");
            assert_eq!(error.to_string(), format!("PORT is {value}; a number from 0 to 65535 is allowed"));
        }
        let error = read(&["--port=80"], None).expect_err("there is no such option");
        assert_eq!(error.to_string(), "unexpected argument --port=80; usage: func-static [ROOT]");
        assert!(read(&["a", "b"], None).is_err());
    }
}
