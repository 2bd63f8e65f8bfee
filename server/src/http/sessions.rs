//! Sessions and their links for browsers without scripts: new titles, deleting and bringing back, closing links.

use app::services::{Owner, Services};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};

use super::{
    AppState, Asker,
    forms::{Fields, failed, onward, status_of},
    plain,
};
use crate::pool::refused_by_store;

/// `POST /sessions/{id}/rename`: gives a session another title and shows it.
pub async fn rename(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let title = Fields::read(&body).get("title").to_owned();
    let back = format!("/sessions/{id}");
    match state.studio.rename(owner, &id, &title).await {
        Ok(()) => Redirect::to(&back).into_response(),
        Err(error) => {
            let language = asker.language;
            let typed = [(language.pick("Title", "标题"), title.as_str())];
            let typed = if title.is_empty() { &[][..] } else { &typed[..] };
            plain::refusal_with(status_of(&error), language, &error.sentence(language), typed, &back)
        }
    }
}

/// `POST /sessions/{id}/delete`: deletes a session, and offers to bring it back.
pub async fn delete(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    match state.studio.set_deleted(owner, &id, true).await {
        Ok(()) => {
            let said = asker.language.pick("The session is deleted", "会话已删除");
            plain::deleted(asker.language, said, "/sessions", &id)
        }
        Err(error) => failed(asker, &error, "/sessions"),
    }
}

/// `POST /sessions/{id}/restore`: brings a deleted session back.
pub async fn restore(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let restored = state.studio.set_deleted(owner, &id, false).await;
    onward(asker, restored.map(|()| "/sessions".to_owned()), "/sessions")
}

/// `POST /shares/{id}/revoke`: closes a link and shows its session.
pub async fn revoke(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let session = match state.studio.store.session_of_share(owner.0, &id).await {
        Ok(session) => session,
        Err(error) => return failed(asker, &refused_by_store(error), "/sessions"),
    };
    let back = format!("/sessions/{session}");
    let revoked = state.studio.revoke(owner, &id).await;
    onward(asker, revoked.map(|()| back.clone()), &back)
}
