//! Files of texts, as people have them, into texts and tables.
//!
//! [`read`] takes a file's name and bytes: prose (`.txt .md .html .pdf .docx`) becomes one text, a table (`.csv .tsv
//! .xlsx .jsonl`) rows with named fields, of which [`rows`] makes texts with ids. Whatever is in a file, it is only looked at:
//! nothing in it runs, refers to other files or decides how much memory is taken ([`limits`]).
//!
//! The text that is returned is the document's text: positions of records count in it.

mod csv;
mod docx;
mod encoding;
mod html;
mod json_lines;
mod package;
mod pdf;
pub mod rows;
mod xlsx;

use protocol::Sentence;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a file may at most have. A file that has more is refused with a sentence that names the limit.
pub mod limits {
    /// Bytes of a packed file (`.xlsx`, `.docx`) when it is unpacked.
    pub const UNPACKED: u64 = 256 * 1024 * 1024;
    /// Parts of a packed file.
    pub const PARTS: usize = 10_000;
    /// Columns of a table.
    pub const COLUMNS: usize = 1_000;
    /// Rows of a table.
    pub const ROWS: usize = 1_000_000;
    /// Code points of one text.
    pub const TEXT: usize = 2_000_000;
}

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Plain text.
    Text,
    /// Markdown, taken as it is written.
    Markdown,
    /// Comma-separated values.
    Csv,
    /// Tab-separated values.
    Tsv,
    /// Excel workbook.
    Xlsx,
    /// A JSON object in each line.
    JsonLines,
    /// Web page.
    Html,
    /// Portable document.
    Pdf,
    /// Word document.
    Docx,
}

/// The endings that are read, as people write them.
pub const ENDINGS: &str = ".txt .md .csv .tsv .xlsx .jsonl .html .pdf .docx";

impl Format {
    /// The kind of a file by the ending of its name.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.rsplit_once('.')?.1.to_lowercase().as_str() {
            "txt" | "text" => Self::Text,
            "md" | "markdown" => Self::Markdown,
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "xlsx" | "xlsm" => Self::Xlsx,
            "jsonl" | "ndjson" => Self::JsonLines,
            "html" | "htm" | "xhtml" => Self::Html,
            "pdf" => Self::Pdf,
            "docx" => Self::Docx,
            _ => return None,
        })
    }

    /// Whether a file of this kind holds rows rather than one text.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Csv | Self::Tsv | Self::Xlsx | Self::JsonLines)
    }

    /// Whether reading it takes a parser of a large format, or one that a file can keep busy for long: better done in a
    /// process of its own.
    pub fn is_risky(self) -> bool {
        matches!(self, Self::Xlsx | Self::Pdf | Self::Docx | Self::Html)
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    /// One text.
    Text(String),
    /// Rows with named fields.
    Table(Table),
}

/// Rows with named fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// The names, in the file's order; each once.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<TableRow>,
    /// Whether `line` counts rows of a sheet rather than lines of a file.
    pub sheet: bool,
}

/// A row of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TableRow {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Its fields by name; a field that is not there has no entry.
    pub fields: Map<String, Value>,
    /// Why it cannot be read.
    pub error: Option<Sentence>,
}

/// Why a file cannot be read: the rest of a sentence that begins with the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
pub struct DocumentError(pub Sentence);

impl DocumentError {
    /// From the rest of the sentence in both languages.
    pub fn new(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self(Sentence::new(en, zh))
    }

    /// The whole sentence.
    pub fn about(&self, name: &str) -> Sentence {
        Sentence::new(format!("{name} {}.", self.0.en), format!("{name} {}。", self.0.zh))
    }
}

/// Reads a file of the kind that its name says.
///
/// # Errors
/// The kind is not known, the bytes are of another kind, or there is more in it than [`limits`] allow.
pub fn read(name: &str, bytes: &[u8]) -> Result<Content, DocumentError> {
    let format = Format::of(name).ok_or_else(|| {
        DocumentError::new(
            format!("is of no known kind; {ENDINGS} are read"),
            format!("的类型无法识别；支持 {ENDINGS}"),
        )
    })?;
    match format {
        Format::Text | Format::Markdown => encoding::decode(bytes, None).and_then(text),
        Format::Csv => csv::read(&encoding::decode(bytes, None)?, None).map(Content::Table),
        Format::Tsv => csv::read(&encoding::decode(bytes, None)?, Some(b'\t')).map(Content::Table),
        Format::JsonLines => json_lines::read(&encoding::decode(bytes, None)?).map(Content::Table),
        Format::Xlsx => xlsx::read(bytes).map(Content::Table),
        Format::Html => html::read(&encoding::decode(bytes, html::charset(bytes))?).and_then(text),
        Format::Pdf => pdf::read(bytes).and_then(text),
        Format::Docx => docx::read(bytes).and_then(text),
    }
}

/// One text, its line ends plain and without control characters.
fn text(text: String) -> Result<Content, DocumentError> {
    let text = clean(&text);
    if text.trim().is_empty() {
        return Err(DocumentError::new("has no text", "没有文本"));
    }
    too_long(&text).map_or(Ok(Content::Text(text)), |said| Err(DocumentError(said)))
}

/// Why a text is too long, if it is.
fn too_long(text: &str) -> Option<Sentence> {
    // Bytes first: counting is not free.
    let chars = if text.len() <= limits::TEXT { 0 } else { text.chars().count() };
    (chars > limits::TEXT).then(|| {
        let limit = limits::TEXT;
        Sentence::new(
            format!("has a text of {chars} characters, and at most {limit} are read; split it"),
            format!("有一段 {chars} 个字符的文本，最多读取 {limit} 个，请拆分"),
        )
    })
}

/// A text with plain line ends and without other control characters than tabs.
fn clean(text: &str) -> String {
    let unwanted = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(unwanted) {
        return text.to_owned();
    }
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{c}', '\u{85}'], "\n");
    text.chars().filter(|c| !unwanted(*c)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_ending_of_a_name_says_the_kind() {
        assert_eq!(Format::of("报告.v2.PDF"), Some(Format::Pdf));
        assert_eq!(Format::of("../../a.csv"), Some(Format::Csv));
        assert_eq!((Format::of("csv"), Format::of("a.exe"), Format::of("")), (None, None, None));
        let said = read("a.doc", b"x").unwrap_err().about("a.doc");
        assert_eq!(said.en, "a.doc is of no known kind; .txt .md .csv .tsv .xlsx .jsonl .html .pdf .docx are read.");
    }

    #[test]
    fn a_text_has_plain_line_ends_and_no_control_characters() {
        assert_eq!(read("a.md", b"# One\r\n\r\ntwo\x07\tend\r").unwrap(), Content::Text("# One\n\ntwo\tend\n".into()));
        assert_eq!(read("a.txt", b" \r\n").unwrap_err().to_string(), "has no text");
        let long = "a".repeat(limits::TEXT + 1);
        assert!(read("a.txt", long.as_bytes()).unwrap_err().to_string().contains("2000001 characters"));
    }
}
