//! Files of texts, and folders of documents.

use std::path::{Path, PathBuf};

use documents::{Content, Format, Reading, rows};
use protocol::Sentence;
use serde_json::{Map, Value};

use super::CliError;
use crate::files;

pub use documents::rows::{Columns, Row, key};

/// Reads a file by its ending, or every document of a folder. A row or a document that cannot be read is a row with a
/// reason; a file that cannot be, or in which two rows have the same id, is an error.
pub fn read(path: &Path, columns: Columns<'_>) -> Result<Vec<Row>, CliError> {
    let name = path.display();
    let failed = |reason: String| CliError::Failed(format!("the input {name} {reason}"));
    let rows = if path.is_dir() { folder(path) } else { file(path, columns) }.map_err(failed)?;
    if rows.is_empty() {
        return Err(failed("has no texts".into()));
    }
    Ok(rows)
}

fn file(path: &Path, columns: Columns<'_>) -> Result<Vec<Row>, String> {
    let name = file_name(path);
    match files::read(path, &name, Reading { lines: true, ..Reading::default() }).map_err(|e| e.to_string())? {
        Content::Text(text) if Format::of(&name) == Some(Format::Text) => Ok(rows::of_lines(&text)),
        Content::Text(text) => Ok(vec![document(name, Ok(text))]),
        Content::Table(table) => {
            let hint = ". Name one with --text-column";
            let text = columns.text.unwrap_or("text");
            let hint = if table.columns.iter().any(|column| column == text) { "" } else { hint };
            rows::of_table(table, columns).map_err(|e| format!("{e}{hint}"))
        }
    }
}

/// The documents of a folder by name, which is their id; other files, hidden ones, those that Office makes while a document
/// is open (`~$…`), and folders in it, are left alone.
fn folder(path: &Path) -> Result<Vec<Row>, String> {
    let cannot = |e: std::io::Error| format!("cannot be read: {e}");
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(path).map_err(cannot)? {
        let path = entry.map_err(cannot)?.path();
        let name = file_name(&path);
        let hidden = name.starts_with("~$") || name.starts_with('.');
        let known = Format::of(&name).is_some_and(|format| !format.is_table());
        if known && !hidden && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err("has no documents; .txt, .md, .html, .pdf and .docx are read from a folder".into());
    }
    found.sort();
    let read = |path: &PathBuf| {
        let name = file_name(path);
        let text = match files::read(path, &name, Reading::default()) {
            Ok(Content::Text(text)) => Ok(text),
            Ok(Content::Table(_)) => Err(Sentence::new(format!("{name} is a table"), format!("{name} 是表格"))),
            Err(error) => Err(error.about(&name)),
        };
        document(name, text)
    };
    Ok(found.iter().map(read).collect())
}

fn document(name: String, text: Result<String, Sentence>) -> Row {
    Row { line: 1, id: Value::from(name), text, extra: Map::new() }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn read_file(name: &str, content: impl AsRef<[u8]>, columns: Columns<'_>) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read(&path, columns).map_err(|e| e.to_string())
    }

    fn shown(rows: &[Row]) -> Vec<(Value, &str, Value)> {
        rows.iter().map(|r| (r.id.clone(), r.text.as_deref().unwrap_or("-"), json!(r.extra))).collect()
    }

    #[test]
    fn tables_pass_their_other_columns_through() {
        let content = "id,text,source\nx,\"One, two\nthree\",web\n,Drei,s\nz,a,b,c\n";
        let rows = read_file("a.csv", content, Columns::default()).unwrap();
        assert_eq!(
            shown(&rows),
            [
                (json!("x"), "One, two\nthree", json!({"source": "web"})),
                (json!(4), "Drei", json!({"source": "s"})),
                (json!("z"), "-", json!({"source": "b"})),
            ]
        );
    }

    #[test]
    fn a_text_file_has_a_text_in_each_line_and_any_other_document_is_one_text() {
        let rows = read_file("a.txt", "One\r\n\r\n  二  \n", Columns::default()).unwrap();
        assert_eq!(shown(&rows), [(json!(1), "One", json!({})), (json!(3), "二", json!({}))]);
        let rows = read_file("a.html", "<p>One</p><p>Two</p>", Columns::default()).unwrap();
        assert_eq!(shown(&rows), [(json!("a.html"), "One\n\nTwo", json!({}))]);
    }

    #[test]
    fn a_folder_is_its_documents_by_name_and_one_that_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("b.txt", "Two\nlines"),
            ("a.md", "# One"),
            ("c.pdf", "no"),
            ("d.csv", "text\nx"),
            ("e.exe", ""),
            ("~$f.docx", "no"),
            (".g.txt", "no"),
        ] {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let rows = read(folder.path(), Columns::default()).unwrap();
        assert_eq!(
            shown(&rows),
            [
                (json!("a.md"), "# One", json!({})),
                (json!("b.txt"), "Two\nlines", json!({})),
                (json!("c.pdf"), "-", json!({})),
            ]
        );
        assert!(rows[2].text.as_ref().unwrap_err().en.starts_with("c.pdf is no PDF document"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_sentence() {
        let said = |name, content: &[u8]| read_file(name, content, Columns::default()).unwrap_err();
        assert!(
            said("a.csv", b"a,b\n1,2\n")
                .contains("no column \"text\"; its columns are a, b. Name one with --text-column")
        );
        assert!(
            said("a.jsonl", b"{\"id\": 1, \"text\": \"a\"}\n{\"id\": 1, \"text\": \"c\"}").contains("the id 1 twice")
        );
        assert!(said("a.txt", b"ok\n\xff\n").contains("(line 2); save it in UTF-8"));
        assert!(said("a.txt", b" \n").contains("has no text"));
        assert!(said("a.doc", b"x").contains(".docx are read"));
        assert!(
            read(Path::new("/nowhere.txt"), Columns::default()).unwrap_err().to_string().contains("cannot be read")
        );
    }
}
