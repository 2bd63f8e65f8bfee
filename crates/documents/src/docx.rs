//! Word documents: the words of the body, a line for each paragraph; cells of a table stand between tabs.
//!
//! Heads, feet, notes and comments are left out, and so are words that were deleted while changes were tracked.

use quick_xml::{Reader, events::Event};

use super::{
    DocumentError,
    encoding::decode,
    package::{Package, broken},
};

const WHAT: (&str, &str) = ("Word document", " Word 文档");

/// Reads the body of a document.
pub fn read(bytes: &[u8]) -> Result<String, DocumentError> {
    let mut package = Package::open(bytes, WHAT)?;
    let part = package.part("word/document.xml", WHAT)?;
    let xml = part.ok_or_else(|| broken(WHAT, &"it has no word/document.xml"))?;
    body(&decode(&xml, None)?).map_err(|e| broken(WHAT, &e))
}

fn body(xml: &str) -> Result<String, quick_xml::Error> {
    let mut reader = Reader::from_str(xml);
    // Entities that a document defines for itself are not looked up: nothing expands.
    let mut text = String::new();
    // Depth inside something to be left out, and inside words.
    let (mut skipped, mut words, mut cells) = (0usize, 0usize, 0usize);
    loop {
        match reader.read_event()? {
            Event::Eof => return Ok(text),
            Event::Start(tag) => match tag.local_name().as_ref() {
                _ if skipped > 0 => skipped += 1,
                "Fallback" | "del" | "moveFrom" | "pPr" | "rPr" | "tblPr" | "sectPr" => skipped = 1,
                "t" => words += 1,
                "tc" => cells += 1,
                _ => {}
            },
            Event::End(tag) => match tag.local_name().as_ref() {
                _ if skipped > 0 => skipped -= 1,
                "t" => words = words.saturating_sub(1),
                "p" if cells == 0 => text.push('\n'),
                // Paragraphs of a cell stay in its line.
                "p" => text.push(' '),
                "tc" => {
                    cells = cells.saturating_sub(1);
                    text.truncate(text.trim_end_matches(' ').len());
                    text.push('\t');
                }
                "tr" => {
                    text.truncate(text.trim_end_matches('\t').len());
                    text.push(if cells == 0 { '\n' } else { ' ' });
                }
                _ => {}
            },
            Event::Empty(tag) if skipped == 0 => match tag.local_name().as_ref() {
                "tab" => text.push('\t'),
                "br" | "cr" => text.push(if cells == 0 { '\n' } else { ' ' }),
                "p" if cells == 0 => text.push('\n'),
                "noBreakHyphen" => text.push('-'),
                _ => {}
            },
            Event::Text(part) if skipped == 0 && words > 0 => text.push_str(&part),
            Event::CData(part) if skipped == 0 && words > 0 => text.push_str(&part),
            Event::GeneralRef(name) if skipped == 0 && words > 0 => match name.resolve_char_ref() {
                Ok(Some(c)) => text.push(c),
                _ => text.push_str(match &*name {
                    "amp" => "&",
                    "lt" => "<",
                    "gt" => ">",
                    "quot" => "\"",
                    "apos" => "'",
                    _ => "",
                }),
            },
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::package::tests::pack;

    fn document(body: &str) -> Result<String, String> {
        let xml = format!(
            "<?xml version=\"1.0\"?><w:document xmlns:w=\"w\" xmlns:mc=\"mc\"><w:body>{body}</w:body></w:document>"
        );
        read(&pack(&[("word/document.xml", xml.as_bytes())])).map_err(|e| e.to_string())
    }

    #[test]
    fn paragraphs_are_lines_and_cells_stand_between_tabs() {
        let text = document(
            "<w:p><w:r><w:t xml:space=\"preserve\">阳光城 </w:t></w:r><w:r><w:t>A&amp;B &#x5171; &lt;3</w:t><w:br/><w:t>next</w:t></w:r></w:p>\
             <w:p/><w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl>\
             <w:p><w:r><w:t>end</w:t></w:r></w:p>",
        );
        assert_eq!(text.unwrap(), "阳光城 A&B 共 <3\nnext\n\na b\tc\nend\n");
    }

    #[test]
    fn what_was_deleted_or_stands_there_twice_is_left_out() {
        let text = document(
            "<w:p><w:pPr><w:tabs><w:tab w:pos=\"720\"/></w:tabs></w:pPr><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:del><w:r><w:t>old</w:t><w:delText>old</w:delText></w:r></w:del>\
             <mc:AlternateContent><mc:Choice><w:t> box</w:t></mc:Choice><mc:Fallback><w:t> box</w:t></mc:Fallback></mc:AlternateContent>\
             <w:instrText>PAGE</w:instrText></w:p>",
        );
        assert_eq!(text.unwrap(), "new box\n");
    }

    #[test]
    fn entities_do_not_expand_and_damage_is_told() {
        let xml = "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\">]><d><w:p><w:t>x&b;y</w:t></w:p></d>";
        let text = read(&pack(&[("word/document.xml", xml.as_bytes())])).unwrap();
        assert_eq!(text, "xy\n");
        assert!(document("<w:p></w:r>").unwrap_err().contains("is damaged"));
        let said = read(&pack(&[("word/other.xml", b"")])).unwrap_err().to_string();
        assert!(said.contains("it has no word/document.xml"), "{said}");
        let deep = "<a>".repeat(200_000);
        let _ = document(&deep);
    }
}
