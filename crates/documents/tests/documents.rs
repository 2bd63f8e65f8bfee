//! Documents as programs write them: `fixtures/make.py` made them.
#![allow(clippy::unwrap_used)]

use documents::{Content, Reading, read};

fn text(name: &str, bytes: &[u8]) -> String {
    match read(name, bytes, Reading::default()).unwrap() {
        Content::Text(text) => text,
        Content::Table(_) => panic!("a document is one text"),
    }
}

const TITLE: &str = "Harbour report 港口报告\n";
const ENGLISH: &str = "In March 2021 Nordwind Shipping opened a second terminal in Hamburg. Its director, Maria Jensen, said that \
    the terminal would handle four hundred ships a year, twice as many as before, and give work to more than six hundred people.\n";
const CHINESE: &str =
    "2021年3月，北风航运在汉堡启用了第二座码头。总经理玛丽亚·延森表示，新码头每年可停靠四百艘船，比以前多一倍。\n";
const SECOND: &str = "Figures 数据\n";
const LAST: &str = "The port authority (港务局) will publish new figures in 2023.\n";

#[test]
fn printed_pages_are_read_paragraph_by_paragraph_in_both_languages() {
    let text = text("港口.pdf", include_bytes!("fixtures/harbour.pdf"));
    assert_eq!(text, [TITLE, ENGLISH, CHINESE, SECOND, LAST].concat());
}

#[test]
fn a_word_document_is_read_with_its_table_and_without_what_is_not_its_body() {
    let text = text("港口.docx", include_bytes!("fixtures/harbour.docx"));
    // The break between the pages is a paragraph of its own.
    let pages = "\n\n";
    let table = "Year 年份\tShips 船只\tPeople 人员\n2020\t198\t310\n2021\t402\t615\n";
    assert_eq!(text, [TITLE, ENGLISH, CHINESE, pages, SECOND, table, LAST].concat());
}
