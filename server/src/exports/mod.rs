//! Texts as they are exported: those of a session that is read as a whole here, those of one that is too large for that
//! group by group in [`large`].

pub mod large;

use std::collections::{HashMap, HashSet};

use app::{
    doubts::{Doubt, doubts},
    found::{Found, FoundColumn, found, names},
};
use extract::{
    export::{Document, Layer},
    output::MadeBy,
};
use protocol::{
    Sentence, SessionView, review,
    view::{DocumentView, Snapshot},
};
use serde_json::{Map, Value};

/// What the file of a batch has to say of its texts.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    ids: HashMap<String, (usize, String)>,
    failed: HashMap<String, Sentence>,
}

impl Rows {
    /// `ids`: what the file calls its texts, by documents, in its order. `failed`: those that have no answer, with why.
    pub fn new(ids: Vec<(String, Value)>, failed: Vec<(String, Sentence)>) -> Self {
        // As tables have them.
        let shown = |id: Value| id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let place = |(at, (document, id)): (usize, (String, Value))| (document, (at, shown(id)));
        Self { ids: ids.into_iter().enumerate().map(place).collect(), failed: failed.into_iter().collect() }
    }
}

/// Texts as they are exported, with the lists of names that they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Exported {
    /// The texts.
    pub documents: Vec<Document>,
    /// The names, by which colours are given.
    pub names: Vec<Vec<String>>,
}

/// The texts of a session; those of a batch with the ids of its file, and in its order. `reviewed`: the texts that a person has gone
/// through, where what people said goes along.
pub fn exported(session: SessionView, rows: &Rows, reviewed: Option<&HashSet<String>>) -> Exported {
    let state = |id: &str| reviewed.map(|reviewed| reviewed.contains(id));
    let without_answer: Vec<DocumentView> =
        session.documents.iter().filter(|document| rows.failed.contains_key(&document.id)).cloned().collect();
    let texts = found(session);
    let names = names(&texts);
    let mut documents: Vec<Document> = texts
        .into_iter()
        .map(|text| {
            let reviewed = state(&text.document.id);
            document(text, reviewed)
        })
        .collect();
    let answered: HashSet<String> = documents.iter().map(|document| document.id.clone()).collect();
    for text in without_answer.into_iter().filter(|text| !answered.contains(&text.id)) {
        if let Some(reason) = rows.failed.get(&text.id) {
            let reviewed = state(&text.id);
            documents.push(without(text, reason, reviewed));
        }
    }
    documents.sort_by_key(|document| rows.ids.get(&document.id).map_or(usize::MAX, |(at, _)| *at));
    for document in &mut documents {
        if let Some((_, id)) = rows.ids.get(&document.id) {
            document.id.clone_from(id);
        }
    }
    Exported { documents, names }
}

/// One text of a session, and nothing about the others.
pub fn only(snapshot: Snapshot, text: &str) -> Snapshot {
    let Snapshot { mut session, .. } = snapshot;
    session.documents.retain(|document| document.id == text);
    session.runs.retain(|run| run.document.as_deref() == Some(text));
    session.extractions.retain(|extraction| extraction.document == text);
    Snapshot { session, ..snapshot }
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

/// A text of a batch that has no answer.
fn without(text: DocumentView, reason: &Sentence, reviewed: Option<bool>) -> Document {
    Document {
        id: text.id,
        text: text.text,
        state: reviewed.map(|reviewed| review::State::of(reviewed, true, &text.judgements)),
        judgements: if reviewed.is_some() { text.judgements } else { Vec::new() },
        extra: Map::from_iter([("error".to_owned(), Value::from(reason.en.clone()))]),
        ..Document::default()
    }
}
