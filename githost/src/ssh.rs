//! The SSH door: git's two commands for those whose key is known, and nothing else.
//!
//! With `ssh/offer.rs` the only file that knows russh. What it lets in becomes a [`Call`] and a [`Wire`]; what the answer
//! is, the rest of the crate decides.

mod offer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use func_model::Principal;
use russh::keys::{Algorithm, HashAlg};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream,
};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Error, Pty};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::HostError;
use crate::call::{Call, Protocol};
use crate::cut::{Allowance, Cut};
use crate::farewell::Farewell;
use crate::host::Host;
use crate::key_watch::KeyWatch;
use crate::keys::{Key, Keys};
use crate::limits::{CHANNELS_MAX, CHUNKS_MAX, ENV_REQUESTS_MAX, FAREWELL, STARTING_BYTES};
use crate::pace::Pace;
use crate::places::Place;
use crate::presence::Presence;
use crate::relay::Wire;
pub(crate) use offer::{config, new_host_key};

/// Sent to a client that finds no place, before the version line (RFC 4253, section 4.2).
pub(crate) const FULL: &str = "func: too many connections: please try again later\r\n";

/// What a known client reads that finds no place.
const CROWDED: &str = "func: too many connections: please try again later";

/// What all SSH connections share.
pub(crate) struct Ssh {
    pub(crate) host: Arc<Host>,
    pub(crate) keys: Keys,
    pub(crate) key_watch: Arc<KeyWatch>,
    pub(crate) config: Arc<Config>,
    pub(crate) pace: Pace,
    pub(crate) tasks: TaskTracker,
    /// Set when what is in flight may end, and nothing new starts.
    pub(crate) shutdown: CancellationToken,
    /// Set when the time for that is over.
    pub(crate) cut: CancellationToken,
}

/// What a client that is not let in has shown last: the fingerprint of a key.
type Shown = Arc<Mutex<Option<String>>>;

/// Serves one connection until the client leaves or has to. A client that has shown keys, and none that is let in, gets a
/// line in the audit log.
pub(crate) async fn serve(ssh: Arc<Ssh>, stream: TcpStream, place: Arc<Place>) {
    let (refusals, address, shown) = (ssh.host.refusals.clone(), place.address, Shown::default());
    talk(ssh, stream, place, shown.clone()).await;
    let refused = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(fingerprint) = refused {
        refusals.refused(Principal::Key { fingerprint, address }, "no key that is let in").await;
    }
}

async fn talk(ssh: Arc<Ssh>, stream: TcpStream, place: Arc<Place>, shown: Shown) {
    let cut = ssh.cut.child_token();
    // Whatever ends this also ends what belongs to the connection.
    let _guard = cut.clone().drop_guard();
    let presence = Presence::new();
    let allowance = Allowance::new(STARTING_BYTES);
    let client = Client {
        ssh: ssh.clone(),
        presence: presence.clone(),
        place: place.clone(),
        allowance: allowance.clone(),
        cut: cut.clone(),
        places: Arc::new(Semaphore::new(CHANNELS_MAX)),
        waiting: HashMap::new(),
        shown,
        by: None,
        env_requests: 0,
    };
    let opening = async {
        ssh.pace.turn(place.block()).await;
        run_stream(ssh.config.clone(), Cut::new(stream, cut.clone(), allowance), client).await
    };
    let opened = tokio::select! {
        opened = opening => opened,
        () = presence.over(&ssh.shutdown) => return,
        () = place.evicted() => return,
    };
    let mut session = match opened {
        Ok(session) => session,
        Err(e) => {
            return tracing::debug!("an SSH connection from {} did not come about: {e}", place.address);
        }
    };
    let handle = session.handle();
    tokio::select! {
        ended = &mut session => return log_end(ended),
        () = presence.over(&ssh.shutdown) => {}
        () = place.evicted() => return,
    }
    let goodbye =
        handle.disconnect(Disconnect::ByApplication, "the connection is not used".into(), String::new());
    let _ = timeout(FAREWELL, goodbye).await;
    if timeout(FAREWELL, &mut session).await.is_err() {
        cut.cancel();
        let _ = timeout(FAREWELL, session).await;
    }
}

