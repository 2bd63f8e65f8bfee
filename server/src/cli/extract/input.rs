//! Files of texts.

use std::{collections::HashMap, path::Path};

use serde_json::{Map, Value};

use super::CliError;

/// A text to extract from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Its id, as it is written out.
    pub id: Value,
    /// The text; or why there is none.
    pub text: Result<String, String>,
    /// Its other fields, under the names they have in the output.
    pub extra: Map<String, Value>,
}

/// Which columns or fields hold what; `None` is the usual name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    pub text: Option<&'a str>,
    pub id: Option<&'a str>,
}

impl Columns<'_> {
    fn text(&self) -> &str {
        self.text.unwrap_or("text")
    }

    fn id(&self) -> &str {
        self.id.unwrap_or("id")
    }
}

/// The names that the output gives a meaning to.
const OWN: [&str; 7] = ["id", "text", "entities", "relations", "events", "issues", "error"];

/// Reads a file by its ending. A row that cannot be read is a row with a reason; a file that cannot be, or in which two
/// rows have the same id, is an error.
pub fn read(path: &Path, columns: Columns<'_>) -> Result<Vec<Row>, CliError> {
    let name = path.display();
    let failed = |reason: String| CliError::Failed(format!("the input {name} {reason}"));
    let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let bytes = std::fs::read(path).map_err(|e| failed(format!("cannot be read: {e}")))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = e.utf8_error().valid_up_to();
        let line = e.as_bytes().iter().take(valid).filter(|b| **b == b'\n').count() + 1;
        failed(format!("is not in UTF-8 (line {line}); save it in that encoding"))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let rows = match ending.as_str() {
        "jsonl" | "ndjson" => json_lines(text, columns),
        "csv" => table(text, b',', columns),
        "tsv" => table(text, b'\t', columns),
        "txt" => Ok(lines(text)),
        _ => Err("is of no known kind; .jsonl, .csv, .tsv and .txt are read".into()),
    };
    let rows = rows.map_err(failed)?;
    if rows.is_empty() {
        return Err(failed("has no texts".into()));
    }
    unique(&rows).map_err(failed)?;
    Ok(rows)
}

/// An id as it is compared: text and number are different.
pub fn key(id: &Value) -> String {
    id.to_string()
}

fn unique(rows: &[Row]) -> Result<(), String> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(first) = seen.insert(key(&row.id), row.line) {
            return Err(format!(
                "has the id {} twice, in lines {first} and {}; every text needs an id of its own",
                row.id, row.line
            ));
        }
    }
    Ok(())
}

/// A text in each line; its number is its id.
fn lines(text: &str) -> Vec<Row> {
    let row = |(index, line): (usize, &str)| Row {
        line: index + 1,
        id: Value::from(index + 1),
        text: Ok(line.trim().to_owned()),
        extra: Map::new(),
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
}

fn json_lines(text: &str, columns: Columns<'_>) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    let mut fields = None;
    let mut named = columns.id.is_none();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line_number = index + 1;
        let broken = |reason: String| Row {
            line: line_number,
            // No number: another line may have it as its id.
            id: Value::from(format!("line {line_number}")),
            text: Err(format!("line {line_number} {reason}")),
            extra: Map::new(),
        };
        rows.push(match serde_json::from_str::<Value>(line) {
            Ok(Value::Object(object)) => {
                named |= columns.id.is_some_and(|id| object.contains_key(id));
                fields.get_or_insert_with(|| object.keys().cloned().collect::<Vec<_>>().join(", "));
                row(line_number, object, columns)
            }
            Ok(_) => broken("is no object with a text".into()),
            Err(e) => broken(format!("is no JSON: {e}")),
        });
    }
    if let (Some(fields), true) = (fields, rows.iter().all(|row| row.text.is_err())) {
        let text = columns.text();
        return Err(format!(
            "has no text in the field \"{text}\"; its fields are {fields}. Name one with --text-column"
        ));
    }
    if let (Some(id), false, false) = (columns.id, named, rows.is_empty()) {
        return Err(format!("has no field \"{id}\" in any line"));
    }
    Ok(rows)
}

/// CSV after RFC 4180, the first line names the columns.
fn table(text: &str, delimiter: u8, columns: Columns<'_>) -> Result<Vec<Row>, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let header: Vec<String> = match reader.headers() {
        Ok(header) => header.iter().map(|name| name.trim().to_owned()).collect(),
        Err(e) => return Err(format!("cannot be read as a table: {e}")),
    };
    let known = || header.join(", ");
    if let Some((_, twice)) = header.iter().enumerate().find(|(i, name)| header[..*i].contains(name)) {
        return Err(format!("has two columns \"{twice}\"; give each a name of its own"));
    }
    if !header.iter().any(|name| name == columns.text()) {
        let text = columns.text();
        return Err(format!("has no column \"{text}\"; its columns are {}. Name one with --text-column", known()));
    }
    if let Some(id) = columns.id.filter(|id| !header.iter().any(|name| name == id)) {
        return Err(format!("has no column \"{id}\"; its columns are {}", known()));
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| format!("cannot be read as a table: {e}"))?;
        let line = record.position().map_or(rows.len() + 2, |p| p.line() as usize);
        let fields = header.iter().zip(&record).map(|(name, value)| (name.clone(), Value::from(value)));
        let mut read = row(line, fields.collect(), columns);
        if record.len() != header.len() {
            let (has, wanted) = (record.len(), header.len());
            read.text = Err(format!(
                "line {line} has {has} fields instead of {wanted}; put fields with commas in quotation marks"
            ));
        }
        rows.push(read);
    }
    Ok(rows)
}

