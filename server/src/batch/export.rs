//! A batch's results with the other columns of its file: a line for each text as `knowlm extract` writes them, or a table
//! with a line for each record; and its gold. Made group by group while they are sent, so that they can be of any size.

use std::collections::HashSet;

use axum::body::{Body, Bytes};
use extract::{
    Schema,
    export::{self, Document, Layer, Options, Row, cell, in_words, rows, with_gold},
    graph::Origin,
    output::{Extraction, LeftOut, MadeBy},
};
use futures::{StreamExt, stream};
use protocol::{Agreement, Column, Record, RunView, batch::RowState, record::Mention, review::State};
use serde_json::{Map, Value, json};

use super::{found, shown};
use crate::store::{Batch, FullRow, Store, StoreError};

/// Rows read at a time.
const GROUP: i64 = 100;

/// How a batch can be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON object for each text.
    JsonLines,
    /// A line for each record; `bom` for programs that need to be told that it is UTF-8.
    Csv {
        /// Begin with a byte order mark.
        bom: bool,
    },
    /// What people say is in the texts, for those that they have judged as a whole.
    Gold,
}

/// A batch as a download, made while it is sent. A row that was not done yet is left out.
pub fn body(store: Store, batch: Batch, format: Format) -> Body {
    let head = match format {
        Format::JsonLines | Format::Gold => Vec::new(),
        Format::Csv { bom } => head(&batch, bom),
    };
    let schema = Schema::from_json(&batch.schema.json).unwrap_or_default();
    let head = (!head.is_empty()).then_some(head);
    let lines =
        stream::unfold((store, batch, schema, 0_i64, head), move |(store, batch, schema, from, head)| async move {
            if let Some(head) = head {
                return Some((Ok(Bytes::from(head)), (store, batch, schema, from, None)));
            }
            match group(&store, &batch, from).await {
                Ok(mut rows) => {
                    let next = rows.last()?.0.row.position + 1;
                    rows.retain(|(full, _)| is_done(full));
                    let bytes = written(&batch, &schema, &rows, format);
                    Some((bytes.map(Bytes::from), (store, batch, schema, next, None)))
                }
                // The download is cut off, which the browser tells.
                Err(error) => Some((Err(error), (store, batch, schema, i64::MAX, None))),
            }
        });
    // Compression asks once more after the end.
    Body::from_stream(lines.fuse())
}

/// Rows that are done, each with whether a person has gone through it.
type Rows = [(FullRow, bool)];

/// The next rows from a position on.
///
/// # Errors
/// The database refuses.
pub async fn group(store: &Store, batch: &Batch, from: i64) -> Result<Vec<(FullRow, bool)>, StoreError> {
    let rows = store.full_rows(batch.owner, &batch.session, from, GROUP).await?;
    let ids: Vec<String> = rows.iter().filter_map(|full| full.row.document.clone()).collect();
    let seen: HashSet<String> = store.reviewed_of(batch.owner, &ids).await?.into_iter().collect();
    let with_seen = |full: FullRow| {
        let seen = full.row.document.as_ref().is_some_and(|id| seen.contains(id));
        (full, seen)
    };
    Ok(rows.into_iter().map(with_seen).collect())
}

/// Whether a row does not wait any more.
pub fn is_done(full: &FullRow) -> bool {
    full.row.state != RowState::Waiting
}

fn written(batch: &Batch, schema: &Schema, rows: &Rows, format: Format) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for (full, seen) in rows {
        match format {
            Format::JsonLines => {
                serde_json::to_writer(&mut bytes, &line(batch, schema, full, *seen))?;
                bytes.push(b'\n');
            }
            Format::Csv { .. } => table(batch, schema, full, *seen, &mut bytes),
            Format::Gold => {
                let document = document(batch, schema, full, Some(*seen));
                for file in export::export(export::Format::Gold, &[document], &Options::default()) {
                    bytes.extend_from_slice(file.content.as_bytes());
                }
            }
        }
    }
    Ok(bytes)
}

/// Where the review of a row is.
fn state(full: &FullRow, seen: bool) -> State {
    State::of(seen, full.row.state == RowState::Failed, &full.judgements)
}

/// The line of a text, as `knowlm extract` writes it; `base` is what the base found, where it was asked too.
fn line(batch: &Batch, schema: &Schema, full: &FullRow, seen: bool) -> Map<String, Value> {
    let columns = columns(full);
    let found = |column| found::records(schema, &full.row.text, runs(full, column));
    let main = columns.last().map(|column| found(*column)).unwrap_or_default();
    let mut line = Map::new();
    line.insert("id".to_owned(), full.row.id.clone());
    line.insert("text".to_owned(), Value::from(full.row.text.clone()));
    line.extend(with_gold(&full.row.text, &main, &full.judgements));
    if columns.len() > 1 {
        // What is missed is told once.
        let mut base = with_gold(&full.row.text, &found(Column::Base), &full.judgements);
        base.remove("gold_added");
        line.insert("base".to_owned(), Value::Object(base));
    }
    line.insert("made_by".to_owned(), json!(columns.iter().map(|c| made_by(batch, full, *c)).collect::<Vec<_>>()));
    line.insert("review".to_owned(), json!(state(full, seen)));
    if let Some(said) = &full.row.error {
        line.insert("error".to_owned(), Value::from(said.en.clone()));
    }
    for (name, value) in &full.row.extra {
        line.entry(name.clone()).or_insert_with(|| value.clone());
    }
    line
}

