//! The connections to Redis: one for calls, one for changes, each made again when it is lost.

use std::fmt;
use std::time::Duration;

use func_model::limits::{
    BACKOFF_MS_MAX, BACKOFF_MS_MIN, CHANGES_MAX, CLAIM_MS, COOLING_MS, LEASE_MS, LEDGER_CALL_MS,
};
use futures_util::StreamExt;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::{Mutex, broadcast};
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use crate::{Change, LedgerError};

const CALL: Duration = Duration::from_millis(LEDGER_CALL_MS);
/// The first and the longest wait before the listener connects again.
const LISTEN_AGAIN_MIN: Duration = Duration::from_millis(50);
const LISTEN_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Calls the script, and hears what changes.
pub(super) struct Link {
    client: Client,
    prefix: String,
    script: Script,
    connection: Mutex<Option<MultiplexedConnection>>,
    changes: broadcast::Sender<Change>,
    listener: AbortHandle,
}

impl fmt::Debug for Link {
    /// Without the client, which knows a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// The script, with the limits of the model in front of it.
fn script() -> Script {
    let limits = [
        ("LEASE_MS", LEASE_MS),
        ("CLAIM_MS", CLAIM_MS),
        ("COOLING_MS", COOLING_MS),
        ("BACKOFF_MS_MIN", BACKOFF_MS_MIN),
        ("BACKOFF_MS_MAX", BACKOFF_MS_MAX),
    ];
    let limits: String = limits.iter().map(|(name, value)| format!("local {name} = {value}\n")).collect();
    Script::new(&format!("{limits}{}", include_str!("../ledger.lua")))
}

fn away(source: RedisError) -> LedgerError {
    LedgerError::Away(Box::new(source))
}

impl Link {
    pub(super) fn new(url: &str, prefix: &str) -> Result<Self, LedgerError> {
        let client = Client::open(url).map_err(away)?;
        let changes = broadcast::Sender::new(CHANGES_MAX);
        let listener = tokio::spawn(listen(client.clone(), format!("{prefix}changes"), changes.clone()));
        Ok(Self {
            client,
            prefix: prefix.to_owned(),
            script: script(),
            connection: Mutex::new(None),
            changes,
            listener: listener.abort_handle(),
        })
    }

    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Calls the script once; a second time, on a new connection, if the first was lost. Every act can be repeated.
    /// The limit is on all of it: the wait for a connection that another call makes, both tries, the answer.
    pub(super) async fn call(&self, act: &str, args: &[&str]) -> Result<Vec<String>, LedgerError> {
        match tokio::time::timeout(CALL, self.call_unlimited(act, args)).await {
            Ok(answer) => answer,
            Err(_) => {
                // If a call holds the lock, it is connecting anew already.
                if let Ok(mut connection) = self.connection.try_lock() {
                    *connection = None;
                }
                Err(away(RedisError::from((redis::ErrorKind::Io, "it did not answer in time"))))
            }
        }
    }

    async fn call_unlimited(&self, act: &str, args: &[&str]) -> Result<Vec<String>, LedgerError> {
        let first = self.connected(false).await?;
        match self.invoke(first, act, args).await {
            Err(e) if e.is_connection_dropped() => {
                debug!(act, "the connection to the ledger was lost: {e}");
                let second = self.connected(true).await?;
                let answer = self.invoke(second, act, args).await;
                self.answered(answer).await
            }
            answer => self.answered(answer).await,
        }
    }

    async fn invoke(
        &self,
        mut connection: MultiplexedConnection,
        act: &str,
        args: &[&str],
    ) -> Result<Vec<String>, RedisError> {
        let mut invocation = self.script.prepare_invoke();
        invocation.arg(&self.prefix).arg(act);
        for arg in args {
            invocation.arg(*arg);
        }
        invocation.invoke_async(&mut connection).await
    }

    async fn answered(&self, answer: Result<Vec<String>, RedisError>) -> Result<Vec<String>, LedgerError> {
        match answer {
            Ok(reply) => Ok(reply),
            Err(e) => {
                // Whatever it was, the next call begins anew.
                *self.connection.lock().await = None;
                Err(away(e))
            }
        }
    }

    async fn connected(&self, anew: bool) -> Result<MultiplexedConnection, LedgerError> {
        let mut connection = self.connection.lock().await;
        match &*connection {
            Some(connection) if !anew => Ok(connection.clone()),
            Some(_) | None => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CALL))
                    .set_response_timeout(Some(CALL));
                let made =
                    self.client.get_multiplexed_async_connection_with_config(&config).await.map_err(away)?;
                Ok(connection.insert(made).clone())
            }
        }
    }
}

/// Hands every change on. After each connect something may have been missed: says so.
async fn listen(client: Client, channel: String, changes: broadcast::Sender<Change>) {
    let mut wait = LISTEN_AGAIN_MIN;
    loop {
        match subscribe(&client, &channel).await {
            Ok(mut messages) => {
                wait = LISTEN_AGAIN_MIN;
                let _ = changes.send(Change::Unknown);
                while let Some(change) = messages.next().await {
                    // Nobody listens: nobody waits.
                    let _ = changes.send(change);
                }
                let _ = changes.send(Change::Unknown);
            }
            Err(e) => debug!("cannot hear the ledger's changes: {e}"),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LISTEN_AGAIN_MAX);
    }
}

async fn subscribe(
    client: &Client,
    channel: &str,
) -> Result<impl futures_util::Stream<Item = Change> + use<>, RedisError> {
    let connect = async {
        let mut pubsub = client.get_async_pubsub().await?;
        pubsub.subscribe(channel).await?;
        Ok::<_, RedisError>(pubsub)
    };
    let timed_out = |_| RedisError::from((redis::ErrorKind::Io, "subscribe took too long"));
    let pubsub = tokio::time::timeout(CALL, connect).await.map_err(timed_out)??;
    Ok(pubsub.into_on_message().map(|message| {
        serde_json::from_slice(message.get_payload_bytes()).unwrap_or_else(|e| {
            warn!("odd change in the ledger: {e}");
            Change::Unknown
        })
    }))
}
