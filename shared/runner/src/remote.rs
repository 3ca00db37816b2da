//! The cleaner's power to start, over its socket: for processes that have no Docker.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use func_model::{Claim, InstanceId};
use func_socket::{CallError, call_json_within};
use http::Method;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::{RunnerError, Start, StartError, StartFailure, Started, State};

/// The name of the cleaner's socket for starts: [`func_store::DataDir::socket`] makes the path of it.
pub const START_SOCKET: &str = "start";
/// The pauses between two tries to reach a cleaner that is being restarted; they double.
const PAUSE_MIN: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// How much longer than a start its answer is waited for: what has failed is cleared away first.
const ANSWER_ROOM: Duration = Duration::from_secs(10);
/// How long the question whether an instance runs may take.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// `POST /start` of the cleaner: make a claimed instance ready. Answered by a [`StartAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartCall {
    pub id: InstanceId,
    /// The claim's: the cleaner refuses to start under one that is over.
    pub generation: u64,
    pub within_ms: u64,
}

/// The answer to a [`StartCall`]: [`Started`] with status 200, or a [`StartFailure`] with any status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StartAnswer {
    Started(Started),
    Failed(StartFailure),
}

/// `POST /look` of the cleaner: say whether an instance runs. Answered by a [`State`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookCall {
    pub id: InstanceId,
}

/// Starts by asking the cleaner. A call whose answer was lost is made again: every start is repeatable.
#[derive(Debug, Clone)]
pub struct Remote {
    socket: PathBuf,
}

impl Remote {
    /// Makes one of the path of the cleaner's socket for starts. Nothing is connected: every call connects.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }
}

#[async_trait]
impl Start for Remote {
    async fn start(&self, claim: &Claim, within: Duration) -> Result<Started, StartError> {
        let mut tries = Tries::until(Instant::now() + within);
        loop {
            let left = tries.left();
            let within_ms = left.as_millis().try_into().unwrap_or(u64::MAX);
            let call = StartCall { id: claim.id.clone(), generation: claim.generation, within_ms };
            match post(&self.socket, "/start", &call, left + ANSWER_ROOM).await {
                Ok(StartAnswer::Started(started)) => return Ok(started),
                Ok(StartAnswer::Failed(failure)) => return Err(failure.into()),
                Err(error) if tries.another_after(&error).await => {}
                Err(error) => {
                    return Err(failure_in(&error).map_or_else(|| unasked(error).into(), StartError::from));
                }
            }
        }
    }

    async fn look(&self, id: &InstanceId) -> Result<State, RunnerError> {
        let mut tries = Tries::until(Instant::now() + LOOK_WITHIN);
        let call = LookCall { id: id.clone() };
        loop {
            match post(&self.socket, "/look", &call, tries.left()).await {
                Ok(state) => return Ok(state),
                Err(error) if tries.another_after(&error).await => {}
                Err(error) => return Err(unasked(error)),
            }
        }
    }
}

/// Calls are made again, until a deadline, as long as the cleaner is not there or breaks off.
struct Tries {
    deadline: Instant,
    pause: Duration,
}

impl Tries {
    fn until(deadline: Instant) -> Self {
        Self { deadline, pause: PAUSE_MIN }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether to call again after an error; rests before.
    async fn another_after(&mut self, error: &CallError) -> bool {
        if !is_passing(error) || self.pause >= self.left() {
            return false;
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        true
    }
}

async fn post<T: DeserializeOwned>(
    socket: &Path,
    uri: &str,
    call: &(impl Serialize + Sync),
    within: Duration,
) -> Result<T, CallError> {
    call_json_within(socket, Method::POST, uri, Some(call), within).await
}

fn is_passing(error: &CallError) -> bool {
    match error {
        CallError::NotRunning { .. } | CallError::Connect { .. } | CallError::Broken { .. } => true,
        CallError::Forbidden { .. }
        | CallError::Slow { .. }
        | CallError::Refused { .. }
        | CallError::Long { .. }
        | CallError::Json { .. }
        | CallError::Request { .. } => false,
    }
}

/// Finds the failure in an answer that is not 2xx.
fn failure_in(error: &CallError) -> Option<StartFailure> {
    match error {
        CallError::Refused { said, .. } => serde_json::from_str(said).ok(),
        _ => None,
    }
}

fn unasked(error: CallError) -> RunnerError {
    RunnerError::Cleaner(Box::new(error))
}