/// A row as a text of a session; `seen`: with what people said, and whether they have gone through it.
pub fn document(batch: &Batch, schema: &Schema, full: &FullRow, seen: Option<bool>) -> Document {
    let error = full.row.error.as_ref().map(|said| ("error".to_owned(), Value::from(said.en.clone())));
    Document {
        id: shown(&full.row.id),
        text: full.row.text.clone(),
        layers: columns(full).into_iter().map(|column| layer(batch, schema, full, column)).collect(),
        judgements: if seen.is_some() { full.judgements.clone() } else { Vec::new() },
        state: seen.map(|seen| state(full, seen)),
        extra: error.into_iter().chain(full.row.extra.clone()).collect(),
    }
}

/// What a column found in a row.
fn layer(batch: &Batch, schema: &Schema, full: &FullRow, column: Column) -> Layer {
    let found = found::records(schema, &full.row.text, runs(full, column));
    let ids = found.entities.iter().map(|e| &e.run).chain(found.relations.iter().map(|r| &r.run));
    let ids: Vec<Option<String>> = ids.chain(found.events.iter().map(|e| &e.run)).cloned().collect();
    let mut records = found.records();
    // What was answered and does not stand in the text is shown as such.
    records.extend(found.issues.iter().filter_map(|doubt| left_out(doubt.record.as_ref()?)));
    Layer { made_by: Some(made_by(batch, full, column)), runs: ids, ..Layer::new(column.into(), records) }
}

/// A record that was left out as a whole; of an event that is found without an argument nothing.
fn left_out(record: &LeftOut) -> Option<Record> {
    let mut one = Extraction::default();
    match record.clone() {
        LeftOut::Entity(entity) => one.entities.push(entity),
        LeftOut::Relation(relation) => one.relations.push(relation),
        LeftOut::Event(event) => one.events.push(event),
    }
    one.records().into_iter().next().filter(|record| !record.stands())
}

fn runs(full: &FullRow, column: Column) -> impl Iterator<Item = &RunView> {
    full.runs.iter().filter(move |run| run.column == column)
}

fn made_by(batch: &Batch, full: &FullRow, column: Column) -> MadeBy {
    let run = runs(full, column).next();
    MadeBy {
        origin: column.into(),
        model: run.map(|run| run.model.clone()).unwrap_or_default(),
        adapter: run.and_then(|run| run.adapter.clone()),
        schema: Some(batch.schema.name.clone()).filter(|name| !name.is_empty()),
        schema_version: batch.schema.version,
    }
}

/// The columns that answered, base first.
fn columns(full: &FullRow) -> Vec<Column> {
    let mut columns: Vec<Column> = full.extractions.iter().map(|e| e.column).collect();
    columns.sort();
    columns
}

const OWN: [&str; 26] = [
    "id",
    "variant",
    "kind",
    "type",
    "text",
    "start",
    "end",
    "head",
    "head_start",
    "head_end",
    "tail",
    "tail_start",
    "tail_end",
    "role",
    "found",
    "certainty",
    "agreement",
    "gold",
    "correction",
    "model",
    "adapter",
    "schema",
    "schema_version",
    "run",
    "review",
    "error",
];

/// Whether a table says in how many samples something was said: where any were asked for.
fn is_sampled(batch: &Batch) -> bool {
    batch.parameters.samples > 0
}

fn own(batch: &Batch) -> impl Iterator<Item = &'static str> {
    let sampled = is_sampled(batch);
    OWN.into_iter().filter(move |name| sampled || *name != "agreement")
}

