//! One call to the engine: its deadline, and what its errors mean.

use std::time::Duration;

use bollard::errors::Error;

use crate::RunnerError;

/// For what the engine answers from memory.
pub(crate) const ASK: Duration = Duration::from_secs(15);
/// For what makes the engine work: create, start, remove.
pub(crate) const WORK: Duration = Duration::from_secs(60);
/// For an image that is loaded, its transfer included.
pub(crate) const LOAD: Duration = Duration::from_secs(10 * 60);

/// For the removal of what may be many gigabytes.
pub(crate) const PRUNE: Duration = Duration::from_secs(10 * 60);

/// Why a call gave nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The engine answered with this HTTP status.
    Denied {
        verb: &'static str,
        status: u16,
        said: String,
    },
    Runner(RunnerError),
}

impl From<CallError> for RunnerError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Denied { verb, status: _, said } => Self::Refused { verb, said },
            CallError::Runner(error) => error,
        }
    }
}

/// Waits for a call, at most `within`.
pub(crate) async fn call<T>(
    verb: &'static str,
    within: Duration,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(within, call).await {
        Ok(answer) => answer.map_err(|error| failed(verb, error)),
        Err(_) => Err(CallError::Runner(RunnerError::Slow { verb, within })),
    }
}

/// Takes "there is none" (404) for an answer.
pub(crate) fn present<T>(answer: Result<T, CallError>) -> Result<Option<T>, RunnerError> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(CallError::Denied { status: 404, .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says what an error of bollard means. The one place where that is decided.
pub(crate) fn failed(verb: &'static str, error: Error) -> CallError {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            CallError::Denied { verb, status: status_code, said: message }
        }
        Error::DockerStreamError { error } => CallError::Runner(RunnerError::Refused { verb, said: error }),
        Error::HyperLegacyError { .. }
        | Error::HyperResponseError { .. }
        | Error::IOError { .. }
        | Error::SocketNotFoundError(_)
        | Error::RequestTimeoutError => CallError::Runner(RunnerError::Away(Box::new(error))),
        other => CallError::Runner(RunnerError::Refused { verb, said: other.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_without_an_answer_ends_at_its_deadline() {
        let endless = std::future::pending::<Result<(), Error>>();
        let within = Duration::from_millis(1);
        let error = call("look", within, endless).await.expect_err("it never answers");
        assert!(matches!(error, CallError::Runner(RunnerError::Slow { verb: "look", .. })));
    }

    #[test]
    fn a_missing_socket_is_an_absent_engine() {
        let error = failed("look", Error::SocketNotFoundError("/x".into()));
        assert!(matches!(error, CallError::Runner(RunnerError::Away(_))));
    }

    #[test]
    fn what_is_not_there_is_an_answer() {
        let none = Error::DockerResponseServerError { status_code: 404, message: "no such thing".into() };
        assert!(matches!(present::<()>(Err(failed("look", none))), Ok(None)));
    }
}
