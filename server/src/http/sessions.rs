//! Sessions and their links for browsers without scripts: new titles, deleting and bringing back, making and closing links.

use app::services::{Owner, Services};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Redirect, Response},
};

use super::{
    AppState, Asker,
    forms::{Fields, failed, onward, origin, status_of},
    plain,
};

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

/// `POST /sessions/{id}/share`: makes a link and shows it.
pub async fn share(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let note = Fields::read(&body).get("note").to_owned();
    let back = format!("/sessions/{id}");
    match state.studio.share(owner, &id, &note, &origin(&headers)).await {
        Ok(share) => {
            let title = asker.language.pick("A link to this session as it is now", "此会话当前内容的链接");
            plain::link(asker, title, &share, &format!("{back}/export.html"), &back)
        }
        Err(error) => failed(asker, &error, &back),
    }
}

/// `POST /shares/{id}/revoke`: closes a link and shows the session or schema that it showed.
pub async fn revoke(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    onward(asker, state.studio.revoke(owner, &id).await, "/sessions")
}
