//! The network of the build engine: a bridge of its own behind the firewall that guards instances as well.

use std::collections::HashMap;

use bollard::models::{NetworkCreateRequest, NetworkInspect};
use bollard::query_parameters::InspectNetworkOptions;
use func_model::BuildEngine;
use tracing::info;

use crate::call::{ASK, CallError, WORK, call, present};
use crate::firewall::{Guarded, Policy, short_name};
use crate::guard::{BRIDGE, subnets};
use crate::{Docker, RunnerError};

impl Docker {
    /// Makes the network if it is missing. Repeatable.
    pub(super) async fn make_build_network(&self) -> Result<(), RunnerError> {
        if self.build_network().await?.is_some() {
            return Ok(());
        }
        let request = NetworkCreateRequest {
            name: self.build_name(),
            driver: Some("bridge".to_owned()),
            options: Some(HashMap::from([(BRIDGE.to_owned(), self.build_bridge())])),
            labels: Some(self.labels()),
            ..Default::default()
        };
        match call("make the network of builds", WORK, self.engine().await?.create_network(request)).await {
            Ok(_) => info!("made the network {}", self.build_name()),
            Err(CallError::Denied { status: 409, .. }) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn build_network(&self) -> Result<Option<NetworkInspect>, RunnerError> {
        let (engine, name) = (self.engine().await?, self.build_name());
        let asked = engine.inspect_network(&name, None::<InspectNetworkOptions>);
        present(call("look at the network of builds", ASK, asked).await)
    }

    /// Returns the name of the network's device.
    fn build_bridge(&self) -> String {
        short_name("fnb", self.installation())
    }

    /// Describes the network, which need not exist yet, and what builds reach; `None` if they run on the engine that
    /// serves.
    pub(crate) async fn guarded_builds(
        &self,
        resolvers: Vec<std::net::IpAddr>,
    ) -> Result<Option<(Guarded, Policy)>, RunnerError> {
        if self.config().builds.engine == BuildEngine::Shared {
            return Ok(None);
        }
        let guarded = Guarded {
            name: self.build_name(),
            bridges: vec![self.build_bridge()],
            subnets: self.build_network().await?.map(subnets).unwrap_or_default(),
        };
        let policy = Policy { egress: self.config().builds.egress, allow: Vec::new(), resolvers };
        Ok(Some((guarded, policy)))
    }
}
