//! Who may push over SSH: public keys in the format of OpenSSH's `authorized_keys`.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::limits::{KEY_FILE_BYTES, RSA_BITS_MIN};

/// The kinds of key that are let in.
const KINDS: [&str; 5] =
    ["ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa"];
/// Options that only take away what this host never gives: a line with them means the same without.
const HARMLESS: [&str; 12] = [
    "restrict",
    "no-agent-forwarding",
    "no-port-forwarding",
    "no-pty",
    "no-user-rc",
    "no-x11-forwarding",
    "agent-forwarding",
    "port-forwarding",
    "pty",
    "user-rc",
    "x11-forwarding",
    "no-touch-required",
];

/// A public key: its bytes as they go over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(Vec<u8>);

/// Why a line holds no key that is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Flaw {
    /// Empty, or a comment.
    Nothing,
    NoKey,
    /// It has an option that limits the key in a way that is not done here.
    Limited(String),
    ShortRsa,
}

/// The files of public keys. They are read for each try, so that a change holds at once.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    files: Vec<PathBuf>,
}

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Keys {
    pub(crate) fn new(files: Vec<PathBuf>) -> Self {
        Self { files }
    }

    /// Whether the key, as it came over the wire, is in one of the files.
    pub(crate) fn has(&self, key: &[u8]) -> bool {
        self.files.iter().any(|file| read(file).iter().any(|known| known.0 == key))
    }
}

/// Reads the keys of a file. What cannot be read lets nobody in.
fn read(path: &Path) -> Vec<Key> {
    let mut text = String::new();
    match File::open(path).and_then(|file| file.take(KEY_FILE_BYTES).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(e) => {
            tracing::warn!("cannot read the keys in {}: {e}", path.display());
            return Vec::new();
        }
    }
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let skipped = match from_line(line) {
            Ok(key) => {
                keys.push(key);
                continue;
            }
            Err(Flaw::Nothing) => continue,
            Err(Flaw::NoKey) => "it holds no ed25519, ecdsa or RSA key".to_owned(),
            Err(Flaw::Limited(option)) => format!("func does not know how to honour its option `{option}`"),
            Err(Flaw::ShortRsa) => format!("its RSA key has fewer than {RSA_BITS_MIN} bits"),
        };
        tracing::warn!("line {number} of {} is skipped: {skipped}", path.display());
    }
    keys
}

/// Reads one line: `[options] kind base64 [comment]`.
///
/// Source: sshd(8), AUTHORIZED_KEYS FILE FORMAT.
fn from_line(line: &str) -> Result<Key, Flaw> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Err(Flaw::Nothing);
    }
    if let Some(key) = plain(line) {
        return key;
    }
    let (options, rest) = split_options(line).ok_or(Flaw::NoKey)?;
    let key = plain(rest.trim_start()).ok_or(Flaw::NoKey)?;
    for option in options {
        let name = option.to_ascii_lowercase();
        if !HARMLESS.contains(&name.as_str()) {
            let shown = name.split('=').next().unwrap_or_default().chars().take(32).collect();
            return Err(Flaw::Limited(shown));
        }
    }
    key
}

/// Reads `kind base64 ...`; `None` if the line starts with anything else.
fn plain(line: &str) -> Option<Result<Key, Flaw>> {
    let mut words = line.split_ascii_whitespace();
    let kind = words.next().filter(|kind| KINDS.contains(kind))?;
    let bytes = words.next().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    Some(check(kind, bytes))
}

fn check(kind: &str, bytes: Vec<u8>) -> Result<Key, Flaw> {
    let mut rest = bytes.as_slice();
    if field(&mut rest) != Some(kind.as_bytes()) {
        return Err(Flaw::NoKey);
    }
    if kind == "ssh-rsa" {
        let modulus = field(&mut rest).and_then(|_exponent| field(&mut rest)).ok_or(Flaw::NoKey)?;
        let zeros = modulus.iter().take_while(|b| **b == 0).count();
        let first = modulus.get(zeros).map_or(0, |b| b.leading_zeros() as usize);
        if (modulus.len() - zeros) * 8 < RSA_BITS_MIN + first {
            return Err(Flaw::ShortRsa);
        }
    }
    Ok(Key(bytes))
}

