//! Why the edge says no, and what it says.

use crate::AppName;

/// Why a request is not answered by an app. The texts are for anybody: no address, no path, no stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The `Host` header is missing, twice, or no host name.
    BadHost,
    /// No app has this host.
    NoSuchHost { host: String },
    /// The last start failed; the next try is not due yet.
    Broken { app: AppName, retry_ms: u64 },
    /// The start failed just now.
    StartFailed { app: AppName, retry_ms: u64 },
    /// The start takes longer than a request may wait.
    TooSlow { app: AppName },
    /// The start takes a while; a browser shows a page until it is done.
    Starting { app: AppName },
    /// As many requests as may wait do so already.
    Crowded { app: AppName },
    /// More apps start than the machine can bear.
    Busy { app: AppName },
    /// The ledger, or the cleaner, is away: nothing new can be woken.
    Lost,
    /// The instance did not take the request, several times.
    Unreachable { app: AppName },
    /// The instance took the request and closed the connection without an answer.
    Dropped { app: AppName },
    /// The edge is about to leave.
    Leaving,
    /// The request is framed as two readers may take differently.
    Malformed,
    /// The head of the request is larger than is taken.
    LargeHead { bytes_max: usize },
    /// The head of the request did not come within its time.
    SlowHead,
    /// The body of the request comes too slowly.
    SlowBody,
    /// As many connections as there may be are open.
    Full,
}

impl Refusal {
    /// Gives the HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::BadHost | Self::Malformed => 400,
            Self::SlowHead | Self::SlowBody => 408,
            Self::LargeHead { .. } => 431,
            Self::NoSuchHost { .. } => 404,
            Self::Unreachable { .. } | Self::Dropped { .. } => 502,
            Self::TooSlow { .. } => 504,
            Self::Broken { .. }
            | Self::StartFailed { .. }
            | Self::Starting { .. }
            | Self::Crowded { .. }
            | Self::Busy { .. }
            | Self::Lost
            | Self::Leaving
            | Self::Full => 503,
        }
    }

    /// Gives the value of `Retry-After` in whole seconds, if trying again makes sense.
    pub fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::BadHost
            | Self::Malformed
            | Self::NoSuchHost { .. }
            | Self::Dropped { .. }
            | Self::LargeHead { .. }
            | Self::SlowHead
            | Self::SlowBody => None,
            Self::Broken { retry_ms, .. } | Self::StartFailed { retry_ms, .. } => {
                Some(retry_ms.div_ceil(1_000).max(1))
            }
            Self::TooSlow { .. } | Self::Unreachable { .. } | Self::Busy { .. } => Some(5),
            Self::Crowded { .. } | Self::Leaving | Self::Full => Some(1),
            Self::Starting { .. } | Self::Lost => Some(2),
        }
    }

    /// Gives its name in lower case, as it is counted.
    pub fn name(&self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::NoSuchHost { .. } => "no_such_host",
            Self::Broken { .. } => "broken",
            Self::StartFailed { .. } => "start_failed",
            Self::TooSlow { .. } => "too_slow",
            Self::Starting { .. } => "starting",
            Self::Crowded { .. } => "crowded",
            Self::Busy { .. } => "busy",
            Self::Lost => "lost",
            Self::Unreachable { .. } => "unreachable",
            Self::Dropped { .. } => "dropped",
            Self::Leaving => "leaving",
            Self::Malformed => "malformed",
            Self::LargeHead { .. } => "large_head",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::Full => "full",
        }
    }

    /// Gives the sentence for the body of the answer.
    pub fn text(&self) -> String {
        match self {
            Self::BadHost => "The Host header is missing or is not a host name.".into(),
            Self::NoSuchHost { host } => {
                format!("No app answers for {host}. To deploy one under this name: git push func main")
            }
            Self::Broken { app, .. } => {
                format!(
                    "{app} did not start; it is tried again soon. Its owner sees why with: func logs {app}"
                )
            }
            Self::StartFailed { app, .. } => {
                format!("{app} did not start. Its owner sees why with: func logs {app}")
            }
            Self::TooSlow { app } => format!("{app} is still starting. Please try again."),
            Self::Starting { app } => format!("{app} is starting. This page loads again by itself."),
            Self::Crowded { app } => format!("Too many requests wait for {app} to start. Please try again."),
            Self::Busy { app } => {
                format!("{app} could not start yet: too many apps start at once. Please try again.")
            }
            Self::Lost => "Sleeping apps cannot be woken at the moment. Please try again.".into(),
            Self::Unreachable { app } => format!("{app} does not accept connections. Please try again."),
            Self::Dropped { app } => {
                format!(
                    "{app} ended the connection without an answer. Its owner sees why with: func logs {app}"
                )
            }
            Self::Leaving => "This server is restarting. Please try again.".into(),
            Self::LargeHead { bytes_max } => {
                format!(
                    "The head of the request is too large: at most {bytes_max} bytes and 256 fields are taken."
                )
            }
            Self::Malformed => "The request is not as HTTP/1.1 wants it (RFC 9112).".into(),
            Self::SlowHead => "The head of the request did not come in time.".into(),
            Self::SlowBody => "The body of the request came too slowly.".into(),
            Self::Full => "Too many connections are open. Please try again.".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_503_says_when_to_come_back() {
        let app: AppName = "blog".parse().expect("a name");
        let refusals = [
            Refusal::Broken { app: app.clone(), retry_ms: 1 },
            Refusal::StartFailed { app: app.clone(), retry_ms: 1_001 },
            Refusal::Starting { app: app.clone() },
            Refusal::Crowded { app: app.clone() },
            Refusal::Busy { app },
            Refusal::Lost,
            Refusal::Leaving,
            Refusal::Full,
        ];
        for refusal in refusals {
            assert_eq!(refusal.status(), 503);
            assert!(refusal.retry_after_s().is_some_and(|s| s >= 1), "{refusal:?}");
        }
    }
}
