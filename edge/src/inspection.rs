//! Looks at the bytes of requests as they arrive, before pingora makes anything of them.

use func_model::Refusal;

/// Inspects one connection's requests, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Inspection {}

impl Inspection {
    /// Inspects a complete head, its final empty line included; the body of this request follows.
    ///
    /// # Errors
    /// What the client is told; the connection is closed after it.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "framing is yet to be looked at")]
    pub(crate) fn head(&mut self, _head: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }

    /// Inspects bytes after the head, as they are handed on: in any pieces.
    ///
    /// # Errors
    /// What the client is told, unless it has an answer already; the connection is closed after it.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "framing is yet to be looked at")]
    pub(crate) fn body(&mut self, _bytes: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}
