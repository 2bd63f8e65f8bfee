//! `GET /api/events?run=…&run=…`: what the server pushes to a page while its runs go on.

use std::{sync::Arc, time::Duration};

use app::services::Owner;
use axum::{
    Extension, Json,
    extract::{RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{
        IntoResponse, Response,
        sse::{KeepAlive, Sse},
    },
};

use super::AppState;
use crate::hub::{Listener, MAX_STREAMED, parse_last_id};

/// Often enough that no proxy takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Every message is a [`protocol::RunEvent`] as JSON; the last is one named `end`. See [`crate::hub`].
pub async fn events(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let mut runs: Vec<String> = Vec::new();
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name == "run" && !runs.iter().any(|run| *run == value) {
            runs.push(value.into_owned());
        }
    }
    if runs.is_empty() || runs.len() > MAX_STREAMED {
        let error = format!("name 1 to {MAX_STREAMED} runs: /api/events?run=ID&run=ID");
        return (StatusCode::BAD_REQUEST, Json(serde_json::json!({ "error": error }))).into_response();
    }
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let seen = parse_last_id(last, runs.len());
    let stream = Listener { owner: owner.0, runs, seen }.stream(
        Arc::clone(&state.studio.hub),
        state.studio.store.clone(),
        state.closing.clone(),
    );
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}
