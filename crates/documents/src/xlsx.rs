//! Excel workbooks: the first sheet that is shown and has something in it; its first row names the columns.
//!
//! Cells come one after another as they are stored, so that a sheet which claims a million columns costs what it really has.

use std::{collections::BTreeMap, io::Cursor};

use calamine::{DataRef, ExcelDateTime, Reader, SheetVisible, Xlsx};
use protocol::Sentence;
use serde_json::{Map, Number, Value};

use super::{
    DocumentError, Room, Table, TableRow,
    csv::names,
    limits,
    package::{Package, broken},
};

const WHAT: (&str, &str) = ("Excel workbook", " Excel 工作簿");

/// Cells by row and column, both from 0.
type Cells = BTreeMap<u32, BTreeMap<u32, Value>>;

/// Reads the first sheet with content.
pub fn read(bytes: &[u8], mut room: Room) -> Result<Table, DocumentError> {
    Package::open(bytes, WHAT)?.check(WHAT)?;
    let mut book = Xlsx::new(Cursor::new(bytes)).map_err(|e| broken(WHAT, &e))?;
    let shown: Vec<String> = book
        .sheets_metadata()
        .iter()
        .filter(|sheet| sheet.visible == SheetVisible::Visible)
        .map(|sheet| sheet.name.clone())
        .collect();
    for sheet in shown {
        let cells = cells(&mut book, &sheet, &mut room)?;
        if !cells.is_empty() {
            return table(cells);
        }
    }
    Err(DocumentError::new("has no sheet with anything in it", "没有任何内容"))
}

fn cells(book: &mut Xlsx<Cursor<&[u8]>>, sheet: &str, room: &mut Room) -> Result<Cells, DocumentError> {
    // A sheet of charts has no cells.
    let Ok(mut reader) = book.worksheet_cells_reader(sheet) else { return Ok(Cells::new()) };
    let mut cells = Cells::new();
    while let Some(cell) = reader.next_cell().map_err(|e| broken(WHAT, &e))? {
        let (row, column) = cell.get_position();
        if let Some(value) = value(cell.get_value()) {
            room.cells(1)?;
            // The first row has the names.
            if !cells.is_empty() && !cells.contains_key(&row) {
                room.row()?;
            }
            cells.entry(row).or_default().insert(column, value);
        }
    }
    Ok(cells)
}

fn value(cell: &DataRef<'_>) -> Option<Value> {
    Some(match cell {
        DataRef::Empty => return None,
        DataRef::String(text) if text.is_empty() => return None,
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Value::from(text.as_str()),
        DataRef::SharedString(text) => Value::from(*text),
        DataRef::Bool(value) => Value::from(*value),
        DataRef::Int(number) => Value::from(*number),
        DataRef::Float(number) => number_of(*number),
        DataRef::DateTime(time) => Value::from(date(time)),
        DataRef::Error(error) => Value::from(error.to_string()),
    })
}

/// Whole numbers without a point: `7`, not `7.0`.
fn number_of(number: f64) -> Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() < EXACT {
        return Value::from(number as i64);
    }
    Number::from_f64(number).map_or_else(|| Value::from(number.to_string()), Value::Number)
}

/// `2026-01-31`, with the time where there is one.
fn date(time: &ExcelDateTime) -> String {
    let (year, month, day, hour, minute, second, _) = time.to_ymd_hms_milli();
    let clock = format!("{hour:02}:{minute:02}:{second:02}");
    match (time.is_duration() || time.as_f64() < 1.0, clock.as_str()) {
        (true, _) => clock,
        (false, "00:00:00") => format!("{year:04}-{month:02}-{day:02}"),
        (false, _) => format!("{year:04}-{month:02}-{day:02}T{clock}"),
    }
}

fn table(mut cells: Cells) -> Result<Table, DocumentError> {
    let Some((_, head)) = cells.pop_first() else { return Ok(Table::default()) };
    let width = head.keys().next_back().map_or(0, |last| *last as usize + 1);
    let mut header = Vec::new();
    for column in 0..width.min(limits::COLUMNS + 1) as u32 {
        header.push(match head.get(&column) {
            Some(Value::String(name)) => name.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        });
    }
    let columns = names(header)?;
    let rows = cells.into_iter().map(|(row, values)| {
        let line = row as usize + 1;
        let beyond = values.keys().copied().find(|column| *column as usize >= columns.len());
        let error = beyond.map(|column| {
            let letters = letters(column);
            Sentence::new(
                format!("row {line} has something in column {letters}, which has no name in the first row"),
                format!("第 {line} 行在 {letters} 列有内容，但首行没有该列的列名"),
            )
        });
        let named = |(column, value): (u32, Value)| Some((columns.get(column as usize)?.clone(), value));
        TableRow { line, fields: values.into_iter().filter_map(named).collect::<Map<_, _>>(), error }
    });
    let rows = rows.collect();
    Ok(Table { columns, rows, sheet: true })
}

