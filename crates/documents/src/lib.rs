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
    /// Rows of a table, where nothing less is asked for.
    pub const ROWS: usize = 1_000_000;
    /// Fields of a table, all rows together; values inside of values count too.
    pub const CELLS: usize = 20_000_000;
    /// Fields of one row, read or not.
    pub const FIELDS: usize = 10_000;
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

/// How a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Plain text has a text in each line: all of it may be longer than one text.
    pub lines: bool,
    /// The most rows of a table.
    pub rows: usize,
    /// The most fields of a table, all rows together.
    pub cells: usize,
}

impl Default for Reading {
    /// Plain text is one text, and a table has what [`limits`] allow.
    fn default() -> Self {
        Self { lines: false, rows: limits::ROWS, cells: limits::CELLS }
    }
}

/// What has been read of a table, against the most that is.
struct Room {
    most: Reading,
    rows: usize,
    cells: usize,
}

impl Room {
    fn new(most: Reading) -> Self {
        Self { most, rows: 0, cells: 0 }
    }

    /// Whether one more row is still read.
    fn row(&mut self) -> Result<(), DocumentError> {
        self.rows += 1;
        let limit = self.most.rows;
        if self.rows <= limit {
            return Ok(());
        }
        Err(DocumentError::new(format!("has more than {limit} rows; split it"), format!("超过 {limit} 行，请拆分")))
    }

    /// Whether so many more fields are.
    fn cells(&mut self, count: usize) -> Result<(), DocumentError> {
        self.cells = self.cells.saturating_add(count);
        let limit = self.most.cells;
        if self.cells <= limit {
            return Ok(());
        }
        Err(DocumentError::new(
            format!("has more than {limit} fields in all its rows; split it, or leave out columns that are not needed"),
            format!("各行共有超过 {limit} 个字段；请拆分，或去掉不需要的列"),
        ))
    }
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
pub fn read(name: &str, bytes: &[u8], reading: Reading) -> Result<Content, DocumentError> {
    let format = Format::of(name).ok_or_else(|| {
        DocumentError::new(
            format!("is of no known kind; {ENDINGS} are read"),
            format!("的类型无法识别；支持 {ENDINGS}"),
        )
    })?;
    match format {
        Format::Text if reading.lines => encoding::decode(bytes, None).and_then(lines),
        Format::Text | Format::Markdown => encoding::decode(bytes, None).and_then(text),
        Format::Csv => csv::read(&encoding::decode(bytes, None)?, None, Room::new(reading)).map(Content::Table),
        Format::Tsv => csv::read(&encoding::decode(bytes, None)?, Some(b'\t'), Room::new(reading)).map(Content::Table),
        Format::JsonLines => json_lines::read(&encoding::decode(bytes, None)?, Room::new(reading)).map(Content::Table),
        Format::Xlsx => xlsx::read(bytes, Room::new(reading)).map(Content::Table),
        Format::Html => html::read(&encoding::decode(bytes, html::charset(bytes))?).and_then(text),
        Format::Pdf => pdf::read(bytes).and_then(text),
        Format::Docx => docx::read(bytes).and_then(text),
    }
}

/// Many texts, a line each: line ends are plain, and no control characters are in it.
fn lines(text: String) -> Result<Content, DocumentError> {
    let text = clean(&text);
    if text.trim().is_empty() {
        return Err(DocumentError::new("has no text", "没有文本"));
    }
    Ok(Content::Text(text))
}

/// One text, its line ends plain and without control characters.
fn text(text: String) -> Result<Content, DocumentError> {
    let content = lines(text)?;
    let Content::Text(text) = &content else { return Ok(content) };
    too_long(text).map_or(Ok(()), |said| Err(DocumentError(said))).map(|()| content)
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
        let said = read("a.doc", b"x", Reading::default()).unwrap_err().about("a.doc");
        assert_eq!(said.en, "a.doc is of no known kind; .txt .md .csv .tsv .xlsx .jsonl .html .pdf .docx are read.");
    }

    #[test]
    fn a_text_has_plain_line_ends_and_no_control_characters() {
        let read = |name: &str, bytes: &[u8]| read(name, bytes, Reading::default());
        assert_eq!(read("a.md", b"# One\r\n\r\ntwo\x07\tend\r").unwrap(), Content::Text("# One\n\ntwo\tend\n".into()));
        assert_eq!(read("a.txt", b" \r\n").unwrap_err().to_string(), "has no text");
        let long = "a".repeat(limits::TEXT + 1);
        assert!(read("a.txt", long.as_bytes()).unwrap_err().to_string().contains("2000001 characters"));
    }

    #[test]
    fn a_file_of_many_texts_may_be_longer_than_one_text() {
        let many = "One text.\r\n".repeat(limits::TEXT / 10 + 1);
        let lines = Reading { lines: true, ..Reading::default() };
        let Content::Text(text) = read("a.txt", many.as_bytes(), lines).unwrap() else { panic!("no text") };
        assert!(text.len() > limits::TEXT && text.starts_with("One text.\nOne"));
        assert!(read("a.md", many.as_bytes(), lines).is_err(), "a document is one text");
    }

    #[test]
    fn a_table_is_given_up_as_soon_as_it_is_too_large() {
        let read = |name: &str, text: &str, rows, cells| {
            read(name, text.as_bytes(), Reading { rows, cells, lines: false }).map(|_| ()).map_err(|e| e.to_string())
        };
        let csv = "a,b\n1,2\n3,4\n";
        assert_eq!(read("a.csv", csv, 2, 4), Ok(()));
        assert!(read("a.csv", csv, 1, 4).unwrap_err().starts_with("has more than 1 rows"));
        assert!(read("a.csv", csv, 2, 3).unwrap_err().starts_with("has more than 3 fields"));
        let json = "{\"text\": \"a, [b], \\\"c\\\", {\"}\n{\"text\": [1, [2], 3]}\n";
        assert_eq!(read("a.jsonl", json, 2, 6), Ok(()), "what stands in a text counts as nothing");
        assert!(read("a.jsonl", json, 2, 5).unwrap_err().starts_with("has more than 5 fields"));
        assert!(read("a.jsonl", json, 1, 9).unwrap_err().starts_with("has more than 1 rows"));
        let wide = format!("text\n{}\n", ",".repeat(limits::FIELDS));
        assert!(read("a.csv", &wide, 9, 9).unwrap_err().contains("10001 fields in line 2"));
    }
}
