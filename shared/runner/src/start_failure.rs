//! How the cleaner tells another process that a start failed: every fact of a [`StartError`], as JSON.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use func_model::{InstanceId, ReleaseId, chain};
use func_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::{OverMemory, RunnerError, StartError};

/// A [`StartError`] that can be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
pub enum StartFailure {
    Exited { id: InstanceId, status: i64, memory: OverMemory, tail: Vec<String> },
    Silent { id: InstanceId, port: u16, within_ms: u64, tail: Vec<String> },
    Unhealthy { id: InstanceId, path: String, said: String, within_ms: u64, tail: Vec<String> },
    NoImage { id: InstanceId },
    NoCommand { id: InstanceId, said: String },
    Stale { id: InstanceId },
    Busy { id: InstanceId, within_ms: u64 },
    Runner { error: RunnerFailure },
}

/// A [`RunnerError`] that can be sent: its kind and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RunnerFailure {
    Away { said: String },
    Refused { verb: String, said: String },
    Slow { verb: String, within_ms: u64 },
    NoManifest { release: ReleaseId },
    Store { said: String },
    Cleaner { said: String },
}

/// What the engine is asked to do for a start. A verb of another version of func is told as part of the text.
const VERBS: &[&str] = &[
    "agree on a version",
    "create a container",
    "give a log",
    "hold a container at its gate",
    "kill a container",
    "look at a container",
    "look at an image",
    "look at the network",
    "make a gate",
    "make the network",
    "name a gate",
    "read the manifest",
    "remove a container",
    "remove the network",
    "resume a container",
    "start a container",
    "wait for a container",
];
const ANY_VERB: &str = "start a container";

impl From<&StartError> for StartFailure {
    fn from(error: &StartError) -> Self {
        match error {
            StartError::Exited { id, status, memory, tail } => {
                Self::Exited { id: id.clone(), status: *status, memory: *memory, tail: tail.clone() }
            }
            StartError::Silent { id, port, within, tail } => {
                Self::Silent { id: id.clone(), port: *port, within_ms: ms(*within), tail: tail.clone() }
            }
            StartError::Unhealthy { id, path, said, within, tail } => Self::Unhealthy {
                id: id.clone(),
                path: path.clone(),
                said: said.clone(),
                within_ms: ms(*within),
                tail: tail.clone(),
            },
            StartError::NoImage { id } => Self::NoImage { id: id.clone() },
            StartError::NoCommand { id, said } => Self::NoCommand { id: id.clone(), said: said.clone() },
            StartError::Stale { id } => Self::Stale { id: id.clone() },
            StartError::Busy { id, within } => Self::Busy { id: id.clone(), within_ms: ms(*within) },
            StartError::Runner(error) => Self::Runner { error: error.into() },
        }
    }
}

impl From<StartFailure> for StartError {
    fn from(failure: StartFailure) -> Self {
        match failure {
            StartFailure::Exited { id, status, memory, tail } => Self::Exited { id, status, memory, tail },
            StartFailure::Silent { id, port, within_ms, tail } => {
                Self::Silent { id, port, within: Duration::from_millis(within_ms), tail }
            }
            StartFailure::Unhealthy { id, path, said, within_ms, tail } => {
                Self::Unhealthy { id, path, said, within: Duration::from_millis(within_ms), tail }
            }
            StartFailure::NoImage { id } => Self::NoImage { id },
            StartFailure::NoCommand { id, said } => Self::NoCommand { id, said },
            StartFailure::Stale { id } => Self::Stale { id },
            StartFailure::Busy { id, within_ms } => {
                Self::Busy { id, within: Duration::from_millis(within_ms) }
            }
            StartFailure::Runner { error } => Self::Runner(error.into()),
        }
    }
}

impl From<&RunnerError> for RunnerFailure {
    fn from(error: &RunnerError) -> Self {
        match error {
            RunnerError::Away(source) => Self::Away { said: chain(&**source) },
            RunnerError::Refused { verb, said } => {
                Self::Refused { verb: (*verb).to_owned(), said: said.clone() }
            }
            RunnerError::Slow { verb, within } => {
                Self::Slow { verb: (*verb).to_owned(), within_ms: ms(*within) }
            }
            RunnerError::NoManifest { release } => Self::NoManifest { release: release.clone() },
            RunnerError::Store(source) => Self::Store { said: chain(source) },
            RunnerError::Cleaner(source) => Self::Cleaner { said: chain(&**source) },
        }
    }
}

