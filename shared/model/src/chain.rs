//! An error in one line.

use std::error::Error;

/// Gives an error and what caused it in one line: `open the ledger: connection refused`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_each_of_its_causes() {
        let inner = std::io::Error::other("the disk is full");
        let outer = std::io::Error::other(Outer(inner));
        assert_eq!(chain(&outer), "write the manifest: the disk is full");
    }

    #[derive(Debug, thiserror::Error)]
    #[error("write the manifest")]
    struct Outer(#[source] std::io::Error);
}
