//! What was found in the texts of a session, read once: for scores, exports and graphs. The pages, which follow runs while
//! they go on, hold the same as signals ([`crate::live`]).

use std::collections::HashMap;

use extract::{Issue, Schema};
use leptos::prelude::*;
use protocol::{
    Column, FinishReason, Record, RunStatus, SessionView,
    view::{DocumentView, NamedSchema},
};

use crate::live::{self, Item};

/// A text and what each column found in it.
#[derive(Clone, Debug)]
pub struct Found {
    /// The text and its judgements.
    pub document: DocumentView,
    /// Base before tuned.
    pub columns: Vec<FoundColumn>,
    /// What was asked for.
    pub schema: Option<Schema>,
    /// The schema by its name and version, where a whole one was asked.
    pub asked: Option<NamedSchema>,
}

/// What one column found.
#[derive(Clone, Debug)]
pub struct FoundColumn {
    /// Which.
    pub column: Column,
    /// The real checkpoint's name.
    pub model: String,
    /// The adapter, if one was applied.
    pub adapter: Option<String>,
    /// Every record, also those that do not stand in the text.
    pub records: Vec<Record>,
    /// For each record the run whose answer it is from.
    pub runs: Vec<Option<String>>,
    /// What is doubtful.
    pub issues: Vec<Issue>,
    /// How each run ended.
    pub ends: Vec<(RunStatus, Option<FinishReason>)>,
    /// Whether the answer says that there is nothing to find.
    pub nothing_found: bool,
}

impl Found {
    /// The column that people judge: the tuned model's, where there is one.
    pub fn main(&self) -> Option<&FoundColumn> {
        self.columns.iter().find(|c| c.column == Column::Tuned).or(self.columns.first())
    }
}

impl FoundColumn {
    /// The records that stand in the text: what counts as found.
    pub fn grounded(&self) -> Vec<Record> {
        self.records.iter().filter(|r| r.grounded()).cloned().collect()
    }
}

/// Reads a session, text by text in its order. Of a text that was asked again, the newest answers. Completions have no
/// text and are left out.
pub fn found(session: SessionView) -> Vec<Found> {
    newest(live::items(session.runs, session.documents, session.extractions)).iter().filter_map(of_item).collect()
}

/// The same with everyone who was asked the same about a text as was last, one after the other: of several adapters each has
/// its column, the newest first.
pub fn variants(session: SessionView) -> Vec<Found> {
    let items = live::items(session.runs, session.documents, session.extractions);
    let mut texts: Vec<Found> = Vec::new();
    for found in items.iter().rev().filter_map(of_item) {
        let Some(known) = texts.iter_mut().find(|text| text.document.id == found.document.id) else {
            texts.push(found);
            continue;
        };
        if known.schema != found.schema {
            continue;
        }
        for column in found.columns {
            let same =
                |c: &FoundColumn| (c.column, &c.model, &c.adapter) == (column.column, &column.model, &column.adapter);
            if !known.columns.iter().any(same) {
                known.columns.push(column);
            }
        }
    }
    texts.iter_mut().for_each(|text| text.columns.sort_by_key(|c| c.column));
    texts.reverse();
    texts
}

/// The lists of names that the texts were asked for, together: by them colours are given.
pub fn names(texts: &[Found]) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    texts.iter().filter_map(|t| t.schema.as_ref()).for_each(|schema| add_names(&mut all, schema.names()));
    all
}

/// Adds lists of names to others, each name once.
pub fn add_names(all: &mut Vec<Vec<String>>, more: Vec<Vec<String>>) {
    all.resize(all.len().max(more.len()), Vec::new());
    for (known, names) in all.iter_mut().zip(more) {
        for name in names {
            if !known.contains(&name) {
                known.push(name);
            }
        }
    }
}

/// Of each text the items asked for last, in the order of the texts.
pub fn newest(items: Vec<Item>) -> Vec<Item> {
    let mut order: Vec<String> = Vec::new();
    let mut last: HashMap<String, Item> = HashMap::new();
    for item in items {
        let Some(id) = item.document.as_ref().map(|d| d.with_untracked(|d| d.id.clone())) else { continue };
        if last.insert(id.clone(), item).is_none() {
            order.push(id);
        }
    }
    order.into_iter().filter_map(|id| last.remove(&id)).collect()
}

/// What an item found, as it is now.
pub fn of_item(item: &Item) -> Option<Found> {
    let document = item.document.as_ref()?.get_untracked();
    let column = |column: Column| {
        let parsed = item.parsed(column)?.get_untracked();
        let first = item.column(column)?.get_untracked();
        let runs = item.runs_of(column);
        let ends = runs.iter().map(|r| r.with_untracked(|r| (r.status, r.finish_reason))).collect();
        let ids: Vec<String> = runs.iter().map(|r| r.with_untracked(|r| r.id.clone())).collect();
        // One answer alone does not say which it is.
        let of = |record: usize| ids.get(parsed.answers.get(record).copied().unwrap_or(0)).cloned();
        let runs = (0..parsed.records.len()).map(of).collect();
        Some(FoundColumn {
            column,
            model: first.model,
            adapter: first.adapter,
            records: parsed.records,
            runs,
            issues: parsed.issues,
            ends,
            nothing_found: parsed.nothing_found,
        })
    };
    Some(Found {
        document,
        columns: [Column::Base, Column::Tuned].into_iter().filter_map(column).collect(),
        schema: item.schema(),
        asked: item.extraction().map(|extraction| extraction.schema.clone()),
    })
}
