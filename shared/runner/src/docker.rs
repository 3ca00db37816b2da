//! One Docker Engine, and the names under which this installation is known to it.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use bollard::ClientVersion;
use func_model::{InstanceId, Release, ReleaseId, Resources};
use func_store::{DataDir, Manifests};
use tokio::sync::OnceCell;
use tracing::{debug, warn};

use crate::addresses::Addresses;
use crate::builds::{self, Builds};
use crate::call::{ASK, call};
use crate::disk::{self, Quota};
use crate::guard::{self, Outbound};
use crate::image::Images;
use crate::measure::KnownLayers;
use crate::parent::Parent;
use crate::remove::Burials;
use crate::{RunnerError, resolver};

/// Where the engine listens unless it is said otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// The newest API that is spoken; an older engine is spoken to in its own version.
const API_VERSION: ClientVersion = ClientVersion { major_version: 1, minor_version: 47 };
/// bollard's own timeout in seconds, out of the way: every call here has its own deadline.
const NO_TIMEOUT_S: u64 = 24 * 3600;

pub(crate) const INSTALLATION: &str = "func.installation";
pub(crate) const APP: &str = "func.app";
pub(crate) const RELEASE: &str = "func.release";
pub(crate) const INSTANCE: &str = "func.instance";
pub(crate) const PORT: &str = "func.port";
/// The gate of a container that was made ahead; empty for others.
pub(crate) const GATE: &str = "func.gate";
/// The digest of what a container that was made ahead was asked to be; empty for others.
pub(crate) const MADE: &str = "func.made";

/// The subnet of our network, if it is one in which containers may be given addresses.
pub(crate) const SUBNET: &str = "func.subnet";

/// What the runner needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub data: DataDir,
    pub manifests: Manifests,
    /// The value of the label `func.installation`, the network's name, the prefix of containers and tags.
    pub installation: String,
    /// A path, `unix://` and a path, or `tcp://host:port`; [`DEFAULT_SOCKET`] if `None`.
    pub socket: Option<String>,
    pub outbound: Outbound,
    /// The most that an instance gets, whatever its release was allowed.
    pub max: Resources,
    /// The most memory that all instances use together, in bytes.
    pub together_bytes: u64,
    /// Whether an app may be built on the image of another.
    pub from_apps: bool,
    pub builds: Builds,
    /// More labels for containers, network and built images.
    pub labels: Vec<(String, String)>,
}

/// One Docker Engine through its API: starts, makes, holds, stops and looks. A clone is the same one.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    engine: OnceCell<bollard::Docker>,
    images: Images,
    layers: KnownLayers,
    burials: Burials,
    addresses: Addresses,
    firewall: guard::Found,
    builds: builds::Engine,
    quota: Quota,
    /// Known once the engine has described itself.
    parent: OnceLock<Option<Parent>>,
}

impl fmt::Debug for Docker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Docker").field("config", self.config()).finish_non_exhaustive()
    }
}

