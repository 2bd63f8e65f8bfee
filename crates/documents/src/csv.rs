//! Comma- and tab-separated values, after RFC 4180; the first line names the columns.

use std::collections::HashSet;

use protocol::Sentence;
use serde_json::Value;

use super::{DocumentError, Room, Table, TableRow, limits};

/// Reads a table; without a delimiter, the one that the first line has.
pub fn read(text: &str, delimiter: Option<u8>, mut room: Room) -> Result<Table, DocumentError> {
    let delimiter = delimiter.unwrap_or_else(|| delimiter_of(text));
    check(text, delimiter)?;
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).flexible(true).from_reader(text.as_bytes());
    let failed = |e: ::csv::Error| {
        DocumentError::new(format!("cannot be read as a table: {e}"), format!("无法作为表格读取：{e}"))
    };
    let header: Vec<String> = reader.headers().map_err(failed)?.iter().map(str::to_owned).collect();
    let columns = names(header)?;
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(failed)?;
        room.row()?;
        room.cells(record.len().min(columns.len()))?;
        let line = record.position().map_or(rows.len() + 2, |p| p.line() as usize);
        let fields = columns.iter().zip(&record).map(|(name, value)| (name.clone(), Value::from(value)));
        let (has, wanted) = (record.len(), columns.len());
        let error = (has != wanted).then(|| {
            Sentence::new(
                format!("line {line} has {has} fields instead of {wanted}; put fields with commas in quotation marks"),
                format!("第 {line} 行有 {has} 个字段，应为 {wanted} 个；含逗号的字段请加引号"),
            )
        });
        rows.push(TableRow { line, fields: fields.collect(), error });
    }
    Ok(Table { columns, rows, sheet: false })
}

/// The names of columns: what stands in the head, trimmed, or where that is empty the column's number.
pub fn names(header: Vec<String>) -> Result<Vec<String>, DocumentError> {
    let (has, limit) = (header.len(), limits::COLUMNS);
    if has > limit {
        return Err(DocumentError::new(
            format!("has {has} columns, and at most {limit} are read"),
            format!("有 {has} 列，最多读取 {limit} 列"),
        ));
    }
    let name = |(index, name): (usize, String)| match name.trim() {
        "" => format!("column {}", index + 1),
        name => name.to_owned(),
    };
    let names: Vec<String> = header.into_iter().enumerate().map(name).collect();
    let mut seen = HashSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(DocumentError::new(
            format!("has two columns \"{twice}\"; give each a name of its own"),
            format!("有两列都叫“{twice}”；请分别命名"),
        )),
        None => Ok(names),
    }
}

/// What stands between the names of the first line: commas, or else semicolons or tabs as some programs write.
fn delimiter_of(text: &str) -> u8 {
    let first = text.lines().next().unwrap_or("");
    [b',', b';', b'\t'].into_iter().find(|d| first.bytes().any(|b| b == *d)).unwrap_or(b',')
}

/// Refuses a quotation mark that opens and is never closed, as all that follows would be one field; and a row of more
/// fields than anybody means.
fn check(text: &str, delimiter: u8) -> Result<(), DocumentError> {
    let (mut line, mut opened, mut begins, mut fields) = (1, None, true, 1);
    let mut bytes = text.bytes().peekable();
    while let Some(byte) = bytes.next() {
        line += usize::from(byte == b'\n');
        match (opened, byte) {
            (Some(_), b'"') => {
                if bytes.next_if_eq(&b'"').is_none() {
                    opened = None;
                }
            }
            (Some(_), _) => {}
            (None, b'"') if begins => opened = Some(line),
            (None, b'\n' | b'\r') => fields = 1,
            (None, byte) => fields += usize::from(byte == delimiter),
        }
        let limit = limits::FIELDS;
        if fields > limit {
            return Err(DocumentError::new(
                format!("has {fields} fields in line {line} or more, and at most {limit} are read"),
                format!("第 {line} 行至少有 {fields} 个字段，最多读取 {limit} 个"),
            ));
        }
        begins = opened.is_none() && (byte == delimiter || byte == b'\n' || byte == b'\r');
    }
    opened.map_or(Ok(()), |line| {
        Err(DocumentError::new(
            format!(
                "has a quotation mark in line {line} that is never closed; close it, or double it where it is meant as a character"
            ),
            format!("第 {line} 行的引号没有闭合；请补全，或将作为字符的引号写成两个"),
        ))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::Reading;

    fn read(text: &str, delimiter: Option<u8>) -> Result<Table, DocumentError> {
        super::read(text, delimiter, Room::new(Reading::default()))
    }

    fn shown(table: &Table) -> Vec<(usize, Value)> {
        table.rows.iter().map(|row| (row.line, json!(row.fields))).collect()
    }

    #[test]
    fn fields_have_names_and_may_have_many_lines() {
        let table = read("id, text,\nx,\"One, \"\"two\"\"\nthree\",\ny,Zwei,z\n", None).unwrap();
        assert_eq!(table.columns, ["id", "text", "column 3"]);
        assert_eq!(
            shown(&table),
            [
                (2, json!({"id": "x", "text": "One, \"two\"\nthree", "column 3": ""})),
                (4, json!({"id": "y", "text": "Zwei", "column 3": "z"})),
            ]
        );
    }

    #[test]
    fn semicolons_and_tabs_are_seen_in_the_first_line() {
        for text in ["id;text\n1;a, b\n", "id\ttext\n1\ta, b\n"] {
            assert_eq!(shown(&read(text, None).unwrap()), [(2, json!({"id": "1", "text": "a, b"}))]);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let table = read("id,text\n1,a,b\n2,c\n", None).unwrap();
        let said = table.rows[0].error.as_ref().unwrap();
        assert!(said.en.starts_with("line 2 has 3 fields instead of 2") && table.rows[1].error.is_none());
        let said = |text: &str| read(text, None).unwrap_err().to_string();
        assert!(said("id,text\n1,a\n2,\"b\n3,c\n").contains("in line 3 that is never closed"));
        assert!(said("a,b,a\n").contains("two columns \"a\""));
        assert!(said(&"a,".repeat(1001)).contains("1002 columns, and at most 1000"));
        assert!(read("id,text\n1,5\" pipe\n2,\"a\"\"\"\n", None).is_ok(), "a mark inside a field is a character");
    }
}
