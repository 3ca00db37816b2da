//! The doors: every port that a process listens on, bound before anything else is done.

use std::io;
use std::net::{SocketAddr, TcpListener};

use anyhow::Context;
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
}

fn bind(name: &'static str, addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let one = |address: &SocketAddr| {
        TcpListener::bind(address).with_context(|| {
            format!("the setting `{name}` is \"{address}\", where func cannot listen; stop what does, or choose another")
        })
    };
    addresses.iter().map(one).collect()
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
