//! What is logged, and how.

use std::io::{self, Write};

use anyhow::Context;
use func_model::{plain_text, redacted};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::pace::Pace;
use crate::settings::{LogFormat, Settings};

/// Libraries whose own lines say less than ours, which are about the same.
const QUIET: &str =
    "pingora_core=error,pingora_proxy=error,pingora_pool=error,russh=warn,bollard=warn,hyper=warn";

/// How a sequence begins that sets a colour.
const COLOUR: &str = "\u{1b}[";

/// Sets up the logs, on the standard error.
pub(super) fn init(settings: &Settings) -> anyhow::Result<()> {
    let directives = format!("{QUIET},{}", settings.log);
    let filter = EnvFilter::try_new(&directives).with_context(|| {
        format!(
            "the setting `log` is \"{}\"; allowed is a level like info, or a filter like func_edge=debug",
            settings.log
        )
    })?;
    let colours = io::IsTerminal::is_terminal(&io::stderr());
    let writer = move || Shown { colours };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    match settings.log_format {
        LogFormat::Text => {
            builder.with_target(false).with_ansi(colours).finish().with(Pace::default()).init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().with(Pace::default()).init(),
    }
    Ok(())
}

/// The standard error, without passwords and without what would steer or deceive whoever reads it: libraries log texts
/// of strangers as well.
struct Shown {
    /// The lines have colours of our own.
    colours: bool,
}

/// As [`plain_text`], but for colours: those of a stranger's text would do no harm.
fn plain_but_colours(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let (mut done, mut from) = (0, 0);
    while let Some(at) = text[from..].find(COLOUR).map(|at| from + at) {
        let Some(end) = colour_end(&text[at + COLOUR.len()..]).map(|end| at + COLOUR.len() + end) else {
            from = at + COLOUR.len();
            continue;
        };
        shown.push_str(&plain_text(&text[done..at]));
        shown.push_str(&text[at..end]);
        (done, from) = (end, end);
    }
    shown.push_str(&plain_text(&text[done..]));
    shown
}

/// Where a sequence ends whose beginning was read, if it sets a colour.
fn colour_end(rest: &str) -> Option<usize> {
    let at = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    rest[at..].starts_with('m').then_some(at + 1)
}

impl Write for Shown {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let text = redacted(&text);
        let shown = if self.colours { plain_but_colours(&text) } else { plain_text(&text).into_owned() };
        io::stderr().lock().write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_are_left_of_what_steers_a_terminal() {
        let line =
            "\u{1b}[2m12:00\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m push of \u{202e}x\u{1b}[2J\u{1b}]0;t\u{7}y\n";
        let shown = "\u{1b}[2m12:00\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m push of xy\n";
        assert_eq!(plain_but_colours(line), shown);
    }
}
