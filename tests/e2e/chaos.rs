//! A TCP proxy on loopback that spoils what goes through it: slow, frozen, cut, and well again.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

/// How many chunks may be on their way in one direction of one connection.
const CHUNKS_MAX: usize = 1_024;

/// What the proxy does to every connection, old and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: bytes pass.
    Well,
    /// What a client sends arrives so much later; answers pass.
    Slow(Duration),
    /// Connections are accepted and stay open, and no byte passes.
    Frozen,
    /// Connections are closed, also new ones.
    Cut,
}

/// The proxy, until it is dropped.
pub struct Chaos {
    addr: SocketAddr,
    fault: watch::Sender<Fault>,
    runtime: Option<Runtime>,
}

impl Chaos {
    /// A proxy in front of `upstream`.
    pub fn to(upstream: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let addr = listener.local_addr().expect("its address");
        let fault = watch::Sender::new(Fault::Well);
        runtime.spawn(accept(listener, upstream, fault.subscribe()));
        Self { addr, fault, runtime: Some(runtime) }
    }

    /// How a service finds the Redis behind it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Spoils everything from now on in another way.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, fault: watch::Receiver<Fault>) {
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if *fault.borrow() != Fault::Cut {
            tokio::spawn(carry(client, upstream, fault.clone()));
        }
    }
}

/// Carries one connection until a side closes it or it is cut.
async fn carry(client: TcpStream, upstream: SocketAddr, fault: watch::Receiver<Fault>) {
    let passed = async {
        let server = TcpStream::connect(upstream).await?;
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            ended = pass(from_client, to_server, fault.clone(), true) => ended,
            ended = pass(from_server, to_client, fault.clone(), false) => ended,
        }
    };
    let mut cut = fault.clone();
    tokio::select! {
        // Whatever ended it, both sides are closed.
        _ = passed => {}
        _ = cut.wait_for(|fault| *fault == Fault::Cut) => {}
    }
}

/// Passes one direction. Each chunk has a time of its own at which it is due: many may be on their way at once.
async fn pass(
    from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    fault: watch::Receiver<Fault>,
    slowed: bool,
) -> std::io::Result<()> {
    let (tx, mut rx) = mpsc::channel::<(Instant, Vec<u8>)>(CHUNKS_MAX);
    let reading = read(from, fault.clone(), slowed, tx);
    let writing = async {
        let mut fault = fault.clone();
        while let Some((due, chunk)) = rx.recv().await {
            sleep_until(due).await;
            let _ = fault.wait_for(|fault| *fault != Fault::Frozen).await;
            to.write_all(&chunk).await?;
        }
        Ok(())
    };
    tokio::try_join!(reading, writing).map(drop)
}

async fn read(
    mut from: OwnedReadHalf,
    fault: watch::Receiver<Fault>,
    slowed: bool,
    tx: mpsc::Sender<(Instant, Vec<u8>)>,
) -> std::io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let n = from.read(&mut bytes).await?;
        let delay = match *fault.borrow() {
            Fault::Slow(delay) if slowed => delay,
            Fault::Slow(_) | Fault::Well | Fault::Frozen | Fault::Cut => Duration::ZERO,
        };
        if n == 0 || tx.send((Instant::now() + delay, bytes[..n].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}
