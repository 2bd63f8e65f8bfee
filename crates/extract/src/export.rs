//! Records taken away: for tables, annotation tools, graph databases and people.
//!
//! A function for each format makes text of the same [`Document`]s. What goes out is escaped by the rules of its format,
//! whatever a model or a text says. Records that do not stand in their text never go out as found, and what people judged
//! goes with every record (`gold`). Made with the feature `export`; the browser has no need of it.

mod anchors;
mod brat;
mod csv;
mod cypher;
mod doccano;
mod graphml;
mod html;
mod json;
mod markdown;
mod rows;
mod sources;
mod turtle;
mod writer;

use std::fmt::Write;

use protocol::{Judgement, Language, Record, review::State};
use serde_json::{Map, Value};

use crate::{
    graph::{self, Edits, Graph, Origin, Source},
    judge,
    layout::{self, MOST_NODES},
    offsets::Unit,
    output::MadeBy,
    svg::{self, Style},
};
pub use csv::{cell, words as in_words};
pub use json::with_gold;
pub use rows::{Row, rows};
use sources::Sources;
pub use writer::Writer;

/// A text with what was found in it and what people say of that.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    /// Its id.
    pub id: String,
    /// The text itself.
    pub text: String,
    /// What was found, column by column.
    pub layers: Vec<Layer>,
    /// What people say of the text's records.
    pub judgements: Vec<Judgement>,
    /// Where its review is; `None` where nobody knows of one.
    pub state: Option<State>,
    /// Other fields of the text that go through to JSON, such as the columns of a table.
    pub extra: Map<String, Value>,
}

impl Document {
    /// The records that people judge: the tuned model's, where there are any, else the base's.
    pub fn judged(&self) -> &[Record] {
        let tuned = self.layers.iter().find(|layer| layer.origin == Origin::Tuned);
        tuned.or(self.layers.first()).map_or(&[], |layer| layer.records.as_slice())
    }

    /// Whether its gold is all that is in it ([`judge::is_complete`]).
    pub fn is_gold(&self) -> bool {
        let reviewed = matches!(self.state, Some(State::Accepted | State::Corrected));
        let found: Vec<Record> = self.judged().iter().filter(|record| record.stands()).cloned().collect();
        self.state != Some(State::Failed) && judge::is_complete(reviewed, &found, &self.judgements)
    }
}

/// One column's records of a text.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Who found them.
    pub origin: Origin,
    /// The records.
    pub records: Vec<Record>,
    /// With which model, adapter and schema.
    pub made_by: Option<MadeBy>,
    /// For each record the id of the run whose answer it is from; empty where none is known.
    pub runs: Vec<Option<String>>,
}

impl Layer {
    /// Records of which no more is known than who found them.
    pub fn new(origin: Origin, records: Vec<Record>) -> Self {
        Self { origin, records, made_by: None, runs: Vec::new() }
    }

    /// The run that a record is from.
    fn run(&self, index: usize) -> Option<&str> {
        self.runs.get(index)?.as_deref()
    }
}

/// How things are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Options {
    /// What is exported, for headings.
    pub title: String,
    /// The schema's lists of names ([`Schema::names`](crate::Schema::names)), for colours.
    pub names: Vec<Vec<String>>,
    /// Language of headings.
    pub language: Language,
    /// Begins tables with a byte order mark, without which Excel takes UTF-8 for something else.
    pub bom: bool,
    /// How offsets are counted in JSON and CSV; the other formats have their own way.
    pub unit: Unit,
    /// What people changed about the nodes of the graph.
    pub edits: Edits,
}

/// A file of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without folder.
    pub name: String,
    /// What is in it.
    pub content: String,
}

