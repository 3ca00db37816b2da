//! Handing the doors over: a new edge gets the listening sockets of the one that runs, and no connection is refused.
//!
//! The new edge calls the old one on a unix socket and is sent its listening sockets. It makes itself ready and accepts on
//! them as well, and only then says so; then the old one accepts no more, and leaves when its requests have ended. Whoever
//! of the two dies on the way leaves the other one serving: a socket lives as long as one of them has it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use func_socket::Address;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// What goes with the sockets: another version of this protocol has another one.
const DOORS: &[u8; 8] = b"doors 1\n";
/// What the new edge says when it serves, and what the old one says when it has heard that.
const READY: &[u8; 6] = b"ready\n";
const LEAVING: &[u8; 8] = b"leaving\n";
/// How many sockets go over at the most.
pub(crate) const DOORS_MAX: usize = 64;
/// How long each may take to answer the other, when nothing but the answer is to be done.
const ANSWER: Duration = Duration::from_secs(5);
/// How long a new edge may take to get ready.
const GETS_READY: Duration = Duration::from_secs(120);
/// The wait after a failed accept.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// What a later edge needs to take over from this one.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Where it asks.
    pub socket: PathBuf,
    /// Cancelled when it has taken over: this edge is to be shut down then.
    pub relieved: CancellationToken,
}

/// The edge that runs, and that goes on until it is relieved.
#[derive(Debug)]
pub struct Predecessor {
    stream: StdStream,
}

/// Asks the edge that listens on `socket` for its listening sockets; `None` if there is none.
///
/// # Errors
/// If it cannot be asked, or answers something else: it is of another version, or about to leave.
pub fn take(socket: &Path) -> io::Result<Option<(Vec<TcpListener>, Predecessor)>> {
    let stream = match StdStream::connect(Address::of(socket)?.path()) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => return Ok(None),
        connected => connected?,
    };
    stream.set_read_timeout(Some(ANSWER))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS_MAX))];
    let (mut control, mut text) = (RecvAncillaryBuffer::new(&mut space), [0; DOORS.len()]);
    let read = recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if text[..read.bytes] != DOORS[..] {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the edge that runs does not hand its doors over",
        ));
    }
    let mut listeners = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            listeners.extend(fds.map(TcpListener::from));
        }
    }
    Ok(Some((listeners, Predecessor { stream })))
}

impl Predecessor {
    /// Tells it that its doors are served: it accepts no more, and leaves. One that is gone already needs no telling.
    pub(crate) async fn relieve(self) {
        let told = async {
            self.stream.set_nonblocking(true)?;
            let mut stream = UnixStream::from_std(self.stream)?;
            stream.write_all(READY).await?;
            let mut said = [0; LEAVING.len()];
            stream.read_exact(&mut said).await.map(drop)
        };
        match timeout(ANSWER, told).await {
            Ok(Ok(())) => info!("the edge that ran before leaves"),
            Ok(Err(e)) => info!("the edge that ran before is gone: {e}"),
            Err(_) => warn!("the edge that ran before does not say that it leaves; both serve"),
        }
    }
}

/// Hands `listeners` to whoever asks, one after the other, until somebody has taken over.
pub(crate) async fn offer(offer: Offer, listeners: Vec<TcpListener>) {
    let listening = match listen(&offer.socket) {
        Ok(listening) => listening,
        Err(e) => {
            warn!("no other edge can take over from this one: listen on {}: {e}", offer.socket.display());
            return std::future::pending().await;
        }
    };
    let mut file = Remove(Some(&offer.socket));
    loop {
        let stream = match accept(&listening).await {
            Ok(stream) => stream,
            Err(e) => {
                debug!("nobody can be handed the doors: {e}");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        match hand_over(stream, &listeners).await {
            Ok(()) => break,
            Err(e) => warn!("another edge asked for the doors, and did not take over: {e}"),
        }
    }
    info!("another edge has taken over");
    // By now the file is the other's, or about to be.
    file.0 = None;
    offer.relieved.cancel();
}

/// Removes a socket's file, unless it is another's by then.
struct Remove<'a>(Option<&'a Path>);

impl Drop for Remove<'_> {
    fn drop(&mut self) {
        if let Some(Err(e)) = self.0.map(fs::remove_file) {
            debug!("the socket was gone already: {e}");
        }
    }
}

/// Takes the place of the socket that the predecessor has left behind.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let new = socket.with_extension("new");
    if let Err(e) = fs::remove_file(&new)
        && e.kind() != ErrorKind::NotFound
    {
        return Err(e);
    }
    let listening = UnixListener::bind(Address::of(&new)?.path())?;
    fs::set_permissions(&new, Permissions::from_mode(0o600))?;
    fs::rename(&new, socket)?;
    Ok(listening)
}

/// Waits for somebody of the own user, or root.
async fn accept(listening: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listening.accept().await?;
    let (peer, own) = (stream.peer_cred()?.uid(), rustix::process::geteuid().as_raw());
    if peer != 0 && peer != own {
        let said = format!("the user {peer} is not to have them");
        return Err(io::Error::new(ErrorKind::PermissionDenied, said));
    }
    Ok(stream)
}

async fn hand_over(mut stream: UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    send(&stream, listeners).await?;
    let mut said = [0; READY.len()];
    timeout(GETS_READY, stream.read_exact(&mut said)).await??;
    if said != *READY {
        return Err(io::Error::new(ErrorKind::InvalidData, "it speaks another version"));
    }
    // From here on it serves, whether it hears this or not.
    if let Err(e) = stream.write_all(LEAVING).await {
        debug!("the new edge does not hear that this one leaves: {e}");
    }
    Ok(())
}

async fn send(stream: &UnixStream, listeners: &[TcpListener]) -> io::Result<()> {
    let fds: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DOORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fds.len() > DOORS_MAX || !control.push(SendAncillaryMessage::ScmRights(&fds)) {
        return Err(io::Error::new(ErrorKind::InvalidInput, format!("at most {DOORS_MAX} doors go over")));
    }
    stream.writable().await?;
    // So few bytes go at once into a connection that is new.
    let sent = sendmsg(stream, &[IoSlice::new(DOORS)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == DOORS.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}

#[cfg(test)]
#[path = "handover_tests.rs"]
mod tests;
