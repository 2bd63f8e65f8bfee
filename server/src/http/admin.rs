//! The forms of the model's page, for browsers without scripts.

use app::services::{Owner, ServiceError, Services};
use axum::{
    Extension,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};

use super::{AppState, Asker, forms::failed};

/// `POST /admin/load`: loads the adapter that the form names.
pub async fn load(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    back(asker, state.studio.load_adapter(owner, &name(&body)).await)
}

/// `POST /admin/unload`: takes it out of use.
pub async fn unload(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    back(asker, state.studio.unload_adapter(owner, &name(&body)).await)
}

fn name(body: &[u8]) -> String {
    let field = form_urlencoded::parse(body).find(|(name, _)| name == "name");
    field.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

fn back(asker: Asker, done: Result<(), ServiceError>) -> Response {
    match done {
        Ok(()) => Redirect::to("/admin").into_response(),
        Err(error) => failed(asker, &error, "/admin"),
    }
}
