//! Whether an instance was ended for its memory.

use std::collections::HashMap;
use std::time::Duration;

use bollard::query_parameters::EventsOptions;
use func_model::Resources;
use futures_util::StreamExt;

use crate::container::Container;
use crate::{Docker, OverMemory, RunnerError};

/// The status of a process that was killed, also for its memory.
pub(crate) const KILLED: i64 = 137;
/// How long the engine's word is waited for. It comes by another way than the exit, sometimes later, and sometimes never.
const WORD: Duration = Duration::from_millis(500);

impl Docker {
    /// Says what an end has to do with the memory's limit. `status` is the exit status, if it was seen.
    pub(crate) async fn over_memory(
        &self,
        ended: &Container,
        status: Option<i64>,
        limits: Resources,
    ) -> OverMemory {
        let limit_bytes = limits.memory_bytes;
        if ended.out_of_memory {
            return OverMemory::Certain { limit_bytes };
        }
        if status.unwrap_or(ended.exit_status) != KILLED {
            return OverMemory::No;
        }
        match tokio::time::timeout(WORD, self.told_out_of_memory(ended)).await {
            Ok(Ok(true)) => OverMemory::Certain { limit_bytes },
            // Whoever kills an app by hand knows it; the memory is what is left.
            Ok(Ok(false) | Err(_)) | Err(_) => OverMemory::Likely { limit_bytes },
        }
    }

    /// Waits until the engine tells that a container was out of memory, now or before.
    async fn told_out_of_memory(&self, ended: &Container) -> Result<bool, RunnerError> {
        let one = |value: &str| vec![value.to_owned()];
        let filters = HashMap::from([
            ("type".to_owned(), one("container")),
            ("event".to_owned(), one("oom")),
            ("container".to_owned(), one(&ended.id)),
        ]);
        // From the beginning of time: an id is used once.
        let options = EventsOptions { since: Some("0".to_owned()), until: None, filters: Some(filters) };
        let mut events = Box::pin(self.engine().await?.events(Some(options)));
        Ok(matches!(events.next().await, Some(Ok(_))))
    }
}
