//! The network of all instances: the host reaches each of them, and none reaches another.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use func_store::Lock;
use tracing::{info, warn};

use crate::call::{ASK, CallError, WORK, call, present};
use crate::docker::{INSTALLATION, SUBNET};
use crate::guard::{BRIDGE, bridge};
use crate::{Docker, RunnerError};

const ICC: &str = "com.docker.network.bridge.enable_icc";
/// How long to wait for another process of ours that makes the network, and how often to look.
const LOCK_WAIT: Duration = Duration::from_secs(30);
const LOCK_EVERY: Duration = Duration::from_millis(20);

/// The addresses that the engine chose for a network.
struct Chosen {
    subnet: String,
    gateway: Option<String>,
}

impl Docker {
    /// Makes the network if it is missing. Repeatable, also by several processes at once: the engine lets two
    /// networks have one name, so the processes of an installation take turns.
    pub(crate) async fn make_network(&self) -> Result<(), RunnerError> {
        if self.network_is_ours().await? {
            return Ok(());
        }
        let _turn = self.network_turn().await?;
        if self.network_is_ours().await? {
            return Ok(());
        }
        // The engine chooses a subnet that nothing else on this machine has, and gives addresses in it by itself. It
        // takes addresses of ours only in a subnet that it was given: so it is given the one that it chose.
        self.create_network(None).await?;
        if let Some(chosen) = self.chosen().await? {
            self.make_again_with(chosen).await?;
        }
        if self.network_is_ours().await? {
            return Ok(());
        }
        Err(RunnerError::Refused {
            verb: "make the network",
            said: "it was made and is not there".to_owned(),
        })
    }

    async fn create_network(&self, chosen: Option<Chosen>) -> Result<(), RunnerError> {
        let mut labels = self.labels();
        labels.extend(chosen.iter().map(|chosen| (SUBNET.to_owned(), chosen.subnet.clone())));
        let ipam = chosen.map(|Chosen { subnet, gateway }| Ipam {
            config: Some(vec![IpamConfig { subnet: Some(subnet), gateway, ..Default::default() }]),
            ..Default::default()
        });
        let request = NetworkCreateRequest {
            name: self.installation().to_owned(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([
                (ICC.to_owned(), "false".to_owned()),
                (BRIDGE.to_owned(), bridge(self.installation())),
            ])),
            labels: Some(labels),
            ipam,
            ..Default::default()
        };
        match call("make the network", WORK, self.engine().await?.create_network(request)).await {
            Ok(_) => info!(network = self.installation(), "made the network {}", self.installation()),
            Err(CallError::Denied { status: 409, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Gives what our network has if it is the engine's choice.
    async fn chosen(&self) -> Result<Option<Chosen>, RunnerError> {
        let Some(network) = self.network().await? else { return Ok(None) };
        if network.labels.as_ref().is_some_and(|labels| labels.contains_key(SUBNET)) {
            return Ok(None);
        }
        let configs = network.ipam.and_then(|ipam| ipam.config).unwrap_or_default();
        Ok(configs.into_iter().find_map(|IpamConfig { subnet, gateway, .. }| {
            let gateway = gateway.filter(|gateway| !gateway.is_empty());
            subnet.map(|subnet| Chosen { subnet, gateway })
        }))
    }

    /// Makes the network, which is new and empty, again with a subnet that is given. If somebody takes that meanwhile,
    /// the engine chooses once more, and its choice stands: addresses are then its own.
    async fn make_again_with(&self, chosen: Chosen) -> Result<(), RunnerError> {
        let removed = self.engine().await?.remove_network(self.installation());
        match call("remove the network", WORK, removed).await {
            Ok(()) | Err(CallError::Denied { status: 404, .. }) => {}
            // Something is in it already.
            Err(error) => {
                let error = RunnerError::from(error);
                warn!(%error, "the network keeps the subnet as the engine chose it");
                return Ok(());
            }
        }
        match self.create_network(Some(chosen)).await {
            Ok(()) => Ok(()),
            Err(error) => {
                warn!(%error, "the engine chooses the addresses");
                self.create_network(None).await
            }
        }
    }

    /// Gives the address for a new container; `None` if the engine chooses.
    pub(crate) async fn address(&self) -> Result<Option<Ipv4Addr>, RunnerError> {
        Ok(self.network().await?.and_then(|network| self.addresses().next(&network)))
    }

    pub(crate) async fn network(&self) -> Result<Option<NetworkInspect>, RunnerError> {
        let engine = self.engine().await?;
        let asked = engine.inspect_network(self.installation(), None::<InspectNetworkOptions>);
        let network = present(call("look at the network", ASK, asked).await)?;
        // A name also matches the start of an id.
        Ok(network.filter(|network| network.name.as_deref() == Some(self.installation())))
    }

    async fn network_turn(&self) -> Result<Lock, RunnerError> {
        let path = self.config().data.run("network.lock");
        let take = async {
            loop {
                if let Some(lock) = Lock::try_take(&path)? {
                    return Ok(lock);
                }
                tokio::time::sleep(LOCK_EVERY).await;
            }
        };
        let slow = RunnerError::Slow { verb: "make the network", within: LOCK_WAIT };
        tokio::time::timeout(LOCK_WAIT, take).await.unwrap_or(Err(slow))
    }

    async fn network_is_ours(&self) -> Result<bool, RunnerError> {
        let Some(network) = self.network().await? else { return Ok(false) };
        match stranger(&network, self.installation()) {
            None => Ok(true),
            Some(said) => Err(RunnerError::Refused { verb: "make the network", said }),
        }
    }
}

/// Says why a network of our name cannot be used.
fn stranger(network: &NetworkInspect, installation: &str) -> Option<String> {
    let label = network.labels.as_ref().and_then(|l| l.get(INSTALLATION));
    let icc = network.options.as_ref().and_then(|o| o.get(ICC));
    if label.map(String::as_str) != Some(installation) {
        return Some(format!("there is a network `{installation}` that is not func's; remove or rename it"));
    }
    if icc.map(String::as_str) != Some("false") {
        return Some(format!("on the network `{installation}` instances reach each other; remove it"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_that_is_not_ours_or_open_is_not_used() {
        let mut network = NetworkInspect::default();
        assert!(stranger(&network, "func").is_some_and(|s| s.contains("not func's")));
        network.labels = Some(HashMap::from([(INSTALLATION.to_owned(), "func".to_owned())]));
        assert!(stranger(&network, "func").is_some_and(|s| s.contains("reach each other")));
        network.options = Some(HashMap::from([(ICC.to_owned(), "false".to_owned())]));
        assert_eq!(stranger(&network, "func"), None);
    }
}
