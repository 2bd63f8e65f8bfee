//! Records as downloads: of a session, of one of its texts, or of what a link shows.

use std::{
    collections::HashMap,
    io::{Cursor, Write as _},
};

use app::{
    found::{Found, found, names},
    services::{Owner, ServiceError},
};
use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use extract::export::{Document, File, Format, Layer, Options, export};
use protocol::{Language, view::Snapshot};
use serde::Deserialize;
use serde_json::Value;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    AppState, Asker,
    forms::{attachment, failed},
};

/// What is wanted of an export.
#[derive(Debug, Default, Deserialize)]
pub struct Wanted {
    /// [`Format::name`]; JSON when none is named.
    #[serde(default)]
    format: String,
    /// Leave out all texts but the one of this id.
    #[serde(default)]
    text: String,
    /// Present: with what people said. Absent: what the models said alone.
    judgements: Option<String>,
    /// Present: tables begin with a byte order mark.
    bom: Option<String>,
}

/// `GET /sessions/{id}/export`: the owner's session.
pub async fn session(
    State(state): State<AppState>,
    Extension(owner): Extension<Owner>,
    asker: Asker,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let back = format!("/sessions/{id}");
    let taken = async {
        let snapshot = match wanted.text.as_str() {
            "" => state.studio.preview(owner, &id).await?,
            // One text of a session that may be too large to be read as a whole.
            text => state.studio.preview_text(owner, &id, text).await?,
        };
        let ids = state.studio.store.row_ids(owner.0, &id).await.map_err(|e| internal(&e.to_string()))?;
        download(snapshot, ids, wanted, asker.language).await
    };
    taken.await.unwrap_or_else(|error| failed(asker, &error, &back))
}

/// `GET /s/{token}/export`: what a link shows, for anybody who has it.
pub async fn shared(
    State(state): State<AppState>,
    asker: Asker,
    Path(token): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    let back = format!("/s/{token}");
    let taken = async {
        let snapshot = state.studio.snapshot(&token).await?;
        download(snapshot, Vec::new(), wanted, asker.language).await
    };
    taken.await.unwrap_or_else(|error| failed(asker, &error, &back))
}

/// The texts of a batch go out with the `ids` of their file, by documents, and in its order.
async fn download(
    snapshot: Snapshot,
    ids: Vec<(String, Value)>,
    wanted: Wanted,
    language: Language,
) -> Result<Response, ServiceError> {
    let format = match wanted.format.as_str() {
        "" => Format::Json,
        name => Format::from_name(name).ok_or_else(|| unknown(name))?,
    };
    let title = snapshot.session.title.clone();
    // A large session is parsed and drawn: not on the threads that serve.
    let made = tokio::task::spawn_blocking(move || make(snapshot, ids, &wanted, format, language)).await;
    let (bytes, media_type, ending) = made.map_err(|e| internal(&e.to_string()))??;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, attachment(&title, &ending)),
    ];
    Ok((headers, bytes).into_response())
}

/// The file, what it is to a browser, and how its name ends.
fn make(
    snapshot: Snapshot,
    ids: Vec<(String, Value)>,
    wanted: &Wanted,
    format: Format,
    language: Language,
) -> Result<(Vec<u8>, &'static str, String), ServiceError> {
    let title = snapshot.session.title.clone();
    let edits = snapshot.edits;
    let mut texts = found(snapshot.session);
    if !wanted.text.is_empty() {
        texts.retain(|text| text.document.id == wanted.text);
    }
    if texts.is_empty() {
        return Err(ServiceError::invalid(
            "There is nothing to export: this session has no texts with records. Extract something first.",
            "没有可导出的内容：此会话没有带抽取结果的文本。请先抽取。",
        ));
    }
    let options =
        Options { title, names: names(&texts), language, bom: wanted.bom.is_some(), edits, ..Options::default() };
    let said = wanted.judgements.is_some() || format == Format::Gold;
    let mut documents: Vec<Document> = texts.into_iter().map(|text| document(text, said)).collect();
    let mut ids: HashMap<String, (usize, String)> =
        ids.into_iter().enumerate().map(|(at, (document, id))| (document, (at, shown(&id)))).collect();
    documents.sort_by_key(|d| ids.get(&d.id).map_or(usize::MAX, |(at, _)| *at));
    for document in &mut documents {
        if let Some((_, id)) = ids.remove(&document.id) {
            document.id = id;
        }
    }
    let files = export(format, &documents, &options);
    if format.is_folder() {
        let bytes = archive(&files).map_err(|e| internal(&e.to_string()))?;
        return Ok((bytes, "application/zip", format!("{}.zip", format.name())));
    }
    let content = files.into_iter().next().map(|file| file.content).unwrap_or_default();
    // Two formats may end alike: the whole file name tells them apart.
    Ok((content.into_bytes(), format.media_type(), format.file_name().to_owned()))
}

fn document(text: Found, said: bool) -> Document {
    let layers = text.columns.into_iter().map(|c| Layer { origin: c.column.into(), records: c.records });
    Document {
        id: text.document.id,
        text: text.document.text,
        layers: layers.collect(),
        judgements: if said { text.document.judgements } else { Vec::new() },
        ..Document::default()
    }
}

/// An id as tables have it.
fn shown(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

fn archive(files: &[File]) -> zip::result::ZipResult<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        zip.start_file(file.name.as_str(), SimpleFileOptions::default())?;
        zip.write_all(file.content.as_bytes())?;
    }
    Ok(zip.finish()?.into_inner())
}

fn unknown(name: &str) -> ServiceError {
    let known: Vec<&str> = Format::ALL.iter().map(|f| f.name()).collect();
    let known = known.join(", ");
    ServiceError::invalid(
        format!("There is no export format \"{name}\". These there are: {known}."),
        format!("没有名为“{name}”的导出格式。可用的有：{known}。"),
    )
}

fn internal(reason: &str) -> ServiceError {
    ServiceError::Internal(protocol::Sentence::new(
        format!("The export could not be made: {reason}. Try again."),
        format!("无法生成导出文件：{reason}。请重试。"),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn several_files_go_into_one_archive() {
        let files = ["a.txt", "a.ann"].map(|name| File { name: name.into(), content: "阳光城".into() });
        let bytes = archive(&files).unwrap();
        let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
        assert_eq!(zip.len(), 2);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut zip.by_name("a.ann").unwrap(), &mut text).unwrap();
        assert_eq!(text, "阳光城");
    }

    #[test]
    fn an_unknown_format_is_refused_with_the_known_ones() {
        let sentence = unknown("xls").sentence(Language::En);
        assert!(sentence.contains("\"xls\"") && sentence.contains("graphml"), "{sentence}");
    }
}
