//! The token for git over HTTP: 256 random bits, of which only the SHA-256 is stored.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::disk::{read, replace};
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
    /// An older token is good no more.
    ///
    /// # Errors
    /// [`StoreError::Random`], [`StoreError::Io`].
    pub fn make(data: &DataDir) -> Result<(Self, String), StoreError> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes).map_err(StoreError::Random)?;
        let text = format!("func_{}", hex(&bytes));
        let token = Self { hash: hash(&text) };
        replace(&data.keys().join("token.sha256"), format!("{}\n", token.hash).as_bytes(), 0o600)?;
        Ok((token, text))
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
    }
}
