//! What the post-receive hook says of the deploy. Git ignores a hook's exit status, so it comes by a file.

use std::path::Path;

use func_store::DataDir;
use tempfile::NamedTempFile;

use crate::HostError;
use crate::error::io_error;

/// An empty file in `run/githost/`, removed with this. The hook writes `failed` into it when the deploy failed.
pub(crate) struct Verdict {
    file: NamedTempFile,
}

impl Verdict {
    /// Makes the file.
    ///
    /// # Errors
    /// [`HostError::Io`].
    pub(crate) fn new(data: &DataDir) -> Result<Self, HostError> {
        let run = data.git();
        let file = tempfile::Builder::new().prefix("verdict-").tempfile_in(&run);
        Ok(Self { file: file.map_err(io_error("make a file in", run))? })
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Whether the hook wrote that the deploy failed.
    pub(crate) fn is_failed(&self) -> bool {
        // A hook that replaced or removed the file is a hook that said nothing else.
        std::fs::read(self.path()).is_ok_and(|text| text.trim_ascii() == b"failed")
    }
}
