//! Serves a fresh disk usage report.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::apps::failed;
use crate::{Cleaner, budget};

/// Answers with a report; changes nothing.
pub(super) async fn disk(State(cleaner): State<Arc<Cleaner>>) -> Response {
    match budget::measure(&cleaner).await {
        Ok(measured) => Json(measured.report).into_response(),
        Err(e) => failed(&e),
    }
}
