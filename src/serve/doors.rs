//! The doors: every port that a process listens on, bound before anything else is done.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use anyhow::Context;
use func_edge::Predecessor;
use func_store::DataDir;

use crate::cli::Role;
use crate::server_info::ServerInfo;
use crate::settings::Settings;

/// Bound listeners; empty for what this process does not serve.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) edge: Vec<TcpListener>,
    pub(super) ssh: Vec<TcpListener>,
    pub(super) http: Vec<TcpListener>,
    /// The edge that has the edge's doors as well.
    pub(super) predecessor: Option<Predecessor>,
}

fn bind(name: &'static str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    addresses.iter().map(|address| bind_one(name, address)).collect()
}

fn bind_one(name: &'static str, address: &SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!("the setting `{name}` is \"{address}\", where func cannot listen; stop what does, or choose another")
    })
}

/// Asks the edge that runs at an address for its doors. One of an older version is asked where it listens.
fn take(data: &DataDir, address: SocketAddr) -> io::Result<Option<(Vec<TcpListener>, Predecessor)>> {
    match func_edge::take(&data.upgrade_socket(address))? {
        Some(taken) => Ok(Some(taken)),
        None => func_edge::take(&data.socket(&format!("upgrade-{address}"))),
    }
}

/// Picks the listener of an address, or binds it.
fn one_of(listeners: &mut Vec<TcpListener>, address: &SocketAddr) -> anyhow::Result<TcpListener> {
    match listeners.iter().position(|listener| listener.local_addr().is_ok_and(|a| a == *address)) {
        Some(at) => Ok(listeners.swap_remove(at)),
        None => bind_one("edge-listen", address),
    }
}

fn first(listeners: &[TcpListener], configured: &[SocketAddr]) -> io::Result<Option<SocketAddr>> {
    match listeners.first() {
        Some(listener) => listener.local_addr().map(Some),
        None => Ok(configured.first().copied()),
    }
}

impl Doors {
    pub(super) fn bind(settings: &Settings, role: Role) -> anyhow::Result<Self> {
        let mut doors = Self::default();
        if role.is(Role::Edge) {
            doors.edge = bind("edge-listen", &settings.edge_listen)?;
        }
        if role.is(Role::Githost) {
            doors.ssh = bind("ssh-listen", &settings.ssh_listen)?;
            doors.http = bind("http-listen", &settings.http_listen)?;
        }
        Ok(doors)
    }

    /// Takes over the doors of the edge that runs, and binds those that it has not; binds all if there is none.
    pub(super) fn take_over(settings: &Settings) -> anyhow::Result<Self> {
        let data = DataDir::at(&settings.data)
            .with_context(|| format!("use the folder {} (setting `data`)", settings.data.display()))?;
        for address in &settings.edge_listen {
            let taken = take(&data, *address);
            if let Some((mut old, predecessor)) = taken.context("ask the edge that runs for its doors")? {
                tracing::info!(
                    "this edge has the doors of the edge that runs, and takes over when it is ready"
                );
                let edge = settings.edge_listen.iter().map(|address| one_of(&mut old, address));
                let edge = edge.collect::<anyhow::Result<_>>()?;
                return Ok(Self { edge, predecessor: Some(predecessor), ..Self::default() });
            }
        }
        tracing::info!("no edge runs that could be taken over from");
        Self::bind(settings, Role::Edge)
    }

    /// Where an edge with these doors hands them over: two edges can share a data folder.
    pub(super) fn handover(&self, data: &DataDir) -> Option<PathBuf> {
        let address = self.edge.first()?.local_addr().ok()?;
        Some(data.upgrade_socket(address))
    }

    /// Says where the doors are: those of this process as they are bound, the others as they are set.
    pub(super) fn info(&self, settings: &Settings, data: &DataDir) -> anyhow::Result<ServerInfo> {
        let url = |scheme: &str, address: SocketAddr| format!("{scheme}{}", reachable(address));
        let ssh = first(&self.ssh, &settings.ssh_listen)?.map(|a| url("ssh://func@", a));
        let http = first(&self.http, &settings.http_listen)?.map(|a| url("http://", a));
        let edge = first(&self.edge, &settings.edge_listen)?.map(reachable);
        let port = edge.map_or(80, |a| a.port());
        let plain = if port == 80 { "http://{host}".to_owned() } else { format!("http://{{host}}:{port}") };
        Ok(ServerInfo {
            ssh,
            http,
            edge,
            url: settings.url.clone().unwrap_or(plain),
            domain: settings.domain.to_string(),
            branch: settings.branch.clone(),
            installation: data.installation(),
        })
    }
}

/// An address that a client on this machine can use: every address is also the local one.
fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    address
}
