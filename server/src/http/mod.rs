//! Everything that answers HTTP.
//!
//! From the outside in: security headers, compression, [`guard`] (hosts, origins, sizes), who asks ([`crate::auth`]),
//! then the routes: pages and server functions of the app, the pages' forms without scripts, events, the public API,
//! static files.

mod admin;
mod api;
mod events;
mod export;
mod forms;
pub mod guard;
mod jobs;
mod language;
mod pages;
pub mod plain;
mod schemas;
mod sessions;
pub mod site;
mod upload;

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRef},
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use leptos::config::LeptosOptions;
use tokio::sync::watch;
use tower_http::compression::CompressionLayer;

use crate::{auth::Auth, batch::Batches, jobs::Jobs, reviews::Reviews, services::Studio};

pub use forms::is_own_path;
pub use language::Asker;

/// What the handlers share.
#[derive(Clone)]
pub struct AppState {
    /// The services.
    pub studio: Arc<Studio>,
    /// Files of texts.
    pub batches: Arc<Batches>,
    /// Reviews and graphs of many texts.
    pub reviews: Arc<Reviews>,
    /// Work on model files.
    pub jobs: Arc<Jobs>,
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
        .route("/extractions/{id}/stop", post(forms::stop_extraction))
        .route("/extractions/{id}/missing", post(forms::ask_missing))
        .route("/schemas", post(schemas::save))
        .route("/schemas/{id}/rename", post(schemas::rename))
        .route("/schemas/{id}/delete", post(schemas::delete))
        .route("/schemas/{id}/restore", post(schemas::restore))
        .route("/schemas/{id}/{file}", get(schemas::download))
        .route("/schemas/take", post(schemas::take))
        .route("/schemas/{id}/share", post(schemas::share))
        .route("/s/schema/{token}/{file}", get(schemas::download_shared))
        .route("/sessions/{id}/share", post(sessions::share))
        .route("/sessions/{id}/rename", post(sessions::rename))
        .route("/sessions/{id}/delete", post(sessions::delete))
        .route("/sessions/{id}/restore", post(sessions::restore))
        .route("/shares/{id}/revoke", post(sessions::revoke))
        .route("/sessions/{id}/export.html", get(forms::export))
        .route("/sessions/{id}/export", get(export::session))
        .route("/s/{token}/export", get(export::shared))
        .route("/admin/load", post(admin::load))
        .route("/admin/unload", post(admin::unload))
        .route("/admin/weights/start", post(jobs::begin))
        .route("/admin/weights/{id}/{act}", post(jobs::act))
        // The guard limits it, to more than other bodies.
        .route("/batch/upload", post(upload::receive).layer(DefaultBodyLimit::disable()))
        .route("/files/open", post(upload::open).layer(DefaultBodyLimit::disable()))
        .route("/batch/start", post(upload::start))
        .route("/batch/{session}/{act}", post(upload::act))
        .route("/batch/{session}/download", get(upload::download))
        .route("/prefs", post(forms::prefs))
        .route("/generate", post(api::generate))
        .route("/is_ready", get(api::is_ready))
        .route("/health", get(api::health));
    let routes = pages::add(routes, &state);
    let routes = crate::auth::add(routes, &state);
    routes
        .layer(from_fn(guard::limit))
        .layer(from_fn_with_state(Arc::clone(&state.guard), guard::check))
        .layer(CompressionLayer::new())
        .layer(from_fn(guard::headers))
        .with_state(state)
}
