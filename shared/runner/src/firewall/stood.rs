//! What stood after rules were made.
//!
//! A tool lists rules otherwise than it was given them. Whether they still stand is therefore seen by comparing what it
//! lists now with what it listed just after they were made.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By network: what was asked for, and how it was listed. A clone is the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Stood(Arc<Mutex<HashMap<String, (String, String)>>>);

impl Stood {
    /// Returns whether what was asked for is still wanted, and is still listed as it was.
    pub(super) fn is(&self, name: &str, wanted: &str, listed: &str) -> bool {
        let stood = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stood.get(name).is_some_and(|(asked, stood)| asked == wanted && stood == listed)
    }

    pub(super) fn note(&self, name: &str, wanted: String, listed: String) {
        let mut stood = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stood.insert(name.to_owned(), (wanted, listed));
    }

    pub(super) fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}
