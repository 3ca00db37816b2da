//! `run/githost/server.json`: what a running server tells the commands and the hooks on its machine.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context;
use func_store::DataDir;
use serde::{Deserialize, Serialize};

const NAME: &str = "server.json";
/// Where a git host of an older version, that still runs, has written it.
const OLDER: &str = "run";

/// Where the server is, and how it deploys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// `ssh://func@127.0.0.1:7022`; `None` if git does not come in this way.
    pub ssh: Option<String>,
    /// `http://127.0.0.1:7080`.
    pub http: Option<String>,
    /// Where the edge listens, on this machine; `None` in a file of an older version.
    #[serde(default)]
    pub edge: Option<SocketAddr>,
    /// An app's URL, with `{host}` in it.
    pub url: String,
    pub domain: String,
    pub branch: String,
    /// The label of everything that is this server's on the engine.
    pub installation: String,
}

impl ServerInfo {
    /// Gives the URL of an app under the server's domain.
    pub fn app_url(&self, app: &str) -> String {
        self.url.replace("{host}", &format!("{app}.{}", self.domain))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, data: &DataDir) -> anyhow::Result<()> {
        let path = data.git().join(NAME);
        let new = path.with_extension("new");
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        std::fs::rename(&new, &path).with_context(|| format!("write {}", path.display()))
    }

    /// Reads the file; `None` if no server has run here since the folder was made.
    pub fn read(root: &Path) -> Option<Self> {
        let places = ["run/githost", OLDER].map(|folder| root.join(folder).join(NAME));
        let text = places.iter().find_map(|path| std::fs::read_to_string(path).ok())?;
        serde_json::from_str(&text).ok()
    }
}
