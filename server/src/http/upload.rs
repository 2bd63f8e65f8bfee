//! Batches over HTTP: files come in, forms begin and steer batches, results go out. None of it needs scripts.

use app::services::{Owner, ServiceError};
use axum::{
    Extension, Json,
    body::{Body, Bytes},
    extract::{Multipart, Path, RawQuery, State, multipart::Field},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use futures::StreamExt as _;
use protocol::{
    Language, Sentence,
    batch::{NewBatch, OpenedFile},
};
use tokio::io::AsyncWriteExt;

use super::{
    AppState, Asker,
    forms::{Fields, SESSION, attachment, failed, onward, status_of},
};
use crate::{
    batch::{
        Act,
        export::{self, Format},
        upload::{As, Incoming, MAX_BYTES, MAX_FILES},
    },
    pool::refused_parameter,
};

/// `POST /batch/upload`: reads files, or what was pasted, and leads to the choice of columns.
pub async fn receive(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    form: Multipart,
) -> Response {
    let taken = take(&state, owner, form).await;
    onward(asker, taken.map(|id| format!("/batch?upload={id}")), "/batch")
}

async fn take(state: &AppState, owner: Owner, mut form: Multipart) -> Result<String, ServiceError> {
    let mut files: Vec<Incoming> = Vec::new();
    let mut plain = As::default();
    let mut left = MAX_BYTES;
    while let Some(field) = form.next_field().await.map_err(|e| broken_off(&e))? {
        let field_name = field.name().unwrap_or_default().to_owned();
        match field_name.as_str() {
            "as" => plain = As::from_name(&field.text().await.map_err(|e| broken_off(&e))?),
            "pasted" | "file" => {
                let name = match field.file_name() {
                    Some(name) if field_name == "file" => name.to_owned(),
                    _ => "pasted.txt".to_owned(),
                };
                if let Some(file) = store(state, field, &name, &mut left).await? {
                    files.push(file);
                }
                if files.len() > MAX_FILES {
                    return Err(ServiceError::invalid(
                        format!("There are more than {MAX_FILES} files; upload fewer at a time."),
                        format!("文件超过 {MAX_FILES} 个，请分批上传。"),
                    ));
                }
            }
            _ => {}
        }
    }
    if files.is_empty() {
        return Err(ServiceError::invalid(
            "There is nothing to read: choose a file, or paste texts.",
            "没有可读取的内容：请选择文件或粘贴文本。",
        ));
    }
    Ok(state.batches.receive(owner, files, plain).await?.id)
}

/// Writes what comes in to a file of ours; nothing where nothing comes.
async fn store(
    state: &AppState,
    mut field: Field<'_>,
    name: &str,
    left: &mut usize,
) -> Result<Option<Incoming>, ServiceError> {
    let mut open: Option<(Incoming, tokio::fs::File)> = None;
    let lost = |e: std::io::Error| crate::batch::upload::lost(&e);
    while let Some(bytes) = field.chunk().await.map_err(|e| broken_off(&e))? {
        *left = left.checked_sub(bytes.len()).ok_or_else(too_large)?;
        // A box left empty sends blanks at most, and a choice of no file an empty one.
        if open.is_none() && (bytes.is_empty() || name == "pasted.txt" && bytes.iter().all(u8::is_ascii_whitespace)) {
            continue;
        }
        let file = match &mut open {
            Some((_, file)) => file,
            None => {
                let incoming = state.batches.incoming(name)?;
                let file = tokio::fs::File::create(&incoming.file.0).await.map_err(lost)?;
                &mut open.insert((incoming, file)).1
            }
        };
        file.write_all(&bytes).await.map_err(lost)?;
    }
    match open {
        Some((incoming, mut file)) => {
            file.flush().await.map_err(lost)?;
            Ok(Some(incoming))
        }
        None => Ok(None),
    }
}

fn too_large() -> ServiceError {
    let limit = MAX_BYTES / 1024 / 1024;
    ServiceError::invalid(
        format!("That is more than {limit} MiB at once: split it, or use `knowlm extract`."),
        format!("单次上传超过 {limit} MiB，请拆分，或使用 `knowlm extract`。"),
    )
}

fn broken_off(error: &axum::extract::multipart::MultipartError) -> ServiceError {
    if error.status() == axum::http::StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    let said = error.body_text();
    ServiceError::invalid(
        format!("The upload broke off ({said}). Send it again."),
        format!("上传中断（{said}），请重新上传。"),
    )
}

/// `POST /files/open?name=…`: the text of the file that is the body, for the text box of a page; JSON.
pub async fn open(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Response {
    let name = Fields::read(query.unwrap_or_default().as_bytes()).get("name").to_owned();
    let opened = async {
        let file = received(&state, &name, body).await?;
        state.batches.open(owner, file).await
    };
    match opened.await {
        Ok(opened) => Json(opened).into_response(),
        Err(error) => {
            let said = Sentence::new(error.sentence(Language::En), error.sentence(Language::Zh));
            (status_of(&error), Json(OpenedFile::Refused(said))).into_response()
        }
    }
}

/// A body, written to a file of ours.
async fn received(state: &AppState, name: &str, body: Body) -> Result<Incoming, ServiceError> {
    let lost = |e: std::io::Error| crate::batch::upload::lost(&e);
    let incoming = state.batches.incoming(name)?;
    let mut file = tokio::fs::File::create(&incoming.file.0).await.map_err(lost)?;
    let mut chunks = body.into_data_stream();
    while let Some(bytes) = chunks.next().await {
        let bytes = bytes.map_err(|e| {
            ServiceError::invalid(
                format!("The file broke off on its way, or is larger than 50 MiB ({e}). Open it again."),
                format!("文件传输中断，或超过 50 MiB（{e}）。请重新打开。"),
            )
        })?;
        file.write_all(&bytes).await.map_err(lost)?;
    }
    file.flush().await.map_err(lost)?;
    Ok(incoming)
}

/// `POST /batch/start`: begins a batch with an uploaded file.
pub async fn start(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    body: Bytes,
) -> Response {
    let fields = Fields::read(&body);
    let new = NewBatch {
        upload: fields.get("upload").to_owned(),
        text_column: fields.get("text_column").to_owned(),
        id_column: Some(fields.get("id_column").to_owned()).filter(|column| !column.is_empty()),
        schema: fields.get("schema").to_owned(),
        compare: fields.get("variant") == "both",
        asking: fields.asking(),
        all: fields.get("rows") == "all",
        language: asker.language,
    };
    let back = format!("/batch?upload={}", new.upload);
    let begun = async {
        let (schema, _) = app::services::Services::schema(&*state.studio, owner, &new.schema).await?;
        let mut parameters = state.studio.defaults(state.studio.pool.adapter().as_ref()).lora;
        parameters.set_text("samples", fields.get("param-samples")).map_err(|error| refused_parameter(&error))?;
        state.batches.begin(owner, &new, schema.named(new.language), parameters).await
    };
    onward(asker, begun.await.map(|session| format!("/batch?session={session}")), &back)
}

/// `POST /batch/{session}/{act}`: all, on, retry or stop.
pub async fn act(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path((session, act)): Path<(String, String)>,
) -> Response {
    let done = match Act::from_name(&act) {
        Some(act) => state.batches.act(owner, &session, act).await,
        None => Err(ServiceError::invalid("There is no such step.", "没有这个操作。")),
    };
    onward(asker, done.map(|()| format!("/batch?session={session}")), "/batch")
}

/// `GET /batch/{session}/download`: the results with the file's other columns.
pub async fn download(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(session): Path<String>,
    RawQuery(query): RawQuery,
) -> Response {
    let fields = Fields::read(query.unwrap_or_default().as_bytes());
    let (format, ending, kind) = match fields.get("format") {
        "csv" => (Format::Csv { bom: fields.get("bom") == "on" }, "csv", "text/csv; charset=utf-8"),
        "gold" => (Format::Gold, "gold.jsonl", "application/x-ndjson"),
        _ => (Format::JsonLines, "jsonl", "application/x-ndjson"),
    };
    match state.studio.store.batch(owner.0, &session).await {
        Ok((batch, title)) => {
            let headers = [
                (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
                (header::CONTENT_DISPOSITION, attachment(SESSION, &title, ending)),
            ];
            (headers, export::body(state.studio.store.clone(), batch, format)).into_response()
        }
        Err(error) => failed(asker, &crate::pool::refused_by_store(error), "/batch"),
    }
}