fn row(line: usize, mut object: Map<String, Value>, columns: Columns<'_>) -> Row {
    let text = match object.remove(columns.text()) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(format!("line {line} has no text in \"{}\", but something else", columns.text())),
        None => Err(format!("line {line} has no \"{}\"", columns.text())),
    };
    let (id, text) = match object.remove(columns.id()) {
        Some(Value::String(id)) if id.trim().is_empty() => (Value::from(line), text),
        Some(id @ (Value::String(_) | Value::Number(_))) => (id, text),
        Some(Value::Null) | None => (Value::from(line), text),
        Some(_) => (Value::from(line), Err(format!("line {line} has an id that is neither text nor a number"))),
    };
    let mut extra = Map::new();
    for (name, value) in object {
        let name = if OWN.contains(&name.as_str()) { format!("input_{name}") } else { name };
        extra.insert(name, value);
    }
    Row { line, id, text, extra }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn file(name: &str, content: impl AsRef<[u8]>, columns: Columns<'_>) -> Result<Vec<Row>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        read(&path, columns).map_err(|e| e.to_string())
    }

    fn shown(rows: &[Row]) -> Vec<(Value, &str, Value)> {
        let text = |row: &Row| row.text.as_deref().map_err(ToString::to_string).unwrap_or("-").len();
        rows.iter()
            .map(|r| (r.id.clone(), &r.text.as_deref().unwrap_or("-")[..text(r).min(20)], json!(r.extra)))
            .collect()
    }

    #[test]
    fn lines_of_json_have_their_ids_and_pass_other_fields_through() {
        let content = "\u{feff}{\"id\": \"a\", \"text\": \"One\", \"source\": 7}\n\n{\"id\": 2, \"text\": \"\", \"entities\": []}\n{\"text\": \"Three\"}\nnonsense\n{\"id\": 9, \"body\": \"x\"}\n";
        let rows = file("a.jsonl", content, Columns::default()).unwrap();
        assert_eq!(
            shown(&rows),
            [
                (json!("a"), "One", json!({"source": 7})),
                (json!(2), "", json!({"input_entities": []})),
                (json!(4), "Three", json!({})),
                (json!("line 5"), "-", json!({})),
                (json!(9), "-", json!({"body": "x"})),
            ]
        );
        assert!(rows[3].text.as_ref().unwrap_err().starts_with("line 5 is no JSON"));
        assert_eq!(rows[4].text.as_ref().unwrap_err(), "line 6 has no \"text\"");
    }

    #[test]
    fn tables_have_columns_by_name_and_fields_of_many_lines() {
        let content = "id,text,source\nx,\"One, two\nthree\",web\ny,Zwei,\n,Drei,s\nz,a,b,c\n";
        let rows = file("a.csv", content, Columns::default()).unwrap();
        assert_eq!(
            shown(&rows),
            [
                (json!("x"), "One, two\nthree", json!({"source": "web"})),
                (json!("y"), "Zwei", json!({"source": ""})),
                (json!(5), "Drei", json!({"source": "s"})),
                (json!("z"), "-", json!({"source": "b"})),
            ]
        );
        let columns = Columns { text: Some("body"), id: Some("nr") };
        let rows = file("a.tsv", "nr\tbody\ttext\n1\tHallo, du\tx\n", columns).unwrap();
        assert_eq!(shown(&rows), [(json!("1"), "Hallo, du", json!({"input_text": "x"}))]);
    }

    #[test]
    fn lines_of_text_have_their_number_as_id() {
        let rows = file("a.txt", "One\r\n\r\n  二  \n", Columns::default()).unwrap();
        assert_eq!(shown(&rows), [(json!(1), "One", json!({})), (json!(3), "二", json!({}))]);
    }

    #[test]
    fn what_is_wrong_with_a_file_is_one_sentence() {
        let said = |name, content: &[u8]| file(name, content, Columns::default()).unwrap_err();
        let twice = said(
            "a.jsonl",
            b"{\"id\": 1, \"text\": \"a\"}\n{\"id\": \"1\", \"text\": \"b\"}\n{\"id\": 1, \"text\": \"c\"}",
        );
        assert!(twice.contains("has the id 1 twice, in lines 1 and 3"), "{twice}");
        assert!(
            said("a.csv", b"a,b\n1,2\n")
                .contains("no column \"text\"; its columns are a, b. Name one with --text-column")
        );
        assert!(said("a.jsonl", b"{\"body\": \"x\"}\n").contains("no text in the field \"text\"; its fields are body"));
        assert!(said("a.txt", b"ok\n\xff\n").contains("is not in UTF-8 (line 2)"));
        assert!(said("a.txt", b" \n").contains("has no texts"));
        assert!(said("a.pdf", b"x").contains(".jsonl, .csv, .tsv and .txt are read"));
        assert!(
            read(Path::new("/nowhere.txt"), Columns::default()).unwrap_err().to_string().contains("cannot be read")
        );
    }
}
