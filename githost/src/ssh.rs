//! The SSH door: git's two commands for those whose key is known, and nothing else.
//!
//! The only file that knows russh. What it lets in becomes a [`Call`] and a [`Wire`]; what the answer is, the rest of
//! the crate decides.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use rand::TryRngCore;
use russh::keys::ssh_key::{LineEnding, private::Ed25519Keypair};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::{
    Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey, run_stream,
};
use russh::{
    Channel, ChannelId, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Error, MethodKind,
    MethodSet, Preferred, Pty, SshId, cipher, compression, kex, mac,
};
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
use crate::keys::Keys;
use crate::limits::{
    AUTH_REFUSAL, AUTH_TRIES_MAX, CHANNELS_MAX, CHUNKS_MAX, ENV_REQUESTS_MAX, FAREWELL, KEEPALIVE,
    KEEPALIVES_MAX, STARTING_BYTES,
};
use crate::pace::Pace;
use crate::places::Place;
use crate::presence::Presence;
use crate::relay::Wire;

/// Sent to a client that finds no place, before the version line (RFC 4253, section 4.2).
pub(crate) const FULL: &str = "func: too many connections: please try again later\r\n";

/// What a known client reads that finds no place.
const CROWDED: &str = "func: too many connections: please try again later";

/// How keys are exchanged. Every one of these takes well below a millisecond; the groups of the old Diffie-Hellman take
/// up to a second of the server's CPU and nothing of the client's. OpenSSH has had curve25519 since 6.5; P-256 is for
/// clients without it. The rest are markers: extensions, and strict exchange against Terrapin.
const KEY_EXCHANGES: [kex::Name; 6] = [
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::EXTENSION_SUPPORT_AS_SERVER,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
];
/// Authenticated ciphers, and counter mode for clients without those.
const CIPHERS: [cipher::Name; 5] = [
    cipher::CHACHA20_POLY1305,
    cipher::AES_256_GCM,
    cipher::AES_128_GCM,
    cipher::AES_256_CTR,
    cipher::AES_128_CTR,
];
/// For the ciphers in counter mode: no SHA-1.
const MACS: [mac::Name; 4] = [mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM, mac::HMAC_SHA256, mac::HMAC_SHA512];

/// What all SSH connections share.
pub(crate) struct Ssh {
    pub(crate) host: Arc<Host>,
    pub(crate) keys: Keys,
    pub(crate) config: Arc<Config>,
    pub(crate) pace: Pace,
    pub(crate) tasks: TaskTracker,
    /// Set when what is in flight may end, and nothing new starts.
    pub(crate) shutdown: CancellationToken,
    /// Set when the time for that is over.
    pub(crate) cut: CancellationToken,
}

/// Makes a host key, as the text of an OpenSSH private key.
///
/// # Errors
/// [`HostError::HostKey`] if the system has no random numbers.
pub(crate) fn new_host_key() -> Result<String, HostError> {
    let failed = |reason: String| HostError::HostKey { path: "ssh_host_ed25519".into(), reason };
    let mut seed = [0; 32];
    rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(|e| failed(e.to_string()))?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    key.to_openssh(LineEnding::LF).map(|text| text.to_string()).map_err(|e| failed(e.to_string()))
}

/// Makes the settings of all connections from the host key's text.
///
/// # Errors
/// [`HostError::HostKey`] if the text is no private key.
pub(crate) fn config(host_key: &str) -> Result<Arc<Config>, HostError> {
    let key = PrivateKey::from_openssh(host_key)
        .map_err(|e| HostError::HostKey { path: "keys/ssh_host_ed25519".into(), reason: e.to_string() })?;
    let ecdsa = |curve| Algorithm::Ecdsa { curve };
    // Also the list of what clients may sign with: no SHA-1.
    let algorithms = vec![
        Algorithm::Ed25519,
        ecdsa(EcdsaCurve::NistP256),
        ecdsa(EcdsaCurve::NistP384),
        ecdsa(EcdsaCurve::NistP521),
        Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
        Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
    ];
    let preferred = Preferred {
        key: Cow::Owned(algorithms),
        // Packs are compressed already.
        compression: Cow::Borrowed(&[compression::NONE]),
        kex: Cow::Borrowed(&KEY_EXCHANGES),
        cipher: Cow::Borrowed(&CIPHERS),
        mac: Cow::Borrowed(&MACS),
        ..Preferred::DEFAULT
    };
    Ok(Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-func".into()),
        methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
        keys: vec![key],
        preferred,
        // The first question of every client, without a key, counts as a refused try.
        max_auth_attempts: AUTH_TRIES_MAX + 1,
        auth_rejection_time: AUTH_REFUSAL,
        auth_rejection_time_initial: Some(std::time::Duration::ZERO),
        // `Presence` keeps the time; the answers to keepalives count as activity here.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: KEEPALIVES_MAX,
        ..Config::default()
    }))
}

/// Serves one connection until the client leaves or has to.
pub(crate) async fn serve(ssh: Arc<Ssh>, stream: TcpStream, place: Arc<Place>) {
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
        let (keys, bytes) = (self.ssh.keys.clone(), key.to_bytes()?);
        // A look that failed lets nobody in.
        let known = !is_old && tokio::task::spawn_blocking(move || keys.has(&bytes)).await.unwrap_or(false);
        Ok(if known { Auth::Accept } else { Auth::reject() })
    }

    /// Answers a channel's one request for a program.
    fn start(&mut self, id: ChannelId, command: Option<Vec<u8>>, session: &mut Session) -> Result<(), Error> {
        let Some(waiting) = self.waiting.remove(&id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        let (ssh, cut) = (self.ssh.clone(), self.cut.child_token());
        let running = self.presence.run();
        self.ssh.tasks.spawn(async move {
            let Waiting { channel, protocol, place } = waiting;
            converse(ssh, channel, command, protocol, cut).await;
            drop((running, place));
        });
        Ok(())
    }
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
        self.judge(key.public_key, key.algorithm).await
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Error> {
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
    command: Option<Vec<u8>>,
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
        let Some(command) = command else { return Farewell::help() };
        match Call::from_command(&command, protocol) {
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
