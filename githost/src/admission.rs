//! Who may come in over HTTP: whoever has the token, as the password of HTTP's basic authentication.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use func_store::{DataDir, Token};
use http::{HeaderMap, header};

/// What a request's head says of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    Granted,
    /// No password at all: how every git client asks first.
    Missing,
    Wrong,
}

/// Compares the password with the token, in constant time. The stored hash is read each time, so that a new token
/// holds at once; one that cannot be read lets nobody in.
pub(crate) async fn admission(data: &DataDir, headers: &HeaderMap) -> Admission {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Admission::Missing };
    let Some(password) = value.to_str().ok().and_then(password) else { return Admission::Wrong };
    let data = data.clone();
    let stored = tokio::task::spawn_blocking(move || Token::stored(&data)).await;
    match stored {
        Ok(Ok(Some(token))) if token.is(&password) => Admission::Granted,
        Ok(Ok(_)) => Admission::Wrong,
        Ok(Err(e)) => {
            tracing::error!("cannot read the token: {}", func_model::chain(&e));
            Admission::Wrong
        }
        Err(e) => {
            tracing::error!("cannot read the token: {e}");
            Admission::Wrong
        }
    }
}

/// Reads `Basic base64(user:password)`.
///
/// Source: RFC 7617, section 2.
fn password(value: &str) -> Option<String> {
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    text.split_once(':').map(|(_user, password)| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_what_follows_the_first_colon() {
        let basic = |text: &str| password(&format!("basic {}", STANDARD.encode(text)));
        assert_eq!(basic("me:se:cret"), Some("se:cret".to_owned()));
        assert_eq!(basic(":secret"), Some("secret".to_owned()));
        assert_eq!(basic("nothing"), None);
        assert_eq!(password("Bearer abc"), None);
        assert_eq!(password("Basic ???"), None);
        assert_eq!(password("Basic"), None);
    }
}