/// Takes one field, 4 bytes of length and as many bytes, from the front.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *bytes = rest;
    Some(field)
}

/// Splits off the options at the first blank outside of quotes, and each from the next at commas outside of quotes.
fn split_options(line: &str) -> Option<(Vec<&str>, &str)> {
    let (mut options, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' if !escaped => quoted = !quoted,
            b',' if !quoted => {
                options.push(&line[start..at]);
                start = at + 1;
            }
            b' ' | b'\t' if !quoted => {
                options.push(&line[start..at]);
                return Some((options, &line[at..]));
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    None
}

/// Returns the keys that a file lets in, each with its comment; of a file that cannot be read, none.
pub(crate) fn listed(path: &Path) -> Vec<(Key, String)> {
    let text = File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(KEY_FILE_BYTES).read_to_string(&mut text).map(|_| text)
    });
    let keyed = |line: &str| from_line(line).ok().map(|key| (key, comment(line).to_owned()));
    text.unwrap_or_default().lines().filter_map(keyed).collect()
}

/// Returns what stands behind the key of a line.
fn comment(line: &str) -> &str {
    let line = line.trim();
    let behind = |kind: &str| line.rfind(&format!("{kind} ")).map(|at| &line[at + kind.len() + 1..]);
    let key = KINDS.iter().filter_map(|kind| behind(kind)).min_by_key(|rest| rest.len());
    key.and_then(|rest| rest.trim_start().split_once([' ', '\t'])).map_or("", |(_, comment)| comment.trim())
}

/// Whether a line lets a key in.
#[cfg(test)]
pub(crate) fn admits(line: &str) -> bool {
    from_line(line).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    #[test]
    fn a_key_is_read_with_and_without_comment_and_harmless_options() {
        let key = from_line(KEY).expect("a key");
        for line in [
            format!("{KEY} me@home"),
            format!("  {KEY}\r"),
            format!("restrict {KEY}"),
            format!("no-pty,No-Port-Forwarding\t{KEY} me"),
        ] {
            assert_eq!(from_line(&line), Ok(key.clone()), "{line}");
        }
    }

    #[test]
    fn a_line_whose_options_limit_the_key_lets_nobody_in() {
        for (option, name) in [
            ("command=\"echo \\\"a, b\\\" c\"", "command"),
            ("no-pty,from=\"10.0.0.0/8\"", "from"),
            ("cert-authority", "cert-authority"),
            ("expiry-time=\"20200101\"", "expiry-time"),
        ] {
            let line = format!("{option} {KEY}");
            assert_eq!(from_line(&line), Err(Flaw::Limited(name.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_is_no_key_lets_nobody_in() {
        assert_eq!(from_line(""), Err(Flaw::Nothing));
        assert_eq!(from_line("# ssh-ed25519 AAAA"), Err(Flaw::Nothing));
        let other_kind = KEY.replacen("ssh-ed25519", "ssh-rsa", 1);
        for line in
            ["ssh-ed25519", "ssh-ed25519 !!!", "ssh-ed25519 AAAA", "hello", "\"", "ssh-dss AAAA", &other_kind]
        {
            assert_eq!(from_line(line), Err(Flaw::NoKey), "{line}");
        }
    }

    #[test]
    fn a_short_rsa_key_lets_nobody_in() {
        let rsa = |bits: usize| {
            let mut modulus = vec![0; 1];
            modulus.push(0x80);
            modulus.resize(bits / 8 + 1, 1);
            let mut bytes = Vec::new();
            for field in [b"ssh-rsa".as_slice(), &[1, 0, 1], &modulus] {
                bytes.extend_from_slice(&u32::try_from(field.len()).expect("short").to_be_bytes());
                bytes.extend_from_slice(field);
            }
            format!("ssh-rsa {}", STANDARD.encode(bytes))
        };
        assert_eq!(from_line(&rsa(1024)), Err(Flaw::ShortRsa));
        assert_eq!(from_line(&rsa(2040)), Err(Flaw::ShortRsa));
        assert!(from_line(&rsa(2048)).is_ok());
    }
}
