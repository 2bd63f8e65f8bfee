//! A batch's results with the other columns of its file: a line for each text as `knowlm extract` writes them, or a table
//! with a line for each record.

use std::cell::Cell;

use axum::body::{Body, Bytes};
use extract::{Schema, output::Extraction};
use futures::{StreamExt, stream};
use protocol::{Agreement, Column, batch::RowState};
use serde::Serialize;
use serde_json::{Map, Value};

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
}

/// A batch as a download, made while it is sent. A row that was not done yet is left out.
pub fn body(store: Store, batch: Batch, format: Format) -> Body {
    let schema = Schema::from_json(&batch.schema.json).unwrap_or_default();
    let head = match format {
        Format::JsonLines => None,
        Format::Csv { bom } => Some(head(&batch, bom)),
    };
    let state = (store, batch, schema, 0_i64, head);
    let lines = stream::unfold(state, move |(store, batch, schema, from, head)| async move {
        if let Some(head) = head {
            return Some((Ok(Bytes::from(head)), (store, batch, schema, from, None)));
        }
        match store.full_rows(batch.owner, &batch.session, from, GROUP).await {
            Ok(rows) => {
                let next = rows.last()?.row.position + 1;
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

fn written(batch: &Batch, schema: &Schema, rows: &[FullRow], format: Format) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    for full in rows.iter().filter(|full| full.row.state != RowState::Waiting) {
        match format {
            Format::JsonLines => {
                serde_json::to_writer(&mut bytes, &line(schema, full))?;
                bytes.push(b'\n');
            }
            Format::Csv { .. } => table(batch, schema, full, &mut bytes),
        }
    }
    Ok(bytes)
}

/// The line of a text, as `knowlm extract` writes it.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a Value,
    text: &'a str,
    #[serde(flatten)]
    found: Extraction,
    /// What the base found, where it was asked too.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Extraction>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    extra: &'a Map<String, Value>,
}

fn line<'a>(schema: &Schema, full: &'a FullRow) -> Line<'a> {
    let columns = columns(full);
    let found =
        |column| found::records(schema, &full.row.text, full.runs.iter().filter(move |run| run.column == column));
    Line {
        id: &full.row.id,
        text: &full.row.text,
        found: columns.last().map(|column| found(*column)).unwrap_or_default(),
        base: (columns.len() > 1).then(|| found(Column::Base)),
        error: full.row.error.as_ref().map(|said| said.en.as_str()),
        extra: &full.row.extra,
    }
}

/// The columns that answered, base first.
fn columns(full: &FullRow) -> Vec<Column> {
    let mut columns: Vec<Column> = full.extractions.iter().map(|e| e.column).collect();
    columns.sort();
    columns
}

const OWN: [&str; 13] = [
    "id",
    "variant",
    "kind",
    "type",
    "text",
    "start",
    "end",
    "head",
    "tail",
    "role",
    "certainty",
    "agreement",
    "error",
];

/// Whether a table says in how many samples something was said: where any were asked for.
fn is_sampled(batch: &Batch) -> bool {
    batch.parameters.samples > 0
}

fn head(batch: &Batch, bom: bool) -> Vec<u8> {
    let mut bytes = if bom { "\u{feff}".as_bytes().to_vec() } else { Vec::new() };
    let own: Vec<&str> = OWN.into_iter().filter(|name| is_sampled(batch) || *name != "agreement").collect();
    let clear = |name: &String| if own.contains(&name.as_str()) { format!("input_{name}") } else { name.clone() };
    let names: Vec<String> = own.iter().map(|name| (*name).to_owned()).chain(batch.columns.iter().map(clear)).collect();
    put(&mut bytes, names.iter().map(String::as_str));
    bytes
}

/// The lines of a text: one for each entity, triple, event and argument; one without any for a text in which nothing was found.
fn table(batch: &Batch, schema: &Schema, full: &FullRow, bytes: &mut Vec<u8>) {
    let id = shown(&full.row.id);
    let error = full.row.error.as_ref().map_or("", |said| said.en.as_str());
    let passed = |name: &String| full.row.passed(name).map(shown).unwrap_or_default();
    let extra: Vec<String> = batch.columns.iter().map(passed).collect();
    let lines = Cell::new(0_usize);
    let mut add = |cells: [&str; 10], agreement: Option<Agreement>| {
        let agreed = agreement.map(|Agreement { found, of }| format!("{found} of {of}")).unwrap_or_default();
        let agreed = is_sampled(batch).then_some(agreed.as_str());
        let own = std::iter::once(id.as_str()).chain(cells).chain(agreed).chain([error]);
        put(bytes, own.chain(extra.iter().map(String::as_str)));
        lines.set(lines.get() + 1);
    };
    for column in columns(full) {
        let variant = if column == Column::Base { "base" } else { "tuned" };
        let found = found::records(schema, &full.row.text, full.runs.iter().filter(|run| run.column == column));
        let number = |at: Option<usize>| at.map(|at| at.to_string()).unwrap_or_default();
        for e in &found.entities {
            let (start, end) = (number(e.start), number(e.end));
            let cells = [variant, "entity", &e.label, &e.text, &start, &end, "", "", "", e.certainty.name()];
            add(cells, e.agreement);
        }
        for r in &found.relations {
            let cells = [variant, "relation", &r.relation, "", "", "", &r.head, &r.tail, "", r.certainty.name()];
            add(cells, r.agreement);
        }
        for e in &found.events {
            add([variant, "event", &e.label, &e.trigger, "", "", "", "", "", e.certainty.name()], e.agreement);
            for a in &e.arguments {
                let cells =
                    [variant, "argument", &e.label, &a.text, "", "", &e.trigger, "", &a.role, a.certainty.name()];
                add(cells, a.agreement);
            }
        }
    }
    if lines.get() == 0 {
        add([""; 10], None);
    }
}

/// A line of CSV after RFC 4180. What a spreadsheet would compute is made text with an apostrophe.
fn put<'c>(bytes: &mut Vec<u8>, cells: impl Iterator<Item = &'c str>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        let risky = cell.starts_with(['=', '+', '-', '@', '\t', '\r']) && cell.parse::<f64>().is_err();
        let safe = if risky { format!("'{cell}") } else { cell.to_owned() };
        if safe.contains(['"', ',', '\n', '\r']) || safe.starts_with(' ') || safe.ends_with(' ') {
            bytes.push(b'"');
            bytes.extend_from_slice(safe.replace('"', "\"\"").as_bytes());
            bytes.push(b'"');
        } else {
            bytes.extend_from_slice(safe.as_bytes());
        }
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
        put(&mut bytes, ["=HYPERLINK(\"x\")", "-12.5", "-x", "@a", "a, b", "二\n行", " padded"].into_iter());
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            "\"'=HYPERLINK(\"\"x\"\")\",-12.5,'-x,'@a,\"a, b\",\"二\n行\",\" padded\"\r\n"
        );
    }
}
