//! JSON: the lines of `knowlm extract`, with origin and gold.

use protocol::{Record, Span};
use serde_json::{Map, Value, json};

use super::{Document, Options, Row, rows, verdict_name};
use crate::{
    judge,
    offsets::Offsets,
    output::{Extraction, LeftOut},
};

/// One array of all texts, indented.
pub(super) fn json(documents: &[Document], options: &Options) -> String {
    let texts: Vec<Value> = documents.iter().map(|d| text(d, options)).collect();
    // Values only: there is nothing in it that could not be written.
    let mut json = serde_json::to_string_pretty(&texts).unwrap_or_default();
    json.push('\n');
    json
}

/// A line for each text.
pub(super) fn lines(documents: &[Document], options: &Options) -> String {
    documents.iter().map(|d| format!("{}\n", text(d, options))).collect()
}

/// A line with the gold of each text that was judged.
pub(super) fn gold(documents: &[Document], options: &Options) -> String {
    let line = |d: &Document| {
        let offsets = Offsets::new(&d.text, options.unit);
        let records: Vec<Record> = judge::gold(&d.judgements).into_iter().map(|r| moved(r, &offsets)).collect();
        let mut found = Extraction::default();
        for record in records {
            match LeftOut::from(record) {
                LeftOut::Entity(entity) => found.entities.push(entity),
                LeftOut::Relation(relation) => found.relations.push(relation),
                LeftOut::Event(event) => found.events.push(event),
            }
        }
        let mut line = head(d);
        line.insert("entities".into(), json!(found.entities));
        line.insert("relations".into(), json!(found.relations));
        line.insert("events".into(), json!(found.events));
        format!("{}\n", Value::Object(line))
    };
    documents.iter().filter(|d| !d.judgements.is_empty()).map(line).collect()
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
        if row.verdict.is_some() {
            fields.insert("gold".into(), Value::from(verdict_name(row.verdict)));
        }
        if let Some(correction) = row.correction {
            fields.insert("correction".into(), json!(LeftOut::from(moved(correction, offsets))));
        }
    }
    value
}

/// A record with its places counted in another unit.
fn moved(record: &Record, offsets: &Offsets) -> Record {
    let mut record = record.clone();
    for mention in record.mentions_mut() {
        mention.span = mention.span.map(|span: Span| offsets.of(span));
    }
    record
}
