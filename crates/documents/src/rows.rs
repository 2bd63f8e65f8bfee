//! Rows of a table as texts with ids.

use std::collections::HashMap;

use protocol::Sentence;
use serde_json::{Map, Value};

use super::{DocumentError, Table, TableRow, too_long};

/// A text to extract from.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Its id, as it is written out.
    pub id: Value,
    /// The text; or why there is none.
    pub text: Result<String, Sentence>,
    /// Its other fields, under the names they have in the output.
    pub extra: Map<String, Value>,
}

/// Which columns or fields hold what; `None` is the usual name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Columns<'a> {
    /// The column of the text, usually `text`.
    pub text: Option<&'a str>,
    /// The column of the id, usually `id`; it need not be there.
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

/// The names that the output gives a meaning to. A column of the input that has one is called `input_NAME` there.
pub const OWN: [&str; 11] =
    ["id", "text", "entities", "relations", "events", "base", "issues", "error", "gold_added", "made_by", "review"];

/// Texts of a table.
///
/// # Errors
/// There is no such column, or two rows have the same id.
pub fn of_table(table: Table, columns: Columns<'_>) -> Result<Vec<Row>, DocumentError> {
    let has = |name: &str| table.columns.iter().any(|column| column == name);
    let known = table.columns.join(", ");
    // Lines that are all broken are told one by one.
    let missing = [Some(columns.text()), columns.id].into_iter().flatten().find(|name| !has(name));
    if let (Some(name), false) = (missing, table.columns.is_empty()) {
        return Err(DocumentError::new(
            format!("has no column \"{name}\"; its columns are {known}"),
            format!("没有“{name}”列；现有列：{known}"),
        ));
    }
    let sheet = table.sheet;
    let rows: Vec<Row> = table.rows.into_iter().map(|row| self::row(row, columns, sheet)).collect();
    unique(&rows, sheet)?;
    Ok(rows)
}

/// Texts of a table, whose numbers are their ids.
///
/// # Errors
/// There is no such column.
pub fn numbered(mut table: Table, text: &str) -> Result<Vec<Row>, DocumentError> {
    for row in table.rows.iter_mut().filter(|_| text != "id") {
        // A column that has the name of an id is another column.
        if let Some(own) = row.fields.remove("id") {
            row.fields.insert("input_id".into(), own);
        }
    }
    of_table(table, Columns { text: Some(text), id: None })
}

/// A text in each line that has one; the line's number is its id.
pub fn of_lines(text: &str) -> Vec<Row> {
    let row = |(index, line): (usize, &str)| Row {
        line: index + 1,
        id: Value::from(index + 1),
        text: fitting(index + 1, line.trim().to_owned(), false),
        extra: Map::new(),
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(row).collect()
}

/// An id as it is compared: text and number are different.
pub fn key(id: &Value) -> String {
    id.to_string()
}

fn unique(rows: &[Row], sheet: bool) -> Result<(), DocumentError> {
    let mut seen: HashMap<String, usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        if let Some(first) = seen.insert(key(&row.id), row.line) {
            let (id, line, places) = (&row.id, row.line, if sheet { "rows" } else { "lines" });
            return Err(DocumentError::new(
                format!("has the id {id} twice, in {places} {first} and {line}; every text needs an id of its own"),
                format!("第 {first} 行和第 {line} 行的编号同为 {id}；每段文本需要各自的编号"),
            ));
        }
    }
    Ok(())
}

fn place(line: usize, sheet: bool) -> String {
    format!("{} {line}", if sheet { "row" } else { "line" })
}

fn fitting(line: usize, text: String, sheet: bool) -> Result<String, Sentence> {
    match too_long(&text) {
        None => Ok(text),
        Some(said) => {
            Err(Sentence::new(format!("{} {}", place(line, sheet), said.en), format!("第 {line} 行{}", said.zh)))
        }
    }
}

