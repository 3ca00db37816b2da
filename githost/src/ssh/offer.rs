//! What SSH connections are offered: algorithms, limits, and the host key.

use std::borrow::Cow;
use std::sync::Arc;

use rand::TryRngCore;
use russh::keys::ssh_key::{LineEnding, private::Ed25519Keypair};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKey};
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};

use crate::HostError;
use crate::limits::{AUTH_REFUSAL, AUTH_TRIES_MAX, KEEPALIVE, KEEPALIVES_MAX};

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
