//! Everything that answers HTTP.
//!
//! From the outside in: security headers, compression, [`guard`] (hosts, origins, sizes), who asks ([`crate::auth`]),
//! then the routes: pages and server functions of the app, the pages' forms without scripts, events, the public API,
//! static files.

mod api;
mod events;
mod forms;
pub mod guard;
mod language;
mod pages;
pub mod plain;
pub mod site;

use std::sync::Arc;

use axum::{
    Router,
    extract::FromRef,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use leptos::config::LeptosOptions;
use tokio::sync::watch;
use tower_http::{compression::CompressionLayer, limit::RequestBodyLimitLayer};

use crate::{auth::Auth, services::Studio};

pub use forms::is_own_path;
pub use language::Asker;

/// What the handlers share.
#[derive(Clone)]
pub struct AppState {
    /// The services.
    pub studio: Arc<Studio>,
    /// Where the site's files are.
    pub leptos: LeptosOptions,
    /// Which requests are let in.
    pub guard: Arc<guard::Guard>,
    /// Who asks.
    pub auth: Arc<Auth>,
    /// Turns true when event streams have to end.
    pub closing: watch::Receiver<bool>,
}

impl FromRef<AppState> for LeptosOptions {
    fn from_ref(state: &AppState) -> Self {
        state.leptos.clone()
    }
}

/// All routes, guarded.
pub fn router(state: AppState) -> Router {
    let routes = Router::new()
        .route("/api/events", get(events::events))
        .route("/run", post(forms::run))
        .route("/runs/{id}/stop", post(forms::stop))
        .route("/sessions/{id}/share", post(forms::share))
        .route("/sessions/{id}/export.html", get(forms::export))
        .route("/prefs", post(forms::prefs))
        .route("/generate", post(api::generate))
        .route("/is_ready", get(api::is_ready))
        .route("/health", get(api::health));
    let routes = pages::add(routes, &state);
    let routes = crate::auth::add(routes, &state);
    routes
        .layer(RequestBodyLimitLayer::new(guard::MAX_BODY))
        .layer(from_fn_with_state(Arc::clone(&state.guard), guard::check))
        .layer(CompressionLayer::new())
        .layer(from_fn(guard::headers))
        .with_state(state)
}
