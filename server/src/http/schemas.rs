//! Schemas for browsers without scripts, and as files.

use app::services::{Owner, ServiceError, Services};
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
};
use extract::Schema;
use protocol::view::{SaveSchema, SchemaView};

use super::{
    AppState, Asker,
    forms::{Fields, attachment, failed, onward, origin, status_of},
    plain,
};

/// `POST /schemas`: saves a schema from its text and shows it. What cannot be read goes back to the person.
pub async fn save(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let text = fields.get("text").to_owned();
    let request = SaveSchema {
        id: Some(fields.get("id").to_owned()).filter(|id| !id.is_empty()),
        name: fields.get("name").to_owned(),
        text: text.clone(),
    };
    match state.studio.save_schema(owner, request).await {
        Ok(schema) => Redirect::to(&format!("/schemas/{}", schema.id)).into_response(),
        Err(error) => {
            let language = asker.language;
            let typed =
                [(language.pick("Name", "名称"), fields.get("name")), (language.pick("Schema", "抽取清单"), &text)];
            let typed: Vec<_> = typed.into_iter().filter(|(_, text)| !text.is_empty()).collect();
            plain::refusal_with(status_of(&error), language, &error.sentence(language), &typed, "/schemas")
        }
    }
}

/// `POST /schemas/{id}/rename`: gives a schema another name.
pub async fn rename(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    let name = Fields::read(&body).get("name").to_owned();
    match state.studio.rename_schema(owner, &id, &name).await {
        Ok(()) => Redirect::to("/schemas").into_response(),
        Err(error) => {
            let language = asker.language;
            let typed = [(language.pick("Name", "名称"), name.as_str())];
            let typed = if name.is_empty() { &[][..] } else { &typed[..] };
            plain::refusal_with(status_of(&error), language, &error.sentence(language), typed, "/schemas")
        }
    }
}

/// `POST /schemas/{id}/delete`: deletes a schema, and offers to bring it back.
pub async fn delete(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    match state.studio.set_schema_deleted(owner, &id, true).await {
        Ok(()) => {
            let said = asker.language.pick("The schema is deleted", "抽取清单已删除");
            plain::deleted(asker.language, said, "/schemas", &id)
        }
        Err(error) => failed(asker, &error, "/schemas"),
    }
}

/// `POST /schemas/{id}/restore`: brings a deleted schema back.
pub async fn restore(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
) -> Response {
    let restored = state.studio.set_schema_deleted(owner, &id, false).await;
    onward(asker, restored.map(|()| "/schemas".to_owned()), "/schemas")
}

/// `GET /schemas/{id}/download.{json|yaml}`: the newest version as a file.
pub async fn download(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path((id, file)): Path<(String, String)>,
) -> Response {
    match state.studio.schema(owner, &id).await {
        Ok((view, _)) => as_file(asker, &view, &file),
        Err(error) => failed(asker, &error, "/schemas"),
    }
}

/// `GET /s/schema/{token}/download.{json|yaml}`: what a link shows as a file.
pub async fn download_shared(
    State(state): State<AppState>,
    asker: Asker,
    Path((token, file)): Path<(String, String)>,
) -> Response {
    match state.studio.shared_schema(&token).await {
        Ok(view) => as_file(asker, &view, &file),
        Err(error) => failed(asker, &error, "/"),
    }
}

/// `POST /schemas/take`: saves the schema of a link as one's own, and shows it.
pub async fn take(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    let token = Fields::read(&body).get("token").to_owned();
    let taken = state.studio.take_schema(owner, &token).await;
    onward(asker, taken.map(|schema| format!("/schemas/{}", schema.id)), "/schemas")
}

/// `POST /schemas/{id}/share`: makes a link and shows it.
pub async fn share(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let back = format!("/schemas/{id}");
    match state.studio.share_schema(owner, &id, &origin(&headers)).await {
        Ok(share) => {
            let title = asker.language.pick("A link to this schema as it is now", "此抽取清单当前版本的链接");
            plain::link(asker, title, &share, &format!("{back}/download.json"), &back)
        }
        Err(error) => failed(asker, &error, &back),
    }
}

/// A schema as a file of the kind that its name says.
fn as_file(asker: Asker, view: &SchemaView, file: &str) -> Response {
    let mut schema = match Schema::from_json(&view.json) {
        Ok(schema) => schema,
        Err(error) => {
            let said = error.to_string();
            let error = ServiceError::invalid(
                format!("The schema cannot be read: {said}."),
                format!("无法读取抽取清单：{said}。"),
            );
            return failed(asker, &error, "/schemas");
        }
    };
    // The name goes along.
    if schema.title.en.is_empty() && schema.title.zh.is_empty() {
        schema.title = view.title.clone();
    }
    let (text, kind, ending) = match file {
        "download.json" => (schema.to_json() + "\n", "application/json", "json"),
        "download.yaml" => (schema.to_yaml(), "application/yaml; charset=utf-8", "yaml"),
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let disposition = attachment("schema", &view.named(asker.language).title(), ending);
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind)), (header::CONTENT_DISPOSITION, disposition)], text)
        .into_response()
}
