//! A JSON object in each line.

use std::collections::HashSet;

use protocol::Sentence;
use serde_json::{Map, Value};

use super::{DocumentError, Room, Table, TableRow, limits};

/// Reads the lines; one that is no object is a row with a reason. The columns are all fields that any line has.
pub fn read(text: &str, mut room: Room) -> Result<Table, DocumentError> {
    let mut table = Table::default();
    let mut known = HashSet::new();
    for (index, json) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        // Counted before it is parsed: a list of numbers takes far more memory than its text.
        room.row()?;
        room.cells(values(json))?;
        let line = index + 1;
        let broken = |en: String, zh: String| TableRow {
            line,
            fields: Map::new(),
            error: Some(Sentence::new(format!("line {line} {en}"), format!("第 {line} 行{zh}"))),
        };
        table.rows.push(match serde_json::from_str::<Value>(json) {
            Ok(Value::Object(fields)) => {
                for name in fields.keys() {
                    if !known.contains(name) && known.len() < limits::COLUMNS {
                        known.insert(name.clone());
                        table.columns.push(name.clone());
                    }
                }
                TableRow { line, fields, error: None }
            }
            Ok(_) => broken("is no object with a text".into(), "不是含文本的对象".into()),
            Err(e) => broken(format!("is no JSON: {e}"), format!("不是 JSON：{e}")),
        });
    }
    Ok(table)
}

/// How many values an object has, those inside of its values too: what stands between commas and brackets outside of texts.
fn values(json: &str) -> usize {
    let (mut count, mut quoted, mut escaped) = (0, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' | b'[' | b'{' if !quoted => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_is_a_row_and_a_broken_one_says_why() {
        let deep = "[".repeat(100_000);
        let room = Room::new(crate::Reading::default());
        let table =
            read(&format!("{{\"id\": 1, \"text\": \"a\"}}\n\nnonsense\n[]\n{{\"text\": 2}}\n{deep}\n"), room).unwrap();
        assert_eq!(table.columns, ["id", "text"]);
        let lines: Vec<_> = table.rows.iter().map(|r| (r.line, r.error.is_some())).collect();
        assert_eq!(lines, [(1, false), (3, true), (4, true), (5, false), (6, true)]);
        assert!(table.rows[1].error.as_ref().unwrap().en.starts_with("line 3 is no JSON"));
    }
}
