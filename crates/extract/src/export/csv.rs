//! Tables: RFC 4180, safe to open in a spreadsheet.
//!
//! A spreadsheet runs what begins like a formula. Text that does gets an apostrophe before it, which spreadsheets take as
//! "this is text".

use protocol::{Agreement, Record, record::Mention, review::State};

use super::{Document, Options, Row, Sources, joined, rows, verdict_name};
use crate::{
    graph::{Graph, Place},
    offsets::Offsets,
    output::MadeBy,
};

/// A table that grows row by row.
struct Table(String);

impl Table {
    fn new(bom: bool, columns: &[&str]) -> Self {
        let mut table = Self(if bom { "\u{feff}".to_owned() } else { String::new() });
        table.row(&columns.iter().map(|c| (*c).to_owned()).collect::<Vec<_>>());
        table
    }

    fn row(&mut self, cells: &[String]) {
        let cells: Vec<String> = cells.iter().map(|c| cell(c)).collect();
        self.0.push_str(&cells.join(","));
        self.0.push_str("\r\n");
    }
}

/// A cell: never a formula, in quotation marks where it must be. A number below zero is none.
pub fn cell(text: &str) -> String {
    let formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    let number = text.strip_prefix('-').is_some_and(|number| number.starts_with(|c: char| c.is_ascii_digit()))
        && text.parse::<f64>().is_ok();
    let risky = text.trim_start_matches([' ', '\u{feff}']).starts_with(formula) && !number;
    let text = if risky { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', ';', '\t', '\n', '\r']) || text != text.trim() {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

/// The first line of a table of records.
pub(super) fn heading(options: &Options) -> String {
    Table::new(options.bom, &COLUMNS).0
}

/// A row for each record of a text, and one for each argument of an event.
pub(super) fn records(document: &Document, options: &Options) -> String {
    let mut table = Table(String::new());
    let offsets = Offsets::new(&document.text, options.unit);
    let place = |m: &Mention| {
        m.span.map_or([String::new(), String::new()], |s| {
            [offsets.at(s.start).to_string(), offsets.at(s.end).to_string()]
        })
    };
    let state = document.state.map_or("", State::name);
    let rows = rows(document);
    if rows.is_empty() && document.state.is_some() {
        let mut cells = vec![String::new(); COLUMNS.len()];
        if let [id, .., last] = cells.as_mut_slice() {
            (*id, *last) = (document.id.clone(), state.to_owned());
        }
        table.row(&cells);
    }
    for row in rows {
        let origin = joined(&row.origins);
        let [model, adapter, schema, version] = made_by(document, &row);
        let runs = row.runs.join("; ");
        let correction = row.correction.map(words).unwrap_or_default();
        let mut add = |kind: &str, label: &str, first: &Mention, role: &str, other: Option<&Mention>| {
            let [start, end] = place(first);
            let [other_start, other_end] = other.map(&place).unwrap_or_default();
            let stands = first.span.is_some() && other.is_none_or(|o| o.span.is_some());
            let found = other.map_or(first.found, |o| o.found.max(first.found));
            // Of an argument its own, whatever the trigger's is.
            let with = other.filter(|_| role.is_empty());
            let certainty = with.map_or(first.certainty, |o| o.certainty.max(first.certainty));
            let agreement = Agreement::fewest([first.agreement, with.and_then(|o| o.agreement)]);
            table.row(&[
                document.id.clone(),
                kind.to_owned(),
                label.to_owned(),
                first.text.clone(),
                start,
                end,
                role.to_owned(),
                other.map(|o| o.text.clone()).unwrap_or_default(),
                other_start,
                other_end,
                if stands { "yes" } else { "no" }.to_owned(),
                if stands { found.name() } else { "" }.to_owned(),
                if stands { certainty.name() } else { "" }.to_owned(),
                origin.clone(),
                verdict_name(row.verdict).to_owned(),
                correction.clone(),
                agreement.map(|Agreement { found, of }| format!("{found} of {of}")).unwrap_or_default(),
                model.clone(),
                adapter.clone(),
                schema.clone(),
                version.clone(),
                runs.clone(),
                state.to_owned(),
            ]);
        };
        match &row.record {
            Record::Entity { label, mention } => add("entity", label, mention, "", None),
            Record::Relation { relation, head, tail } => add("relation", relation, head, "", Some(tail)),
            Record::Event { label, trigger, arguments } => {
                add("event", label, trigger, "", None);
                for argument in arguments {
                    add("argument", label, &argument.mention, &argument.role, Some(trigger));
                }
            }
        }
    }
    table.0
}

/// The columns of a table of records.
const COLUMNS: [&str; 23] = [
    "id",
    "kind",
    "type",
    "text",
    "start",
    "end",
    "role",
    "other",
    "other_start",
    "other_end",
    "in_text",
    "found",
    "certainty",
    "origin",
    "gold",
    "correction",
    "agreement",
    "model",
    "adapter",
    "schema",
    "schema_version",
    "runs",
    "review",
];

/// Model, adapter, schema and its version, of those who found a record; where they differ, one after the other.
fn made_by(document: &Document, row: &Row<'_>) -> [String; 4] {
    let layers = document.layers.iter().filter(|layer| row.origins.contains(&layer.origin));
    let made: Vec<&MadeBy> = layers.filter_map(|layer| layer.made_by.as_ref()).collect();
    let each = |of: &dyn Fn(&MadeBy) -> Option<String>| {
        let mut values: Vec<String> = made.iter().filter_map(|made| of(made)).collect();
        values.dedup();
        values.join("; ")
    };
    [
        each(&|made| Some(made.model.clone())),
        each(&|made| made.adapter.clone()),
        each(&|made| made.schema.clone()),
        each(&|made| made.schema_version.map(|version| version.to_string())),
    ]
}

/// A record in words: `Ada, person`.
pub fn words(record: &Record) -> String {
    match record {
        Record::Entity { label, mention } => format!("{}, {label}", mention.text),
        Record::Relation { relation, head, tail } => format!("{}, {relation}, {}", head.text, tail.text),
        Record::Event { label, trigger, arguments } => {
            let arguments: Vec<String> = arguments.iter().map(|a| format!("{}: {}", a.role, a.mention.text)).collect();
            format!("{}, {label} [{}]", trigger.text, arguments.join("; "))
        }
    }
}

/// A row for each node.
pub(super) fn nodes(graph: &Graph, sources: &Sources<'_>, options: &Options) -> String {
    let columns = ["id", "name", "type", "kind", "aliases", "origin", "gold", "texts", "made_by", "runs"];
    let mut table = Table::new(options.bom, &columns);
    for node in &graph.nodes {
        let kind = if node.kind == crate::graph::NodeKind::Event { "event" } else { "entity" };
        table.row(&[
            node.id.clone(),
            node.name.clone(),
            node.label.clone(),
            kind.to_owned(),
            node.aliases.join("; "),
            joined(&node.origins),
            verdict_name(node.verdict).to_owned(),
            texts(&node.places),
            sources.made_by(&node.places),
            sources.runs(&node.places),
        ]);
    }
    table.0
}

/// A row for each edge.
pub(super) fn edges(graph: &Graph, sources: &Sources<'_>, options: &Options) -> String {
    let names = ["id", "source", "target", "source_name", "relation", "target_name", "origin", "gold", "texts"];
    let columns = [&names[..], &["made_by", "runs"]].concat();
    let mut table = Table::new(options.bom, &columns);
    for edge in &graph.edges {
        let (Some(from), Some(to)) = (graph.nodes.get(edge.from), graph.nodes.get(edge.to)) else { continue };
        table.row(&[
            edge.id.clone(),
            from.id.clone(),
            to.id.clone(),
            from.name.clone(),
            edge.label.clone(),
            to.name.clone(),
            joined(&edge.origins),
            verdict_name(edge.verdict).to_owned(),
            texts(&edge.places),
            sources.made_by(&edge.places),
            sources.runs(&edge.places),
        ]);
    }
    table.0
}

/// The texts of some places, each once.
pub(super) fn texts(places: &[Place]) -> String {
    let mut texts: Vec<&str> = places.iter().map(|p| p.document.as_str()).collect();
    texts.dedup();
    texts.join("; ")
}