/// The letters of a column: A, B, …, Z, AA.
fn letters(column: u32) -> String {
    let (mut rest, mut letters) = (column + 1, String::new());
    while rest > 0 {
        letters.insert(0, char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    letters
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{Reading, package::tests::pack};

    fn read(bytes: &[u8]) -> Result<Table, DocumentError> {
        super::read(bytes, Room::new(Reading::default()))
    }

    /// A workbook whose second, shown sheet has these rows of XML.
    fn book(rows: &str, shared: &str) -> Vec<u8> {
        let space = "http://schemas.openxmlformats.org";
        let main = format!("{space}/spreadsheetml/2006/main");
        let relations = format!("{space}/package/2006/relationships");
        let office = format!("{space}/officeDocument/2006/relationships");
        let sheet = |rows: &str| format!("<worksheet xmlns=\"{main}\"><sheetData>{rows}</sheetData></worksheet>");
        let parts = [
            ("[Content_Types].xml", "<Types/>".to_owned()),
            (
                "_rels/.rels",
                format!(
                    "<Relationships xmlns=\"{relations}\"><Relationship Id=\"r1\" Type=\"{office}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
                ),
            ),
            (
                "xl/workbook.xml",
                format!(
                    "<workbook xmlns=\"{main}\" xmlns:r=\"{office}\"><sheets><sheet name=\"old\" sheetId=\"1\" state=\"hidden\" r:id=\"r1\"/><sheet name=\"texts\" sheetId=\"2\" r:id=\"r2\"/></sheets></workbook>"
                ),
            ),
            (
                "xl/_rels/workbook.xml.rels",
                format!(
                    "<Relationships xmlns=\"{relations}\"><Relationship Id=\"r1\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet1.xml\"/><Relationship Id=\"r2\" Type=\"{office}/worksheet\" Target=\"worksheets/sheet2.xml\"/><Relationship Id=\"r3\" Type=\"{office}/sharedStrings\" Target=\"sharedStrings.xml\"/><Relationship Id=\"r4\" Type=\"{office}/styles\" Target=\"styles.xml\"/></Relationships>"
                ),
            ),
            ("xl/sharedStrings.xml", format!("<sst xmlns=\"{main}\">{shared}</sst>")),
            (
                "xl/styles.xml",
                format!(
                    "<styleSheet xmlns=\"{main}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"
                ),
            ),
            ("xl/worksheets/sheet1.xml", sheet("<row r=\"1\"><c r=\"A1\"><v>1</v></c></row>")),
            ("xl/worksheets/sheet2.xml", sheet(rows)),
        ];
        let parts: Vec<(&str, &[u8])> = parts.iter().map(|(name, xml)| (*name, xml.as_bytes())).collect();
        pack(&parts)
    }

    const HEAD: &str = "<row r=\"1\"><c r=\"A1\" t=\"s\"><v>0</v></c><c r=\"B1\" t=\"s\"><v>1</v></c><c r=\"D1\" t=\"inlineStr\"><is><t>date</t></is></c></row>";
    const SHARED: &str = "<si><t>id</t></si><si><t>text</t></si><si><r><t>阳光城</t></r><r><t xml:space=\"preserve\"> &amp; 协信</t></r></si>";

    #[test]
    fn the_first_shown_sheet_is_a_table() {
        let rows = format!(
            "{HEAD}<row r=\"3\"><c r=\"A3\"><v>7</v></c><c r=\"B3\" t=\"s\"><v>2</v></c><c r=\"C3\" t=\"b\"><v>1</v></c><c r=\"D3\" s=\"1\"><v>43821</v></c></row>\
             <row r=\"4\"><c r=\"A4\"><v>1.5</v></c><c r=\"B4\" t=\"e\"><v>#DIV/0!</v></c></row>"
        );
        let table = read(&book(&rows, SHARED)).unwrap();
        assert_eq!(table.columns, ["id", "text", "column 3", "date"]);
        let shown: Vec<_> = table.rows.iter().map(|row| (row.line, json!(row.fields))).collect();
        assert_eq!(
            shown,
            [
                (3, json!({"id": 7, "text": "阳光城 & 协信", "column 3": true, "date": "2019-12-22"})),
                (4, json!({"id": 1.5, "text": "#DIV/0!"})),
            ]
        );
    }

    #[test]
    fn far_away_cells_cost_nothing_and_cells_without_a_name_are_told() {
        let rows = format!("{HEAD}<row r=\"1048576\"><c r=\"XFD1048576\"><v>1</v></c></row>");
        let table = read(&book(&rows, SHARED)).unwrap();
        let said = table.rows[0].error.as_ref().unwrap();
        assert_eq!(said.en, "row 1048576 has something in column XFD, which has no name in the first row");
        let wide = "<row r=\"1\"><c r=\"XFD1\"><v>1</v></c></row>";
        assert!(read(&book(wide, "")).unwrap_err().to_string().contains("1001 columns"), "a head so wide is refused");
    }

    #[test]
    fn damage_is_told_and_never_more() {
        assert!(read(b"PK").unwrap_err().to_string().starts_with("is no Excel workbook, or is damaged"));
        assert!(read(&book("", "")).unwrap_err().to_string().contains("no sheet with anything"));
        let said = read(&book(
            "<row r=\"1\"><c r=\"A1\" t=\"s\"><v>99</v></c></row><row r=\"2\"><c r=\"A2\"><v>1</v></c></row>",
            "",
        ));
        assert!(
            said.unwrap_err().to_string().starts_with("is no Excel workbook, or is damaged"),
            "a string that is not there"
        );
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><si><t>&b;</t></si>";
        let said = format!("{:?}", read(&book(HEAD, &format!("{bomb}<si><t>text</t></si>"))));
        assert!(!said.contains("aaaaaaaaaa"), "what a file declares is not put in: {said}");
    }
}
