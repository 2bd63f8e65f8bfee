//! JSON: the lines of `knowlm extract`, with where records come from, and gold.

use std::collections::{HashMap, HashSet};

use protocol::{Judgement, Record, Span};
use serde_json::{Map, Value, json};

use super::{Document, Options, Row, rows, verdict_name};
use crate::{
    ground,
    judge::{self, Verdicts},
    offsets::Offsets,
    output::{Extraction, LeftOut},
};

/// An element of the array of all texts, indented, on lines of its own.
pub(super) fn element(document: &Document, options: &Options) -> String {
    // Values only: there is nothing in it that could not be written. Within a string a line break is written as two letters.
    let json = serde_json::to_string_pretty(&text(document, options)).unwrap_or_default();
    format!("\n{json}").replace('\n', "\n  ")
}

/// The line of a text.
pub(super) fn line(document: &Document, options: &Options) -> String {
    format!("{}\n", text(document, options))
}

/// A line with the gold of a text; nothing where it is not complete, which would make right answers wrong.
pub(super) fn gold(document: &Document, options: &Options) -> String {
    if !document.is_gold() {
        return String::new();
    }
    let offsets = Offsets::new(&document.text, options.unit);
    let records: Vec<Record> = judge::gold(&document.judgements).into_iter().map(|r| moved(r, &offsets)).collect();
    let found = Extraction::of_all(records);
    let mut line = head(document);
    line.insert("entities".into(), json!(found.entities));
    line.insert("relations".into(), json!(found.relations));
    line.insert("events".into(), json!(found.events));
    line.extend(document.state.map(|state| ("review".to_owned(), json!(state))));
    format!("{}\n", Value::Object(line))
}

/// Ids that were numbers are numbers again.
fn head(document: &Document) -> Map<String, Value> {
    let number = document.id.parse::<u64>().ok().filter(|n| n.to_string() == document.id);
    let id = number.map_or_else(|| Value::from(document.id.clone()), Value::from);
    Map::from_iter([("id".to_owned(), id), ("text".to_owned(), Value::from(document.text.clone()))])
}

fn text(document: &Document, options: &Options) -> Value {
    let offsets = Offsets::new(&document.text, options.unit);
    let mut lists: [(&str, Vec<Value>); 4] =
        [("entities", vec![]), ("relations", vec![]), ("events", vec![]), ("not_in_text", vec![])];
    for row in rows(document) {
        let at = match &row.record {
            _ if !row.shown => 3,
            Record::Entity { .. } => 0,
            Record::Relation { .. } => 1,
            Record::Event { .. } => 2,
        };
        if let Some((_, list)) = lists.get_mut(at) {
            list.push(record(&row, &offsets));
        }
    }
    let mut line = head(document);
    line.extend(lists.into_iter().map(|(name, list)| (name.to_owned(), Value::Array(list))));
    line.extend(document.state.map(|state| ("review".to_owned(), json!(state))));
    let made_by: Vec<_> = document.layers.iter().filter_map(|layer| layer.made_by.as_ref()).collect();
    if !made_by.is_empty() {
        line.insert("made_by".to_owned(), json!(made_by));
    }
    for (name, value) in &document.extra {
        line.entry(name.clone()).or_insert_with(|| value.clone());
    }
    Value::Object(line)
}

fn record(row: &Row<'_>, offsets: &Offsets) -> Value {
    let mut value = json!(LeftOut::from(moved(&row.record, offsets)));
    if let Value::Object(fields) = &mut value {
        let origins: Vec<&str> = row.origins.iter().map(|o| o.name()).collect();
        fields.insert("origins".into(), json!(origins));
        if !row.runs.is_empty() {
            fields.insert("runs".into(), json!(row.runs));
        }
        if row.verdict.is_some() {
            fields.insert("gold".into(), Value::from(verdict_name(row.verdict)));
        }
        if let Some(correction) = row.correction {
            fields.insert("correction".into(), json!(LeftOut::from(moved(correction, offsets))));
        }
    }
    value
}

/// The fields of a line of `knowlm extract`, with what people say of its records: `gold` and `correction` stand with each
/// record, and what the model missed in `gold_added`.
pub fn with_gold(text: &str, found: &Extraction, judgements: &[Judgement]) -> Map<String, Value> {
    let Value::Object(mut line) = json!(found) else { return Map::new() };
    if judgements.is_empty() {
        return line;
    }
    let said: HashMap<String, &Judgement> = judgements.iter().rev().map(|j| (j.record.key(), j)).collect();
    let verdicts = Verdicts::new(judgements);
    let mut told = HashSet::new();
    let keys: Vec<String> = found.records().iter().map(Record::key).collect();
    let mut keys = keys.iter();
    for name in ["entities", "relations", "events"] {
        for value in line.get_mut(name).and_then(Value::as_array_mut).into_iter().flatten() {
            let (Some(key), Value::Object(fields)) = (keys.next(), value) else { continue };
            let Some(verdict) = verdicts.of(key) else { continue };
            fields.insert("gold".into(), Value::from(verdict.name()));
            if let Some(correction) = said.get(key).and_then(|judgement| judgement.correction.as_ref()) {
                fields.insert("correction".into(), json!(LeftOut::from(correction.clone())));
                told.insert(correction.key());
            }
            told.insert(key.clone());
        }
    }
    let missed = judge::gold(judgements).into_iter().filter(|record| !told.contains(&record.key()));
    let mut added: Vec<Record> = missed.map(|record| record.clone().without_certainty()).collect();
    ground::records(text, &mut added);
    let added: Vec<LeftOut> = added.into_iter().map(LeftOut::from).collect();
    line.insert("gold_added".into(), json!(added));
    line
}

/// A record with its places counted in another unit.
fn moved(record: &Record, offsets: &Offsets) -> Record {
    let mut record = record.clone();
    for mention in record.mentions_mut() {
        mention.span = mention.span.map(|span: Span| offsets.of(span));
    }
    record
}
