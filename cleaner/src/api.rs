//! What the cleaner answers: on its own socket the apps and their logs, on another one to edges and the builder.

mod apps;
mod disk;
mod flood;
mod logs;
mod rest;
mod starts;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::Cleaner;

/// `cleaner.sock`: for the commands.
pub(crate) fn router(cleaner: Arc<Cleaner>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/apps", get(apps::apps))
        .route("/disk", get(disk::disk))
        .route("/apps/{app}/logs", get(logs::logs))
        .route("/apps/{app}/rest", post(rest::rest))
        .with_state(cleaner)
}

/// `start.sock`: for those who hold a claim. They can ask for nothing else.
pub(crate) fn start_router(cleaner: Arc<Cleaner>) -> Router {
    Router::new().route("/start", post(starts::start)).route("/look", post(starts::look)).with_state(cleaner)
}