/// The formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON array of all texts.
    Json,
    /// A line of JSON for each text.
    Jsonl,
    /// The gold alone, a line of JSON for each text whose gold is complete, as `knowlm eval` reads it.
    Gold,
    /// A row for each record.
    Csv,
    /// Headings and tables.
    Markdown,
    /// The standoff format of the annotation tool brat: `.txt`, `.ann` and `annotation.conf`.
    Brat,
    /// Lines for the annotation tool doccano: spans and relations.
    Doccano,
    /// RDF.
    Turtle,
    /// Statements for a graph database.
    Cypher,
    /// A row for each node of the graph.
    Nodes,
    /// A row for each edge of the graph.
    Edges,
    /// The graph in XML.
    GraphMl,
    /// A picture of the graph.
    Svg,
    /// A page with texts, tables and graph that needs nothing else.
    Html,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 14] = [
        Self::Json,
        Self::Jsonl,
        Self::Gold,
        Self::Csv,
        Self::Markdown,
        Self::Brat,
        Self::Doccano,
        Self::Turtle,
        Self::Cypher,
        Self::Nodes,
        Self::Edges,
        Self::GraphMl,
        Self::Svg,
        Self::Html,
    ];

    /// The name on the command line and in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Gold => "gold",
            Self::Csv => "csv",
            Self::Markdown => "markdown",
            Self::Brat => "brat",
            Self::Doccano => "doccano",
            Self::Turtle => "turtle",
            Self::Cypher => "cypher",
            Self::Nodes => "nodes",
            Self::Edges => "edges",
            Self::GraphMl => "graphml",
            Self::Svg => "svg",
            Self::Html => "html",
        }
    }

    /// The inverse of [`Format::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// The name of its file, or of the folder of its files.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Json => "records.json",
            Self::Jsonl => "records.jsonl",
            Self::Gold => "gold.jsonl",
            Self::Csv => "records.csv",
            Self::Markdown => "records.md",
            Self::Brat => "brat",
            Self::Doccano => "doccano.jsonl",
            Self::Turtle => "records.ttl",
            Self::Cypher => "records.cypher",
            Self::Nodes => "nodes.csv",
            Self::Edges => "edges.csv",
            Self::GraphMl => "records.graphml",
            Self::Svg => "graph.svg",
            Self::Html => "report.html",
        }
    }

    /// What it is to a browser.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Jsonl | Self::Gold | Self::Doccano => "application/x-ndjson",
            Self::Csv | Self::Nodes | Self::Edges => "text/csv; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
            Self::Brat | Self::Cypher => "text/plain; charset=utf-8",
            Self::Turtle => "text/turtle; charset=utf-8",
            Self::GraphMl => "application/xml",
            Self::Svg => "image/svg+xml",
            Self::Html => "text/html; charset=utf-8",
        }
    }

    /// Whether it shows the graph of all texts and nothing else: it is made of records, without the words of their texts.
    pub fn is_graph(self) -> bool {
        matches!(self, Self::Turtle | Self::Cypher | Self::Nodes | Self::Edges | Self::GraphMl | Self::Svg)
    }

    /// Whether it is several files: a folder, or an archive of them.
    pub fn is_folder(self) -> bool {
        self == Self::Brat
    }
}

/// Writes texts in a format. One file, except for those of which [`Format::is_folder`] says otherwise.
pub fn export(format: Format, documents: &[Document], options: &Options) -> Vec<File> {
    let of = |write: fn(&Graph, &Sources<'_>) -> String| write(&graph(documents, options), &Sources::of(documents));
    let content = match format {
        Format::Json | Format::Jsonl | Format::Gold | Format::Csv | Format::Markdown | Format::Doccano => {
            let written = |mut writer: Writer| writer.head().to_owned() + &writer.texts(documents) + writer.tail();
            Writer::new(format, options).map(written).unwrap_or_default()
        }
        Format::Brat => return brat::files(documents),
        Format::Turtle => of(turtle::turtle),
        Format::Cypher => of(cypher::cypher),
        Format::GraphMl => of(graphml::graphml),
        Format::Nodes => csv::nodes(&graph(documents, options), &Sources::of(documents), options),
        Format::Edges => csv::edges(&graph(documents, options), &Sources::of(documents), options),
        Format::Svg => picture(documents, options, true),
        Format::Html => html::page(documents, options),
    };
    vec![File { name: format.file_name().to_owned(), content }]
}

/// The graph of some texts.
pub fn graph(documents: &[Document], options: &Options) -> Graph {
    let sources: Vec<Source<'_>> = documents
        .iter()
        .flat_map(|document| {
            document.layers.iter().map(|layer| Source {
                document: &document.id,
                records: &layer.records,
                judgements: &document.judgements,
                origin: layer.origin,
            })
        })
        .collect();
    graph::build(&sources, &options.edits)
}

/// The picture of the graph: nodes with edges, of too many those with most. Without any edge it is all nodes.
fn picture(documents: &[Document], options: &Options, standalone: bool) -> String {
    let all = graph(documents, options);
    let graph = if all.edges.is_empty() { all } else { all.connected() }.strongest(MOST_NODES);
    let style = Style { names: &options.names, title: &options.title, standalone };
    svg::svg(&graph, &layout::layout(&graph), &style)
}

/// Origins joined: `base+tuned`.
fn joined(origins: &[Origin]) -> String {
    origins.iter().map(|o| o.name()).collect::<Vec<_>>().join("+")
}

/// A string between two such marks, with everything escaped that could end it: as Cypher and Turtle both write it.
fn string(text: &str, mark: char) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == mark || c == '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(mark);
    out
}

/// A verdict's name, or nothing.
fn verdict_name(verdict: Option<protocol::Verdict>) -> &'static str {
    verdict.map_or("", protocol::Verdict::name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
