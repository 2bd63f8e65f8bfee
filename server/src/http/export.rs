//! Records as downloads: of a session, of one of its texts, or of what a link shows.

use std::{
    collections::HashSet,
    io::{Cursor, Write as _},
};

use app::services::{Owner, ServiceError};
use axum::{
    Extension,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use extract::export::{Document, File, Format, Options, Writer, export};
use protocol::{Language, Sentence, view::Snapshot};
use serde::Deserialize;
use tokio::sync::Semaphore;
use zip::{ZipWriter, write::SimpleFileOptions};

use super::{
    AppState, Asker,
    forms::{SESSION, attachment, failed},
};
use crate::{
    corpus::computed,
    exports::{Exported, Rows, exported, large, only},
    pool::refused_by_store,
};

/// Graphs of large sessions that are made at a time: the records of all texts are in memory for one.
static GATHERING: Semaphore = Semaphore::const_new(1);

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
        if wanted.text.is_empty() && state.studio.is_large(owner, &id).await?.is_some() {
            let (batch, title) = store.batch(owner.0, &id).await.map_err(refused_by_store)?;
            let edits = state.studio.graph_edits(owner, &id).await?;
            let texts = large::Texts::of_batch(store.clone(), batch, wanted.with_gold(format));
            return from_large(texts, format, Options { title, edits, ..wanted.options(asker.language) }).await;
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
        download(snapshot, Rows::new(ids, failed), wanted, format, asker.language).await
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
    let store = &state.studio.store;
    let taken = async {
        let format = wanted.format()?;
        let mut share = state.studio.opened(&token).await?;
        let ids = store.row_ids(share.owner, &share.snapshot.session.id).await.map_err(refused_by_store)?;
        let rows = Rows::new(ids, Vec::new());
        if share.texts > 0 && wanted.text.is_empty() {
            let (title, edits) = (share.snapshot.session.title.clone(), share.snapshot.edits.clone());
            let texts = large::Texts::of_link(store.clone(), share, rows, wanted.with_gold(format));
            return from_large(texts, format, Options { title, edits, ..wanted.options(asker.language) }).await;
        }
        if share.texts > 0 {
            let text = store.shared_text(&share, &wanted.text).await.map_err(refused_by_store)?;
            share.snapshot.session = text.of(share.snapshot.session);
        }
        download(share.snapshot, rows, wanted, format, asker.language).await
    };
    taken.await.unwrap_or_else(|error| failed(asker, &error, &back))
}

/// Texts that the store is asked about at a time.
const ASKED_AT_ONCE: usize = 500;

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

    fn options(&self, language: Language) -> Options {
        Options { language, bom: self.bom.is_some(), ..Options::default() }
    }
}

fn headers(media_type: &'static str, title: &str, ending: &str) -> [(header::HeaderName, HeaderValue); 2] {
    [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CONTENT_DISPOSITION, attachment(SESSION, title, ending)),
    ]
}

/// A session that is too large to be read as a whole: made while it is sent, or of its records alone.
async fn from_large(texts: large::Texts, format: Format, options: Options) -> Result<Response, ServiceError> {
    let headers = headers(format.media_type(), &options.title, format.file_name());
    if let Some(writer) = Writer::new(format, &options) {
        return Ok((headers, large::sent(texts, writer)).into_response());
    }
    if !format.is_graph() {
        return Err(needs_all(format));
    }
    // It is never closed.
    let _place = GATHERING.acquire().await;
    let Exported { documents, names } = large::gathered(texts).await?;
    let options = Options { names, ..options };
    let content = computed(move || content_of(export(format, &documents, &options))).await?;
    Ok((headers, content).into_response())
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
    let made = tokio::task::spawn_blocking(move || make(snapshot, &rows, &wanted, format, language)).await;
    let (bytes, media_type, ending) = made.map_err(|e| internal(&e.to_string()))??;
    Ok((headers(media_type, &title, &ending), bytes).into_response())
}

/// The file, what it is to a browser, and how its name ends.
fn make(
    snapshot: Snapshot,
    rows: &Rows,
    wanted: &Wanted,
    format: Format,
    language: Language,
) -> Result<(Vec<u8>, &'static str, String), ServiceError> {
    let snapshot = if wanted.text.is_empty() { snapshot } else { only(snapshot, &wanted.text) };
    let Snapshot { session, edits, reviewed, .. } = snapshot;
    let title = session.title.clone();
    let reviewed: HashSet<String> = reviewed.into_iter().collect();
    let Exported { documents, names } = exported(session, rows, wanted.with_gold(format).then_some(&reviewed));
    if documents.is_empty() {
        return Err(ServiceError::invalid(
            "There is nothing to export: this session has no texts with records. Extract something first.",
            "没有可导出的内容：此会话没有带抽取结果的文本。请先抽取。",
        ));
    }
    if format == Format::Gold && !documents.iter().any(Document::is_gold) {
        return Err(no_gold());
    }
    let files = export(format, &documents, &Options { title, names, edits, ..wanted.options(language) });
    if format.is_folder() {
        let bytes = archive(&files).map_err(|e| internal(&e.to_string()))?;
        return Ok((bytes, "application/zip", format!("{}.zip", format.name())));
    }
    // Two formats may end alike: the whole file name tells them apart.
    Ok((content_of(files).into_bytes(), format.media_type(), format.file_name().to_owned()))
}

fn content_of(files: Vec<File>) -> String {
    files.into_iter().next().map(|file| file.content).unwrap_or_default()
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

/// A format of which one file holds all texts, and there are too many of them.
fn needs_all(format: Format) -> ServiceError {
    let name = format.name();
    let others = names_of(|other| other.is_graph() || Writer::new(other, &Options::default()).is_some());
    ServiceError::invalid(
        format!("There are too many texts here for one {name} export. These formats take them: {others}."),
        format!("文本过多，无法导出为一个 {name} 文件。以下格式可以：{others}。"),
    )
}

/// The names of the formats that are so, as a list.
fn names_of(so: impl Fn(Format) -> bool) -> String {
    Format::ALL.into_iter().filter(|format| so(*format)).map(Format::name).collect::<Vec<_>>().join(", ")
}

fn unknown(name: &str) -> ServiceError {
    let known = names_of(|_| true);
    ServiceError::invalid(
        format!("There is no export format \"{name}\". These there are: {known}."),
        format!("没有名为“{name}”的导出格式。可用的有：{known}。"),
    )
}

fn internal(reason: &str) -> ServiceError {
    ServiceError::Internal(Sentence::new(
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

    #[test]
    fn what_needs_all_texts_at_once_names_the_formats_that_do_not() {
        let sentence = needs_all(Format::Html).sentence(Language::En);
        assert_eq!(
            sentence,
            "There are too many texts here for one html export. These formats take them: json, jsonl, gold, csv, markdown, doccano, \
             turtle, cypher, nodes, edges, graphml, svg."
        );
    }
}
