//! How an SSH command ends for its client: an exit status, and a sentence where git itself said none.

use crate::HostError;
use crate::call::Call;
use crate::host::{Outcome, log_error};
use crate::relay::Ending;

/// Told to whoever asks for a shell, a subsystem or another program.
pub(crate) const HELP: &str =
    "func: this is a git host: git push ssh://<this host>/<app> main\nfunc: there is no shell here\n";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Farewell {
    pub(crate) status: u32,
    /// Goes to the client's standard error; lines that start with `func:`.
    pub(crate) text: String,
}

impl Farewell {
    /// Says that only git is served.
    pub(crate) fn help() -> Self {
        Self { status: 1, text: HELP.to_owned() }
    }

    /// Says how a call ended. A failed deploy ends with 1 although git ended with 0, so that `git push` fails too.
    pub(crate) fn of(call: &Call, result: Result<Outcome, HostError>) -> Self {
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => return Self::refusal(&error),
        };
        match (outcome.ending, outcome.deploy_failed) {
            (Ending::Exited(0), false) => Self { status: 0, text: String::new() },
            (Ending::Exited(0), true) | (Ending::Left, _) => Self { status: 1, text: String::new() },
            (Ending::Exited(status), _) => {
                let text =
                    format!("func: git ended with status {status}; the log of the git host says why\n");
                Self { status: status.into(), text }
            }
            (Ending::TooLong, _) => Self { status: 1, text: call.too_long() },
        }
    }

    /// Says why a call was not served.
    pub(crate) fn refusal(error: &HostError) -> Self {
        log_error(error);
        let help = if matches!(error, HostError::NotGit(_)) { HELP } else { "" };
        Self { status: 1, text: format!("func: {}\n{help}", error.text()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_accepted_push_whose_deploy_did_not_fail_ends_with_zero() {
        let by = func_model::Principal::Token { address: [127, 0, 0, 1].into() };
        let call = Call::from_command(b"git-receive-pack 'blog'", None, by).expect("a call");
        let farewell =
            |ending, deploy_failed| Farewell::of(&call, Ok(Outcome { ending, deploy_failed })).status;
        assert_eq!(farewell(Ending::Exited(0), false), 0);
        assert_eq!(farewell(Ending::Exited(0), true), 1);
        assert_eq!(farewell(Ending::Exited(128), false), 128);
        assert_eq!(farewell(Ending::Left, false), 1);
        assert_eq!(farewell(Ending::TooLong, false), 1);
    }
}
