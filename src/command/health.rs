//! `func health`: whether a part of func that runs on this machine answers; for health checks.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use func_store::DataDir;
use http::Method;

use crate::cli::{Health, Role};
use crate::settings::Settings;

const WITHIN: Duration = Duration::from_secs(3);

/// Fails unless every part of the role answers.
pub async fn run(health: &Health) -> anyhow::Result<ExitCode> {
    let settings = Settings::read(&health.given)?;
    let role = health.role;
    if role.is(Role::Githost) {
        listening(settings.ssh_listen.iter().chain(&settings.http_listen), "git host")?;
    }
    if role.is(Role::Edge) {
        listening(settings.edge_listen.iter(), "edge")?;
    }
    let data = DataDir::at(&settings.data)?;
    for (part, name) in [(Role::Builder, "builder"), (Role::Cleaner, "cleaner"), (Role::Edge, "edge")] {
        if role.is(part) {
            answers(&data, name).await?;
        }
    }
    println!("healthy");
    Ok(ExitCode::SUCCESS)
}

fn listening<'a>(addresses: impl Iterator<Item = &'a SocketAddr>, name: &str) -> anyhow::Result<()> {
    for address in addresses {
        let mut address = *address;
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        TcpStream::connect_timeout(&address, WITHIN)
            .with_context(|| format!("reach the {name} at {address}"))?;
    }
    Ok(())
}

async fn answers(data: &DataDir, name: &str) -> anyhow::Result<()> {
    let socket = data.socket(name);
    let call = func_socket::call(&socket, Method::GET, "/healthz", None::<&()>);
    let mut lines =
        tokio::time::timeout(WITHIN, call).await.with_context(|| format!("reach the {name}"))??;
    ensure!(lines.next().await?.is_some(), "the {name} said nothing");
    Ok(())
}
