//! Guarding instances: their network (its firewall, and the name servers they are given), and the disk.

use std::net::IpAddr;

use async_trait::async_trait;
use bollard::models::NetworkInspect;
use func_model::{Block, Destination, Egress, InstanceId};
use thiserror::Error;
use tokio::sync::OnceCell;

use crate::firewall::{Firewall, FirewallError, Guarded, Kept, Policy, short_name};
use crate::{BoundError, Docker, RunnerError, resolver};

/// Why the network is not guarded.
#[derive(Debug, Error)]
pub enum GuardError {
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    #[error("write the instances' resolv.conf")]
    Resolver(#[from] std::io::Error),
    #[error(transparent)]
    Runner(#[from] RunnerError),
}

/// The power to guard what instances share: the network, the memory, the disk.
#[async_trait]
pub trait Guard: Send + Sync {
    /// Makes what instances and builds may reach be what the settings say: the firewall's rules, the name servers. Repeatable.
    ///
    /// # Errors
    /// [`GuardError`]; instances may reach more than they should.
    async fn guard(&self) -> Result<Kept, GuardError>;

    /// Limits the memory of all instances together. Repeatable.
    ///
    /// # Errors
    /// [`BoundError`]; together they may use all of the machine's.
    async fn bound_memory(&self) -> Result<(), BoundError>;

    /// Ends an instance that has written more to its own files than it may, and says so in its log. Returns how many
    /// bytes that was; `None` if it keeps within its limit, does not run, or the engine itself bounds it.
    ///
    /// # Errors
    /// [`RunnerError`]; nothing is known then.
    async fn end_if_over_disk(&self, id: &InstanceId) -> Result<Option<u64>, RunnerError>;
}

/// The option that names a network's device.
pub(crate) const BRIDGE: &str = "com.docker.network.bridge.name";

/// What instances may reach, by the operator's settings.
#[derive(Debug, Clone, Default)]
pub struct Outbound {
    pub egress: Egress,
    pub allow: Vec<Destination>,
    /// Name servers; the host's own if empty.
    pub dns: Vec<IpAddr>,
}

/// The firewall, found once.
pub(crate) type Found = OnceCell<Firewall>;

#[async_trait]
impl Guard for Docker {
    async fn guard(&self) -> Result<Kept, GuardError> {
        let outbound = &self.config().outbound;
        let resolvers = resolver::put(&self.run_folder(), &outbound.dns)?;
        let firewall = self.firewall().get_or_try_init(|| async { Firewall::find() }).await?;
        if let Some((guarded, policy)) = self.guarded_builds(resolvers.clone()).await? {
            firewall.keep(&guarded, &policy).await?;
        }
        let policy = Policy { egress: outbound.egress, allow: outbound.allow.clone(), resolvers };
        Ok(firewall.keep(&self.guarded().await?, &policy).await?)
    }

    async fn bound_memory(&self) -> Result<(), BoundError> {
        self.parent().ok_or(BoundError::NoGroups)?.bound(self.config().together_bytes)
    }

    async fn end_if_over_disk(&self, id: &InstanceId) -> Result<Option<u64>, RunnerError> {
        self.end_over_disk(id).await
    }
}

impl Docker {
    /// Describes our network. Its device has its name before the network is made, so that the rules are there first.
    async fn guarded(&self) -> Result<Guarded, RunnerError> {
        let mut guarded = Guarded {
            name: self.installation().to_owned(),
            bridges: vec![bridge(self.installation())],
            subnets: Vec::new(),
        };
        if let Some(network) = self.network().await? {
            let made_by_others = device(&network).filter(|device| !guarded.bridges.contains(device));
            guarded.bridges.extend(made_by_others);
            guarded.subnets = subnets(network);
        }
        Ok(guarded)
    }
}

/// Returns the name of the device of an installation's network.
pub(crate) fn bridge(installation: &str) -> String {
    short_name("func", installation)
}

/// Returns the device of a network, as Docker names it.
fn device(network: &NetworkInspect) -> Option<String> {
    let named = network.options.as_ref().and_then(|options| options.get(BRIDGE)).cloned();
    named.or_else(|| network.id.as_ref().and_then(|id| id.get(..12)).map(|id| format!("br-{id}")))
}

pub(crate) fn subnets(network: NetworkInspect) -> Vec<Block> {
    let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    configs.into_iter().filter_map(|config| config.subnet?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn a_networks_device_is_the_named_one_or_has_the_start_of_its_id() {
        let id = Some("0123456789abcdef".to_owned());
        let mut network = NetworkInspect { id, ..Default::default() };
        assert_eq!(device(&network).as_deref(), Some("br-0123456789ab"));
        network.options = Some(HashMap::from([(BRIDGE.to_owned(), bridge("func"))]));
        assert_eq!(device(&network), Some(bridge("func")));
        assert!(bridge("functest-4194304-17").len() < 16, "the kernel's limit");
    }
}
