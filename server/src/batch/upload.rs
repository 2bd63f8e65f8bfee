//! Files as they come in: read at once into a table, which lies below `uploads/` until its columns are chosen.
//!
//! The table's file is named by an id of ours; what a file was called is only shown.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use app::services::{Owner, ServiceError};
use documents::{
    Content, Format, Reading, Table, TableRow,
    rows::{self, Columns, Row},
};
use protocol::{
    Sentence,
    batch::{OpenedFile, UploadView},
};
use serde_json::{Map, Value};

use super::{Batches, MAX_ROWS, shown};
use crate::{
    files,
    pool::{plan::MAX_CHARS, refused_by_store},
    store::new_id,
};

/// The most bytes of one upload, all its files together.
pub const MAX_BYTES: usize = 50 * 1024 * 1024;
/// The most files of one upload.
pub const MAX_FILES: usize = 1_000;
/// What is read of a table: with so many fields it takes a few hundred megabytes while it is read.
const MOST: Reading = Reading { lines: false, rows: MAX_ROWS, cells: 2_000_000 };
/// Rows of the preview, and code points of its values.
const PREVIEW: usize = 8;
const VALUE: usize = 120;
/// Uploads of one owner that wait for their columns.
const KEPT: i64 = 20;
/// Length of a name, in code points.
const NAME: usize = 120;

/// How plain text is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum As {
    /// Each line is a text.
    #[default]
    Lines,
    /// The whole is one text.
    Document,
    /// Rows with columns, as copied from a sheet.
    Table,
}

impl As {
    /// By its name in the form.
    pub fn from_name(name: &str) -> Self {
        match name {
            "document" => Self::Document,
            "table" => Self::Table,
            _ => Self::Lines,
        }
    }
}

/// A file that came in: its name, and where its bytes are.
#[derive(Debug)]
pub struct Incoming {
    /// As the browser called it.
    pub name: String,
    /// A file of ours, removed when this is dropped.
    pub file: Temporary,
}

/// A file that is removed when nobody holds it any more.
#[derive(Debug)]
pub struct Temporary(pub PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What stays behind is removed at the next start.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Batches {
    /// A new file to write an upload into.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn incoming(&self, name: &str) -> Result<Incoming, ServiceError> {
        std::fs::create_dir_all(&self.uploads).map_err(|e| lost(&e))?;
        Ok(Incoming { name: tame(name), file: Temporary(self.uploads.join(format!("{}.part", new_id()))) })
    }

    /// Reads files and stores their table; what is shown of it.
    ///
    /// # Errors
    /// A file cannot be read, or they do not go together.
    pub async fn receive(&self, owner: Owner, files: Vec<Incoming>, plain: As) -> Result<UploadView, ServiceError> {
        let folder = self.uploads.clone();
        let _place = self.reading.acquire().await;
        let read = tokio::task::spawn_blocking(move || keep(&folder, files, plain)).await;
        let view = read.map_err(|e| lost(&e))??;
        self.store.insert_upload(owner.0, &view).await.map_err(refused_by_store)?;
        let old = self.store.delete_old_uploads(owner.0, KEPT).await.map_err(refused_by_store)?;
        old.iter().for_each(|id| remove(&self.uploads, id));
        Ok(view)
    }
}

impl Batches {
    /// Reads one file for the text of a page; a table is kept as an upload.
    ///
    /// # Errors
    /// It cannot be read, has nothing in it, or more than a page can take.
    pub async fn open(&self, owner: Owner, file: Incoming) -> Result<OpenedFile, ServiceError> {
        if Format::of(&file.name).is_some_and(Format::is_table) {
            return Ok(OpenedFile::Table(self.receive(owner, vec![file], As::default()).await?));
        }
        let _place = self.reading.acquire().await;
        let read = tokio::task::spawn_blocking(move || one_text(&file)).await;
        Ok(OpenedFile::Text(read.map_err(|e| lost(&e))??))
    }
}

/// The text of a document, as long as a page can take.
fn one_text(file: &Incoming) -> Result<String, ServiceError> {
    let name = file.name.as_str();
    let text = match files::read(&file.file.0, name, MOST).map_err(|e| ServiceError::Invalid(e.about(name)))? {
        Content::Text(text) => text,
        Content::Table(_) => String::new(),
    };
    let chars = text.chars().count();
    if text.trim().is_empty() {
        return Err(ServiceError::invalid(
            format!("{name} has no text in it; a scanned document has only pictures. Paste its words instead."),
            format!("{name} 中没有文字；扫描件只有图片。请直接粘贴文字。"),
        ));
    }
    if chars > MAX_CHARS {
        return Err(ServiceError::invalid(
            format!(
                "{name} has {chars} characters; at most {MAX_CHARS} are read here. Split it, or use `knowlm extract`."
            ),
            format!("{name} 有 {chars} 个字符，此处最多读取 {MAX_CHARS} 个。请拆分，或使用 `knowlm extract`。"),
        ));
    }
    Ok(text)
}