impl From<RunnerFailure> for RunnerError {
    fn from(failure: RunnerFailure) -> Self {
        match failure {
            RunnerFailure::Away { said } => Self::Away(said.into()),
            RunnerFailure::Refused { verb, said } => match known(&verb) {
                Some(verb) => Self::Refused { verb, said },
                None => Self::Refused { verb: ANY_VERB, said: format!("{verb}: {said}") },
            },
            RunnerFailure::Slow { verb, within_ms } => Self::Slow {
                verb: known(&verb).unwrap_or(ANY_VERB),
                within: Duration::from_millis(within_ms),
            },
            RunnerFailure::NoManifest { release } => Self::NoManifest { release },
            RunnerFailure::Store { said } => Self::Store(StoreError::Io {
                verb: "read",
                path: PathBuf::from("manifest"),
                source: io::Error::other(said),
            }),
            RunnerFailure::Cleaner { said } => Self::Cleaner(said.into()),
        }
    }
}

fn known(verb: &str) -> Option<&'static str> {
    VERBS.iter().find(|known| **known == verb).copied()
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> InstanceId {
        "blog-v7.1".parse().expect("an id")
    }

    fn failures() -> Vec<StartFailure> {
        let (id, tail, within_ms) = (id(), vec!["last words".to_owned()], 30_000);
        let said = "503 Service Unavailable".to_owned();
        let runner = |error| StartFailure::Runner { error };
        let exited =
            |memory| StartFailure::Exited { id: id.clone(), status: 137, memory, tail: tail.clone() };
        vec![
            exited(OverMemory::No),
            exited(OverMemory::Likely { limit_bytes: 1 }),
            exited(OverMemory::Certain { limit_bytes: 1 }),
            StartFailure::Silent { id: id.clone(), port: 8080, within_ms, tail: tail.clone() },
            StartFailure::Unhealthy {
                id: id.clone(),
                path: "/up".into(),
                said: said.clone(),
                within_ms,
                tail,
            },
            StartFailure::NoImage { id: id.clone() },
            StartFailure::NoCommand { id: id.clone(), said: said.clone() },
            StartFailure::Stale { id: id.clone() },
            StartFailure::Busy { id: id.clone(), within_ms },
            runner(RunnerFailure::Away { said: said.clone() }),
            runner(RunnerFailure::Refused { verb: "create a container".into(), said: said.clone() }),
            runner(RunnerFailure::Slow { verb: "start a container".into(), within_ms }),
            runner(RunnerFailure::NoManifest { release: id.release }),
            runner(RunnerFailure::Cleaner { said }),
        ]
    }

    #[test]
    fn every_failure_comes_over_with_all_its_facts() {
        for failure in failures() {
            let json = serde_json::to_string(&failure).expect("it is written");
            let read: StartFailure = serde_json::from_str(&json).expect("it is read");
            let error = StartError::from(read);
            assert_eq!(StartFailure::from(&error), failure, "{json}");
        }
    }

    #[test]
    fn a_manifest_that_could_not_be_read_is_told() {
        let said = "read v7.json: permission denied".to_owned();
        let error = RunnerError::from(RunnerFailure::Store { said: said.clone() });
        assert!(
            matches!(&error, RunnerError::Store(_)) && chain(&error).contains(&said),
            "{}",
            chain(&error)
        );
    }

    #[test]
    fn a_verb_of_another_version_is_told() {
        let refused = RunnerFailure::Refused { verb: "teleport".into(), said: "no".into() };
        assert!(RunnerError::from(refused).to_string().contains("teleport: no"));
    }

    #[test]
    fn the_known_verbs_are_in_order_and_each_is_known_once() {
        assert!(VERBS.is_sorted() && VERBS.contains(&ANY_VERB));
    }
}
