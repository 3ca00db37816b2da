//! What is logged, and how.

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::settings::{LogFormat, Settings};

/// Libraries whose own lines say less than ours, which are about the same.
const QUIET: &str =
    "pingora_core=error,pingora_proxy=error,pingora_pool=error,russh=warn,bollard=warn,hyper=warn";

/// Sets up the logs, on the standard error.
pub(super) fn init(settings: &Settings) -> anyhow::Result<()> {
    let directives = format!("{QUIET},{}", settings.log);
    let filter = EnvFilter::try_new(&directives).with_context(|| {
        format!(
            "the setting `log` is \"{}\"; allowed is a level like info, or a filter like func_edge=debug",
            settings.log
        )
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Text => {
            builder.with_target(false).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init()
        }
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