/// Removes the file of an upload that is forgotten.
pub fn remove(folder: &Path, id: &str) {
    if let Err(error) = std::fs::remove_file(folder.join(id)) {
        tracing::warn!(%error, "an upload's file could not be removed");
    }
}

/// Removes files that no upload needs.
pub fn tidy(folder: &Path, needed: &[String]) {
    let Ok(files) = std::fs::read_dir(folder) else { return };
    for file in files.flatten() {
        let name = file.file_name();
        if !needed.iter().any(|id| name.to_str() == Some(id)) && file.path().is_file() {
            let _ = std::fs::remove_file(file.path());
        }
    }
}

/// The rows of an upload, with the columns that were chosen.
pub fn rows(file: &Path, name: &str, text: &str, id: Option<&str>) -> Result<Vec<Row>, ServiceError> {
    let table: Table = std::fs::read(file)
        .map_err(|e| lost(&e))
        .and_then(|json| serde_json::from_slice(&json).map_err(|e| lost(&e)))?;
    let rows = match id {
        Some(id) => rows::of_table(table, Columns { text: Some(text), id: Some(id) }),
        None => rows::numbered(table, text),
    };
    rows.map_err(|error| ServiceError::Invalid(error.about(name)))
}

/// What is said when an upload's file is not there any more.
pub fn lost(error: &dyn std::fmt::Display) -> ServiceError {
    tracing::error!(%error, "an upload could not be kept or read");
    ServiceError::Internal(Sentence::new(
        format!(
            "The file could not be kept or read again ({error}). Check that the disk of the data folder has room, then upload it again."
        ),
        format!("无法保存或再次读取该文件（{error}）。请确认数据目录所在磁盘有剩余空间，然后重新上传。"),
    ))
}

fn keep(folder: &Path, files: Vec<Incoming>, plain: As) -> Result<UploadView, ServiceError> {
    let (name, table) = table(files, plain)?;
    if table.rows.is_empty() {
        return Err(ServiceError::invalid(format!("{name} has no rows."), format!("{name} 没有任何行。")));
    }
    let value = |row: &TableRow, column: &String| cut(&row.fields.get(column).map(shown).unwrap_or_default(), VALUE);
    let preview =
        table.rows.iter().take(PREVIEW).map(|row| table.columns.iter().map(|column| value(row, column)).collect());
    let view = UploadView {
        id: new_id(),
        name,
        columns: table.columns.clone(),
        rows: table.rows.len(),
        preview: preview.collect(),
    };
    std::fs::create_dir_all(folder).map_err(|e| lost(&e))?;
    // Row by row: as one piece it would be in memory twice.
    let mut file = BufWriter::new(File::create(folder.join(&view.id)).map_err(|e| lost(&e))?);
    let written = serde_json::to_writer(&mut file, &table).map_err(std::io::Error::from).and_then(|()| file.flush());
    if let Err(error) = written {
        remove(folder, &view.id);
        return Err(lost(&error));
    }
    Ok(view)
}

