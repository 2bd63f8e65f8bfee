//! Files that are made text by text, so that nobody has to hold all texts at once.

use super::{Document, Format, Options, csv, doccano, json, markdown};

/// A file that grows text by text: its head, then every text, then its tail. [`export`](super::export) makes the same of texts that
/// are all there.
#[derive(Clone, Debug)]
pub struct Writer {
    options: Options,
    head: String,
    text: fn(&Document, &Options) -> String,
    between: &'static str,
    tail: &'static str,
    begun: bool,
}

impl Writer {
    /// The writer of a format; `None` of one that needs all texts at once, as those of the graph do.
    pub fn new(format: Format, options: &Options) -> Option<Self> {
        let plain = String::new;
        let (head, text, between, tail): (String, fn(&Document, &Options) -> String, _, _) = match format {
            Format::Json => ("[".into(), json::element, ",", "\n]\n"),
            Format::Jsonl => (plain(), json::line, "", ""),
            Format::Gold => (plain(), json::gold, "", ""),
            Format::Csv => (csv::heading(options), csv::records, "", ""),
            Format::Markdown => (markdown::title(options), markdown::text, "", ""),
            Format::Doccano => (plain(), doccano::line, "", ""),
            Format::Brat
            | Format::Turtle
            | Format::Cypher
            | Format::Nodes
            | Format::Edges
            | Format::GraphMl
            | Format::Svg
            | Format::Html => return None,
        };
        Some(Self { options: options.clone(), head, text, between, tail, begun: false })
    }

    /// What stands before the first text.
    pub fn head(&self) -> &str {
        &self.head
    }

    /// The next texts.
    pub fn texts(&mut self, documents: &[Document]) -> String {
        let mut written = String::new();
        for document in documents {
            if std::mem::replace(&mut self.begun, true) {
                written.push_str(self.between);
            }
            written.push_str(&(self.text)(document, &self.options));
        }
        written
    }

    /// What stands behind the last text.
    pub fn tail(&self) -> &'static str {
        self.tail
    }
}
