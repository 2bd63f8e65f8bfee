//! Exports of sessions that are too large to be read as a whole: texts are read group by group. A file that is made text by text is
//! sent while it is made; for one that shows the graph, the records of all texts are gathered without the words of the texts.

use std::{collections::HashSet, sync::Arc};

use app::{found::add_names, services::ServiceError};
use axum::body::{Body, Bytes};
use extract::{
    Schema,
    export::{Document, Writer},
};
use futures::{StreamExt, stream};
use protocol::Record;
use serde_json::Map;

use super::{Exported, Rows, exported};
use crate::{
    batch::export as batch,
    corpus::computed,
    pool::refused_by_store,
    store::{Batch, FullRow, OpenShare, Store},
};

/// Texts of a link that are read at a time.
const GROUP: usize = 100;
/// Bytes that gathered records may take, about; a graph of them takes as much again.
const MOST_BYTES: usize = 96 * 1024 * 1024;
/// What a record takes besides its words, about.
const RECORD: usize = 400;

/// The texts of a large session in the order of its file. Those that wait for an answer are left out.
#[derive(Debug)]
pub struct Texts {
    store: Store,
    source: Source,
    /// Whether what people said goes along.
    said: bool,
    /// Where the next group begins.
    from: usize,
}

#[derive(Debug)]
enum Source {
    /// A batch as it is, with its schema.
    Batch(Arc<(Batch, Schema)>),
    /// What a link shows.
    Link(Arc<Link>),
}

#[derive(Debug)]
struct Link {
    share: OpenShare,
    rows: Rows,
    reviewed: HashSet<String>,
}

impl Texts {
    /// Those of a batch; `said`: with what people said.
    pub fn of_batch(store: Store, batch: Batch, said: bool) -> Self {
        let schema = Schema::from_json(&batch.schema.json).unwrap_or_default();
        Self { store, source: Source::Batch(Arc::new((batch, schema))), said, from: 0 }
    }

    /// Those that a link shows, which are listed apart; `rows`: what their file has to say of them.
    pub fn of_link(store: Store, share: OpenShare, rows: Rows, said: bool) -> Self {
        let reviewed = share.snapshot.reviewed.iter().cloned().collect();
        Self { store, source: Source::Link(Arc::new(Link { share, rows, reviewed })), said, from: 0 }
    }

    /// The next of them; `None` when there are no more.
    ///
    /// # Errors
    /// The database refuses.
    pub async fn next(&mut self) -> Result<Option<Exported>, ServiceError> {
        let said = self.said;
        match &self.source {
            Source::Batch(source) => {
                let source = Arc::clone(source);
                let rows = batch::group(&self.store, &source.0, self.from as i64).await.map_err(refused_by_store)?;
                let Some((last, _)) = rows.last() else { return Ok(None) };
                self.from = last.row.position as usize + 1;
                computed(move || of_rows(&source, &rows, said)).await.map(Some)
            }
            Source::Link(link) => {
                let link = Arc::clone(link);
                if self.from >= link.share.texts {
                    return Ok(None);
                }
                let texts = self.store.shared_texts(&link.share, self.from, GROUP).await.map_err(refused_by_store)?;
                self.from += GROUP;
                let session = texts.of(link.share.snapshot.session.clone());
                computed(move || exported(session, &link.rows, said.then_some(&link.reviewed))).await.map(Some)
            }
        }
    }
}

/// Rows of a batch as texts.
fn of_rows((batch, schema): &(Batch, Schema), rows: &[(FullRow, bool)], said: bool) -> Exported {
    let done = rows.iter().filter(|(full, _)| batch::is_done(full));
    let documents = done.map(|(full, seen)| batch::document(batch, schema, full, said.then_some(*seen))).collect();
    Exported { documents, names: schema.names() }
}

/// A file that is made while it is sent.
pub fn sent(texts: Texts, writer: Writer) -> Body {
    let head = Bytes::from(writer.head().to_owned());
    let rest = stream::unfold(Some((texts, writer)), async |state| {
        let (mut texts, mut writer) = state?;
        match texts.next().await {
            Ok(Some(group)) => {
                let written = Bytes::from(writer.texts(&group.documents));
                Some((Ok(written), Some((texts, writer))))
            }
            Ok(None) => Some((Ok(Bytes::from_static(writer.tail().as_bytes())), None)),
            // The download is cut off, which the browser tells.
            Err(error) => Some((Err(error), None)),
        }
    });
    // Compression asks once more after the end.
    Body::from_stream(stream::iter([Ok::<_, ServiceError>(head)]).chain(rest).fuse())
}

/// The records of all texts, for their graph.
///
/// # Errors
/// The database refuses, or they are too many.
pub async fn gathered(texts: Texts) -> Result<Exported, ServiceError> {
    gathered_within(texts, MOST_BYTES).await
}

async fn gathered_within(mut texts: Texts, most: usize) -> Result<Exported, ServiceError> {
    let mut all = Exported::default();
    let mut bytes = 0;
    while let Some(group) = texts.next().await? {
        add_names(&mut all.names, group.names);
        for document in group.documents.into_iter().filter(says_something) {
            bytes += size(&document);
            if bytes > most {
                return Err(too_many(all.documents.len(), most));
            }
            all.documents.push(Document { text: String::new(), extra: Map::new(), ..document });
        }
    }
    Ok(all)
}

fn says_something(document: &Document) -> bool {
    !document.judgements.is_empty() || document.layers.iter().any(|layer| !layer.records.is_empty())
}

/// Bytes that the records of a text take, about.
fn size(document: &Document) -> usize {
    let found = document.layers.iter().flat_map(|layer| &layer.records);
    let said = document.judgements.iter().map(|judgement| &judgement.record);
    let words =
        |record: &Record| record.mentions().iter().map(|(_, mention)| RECORD + mention.text.len()).sum::<usize>();
    found.chain(said).map(words).sum()
}

fn too_many(texts: usize, most: usize) -> ServiceError {
    let megabytes = most / (1024 * 1024);
    ServiceError::invalid(
        format!(
            "These are too many records for the file of a graph: those of the first {texts} texts fill the {megabytes} MB that it \
             may take. The page of the graph shows the most frequent names, and csv and jsonl take all records."
        ),
        format!(
            "抽取结果过多，无法生成关系图文件：前 {texts} 段文本已占满 {megabytes} MB 的上限。关系图页面显示最常见的名称；csv 和 jsonl 可导出全部结果。"
        ),
    )
}

#[cfg(test)]
mod tests;
