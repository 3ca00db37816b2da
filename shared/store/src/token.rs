//! The token for git over HTTP: 256 random bits, of which only the SHA-256 is stored.

use std::fmt::Write as _;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::disk::{read, remove, replace};
use crate::{DataDir, StoreError};

/// The stored token: good for checking one, not for showing it.
///
/// A plain hash is enough: the token is random and long, so there is nothing to guess.
#[derive(Debug, Clone)]
pub struct Token {
    hash: String,
}

impl Token {
    /// Reads the stored token; `None` if none was made yet.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn stored(data: &DataDir) -> Result<Option<Self>, StoreError> {
        Ok(read(&data.keys().join("token.sha256"))?.map(|text| Self { hash: text.trim().to_owned() }))
    }

    /// Makes a new token, stores its hash, and gives its text: the only time that it is seen.
    /// An older token is good no more, and its file is removed.
    ///
    /// # Errors
    /// [`StoreError::Random`], [`StoreError::Io`].
    pub fn make(data: &DataDir) -> Result<(Self, String), StoreError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(StoreError::Random)?;
        let text = format!("func_{}", hex(&bytes));
        let token = Self { hash: hash(&text) };
        remove(&Self::file(data))?;
        replace(&data.keys().join("token.sha256"), format!("{}\n", token.hash).as_bytes(), 0o600)?;
        Ok((token, text))
    }

    /// As [`Token::make`], and writes the text into [`Token::file`], for the owner of the data folder to read: a log is
    /// read by more people, and is kept elsewhere.
    ///
    /// # Errors
    /// As [`Token::make`].
    pub fn make_file(data: &DataDir) -> Result<(Self, String), StoreError> {
        let (token, text) = Self::make(data)?;
        replace(&Self::file(data), format!("{text}\n").as_bytes(), 0o600)?;
        Ok((token, text))
    }

    /// Gives the file `keys/token`. Whoever has read it may remove it.
    pub fn file(data: &DataDir) -> PathBuf {
        data.keys().join("token")
    }

    /// Whether `text` is the token; takes as long for a wrong one as for the right one.
    pub fn is(&self, text: &str) -> bool {
        hash(text).as_bytes().ct_eq(self.hash.as_bytes()).into()
    }
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_accepted_and_only_its_hash_is_stored() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        assert!(Token::stored(&data).expect("read").is_none());
        let (token, text) = Token::make(&data).expect("made");
        assert!(token.is(&text) && !token.is("") && !token.is(&text[1..]));
        assert!(Token::stored(&data).expect("read").expect("there").is(&text));
        let stored = std::fs::read_to_string(dir.path().join("keys/token.sha256")).expect("read");
        assert!(!stored.contains(&text[5..]));
        assert!(!Token::file(&data).exists());
    }

    #[test]
    fn a_services_token_is_in_a_file_of_its_owners_until_there_is_another() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let data = DataDir::open(dir.path()).expect("its folders");
        let (_, text) = Token::make_file(&data).expect("made");
        let file = Token::file(&data);
        assert_eq!(std::fs::read_to_string(&file).expect("read").trim(), text);
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        Token::make(&data).expect("made");
        assert!(!file.exists(), "what is good no more is not kept");
    }
}
