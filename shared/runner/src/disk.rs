//! What an instance may write to its own files: bounded by the engine where its storage can, else measured from time to
//! time, and ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bollard::models::{ContainerCreateBody, ContainerCreateResponse, HostConfig, SystemInfo};
use bollard::query_parameters::{CreateContainerOptions, InspectContainerOptions};
use func_model::{InstanceId, Release};
use tracing::info;

use crate::call::{CallError, WORK, call, present};
use crate::{Docker, RunnerError};

/// The engine adds up the sizes of all files that a container has made: that takes long for many.
const MEASURE: Duration = Duration::from_secs(60);
/// The option of a container's storage.
const SIZE: &str = "size";

/// Whether the engine bounds what its containers write.
#[derive(Debug, Default)]
pub(crate) struct Quota(AtomicBool);

impl Quota {
    fn is_offered(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn offer(&self, offered: bool) {
        self.0.store(offered, Ordering::Relaxed);
    }
}

impl Docker {
    /// Returns the option that bounds what the container of a release writes; `None` if the engine has none.
    pub(crate) fn storage(&self, release: &Release) -> Option<HashMap<String, String>> {
        let bytes = self.limits(release).disk_bytes;
        self.quota().is_offered().then(|| HashMap::from([(SIZE.to_owned(), bytes.to_string())]))
    }

    /// Creates a container, without a bound for its storage if the engine has none.
    pub(crate) async fn create_bounded(
        &self,
        options: CreateContainerOptions,
        body: ContainerCreateBody,
    ) -> Result<ContainerCreateResponse, CallError> {
        let engine = self.engine().await.map_err(CallError::Runner)?;
        let create = |body| engine.create_container(Some(options.clone()), body);
        match call("create a container", WORK, create(body.clone())).await {
            Err(CallError::Denied { said, .. }) if self.lacks_quota(&body, &said) => {
                call("create a container", WORK, create(without_storage(body))).await
            }
            created => created,
        }
    }

    /// Takes what the engine said about a container for the answer that it cannot bound its storage, and remembers it.
    fn lacks_quota(&self, body: &ContainerCreateBody, said: &str) -> bool {
        let lacks = has_storage(body) && said.contains("storage-opt");
        if lacks {
            info!("the engine does not bound what instances write: it is measured ({said})");
            self.quota().offer(false);
        }
        lacks
    }

    pub(crate) async fn end_over_disk(&self, id: &InstanceId) -> Result<Option<u64>, RunnerError> {
        let measured = Some(InspectContainerOptions { size: true });
        let name = self.name(id);
        let asked = self.engine().await?.inspect_container(&name, measured);
        let Some(found) = present(call("measure a container", MEASURE, asked).await)? else {
            return Ok(None);
        };
        let bounded = found.host_config.as_ref().and_then(|config| config.storage_opt.as_ref());
        let bounded = bounded.is_some_and(|options| options.contains_key(SIZE));
        let written = found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        let Some(container) = self.read(found).filter(|container| container.is_alive() && !bounded) else {
            return Ok(None);
        };
        let limit = self.limits(&self.manifest(&id.release).await?).disk_bytes;
        if written <= limit {
            return Ok(None);
        }
        self.keep_line(id, over(id, written, limit)).await;
        self.kill(&container.id).await?;
        Ok(Some(written))
    }
}

/// Returns what is asked of the engine without a bound for storage.
pub(crate) fn without_storage(body: ContainerCreateBody) -> ContainerCreateBody {
    let host_config = body.host_config.map(|config| HostConfig { storage_opt: None, ..config });
    ContainerCreateBody { host_config, ..body }
}

fn has_storage(body: &ContainerCreateBody) -> bool {
    body.host_config.as_ref().is_some_and(|config| config.storage_opt.is_some())
}

/// Whether an engine's storage can bound a container: btrfs and zfs can, overlay2 can on XFS with project quotas, which
/// only a try tells.
///
/// Source: dockerd's documentation of `--storage-opt`.
pub(crate) fn may_bound(about: &SystemInfo) -> bool {
    let backing = about.driver_status.iter().flatten().find_map(|pair| match &pair[..] {
        [name, value] if name == "Backing Filesystem" => Some(value.as_str()),
        _ => None,
    });
    match about.driver.as_deref() {
        Some("btrfs" | "zfs") => true,
        Some("overlay2") => backing == Some("xfs"),
        Some(_) | None => false,
    }
}

fn over(id: &InstanceId, written: u64, limit: u64) -> String {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    format!(
        "--- {id} was ended: it has written {} MiB to its files, and may write {} MiB (`limits.disk` in func.toml)",
        mib(written),
        mib(limit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_asked_to_bound_storage_where_it_may_be_able_to() {
        let about = |driver: &str, backing: &str| SystemInfo {
            driver: Some(driver.to_owned()),
            driver_status: Some(vec![
                vec!["Supports d_type".to_owned(), "true".to_owned()],
                vec!["Backing Filesystem".to_owned(), backing.to_owned()],
            ]),
            ..Default::default()
        };
        assert!(may_bound(&about("overlay2", "xfs")) && may_bound(&about("btrfs", "btrfs")));
        for (driver, backing) in [("overlay2", "extfs"), ("fuse-overlayfs", "xfs"), ("vfs", "xfs")] {
            assert!(!may_bound(&about(driver, backing)), "{driver} on {backing}");
        }
        assert!(!may_bound(&SystemInfo::default()));
    }

    #[test]
    fn what_is_asked_without_a_bound_is_the_same_otherwise() {
        let config = |storage_opt| {
            let host_config = HostConfig { memory: Some(1), storage_opt, ..Default::default() };
            ContainerCreateBody { host_config: Some(host_config), ..Default::default() }
        };
        let bounded = config(Some(HashMap::from([(SIZE.to_owned(), "1".to_owned())])));
        assert!(has_storage(&bounded));
        assert_eq!(without_storage(bounded), config(None));
    }
}