/// One table of all files: that of the one table among them, or a row for each document.
fn table(mut files: Vec<Incoming>, plain: As) -> Result<(String, Table), ServiceError> {
    let is_table = |file: &Incoming| {
        let format = Format::of(&file.name);
        format.is_some_and(Format::is_table) || (format == Some(Format::Text) && plain != As::Document)
    };
    if files.len() > 1 && files.iter().any(is_table) {
        let table = files.iter().find(|file| is_table(file)).map(|file| file.name.clone()).unwrap_or_default();
        return Err(ServiceError::invalid(
            format!(
                "{table} holds many texts, and is uploaded alone. Several files together must be documents, one text each."
            ),
            format!("{table} 含有多段文本，请单独上传。一次上传多个文件时，每个文件应是一篇文档。"),
        ));
    }
    let first = files.first().map(|file| file.name.clone()).unwrap_or_default();
    let refused = |name: &str, error: documents::DocumentError| ServiceError::Invalid(error.about(name));
    if let (1, Some(file)) = (files.len(), files.first()) {
        let table_of_text = plain == As::Table && Format::of(&file.name) == Some(Format::Text);
        let read_as = if table_of_text { "text.csv" } else { file.name.as_str() };
        let in_lines = plain == As::Lines && Format::of(&file.name) == Some(Format::Text);
        let reading = Reading { lines: in_lines, ..MOST };
        return match files::read(&file.file.0, read_as, reading).map_err(|e| refused(&first, e))? {
            Content::Table(table) => Ok((first, table)),
            Content::Text(text) if in_lines => lines(&text).map(|table| (first, table)),
            Content::Text(text) => Ok((first.clone(), document_table(vec![(first, Ok(text))]))),
        };
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    let read = |file: &Incoming| {
        let text = match files::read(&file.file.0, &file.name, MOST) {
            Ok(Content::Text(text)) => Ok(text),
            Ok(Content::Table(_)) => Err(Sentence::new("It is a table.", "这是表格。")),
            Err(error) => Err(error.about(&file.name)),
        };
        (file.name.clone(), text)
    };
    let more = files.len() - 1;
    let name = cut(&format!("{first} +{more}"), NAME);
    Ok((name, document_table(files.iter().map(read).collect())))
}

fn lines(text: &str) -> Result<Table, ServiceError> {
    let count = text.lines().filter(|line| !line.trim().is_empty()).count();
    if count > MAX_ROWS {
        return Err(ServiceError::invalid(
            format!(
                "There are {count} lines of text; the page takes at most {MAX_ROWS}. Split them, or use `knowlm extract`."
            ),
            format!("共有 {count} 行文本，页面最多接受 {MAX_ROWS} 行。请拆分，或使用 `knowlm extract`。"),
        ));
    }
    let row = |row: Row| TableRow {
        line: row.line,
        error: row.text.as_ref().err().cloned(),
        fields: row.text.map(|text| Map::from_iter([("text".to_owned(), Value::from(text))])).unwrap_or_default(),
    };
    Ok(Table { columns: vec!["text".into()], rows: rows::of_lines(text).into_iter().map(row).collect(), sheet: false })
}

/// Documents as rows: the file's name is the id. Of two with one name the second is told apart.
fn document_table(documents: Vec<(String, Result<String, Sentence>)>) -> Table {
    let mut seen = std::collections::HashMap::<String, usize>::new();
    let rows = documents.into_iter().enumerate().map(|(index, (name, text))| {
        let times = seen.entry(name.clone()).or_default();
        *times += 1;
        let id = if *times > 1 { format!("{name} ({times})") } else { name };
        let mut fields = Map::from_iter([("id".to_owned(), Value::from(id))]);
        let error = match text {
            Ok(text) => {
                fields.insert("text".into(), Value::from(text));
                None
            }
            Err(reason) => Some(reason),
        };
        TableRow { line: index + 1, fields, error }
    });
    Table { rows: rows.collect(), columns: vec!["id".into(), "text".into()], sheet: false }
}

/// A file's name as it can be shown and listed: without folders and control characters.
fn tame(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let plain = plain.trim();
    if plain.is_empty() {
        return "unnamed.txt".into();
    }
    // The ending says how it is read: it stays.
    match plain.rsplit_once('.') {
        Some((stem, ending)) if ending.chars().count() <= 8 => format!("{}.{ending}", cut(stem, NAME)),
        _ => cut(plain, NAME),
    }
}

/// Marks that turn the direction of writing or take no room: a name could look like another.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}')
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_document_is_opened_as_one_text_and_what_a_page_cannot_take_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let opened = |name: &str, content: &str| {
            let file = given(folder.path(), &[(name, content)]).remove(0);
            one_text(&file).map_err(|e| e.to_string())
        };
        assert_eq!(opened("a.txt", "Ada\nBob").unwrap(), "Ada\nBob");
        assert_eq!(opened("页.html", "<p>Ada &amp; Bob</p>").unwrap().trim(), "Ada & Bob");
        assert!(opened("a.exe", "MZ").unwrap_err().contains("a.exe is of no known kind"));
        assert!(opened("a.md", " \n").unwrap_err().starts_with("a.md "));
        assert!(opened("a.txt", &"字".repeat(MAX_CHARS + 1)).unwrap_err().contains("200001 characters"));
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing stays behind");
    }

    fn given(folder: &Path, files: &[(&str, &str)]) -> Vec<Incoming> {
        let one = |(index, (name, content)): (usize, &(&str, &str))| {
            let path = folder.join(format!("{index}.part"));
            std::fs::write(&path, content).unwrap();
            Incoming { name: tame(name), file: Temporary(path) }
        };
        files.iter().enumerate().map(one).collect()
    }

    fn kept(files: &[(&str, &str)], plain: As) -> Result<(UploadView, Vec<Row>), String> {
        let folder = tempfile::tempdir().unwrap();
        let view = keep(folder.path(), given(folder.path(), files), plain).map_err(|e| e.to_string())?;
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "only the table is kept");
        let text = view.text_column().unwrap().to_owned();
        let rows = rows(&folder.path().join(&view.id), &view.name, &text, view.id_column());
        rows.map(|rows| (view, rows)).map_err(|e| e.to_string())
    }

    fn texts(rows: &[Row]) -> Vec<(String, String)> {
        rows.iter().map(|r| (shown(&r.id), r.text.clone().unwrap_or_else(|e| e.en))).collect()
    }

    fn own(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
    }

    #[test]
    fn plain_text_is_taken_as_was_said() {
        let text = "name,body\nOne,\"a, b\"\n";
        let of = |plain| texts(&kept(&[("pasted.txt", text)], plain).unwrap().1);
        assert_eq!(of(As::Lines), own(&[("1", "name,body"), ("2", "One,\"a, b\"")]));
        assert_eq!(of(As::Document), own(&[("pasted.txt", text)]));
        assert_eq!(of(As::Table), own(&[("2", "a, b")]));
    }

    #[test]
    fn a_long_list_of_texts_is_read_and_one_too_long_is_told() {
        let line = "A text of forty letters, or about that.\n";
        let (view, _) = kept(&[("many.txt", &line.repeat(60_000))], As::Lines).unwrap();
        assert_eq!(view.rows, 60_000, "more than two million characters, but no text of it");
        let said = kept(&[("many.txt", &line.repeat(60_000))], As::Document).unwrap_err();
        assert!(said.contains("at most 2000000 are read"), "{said}");
        let said = kept(&[("many.txt", &"a\n".repeat(MAX_ROWS + 1))], As::Lines).unwrap_err();
        assert!(said.starts_with("There are 100001 lines"), "{said}");
        let said = kept(&[("many.csv", &format!("text\n{}", "a\n".repeat(MAX_ROWS + 1)))], As::Lines).unwrap_err();
        assert!(said.starts_with("many.csv has more than 100000 rows"), "{said}");
    }

    #[test]
    fn several_documents_are_rows_by_name_and_a_table_comes_alone() {
        let files = [("b.md", "Two"), ("../up/a.html", "<p>One"), ("b.md", "Three"), ("c.pdf", "no")];
        let (view, rows) = kept(&files, As::Lines).unwrap();
        assert_eq!(view.name, "b.md +3");
        assert_eq!(texts(&rows)[..3], own(&[("a.html", "One"), ("b.md", "Two"), ("b.md (2)", "Three")]));
        assert!(rows[3].text.as_ref().unwrap_err().en.starts_with("c.pdf is no PDF"));
        let said = kept(&[("a.csv", "text\nx"), ("b.md", "y")], As::Lines).unwrap_err();
        assert!(said.starts_with("a.csv holds many texts, and is uploaded alone"), "{said}");
    }

    #[test]
    fn rows_have_their_numbers_where_no_column_of_ids_is_chosen() {
        let folder = tempfile::tempdir().unwrap();
        let files = given(folder.path(), &[("a.csv", "id,text\nx,One\nx,Two\n")]);
        let view = keep(folder.path(), files, As::Lines).unwrap();
        let path = folder.path().join(&view.id);
        let numbered = rows(&path, "a.csv", "text", None).unwrap();
        assert_eq!(texts(&numbered), own(&[("2", "One"), ("3", "Two")]));
        assert_eq!(numbered[0].extra["input_id"], "x");
        let said = rows(&path, "a.csv", "text", Some("id")).unwrap_err().to_string();
        assert!(said.starts_with("a.csv has the id \"x\" twice, in lines 2 and 3"), "{said}");
    }

    #[test]
    fn hostile_names_are_only_names() {
        assert_eq!(tame("../../etc/passwd"), "passwd");
        assert_eq!(tame("C:\\texts\\a.csv"), "a.csv");
        assert_eq!(tame("a\u{202e}fdp.\0txt\n"), "afdp.txt");
        assert_eq!(tame(" / "), "unnamed.txt");
        assert!(tame(&format!("{}.csv", "长".repeat(500))).ends_with("长….csv"));
    }
}