/// A session runs in a task of its own: should russh panic in it, it arrives here, and nothing else ends.
fn log_end(ended: Result<(), Error>) {
    match ended {
        Ok(()) => {}
        Err(e @ Error::Join(_)) => tracing::error!("an SSH connection broke: {e}"),
        Err(e) => tracing::debug!("an SSH connection ended: {e}"),
    }
}

/// One client, as russh asks for it.
struct Client {
    ssh: Arc<Ssh>,
    presence: Arc<Presence>,
    place: Arc<Place>,
    allowance: Allowance,
    cut: CancellationToken,
    places: Arc<Semaphore>,
    waiting: HashMap<ChannelId, Waiting>,
    shown: Shown,
    /// Whose key it has signed with.
    by: Option<Principal>,
    env_requests: usize,
}

/// An open channel whose command did not come yet.
struct Waiting {
    channel: Channel<Msg>,
    protocol: Option<Protocol>,
    place: OwnedSemaphorePermit,
}

impl Client {
    async fn judge(&self, key: &russh::keys::PublicKey, algorithm: &Algorithm) -> Result<Auth, Error> {
        // SHA-1 signatures are not offered, and not taken.
        let is_old = matches!(algorithm, Algorithm::Rsa { hash: None });
        let (ssh, bytes) = (self.ssh.clone(), key.to_bytes()?);
        // A look that failed lets nobody in.
        let known =
            !is_old && tokio::task::spawn_blocking(move || ssh.lets_in(&bytes)).await.unwrap_or(false);
        if known {
            return Ok(Auth::Accept);
        }
        *self.shown() = Some(fingerprint(key));
        Ok(Auth::reject())
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a channel's one request for a program.
    fn start(&mut self, id: ChannelId, command: Option<Vec<u8>>, session: &mut Session) -> Result<(), Error> {
        let (Some(waiting), Some(by)) = (self.waiting.remove(&id), self.by.clone()) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (ssh, cut) = (self.ssh.clone(), self.cut.child_token());
        let running = self.presence.run();
        self.ssh.tasks.spawn(async move {
            let Waiting { channel, protocol, place } = waiting;
            converse(ssh, channel, command.zip(Some(by)), protocol, cut).await;
            drop((running, place));
        });
        Ok(())
    }
}

impl Ssh {
    /// Whether a key is let in. A change of the keys is in the audit log before it is of use.
    fn lets_in(&self, key: &[u8]) -> bool {
        self.keys.has(key) && {
            self.key_watch.look();
            true
        }
    }
}

/// Returns the fingerprint of a key out of a file; of one that russh does not know, its kind.
pub(crate) fn fingerprint_of(key: &Key) -> String {
    let known = russh::keys::PublicKey::from_bytes(key.as_bytes());
    known.map_or_else(|_| "a key that is none".to_owned(), |key| fingerprint(&key))
}

fn fingerprint(key: &russh::keys::PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

impl Handler for Client {
    type Error = Error;

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Error> {
        self.judge(offer.public_key, offer.algorithm).await
    }

    async fn auth_publickey(&mut self, _user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Error> {
        let judged = self.judge(key.public_key, key.algorithm).await?;
        if matches!(judged, Auth::Accept) {
            self.by = Some(Principal::Key {
                fingerprint: fingerprint(key.public_key),
                address: self.place.address,
            });
        }
        Ok(judged)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
        // Clients offer one key after another.
        *self.shown() = None;
        if !self.place.admit() {
            return session.disconnect(Disconnect::TooManyConnections, CROWDED, "");
        }
        self.allowance.lift();
        self.presence.known();
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Error> {
        // Without a place, or when the host leaves, the handle's drop refuses.
        let place = self.places.clone().try_acquire_owned();
        let Some(place) = place.ok().filter(|_| !self.ssh.shutdown.is_cancelled()) else { return Ok(()) };
        self.waiting.insert(channel.id(), Waiting { channel, protocol: None, place });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Error> {
        self.waiting.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.env_requests += 1;
        if self.env_requests > ENV_REQUESTS_MAX {
            return Err(Error::Disconnect);
        }
        let protocol = Protocol::from_text(value).filter(|_| name == "GIT_PROTOCOL");
        match (protocol, self.waiting.get_mut(&channel)) {
            (Some(protocol), Some(waiting)) => {
                waiting.protocol = Some(protocol);
                session.channel_success(channel)
            }
            _ => session.channel_failure(channel),
        }
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Error> {
        self.start(id, Some(command.to_vec()), session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Error> {
        self.start(channel, None, session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Error> {
        self.start(channel, None, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Error> {
        session.channel_failure(channel)
    }
}

/// Runs a channel's command, `None` for a shell, and ends the channel as git expects it: data, status, eof, close.
async fn converse(
    ssh: Arc<Ssh>,
    channel: Channel<Msg>,
    command: Option<(Vec<u8>, Principal)>,
    protocol: Option<Protocol>,
    left: CancellationToken,
) {
    let (from_client, to_client) = channel.split();
    let (input_tx, input_rx) = mpsc::channel(CHUNKS_MAX);
    let (output_tx, output_rx) = mpsc::channel(CHUNKS_MAX);
    let _reader = AbortOnDropHandle::new(tokio::spawn(hear(from_client, input_tx, left.clone())));
    let mut wire =
        Wire { input: Box::pin(ReceiverStream::new(input_rx)), output: output_tx, left: left.clone() };
    // In a task of its own, so that even a panic ends with a status and not with a client that waits.
    let call = tokio::spawn(async move {
        let Some((command, by)) = command else { return Farewell::help() };
        match Call::from_command(&command, protocol, by) {
            Ok(call) => Farewell::of(&call, ssh.host.serve(&call, &mut wire).await),
            Err(error) => Farewell::refusal(&error),
        }
    });
    let say_and_end = async {
        say(&to_client, output_rx).await?;
        let farewell = call.await.unwrap_or_else(|_| Farewell::refusal(&HostError::Panic));
        to_client.extended_data_bytes(1, farewell.text).await?;
        to_client.exit_status(farewell.status).await?;
        to_client.eof().await?;
        to_client.close().await
    };
    let ended: Option<Result<(), Error>> = left.run_until_cancelled(say_and_end).await;
    if !matches!(ended, Some(Ok(()))) {
        tracing::debug!("an SSH client left before its command ended");
        left.cancel();
    }
}

/// Passes on what the client sends. When git takes no more, the rest is thrown away: the channel's messages are read to
/// their end, so that it is seen when the client leaves.
async fn hear(
    mut from_client: ChannelReadHalf,
    input: mpsc::Sender<std::io::Result<Bytes>>,
    left: CancellationToken,
) {
    let mut input = Some(input);
    while let Some(message) = from_client.wait().await {
        match message {
            ChannelMsg::Data { data } => {
                if let Some(open) = &input
                    && open.send(Ok(data)).await.is_err()
                {
                    input = None;
                }
            }
            ChannelMsg::Eof => input = None,
            ChannelMsg::Close => break,
            _ => {}
        }
    }
    left.cancel();
}

/// Passes on what git says, no faster than the client's window allows.
async fn say(to_client: &ChannelWriteHalf<Msg>, mut output: mpsc::Receiver<Bytes>) -> Result<(), Error> {
    while let Some(chunk) = output.recv().await {
        to_client.data_bytes(chunk).await?;
    }
    Ok(())
}