fn row(row: TableRow, columns: Columns<'_>, sheet: bool) -> Row {
    let TableRow { line, mut fields, error } = row;
    let broken_line = error.is_some() && fields.is_empty();
    let told = |en: String, zh: String| {
        Err(Sentence::new(format!("{} {en}", place(line, sheet)), format!("第 {line} 行{zh}")))
    };
    let column = columns.text();
    let text = match fields.remove(column) {
        Some(Value::String(text)) => fitting(line, text, sheet),
        Some(_) => told(format!("has no text in \"{column}\", but something else"), format!("“{column}”中不是文本")),
        None => told(format!("has no \"{column}\""), format!("没有“{column}”")),
    };
    let (id, text) = match fields.remove(columns.id()) {
        Some(Value::String(id)) if id.trim().is_empty() => (Value::from(line), text),
        Some(id @ (Value::String(_) | Value::Number(_))) => (id, text),
        // No number: another row may have it as its id.
        None if broken_line => (Value::from(place(line, sheet)), text),
        Some(Value::Null) | None => (Value::from(line), text),
        Some(_) => (
            Value::from(line),
            told("has an id that is neither text nor a number".into(), "的编号既不是文本也不是数字".into()),
        ),
    };
    let mut extra = Map::new();
    for (name, value) in fields {
        let name = if OWN.contains(&name.as_str()) { format!("input_{name}") } else { name };
        extra.insert(name, value);
    }
    Row { line, id, text: error.map_or(text, Err), extra }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{Content, Reading, read};

    fn table(name: &str, content: &str, columns: Columns<'_>) -> Result<Vec<Row>, String> {
        let Content::Table(table) = read(name, content.as_bytes(), Reading::default()).unwrap() else {
            panic!("no table")
        };
        of_table(table, columns).map_err(|e| e.to_string())
    }

    fn shown(rows: &[Row]) -> Vec<(Value, &str, Value)> {
        rows.iter().map(|r| (r.id.clone(), r.text.as_deref().unwrap_or("-"), json!(r.extra))).collect()
    }

    #[test]
    fn rows_have_their_ids_and_pass_other_fields_through() {
        let content = "\u{feff}{\"id\": \"a\", \"text\": \"One\", \"source\": 7}\n\n{\"id\": 2, \"text\": \"\", \"entities\": []}\n\
            {\"text\": \"Three\"}\nnonsense\n{\"id\": 9, \"body\": \"x\"}\n{\"id\": [], \"text\": \"y\"}\n";
        let rows = table("a.jsonl", content, Columns::default()).unwrap();
        assert_eq!(
            shown(&rows),
            [
                (json!("a"), "One", json!({"source": 7})),
                (json!(2), "", json!({"input_entities": []})),
                (json!(4), "Three", json!({})),
                (json!("line 5"), "-", json!({})),
                (json!(9), "-", json!({"body": "x"})),
                (json!(7), "-", json!({})),
            ]
        );
        assert!(rows[3].text.as_ref().unwrap_err().en.starts_with("line 5 is no JSON"));
        assert_eq!(rows[4].text.as_ref().unwrap_err().en, "line 6 has no \"text\"");
    }

    #[test]
    fn columns_are_chosen_by_name() {
        let columns = Columns { text: Some("body"), id: Some("nr") };
        let rows = table("a.tsv", "nr\tbody\ttext\n1\tHallo, du\tx\n\tleer\t\n", columns).unwrap();
        assert_eq!(
            shown(&rows),
            [(json!("1"), "Hallo, du", json!({"input_text": "x"})), (json!(3), "leer", json!({"input_text": ""}))]
        );
    }

    #[test]
    fn lines_of_text_have_their_number_as_id() {
        let rows = of_lines("One\r\n\r\n  二  \n");
        assert_eq!(shown(&rows), [(json!(1), "One", json!({})), (json!(3), "二", json!({}))]);
    }

    #[test]
    fn what_is_wrong_with_the_choice_is_one_sentence() {
        let said = |name: &str, content: &str, columns| table(name, content, columns).unwrap_err();
        let twice = "{\"id\": 1, \"text\": \"a\"}\n{\"id\": \"1\", \"text\": \"b\"}\n{\"id\": 1, \"text\": \"c\"}";
        assert!(said("a.jsonl", twice, Columns::default()).contains("has the id 1 twice, in lines 1 and 3"));
        let none = said("a.csv", "a,b\n1,2\n", Columns::default());
        assert!(none.contains("no column \"text\"; its columns are a, b"), "{none}");
        let id = said("a.csv", "a,text\n1,2\n", Columns { id: Some("nr"), ..Columns::default() });
        assert!(id.contains("no column \"nr\""), "{id}");
    }
}
