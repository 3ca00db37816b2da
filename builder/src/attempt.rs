//! A deploy as a thing that may end the builder itself: it is counted on disk before it begins.

use func_model::{AppName, Revision};
use func_store::{Manifests, StoreError};
use tracing::warn;

use crate::text::chain;

/// A deploy that goes on. However it ends, dropping this forgets it; what stays on disk is a deploy during which the
/// builder was killed.
#[derive(Debug)]
pub struct Attempt {
    manifests: Manifests,
    app: AppName,
}

impl Attempt {
    /// Counts one more attempt, durably.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn begin(manifests: &Manifests, app: &AppName, revision: &Revision) -> Result<Self, StoreError> {
        manifests.set_attempts(app, revision, manifests.attempts(app, revision)?.saturating_add(1))?;
        Ok(Self { manifests: manifests.clone(), app: app.clone() })
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Err(e) = self.manifests.forget_attempts(&self.app) {
            warn!(app.name = %self.app, error = %chain(&e), "this deploy of {} counts as cut short", self.app);
        }
    }
}