fn head(batch: &Batch, bom: bool) -> Vec<u8> {
    let mut bytes = if bom { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
    let clear = |name: &String| if OWN.contains(&name.as_str()) { format!("input_{name}") } else { name.clone() };
    let names: Vec<String> = own(batch).map(str::to_owned).chain(batch.columns.iter().map(clear)).collect();
    put(&mut bytes, names.iter().map(String::as_str));
    bytes
}

/// Values of a line of a table by the names of their columns; what is not named is empty.
type Cells = Vec<(&'static str, String)>;

/// The lines of a text: one for each entity, triple, event and argument that stands in it, and for each record that people
/// added; one without any for a text in which nothing was found.
fn table(batch: &Batch, schema: &Schema, full: &FullRow, seen: bool, bytes: &mut Vec<u8>) {
    let passed = |name: &String| full.row.passed(name).map(shown).unwrap_or_default();
    let extra: Vec<String> = batch.columns.iter().map(passed).collect();
    let about: Cells = vec![
        ("id", shown(&full.row.id)),
        ("review", state(full, seen).name().to_owned()),
        ("error", full.row.error.as_ref().map_or_else(String::new, |said| said.en.clone())),
    ];
    let mut add = |cells: &Cells| {
        let of =
            |name: &str| about.iter().chain(cells).find(|(known, _)| *known == name).map_or("", |(_, value)| value);
        put(bytes, own(batch).map(of).chain(extra.iter().map(String::as_str)));
    };
    let mut any = false;
    let columns = columns(full);
    for column in &columns {
        let text =
            Document { layers: vec![layer(batch, schema, full, *column)], ..document(batch, schema, full, Some(seen)) };
        // What people added is told once, with the column that is judged.
        let said = |row: &Row<'_>| row.origins != [Origin::You] || Some(column) == columns.last();
        for row in rows(&text).iter().filter(|row| row.shown && said(row)) {
            cells(&text, row).iter().for_each(&mut add);
            any = true;
        }
    }
    if !any {
        add(&Vec::new());
    }
}

/// The lines of a record.
fn cells(text: &Document, row: &Row<'_>) -> Vec<Cells> {
    let variant = row.origins.first().map_or("", |origin| origin.name()).to_owned();
    let mut by: Cells = vec![("variant", variant), ("run", row.runs.join("; "))];
    by.extend(row.verdict.map(|verdict| ("gold", verdict.name().to_owned())));
    by.extend(row.correction.map(|correction| ("correction", in_words(correction))));
    let layer = text.layers.iter().find(|layer| row.origins.contains(&layer.origin));
    if let Some(made) = layer.and_then(|layer| layer.made_by.as_ref()) {
        by.push(("model", made.model.clone()));
        by.extend(made.adapter.clone().map(|adapter| ("adapter", adapter)));
        by.extend(made.schema.clone().map(|schema| ("schema", schema)));
        by.extend(made.schema_version.map(|version| ("schema_version", version.to_string())));
    }
    let one = |kind: &str, label: &str, more: Vec<Cells>| {
        let kind = vec![("kind", kind.to_owned()), ("type", label.to_owned())];
        more.into_iter().flatten().chain(kind).chain(by.clone()).collect::<Cells>()
    };
    match &row.record {
        Record::Entity { label, mention } => {
            vec![one("entity", label, vec![words(TEXT, mention), certain(&[mention])])]
        }
        Record::Relation { relation, head, tail } => {
            vec![one("relation", relation, vec![words(HEAD, head), words(TAIL, tail), certain(&[head, tail])])]
        }
        Record::Event { label, trigger, arguments } => {
            let mut lines = vec![one("event", label, vec![words(TEXT, trigger), certain(&[trigger])])];
            for argument in arguments {
                let role = vec![("role", argument.role.clone())];
                let mention = &argument.mention;
                let more = vec![words(TEXT, mention), words(HEAD, trigger), certain(&[mention]), role];
                lines.push(one("argument", label, more));
            }
            lines
        }
    }
}

const TEXT: [&str; 3] = ["text", "start", "end"];
const HEAD: [&str; 3] = ["head", "head_start", "head_end"];
const TAIL: [&str; 3] = ["tail", "tail_start", "tail_end"];

/// Words and their place.
fn words([text, start, end]: [&'static str; 3], mention: &Mention) -> Cells {
    let place = mention.span.map(|span| [(start, span.start.to_string()), (end, span.end.to_string())]);
    std::iter::once((text, mention.text.clone())).chain(place.into_iter().flatten()).collect()
}

/// How words were found and how sure the model was of them: of two the less.
fn certain(mentions: &[&Mention]) -> Cells {
    let found = mentions.iter().filter(|m| m.span.is_some()).map(|m| m.found).max();
    let certainty = mentions.iter().map(|m| m.certainty).max().unwrap_or_default();
    let agreement = Agreement::fewest(mentions.iter().map(|m| m.agreement));
    let mut cells = vec![("certainty", certainty.name().to_owned())];
    cells.extend(found.map(|found| ("found", found.name().to_owned())));
    cells.extend(agreement.map(|Agreement { found, of }| ("agreement", format!("{found} of {of}"))));
    cells
}

/// A line of CSV after RFC 4180. What a spreadsheet would compute is made text with an apostrophe.
fn put<'c>(bytes: &mut Vec<u8>, cells: impl Iterator<Item = &'c str>) {
    for (index, value) in cells.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(cell(value).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_spreadsheet_computes_nothing_and_loses_nothing() {
        let mut bytes = Vec::new();
        put(&mut bytes, ["=HYPERLINK(\"x\")", "-12.5", "-x", "@a", "＝1", "a, b", "二\n行", " padded"].into_iter());
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "\"'=HYPERLINK(\"\"x\"\")\",-12.5,'-x,'@a,'＝1,\"a, b\",\"二\n行\",\" padded\"\r\n"
        );
    }
}
