//! What a git hook reads: one line for each ref of a push.

use thiserror::Error;

use crate::Revision;
use crate::limits::REF_LINE_BYTES;

/// One ref that a push changed. `new` is `None` for a deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefUpdate {
    pub new: Option<Revision>,
    /// The full name, `refs/heads/main`.
    pub name: String,
}

/// Why a line is not one of a hook's.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LineError {
    #[error("a hook's line has three fields: old id, new id, ref")]
    Fields,
    #[error("a hook's line has ids of 40 or 64 hex digits")]
    Id,
    #[error("a hook's line has at most {REF_LINE_BYTES} bytes")]
    Long,
}

impl RefUpdate {
    /// Reads one line of a post-receive hook: `<old> <new> <ref>`, ids of 40 or 64 hex digits.
    ///
    /// An all-zero `new` is a deletion and gives `None`.
    ///
    /// # Errors
    /// [`LineError::Fields`] if there are not three fields, [`LineError::Id`] if an id is not hex,
    /// [`LineError::Long`] if the line is longer than a ref can make it.
    ///
    /// Source: githooks(5), post-receive.
    pub fn from_line(line: &str) -> Result<Self, LineError> {
        if line.len() > REF_LINE_BYTES {
            return Err(LineError::Long);
        }
        let mut fields = line.trim_end_matches(['\n', '\r']).splitn(3, ' ');
        let (Some(old), Some(new), Some(name)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(LineError::Fields);
        };
        if name.is_empty() {
            return Err(LineError::Fields);
        }
        old.parse::<Revision>().map_err(|_| LineError::Id)?;
        let new: Revision = new.parse().map_err(|_| LineError::Id)?;
        let deleted = new.as_str().bytes().all(|b| b == b'0');
        Ok(Self { new: (!deleted).then_some(new), name: name.to_owned() })
    }

    /// Gives the branch, `main` for `refs/heads/main`; `None` for a tag or anything else.
    pub fn branch(&self) -> Option<&str> {
        self.name.strip_prefix("refs/heads/")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read() {
        let line = format!("{} {} refs/heads/main\n", "0".repeat(40), "a".repeat(40));
        let update = RefUpdate::from_line(&line).expect("a good line");
        assert_eq!(update.branch(), Some("main"));
        assert_eq!(update.new.map(String::from), Some("a".repeat(40)));
    }

    #[test]
    fn an_all_zero_new_id_is_a_deletion() {
        let line = format!("{} {} refs/tags/v1", "a".repeat(40), "0".repeat(40));
        let update = RefUpdate::from_line(&line).expect("a good line");
        assert_eq!((update.new.clone(), update.branch()), (None, None));
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        let id = "a".repeat(40);
        assert_eq!(RefUpdate::from_line(""), Err(LineError::Fields));
        assert_eq!(RefUpdate::from_line(&format!("{id} {id} ")), Err(LineError::Fields));
        assert_eq!(RefUpdate::from_line(&format!("{id} xyz refs/heads/main")), Err(LineError::Id));
        assert_eq!(RefUpdate::from_line(&"a".repeat(9_999)), Err(LineError::Long));
    }
}
