//! Records as downloads: of a session, of one of its texts, or of what a link shows.

use std::{
    collections::{HashMap, HashSet},
    io::{Cursor, Write as _},
};

use app::{
    doubts::{Doubt, doubts},
    found::{Found, FoundColumn, found, names},
    services::{Owner, ServiceError},
};
use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use extract::{
    export::{Document, File, Format, Layer, Options, export},
    output::MadeBy,
};
use protocol::{
    Language, Sentence, review,
    view::{DocumentView, Snapshot},
};
use serde::Deserialize;
use serde_json::{Map, Value};
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    AppState, Asker,
    forms::{attachment, failed},
};
use crate::{batch, pool::refused_by_store};

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
    let store = &state.studio.store;
    let taken = async {
        let format = wanted.format()?;
        if let Some(lines) = lines(format).filter(|_| wanted.text.is_empty())
            && state.studio.is_large(owner, &id).await?.is_some()
        {
            let (batch, title) = store.batch(owner.0, &id).await.map_err(refused_by_store)?;
            let said = wanted.with_gold(format);
            let body = batch::export::session(store.clone(), batch, lines, said, wanted.bom.is_some());
            return Ok((headers(format.media_type(), &title, format.file_name()), body).into_response());
        }
        let snapshot = match wanted.text.as_str() {
            "" => state.studio.preview(owner, &id).await?,
            // One text of a session that may be too large to be read as a whole.
            text => state.studio.preview_text(owner, &id, text).await?,
        };
        let ids = store.row_ids(owner.0, &id).await.map_err(refused_by_store)?;
        let texts: Vec<String> = snapshot.session.documents.iter().map(|d| d.id.clone()).collect();
        let mut failed = Vec::new();
        for some in texts.chunks(ASKED_AT_ONCE).filter(|_| !ids.is_empty()) {
            failed.extend(store.failed_of(owner.0, &id, some).await.map_err(refused_by_store)?);
        }
        download(snapshot, Rows { ids, failed }, wanted, format, asker.language).await
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
        let format = wanted.format()?;
        let snapshot = state.studio.snapshot(&token).await?;
        let ids = state.studio.shared_ids(&token).await?;
        download(snapshot, Rows { ids, failed: Vec::new() }, wanted, format, asker.language).await
    };
    taken.await.unwrap_or_else(|error| failed(asker, &error, &back))
}

/// Texts that the store is asked about at a time.
const ASKED_AT_ONCE: usize = 500;

/// What the file of a batch has to say of its texts.
struct Rows {
    /// The ids that it gives them, by documents, in its order.
    ids: Vec<(String, Value)>,
    /// Those that failed, with why.
    failed: Vec<(String, Sentence)>,
}

impl Wanted {
    fn format(&self) -> Result<Format, ServiceError> {
        match self.format.as_str() {
            "" => Ok(Format::Json),
            name => Format::from_name(name).ok_or_else(|| unknown(name)),
        }
    }

    /// Whether what people said goes along.
    fn with_gold(&self, format: Format) -> bool {
        self.judgements.is_some() || format == Format::Gold
    }
}

/// The formats that are made row by row, whatever the number of rows.
fn lines(format: Format) -> Option<Format> {
    matches!(format, Format::Jsonl | Format::Gold | Format::Csv).then_some(format)
}

fn headers(media_type: &'static str, title: &str, ending: &str) -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, attachment(title, ending)),
    ]
}

/// The texts of a batch go out with the ids of their file, and in its order.
async fn download(
    snapshot: Snapshot,
    rows: Rows,
    wanted: Wanted,
    format: Format,
    language: Language,
) -> Result<Response, ServiceError> {
    let title = snapshot.session.title.clone();
    // A large session is parsed and drawn: not on the threads that serve.
    let made = tokio::task::spawn_blocking(move || make(snapshot, rows, &wanted, format, language)).await;
    let (bytes, media_type, ending) = made.map_err(|e| internal(&e.to_string()))??;
    Ok((headers(media_type, &title, &ending), bytes).into_response())
}

/// The file, what it is to a browser, and how its name ends.
fn make(
    snapshot: Snapshot,
    rows: Rows,
    wanted: &Wanted,
    format: Format,
    language: Language,
) -> Result<(Vec<u8>, &'static str, String), ServiceError> {
    let title = snapshot.session.title.clone();
    let edits = snapshot.edits;
    let reviewed: HashSet<String> = snapshot.reviewed.into_iter().collect();
    let mut failed: HashMap<String, Sentence> = rows.failed.into_iter().collect();
    let without_answer: Vec<DocumentView> =
        snapshot.session.documents.iter().filter(|document| failed.contains_key(&document.id)).cloned().collect();
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
    let said = wanted.with_gold(format);
    let mut documents: Vec<Document> = texts
        .into_iter()
        .map(|text| {
            let reviewed = reviewed.contains(&text.document.id);
            document(text, said.then_some(reviewed))
        })
        .collect();
    for text in without_answer {
        let Some(reason) = failed.remove(&text.id).filter(|_| !documents.iter().any(|d| d.id == text.id)) else {
            continue;
        };
        documents.push(without(text, &reason, said.then_some(&reviewed)));
    }
    if format == Format::Gold && !documents.iter().any(Document::is_gold) {
        return Err(no_gold());
    }
    let mut ids: HashMap<String, (usize, String)> =
        rows.ids.into_iter().enumerate().map(|(at, (document, id))| (document, (at, shown(&id)))).collect();
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

/// A text as it is exported: with what people said where it is told whether they have gone through it.
fn document(text: Found, reviewed: Option<bool>) -> Document {
    let failed = doubts(&text).contains_key(&Doubt::Failed);
    let (name, version) = text.asked.map_or((None, None), |schema| (Some(schema.name), schema.version));
    let state = reviewed.map(|reviewed| review::State::of(reviewed, failed, &text.document.judgements));
    let layer = |c: FoundColumn| Layer {
        made_by: Some(MadeBy {
            origin: c.column.into(),
            model: c.model,
            adapter: c.adapter,
            schema: name.clone().filter(|name| !name.is_empty()),
            schema_version: version,
        }),
        runs: c.runs,
        ..Layer::new(c.column.into(), c.records)
    };
    Document {
        id: text.document.id,
        text: text.document.text,
        layers: text.columns.into_iter().map(layer).collect(),
        judgements: if reviewed.is_some() { text.document.judgements } else { Vec::new() },
        state,
        ..Document::default()
    }
}

/// A text of a batch that has no answer; `reviewed` where what people said goes along.
fn without(text: DocumentView, reason: &Sentence, reviewed: Option<&HashSet<String>>) -> Document {
    let state = reviewed.map(|reviewed| review::State::of(reviewed.contains(&text.id), true, &text.judgements));
    Document {
        id: text.id,
        text: text.text,
        judgements: if reviewed.is_some() { text.judgements } else { Vec::new() },
        state,
        extra: Map::from_iter([("error".to_owned(), Value::from(reason.en.clone()))]),
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

fn no_gold() -> ServiceError {
    ServiceError::invalid(
        "There is no gold to export: no text is judged as a whole. Accept texts in the review, or judge every record of them.",
        "没有可导出的标准答案：还没有一段文本被完整判定。请在审阅中接受文本，或判定其全部结果。",
    )
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