impl Docker {
    /// Makes a runner. Nothing is connected yet: every call connects, so that an engine may come later, or again.
    pub fn new(config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                engine: OnceCell::new(),
                images: Images::default(),
                layers: KnownLayers::default(),
                burials: Burials::default(),
                addresses: Addresses::new(),
                firewall: guard::Found::new(),
                builds: builds::Engine::default(),
                quota: Quota::default(),
                parent: OnceLock::new(),
            }),
        }
    }

    /// Asks the engine whether it is there, and makes this installation's network if it is missing. Repeatable.
    ///
    /// # Errors
    /// [`RunnerError::Away`] if no engine answers, [`RunnerError::Refused`] if the network's name is taken.
    pub async fn prepare(&self) -> Result<(), RunnerError> {
        let engine = self.engine().await?;
        call("answer a ping", ASK, engine.ping()).await?;
        let about = call("describe itself", ASK, engine.info()).await?;
        self.quota().offer(disk::may_bound(&about));
        self.inner.parent.get_or_init(|| Parent::of(self.installation(), &about));
        // Instances without it ask the engine's own name server: that is no reason not to run.
        if let Err(error) = resolver::put(&self.run_folder(), &self.config().outbound.dns) {
            warn!(%error, "instances have no resolv.conf of func's");
        }
        self.make_network().await
    }

    /// Says which engine it is: `Docker 20.10.24, API 1.41`. Changes nothing.
    ///
    /// # Errors
    /// [`RunnerError::Away`] if no engine answers.
    pub async fn version(&self) -> Result<String, RunnerError> {
        let engine = self.engine().await?;
        let version = call("tell its version", ASK, engine.version()).await?;
        let api = engine.client_version();
        Ok(format!("Docker {}, API {api}", version.version.as_deref().unwrap_or("of an unknown version")))
    }

    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    pub(crate) fn installation(&self) -> &str {
        &self.inner.config.installation
    }

    /// Gives the folder of the gates.
    pub(crate) fn gates(&self) -> PathBuf {
        self.config().data.gates()
    }

    /// Gives the folder of what belongs to the processes of this installation, the gates' program among it.
    pub(crate) fn run_folder(&self) -> PathBuf {
        self.config().data.root().join("run")
    }

    /// Gives what is remembered of images.
    pub(crate) fn images(&self) -> &Images {
        &self.inner.images
    }

    pub(crate) fn known_layers(&self) -> &KnownLayers {
        &self.inner.layers
    }

    /// Gives the turns of containers that are being removed.
    pub(crate) fn burials(&self) -> &Burials {
        &self.inner.burials
    }

    /// Gives the addresses of new containers.
    pub(crate) fn addresses(&self) -> &Addresses {
        &self.inner.addresses
    }

    pub(crate) fn quota(&self) -> &Quota {
        &self.inner.quota
    }

    /// Returns the control group of all instances; `None` before [`prepare`](Self::prepare), or if the engine has none.
    pub(crate) fn parent(&self) -> Option<&Parent> {
        self.inner.parent.get().and_then(Option::as_ref)
    }

    pub(crate) fn firewall(&self) -> &guard::Found {
        &self.inner.firewall
    }

    pub(crate) fn builds(&self) -> &builds::Engine {
        &self.inner.builds
    }

    /// Whether the engine is reached over the network: its paths are not this machine's.
    pub(crate) fn is_remote(&self) -> bool {
        self.config().socket.as_deref().is_some_and(is_remote)
    }

    /// Gives the connection; the first call agrees with the engine on a version.
    pub(crate) async fn engine(&self) -> Result<&bollard::Docker, RunnerError> {
        let open = || connect(self.config().socket.as_deref().unwrap_or(DEFAULT_SOCKET));
        self.inner.engine.get_or_try_init(open).await
    }

    /// Gives the container's name of an instance.
    pub(crate) fn name(&self, id: &InstanceId) -> String {
        format!("{}-{id}", self.installation())
    }

    /// Gives the labels that everything of this installation carries.
    pub(crate) fn labels(&self) -> HashMap<String, String> {
        let mut labels: HashMap<String, String> = self.config().labels.iter().cloned().collect();
        labels.insert(INSTALLATION.to_owned(), self.installation().to_owned());
        labels
    }

    /// Gives the filter that finds what is this installation's, and nothing else.
    pub(crate) fn ours(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![format!("{INSTALLATION}={}", self.installation())])])
    }

    /// Reads a release's manifest.
    pub(crate) async fn manifest(&self, id: &ReleaseId) -> Result<Release, RunnerError> {
        let (manifests, wanted) = (self.config().manifests.clone(), id.clone());
        let read = tokio::task::spawn_blocking(move || manifests.release(&wanted)).await;
        let read =
            read.map_err(|e| RunnerError::Refused { verb: "read the manifest", said: e.to_string() })?;
        read?.ok_or_else(|| RunnerError::NoManifest { release: id.clone() })
    }
}

fn is_remote(socket: &str) -> bool {
    socket.starts_with("tcp://") || socket.starts_with("http://")
}

/// Connects to an engine, and agrees with it on a version.
pub(crate) async fn connect(socket: &str) -> Result<bollard::Docker, RunnerError> {
    // A build that pulls from a registry fetches its token over TLS, in bollard, with the process' provider.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // It fails only if somebody else was faster: then there is one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let engine = match is_remote(socket) {
        true => bollard::Docker::connect_with_http(socket, NO_TIMEOUT_S, &API_VERSION),
        false => bollard::Docker::connect_with_unix(socket, NO_TIMEOUT_S, &API_VERSION),
    };
    let agreed = async { engine?.negotiate_version().await };
    let engine = call("agree on a version", ASK, agreed).await?;
    debug!(api = %engine.client_version(), "connected to the Docker engine at {socket}");
    Ok(engine)
}
