//! One small session, hostile in every way a format knows, in every format.

use protocol::{
    Judgement, Verdict,
    record::{Argument, Mention},
};
use serde_json::json;

use super::*;
use crate::ground;

const TEXT: &str = "<b>张三</b> & \"O'Neil\"\nfounded =SUM(A1) | `x`, 🙂 Ltd.";

fn entity(text: &str, label: &str) -> Record {
    Record::Entity { label: label.into(), mention: Mention::new(text) }
}

fn relation(head: &str, name: &str, tail: &str) -> Record {
    Record::Relation { relation: name.into(), head: Mention::new(head), tail: Mention::new(tail) }
}

fn event(trigger: &str, label: &str, arguments: &[(&str, &str)]) -> Record {
    let argument = |(role, text): &(&str, &str)| Argument { role: (*role).into(), mention: Mention::new(*text) };
    Record::Event {
        label: label.into(),
        trigger: Mention::new(trigger),
        arguments: arguments.iter().map(argument).collect(),
    }
}

fn document() -> Document {
    let mut records = vec![
        entity("张三", "人物 [a]"),
        entity("=SUM(A1)", "company\\`\"x"),
        entity("nowhere", "人物 [a]"),
        relation("=SUM(A1)", "founder's `n`", "张三"),
        event("founded", "founding", &[("who", "张三"), ("who", "\"O'Neil\"\nfounded"), ("what", "=SUM(A1)")]),
    ];
    ground::records(TEXT, &mut records);
    let judgements = vec![
        Judgement { record: records[0].clone(), verdict: Verdict::Right, correction: None },
        Judgement {
            record: records[1].clone(),
            verdict: Verdict::Corrected,
            correction: Some(entity("🙂 Ltd", "company\\`\"x")),
        },
    ];
    let layers = vec![Layer::new(Origin::Tuned, records)];
    let extra = Map::from_iter([("source".to_owned(), json!("web")), ("text".to_owned(), json!("no"))]);
    Document { id: "../a b".into(), text: TEXT.into(), layers, judgements, state: None, extra }
}

fn made(format: Format) -> String {
    let options = Options { title: "A <title>".into(), ..Options::default() };
    export(format, &[document()], &options).remove(0).content
}

#[test]
fn a_record_goes_out_once_with_who_found_it_and_what_was_said() {
    let mut document = document();
    let base = vec![entity("张三", "人物 [a]"), entity("Acme", "company")];
    document.layers.push(Layer::new(Origin::Base, base));
    let shown: Vec<String> = rows(&document)
        .iter()
        .map(|r| format!("{} {} {} {}", csv::words(&r.record), joined(&r.origins), verdict_name(r.verdict), r.shown))
        .collect();
    assert_eq!(shown.len(), 7);
    assert_eq!(shown[0], "张三, 人物 [a] base+tuned right true");
    assert_eq!(shown[1], "=SUM(A1), company\\`\"x tuned corrected true");
    assert_eq!(shown[2], "nowhere, 人物 [a] tuned  false");
    assert_eq!(shown[6], "🙂 Ltd, company\\`\"x you right true");
}

#[test]
fn the_same_words_at_two_places_are_two_rows() {
    let at = |start| Record::Entity {
        label: "x".into(),
        mention: Mention::at("Ann", protocol::Span { start, end: start + 3 }),
    };
    let layers = vec![
        Layer::new(Origin::Tuned, vec![entity("Ann", "x"), at(0), at(8), at(8)]),
        Layer::new(Origin::Base, vec![at(0)]),
    ];
    let document = Document { text: "Ann met Ann".into(), layers, ..Document::default() };
    let shown: Vec<_> = rows(&document).iter().map(|r| (r.record.clone(), joined(&r.origins), r.shown)).collect();
    assert_eq!(shown, [(at(0), "base+tuned".into(), true), (at(8), "tuned".into(), true)]);
}

#[test]
fn json_is_the_lines_of_extract_with_origin_and_gold() {
    let line: Value = serde_json::from_str(&made(Format::Jsonl)).unwrap();
    assert_eq!((&line["id"], &line["text"], &line["source"]), (&json!("../a b"), &json!(TEXT), &json!("web")));
    let first =
        json!({"type": "人物 [a]", "text": "张三", "start": 3, "end": 5, "origins": ["tuned"], "gold": "right"});
    assert_eq!(line["entities"][0], first);
    assert_eq!(line["entities"][1]["correction"]["text"], "🙂 Ltd");
    assert_eq!(line["relations"][0]["tail_start"], 3);
    assert_eq!(line["not_in_text"][0]["text"], "nowhere");
    let all: Value = serde_json::from_str(&made(Format::Json)).unwrap();
    assert_eq!(all, json!([line]));
    let utf16 = Options { unit: Unit::Utf16, ..Options::default() };
    let moved: Value = serde_json::from_str(&export(Format::Jsonl, &[document()], &utf16)[0].content).unwrap();
    let last = |v: &Value| v["entities"].as_array().unwrap().last().unwrap().clone();
    let start = TEXT[..TEXT.find('🙂').unwrap()].encode_utf16().count();
    let expected = |length| (json!("🙂 Ltd"), json!(start), json!(start + length));
    let place = |v: &Value| (v["text"].clone(), v["start"].clone(), v["end"].clone());
    assert_eq!(place(&last(&moved)), expected(6), "the emoji is two units");
    assert_eq!(place(&last(&line)), expected(5), "and one code point");
}

#[test]
fn text_by_text_a_file_is_the_same_as_all_at_once() {
    let other = Document { id: "2".into(), state: Some(State::Accepted), ..document() };
    let texts = [document(), other, Document { id: "3".into(), ..Document::default() }];
    let options = Options { title: "A <title>".into(), bom: true, ..Options::default() };
    let mut written = Vec::new();
    for format in Format::ALL {
        let Some(mut writer) = Writer::new(format, &options) else {
            assert!(format.is_graph() || format.is_folder() || format == Format::Html, "{format:?}");
            continue;
        };
        let mut file = writer.head().to_owned();
        // Also groups in which there is nothing.
        for group in [&texts[..1], &[], &texts[1..]] {
            file += &writer.texts(group);
        }
        assert_eq!(file + writer.tail(), export(format, &texts, &options)[0].content, "{format:?}");
        written.push(format.name());
    }
    assert_eq!(written, ["json", "jsonl", "gold", "csv", "markdown", "doccano"]);
    let array: Value = serde_json::from_str(&export(Format::Json, &texts, &options)[0].content).unwrap();
    assert_eq!(array.as_array().unwrap().len(), 3);
    assert_eq!(array[0]["text"], TEXT, "line breaks of a text stay what they are");
    assert_eq!(serde_json::from_str::<Value>(&export(Format::Json, &[], &options)[0].content).unwrap(), json!([]));
}

#[test]
fn a_graph_needs_no_words_of_the_texts() {
    let without = Document { text: String::new(), ..with_sources() };
    for format in Format::ALL.into_iter().filter(|format| format.is_graph()) {
        let made = |document: &Document| export(format, std::slice::from_ref(document), &Options::default());
        assert_eq!(made(&without), made(&with_sources()), "{format:?}");
    }
}

#[test]
fn gold_is_what_eval_reads() {
    assert_eq!(made(Format::Gold), "", "what is judged in part is no gold");
    let accepted = Document { state: Some(State::Corrected), ..document() };
    let nothing =
        Document { id: "none".into(), state: Some(State::Accepted), judgements: vec![], layers: vec![], ..document() };
    let both = export(Format::Gold, &[accepted, nothing.clone()], &Options::default())[0].content.clone();
    let lines: Vec<Value> = both.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[1]["id"], &lines[1]["entities"]), (&json!("none"), &json!([])), "nothing found is gold too");
    let line = &lines[0];
    assert_eq!(line["review"], "corrected");
    let words: Vec<&str> = line["entities"].as_array().unwrap().iter().map(|e| e["text"].as_str().unwrap()).collect();
    assert_eq!(words, ["张三", "🙂 Ltd"]);
    assert!(crate::output::Extraction::read_records(line).is_ok());
    let mut judged = document();
    for record in judged.layers[0].records.clone().into_iter().filter(Record::stands) {
        if !judged.judgements.iter().any(|j| j.record == record) {
            judged.judgements.push(Judgement { record, verdict: Verdict::Wrong, correction: None });
        }
    }
    assert_eq!(export(Format::Gold, &[judged], &Options::default())[0].content.lines().count(), 1, "all is judged");
    let table = export(Format::Csv, &[nothing], &Options::default())[0].content.clone();
    assert!(table.ends_with("\r\nnone,,,,,,,,,,,,,,,,,,,,,,accepted\r\n"), "{table}");
    let unjudged = Document { judgements: vec![], id: "7".into(), ..document() };
    assert_eq!(export(Format::Gold, std::slice::from_ref(&unjudged), &Options::default())[0].content, "");
    let line: Value =
        serde_json::from_str(&export(Format::Jsonl, &[unjudged], &Options::default())[0].content).unwrap();
    assert_eq!(line["id"], 7, "an id that was a number is one");
}

fn with_sources() -> Document {
    let mut document = Document { state: Some(State::Accepted), ..document() };
    let made_by = crate::output::MadeBy {
        origin: Origin::Tuned,
        model: "SmolLM \"2\"".into(),
        adapter: Some("ie".into()),
        schema: Some("新闻".into()),
        schema_version: Some(3),
    };
    document.layers[0].made_by = Some(made_by);
    document.layers[0].runs = vec![Some("r1".into()), None, None, Some("r2".into()), Some("r3".into())];
    document
}

#[test]
fn every_format_says_where_records_come_from_as_far_as_it_can() {
    let made = |format| export(format, &[with_sources()], &Options::default()).remove(0).content;
    let line: Value = serde_json::from_str(&made(Format::Jsonl)).unwrap();
    let made_by =
        json!([{"origin": "tuned", "model": "SmolLM \"2\"", "adapter": "ie", "schema": "新闻", "schema_version": 3}]);
    assert_eq!((&line["made_by"], &line["review"]), (&made_by, &json!("accepted")));
    assert_eq!((&line["entities"][0]["runs"], &line["relations"][0]["runs"]), (&json!(["r1"]), &json!(["r2"])));
    let table = made(Format::Csv);
    assert!(table.lines().nth(1).unwrap().ends_with(",\"SmolLM \"\"2\"\"\",ie,新闻,3,r1,accepted"), "{table}");
    let statement = r#"k:model "SmolLM \"2\"" ; k:adapter "ie" ; k:schema "新闻" ; k:schemaVersion 3 ; k:run "r2" ]"#;
    assert!(made(Format::Turtle).contains(statement));
    let words = |quote: &str| format!("SmolLM {quote}2{quote} + ie, 新闻 v3");
    assert!(made(Format::Cypher).contains(&format!("r.made_by = '{}', r.runs = 'r2';", words("\""))));
    assert!(made(Format::GraphMl).contains(&format!("<data key=\"edge_made_by\">{}</data>", words("&quot;"))));
    assert!(made(Format::Edges).contains(&format!(",\"{}\",r2\r\n", words("\"\""))));
    assert!(made(Format::Html).contains(&words("&quot;")) && made(Format::Markdown).contains("Made by: SmolLM"));
    let line: Value = serde_json::from_str(&made(Format::Doccano)).unwrap();
    assert_eq!(line["made_by"], made_by);
}

#[test]
fn a_line_of_extract_takes_gold_along_with_what_was_missed_apart() {
    let mut document = document();
    let missed = Judgement { record: entity("Ltd", "company"), verdict: Verdict::Added, correction: None };
    document.judgements.push(missed);
    let found = crate::output::Extraction::of(&document.layers[0].records);
    let line = Value::Object(with_gold(TEXT, &found, &document.judgements));
    assert_eq!((&line["entities"][0]["gold"], &line["entities"][1]["gold"]), (&json!("right"), &json!("corrected")));
    assert_eq!(line["entities"][1]["correction"]["text"], "🙂 Ltd");
    assert!(line["relations"][0].get("gold").is_none());
    let ltd = TEXT.chars().count() - 4;
    assert_eq!(line["gold_added"], json!([{"type": "company", "text": "Ltd", "start": ltd, "end": ltd + 3}]));
    let plain = with_gold(TEXT, &found, &[]);
    assert!(!plain.contains_key("gold_added"), "without judgements a line is as it was");
}

#[test]
fn turtle_is_read_by_others_with_every_name_as_it_was() {
    let names = ["张三", "\"O'Neil\" \\ .", "<b>&", "🙂 \u{7f}\u{1}.", "a.b;c#d@e", "\u{feff}x", "'' '\"\"\""];
    let text = names.join(" | ");
    let mut records: Vec<Record> = names.iter().map(|name| entity(name, &format!("type {name}"))).collect();
    records.extend(names.windows(2).map(|two| relation(two[0], &format!("关系 {}", two[1]), two[1])));
    ground::records(&text, &mut records);
    let layers = vec![Layer::new(Origin::Tuned, records)];
    let hostile = Document { id: "a \" b".into(), text, layers, ..with_sources() };
    let mut labels = Vec::new();
    for document in [with_sources(), hostile] {
        let turtle = export(Format::Turtle, &[document], &Options::default()).remove(0).content;
        for triple in oxttl::TurtleParser::new().for_slice(turtle.as_bytes()) {
            let triple = triple.unwrap_or_else(|e| panic!("{e} in {turtle}"));
            if let ("http://www.w3.org/2000/01/rdf-schema#label", oxttl_term) =
                (triple.predicate.as_str(), triple.object)
            {
                labels.push(oxttl_term.to_string());
            }
        }
    }
    // As the parser writes what is read from a plain statement.
    let shown = |name: &str| {
        let one = format!("<urn:a> <urn:b> {} .", string(name, '"'));
        oxttl::TurtleParser::new().for_slice(one.as_bytes()).next().unwrap().unwrap().object.to_string()
    };
    for name in names {
        assert!(labels.contains(&shown(name)), "{name:?} in {labels:?}");
    }
    assert_eq!(shown("张三"), "\"张三\"");
}

#[test]
fn cypher_keeps_hostile_names_in_their_marks() {
    for name in ["a`b", "a\\u0060b", "'; MATCH (n) DETACH DELETE n; //", "`) DELETE n //", "张三\\", "\n", "\u{2028}x"]
    {
        let text = format!("{name} and Ann");
        let mut records = vec![entity(name, name), entity("Ann", name), relation(name, name, "Ann")];
        ground::records(&text, &mut records);
        let layers = vec![Layer::new(Origin::Tuned, records)];
        let document = Document { id: name.into(), text, layers, ..Document::default() };
        let statements = export(Format::Cypher, &[document], &Options::default()).remove(0).content;
        for line in statements.lines() {
            let outside = outside_marks(line).unwrap_or_else(|| panic!("{line} ends within a string"));
            assert!(!outside.contains("DELETE") && !outside.contains("//"), "{line}");
            assert_eq!(outside.matches(';').count(), 1, "{line}");
        }
    }
}

/// What of a statement is no string and no name in marks; `None` when one of these does not end.
fn outside_marks(line: &str) -> Option<String> {
    let (mut open, mut escaped, mut rest) = (None, false, String::new());
    for c in line.chars() {
        match open {
            Some('\'') if escaped => escaped = false,
            Some('\'') if c == '\\' => escaped = true,
            Some(mark) if c == mark => open = None,
            Some(_) => {}
            None if c == '\'' || c == '`' => open = Some(c),
            None => rest.push(c),
        }
    }
    open.is_none().then_some(rest)
}

#[test]
fn no_cell_of_a_table_is_a_formula_and_every_row_has_all_columns() {
    let table = made(Format::Csv);
    let lines: Vec<&str> = table.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "id,kind,type,text,start,end,role,other,other_start,other_end,in_text,found,certainty,origin,gold,correction,agreement,model,adapter,schema,schema_version,runs,review"
    );
    assert!(lines[1].starts_with("../a b,entity,人物 [a],张三,3,5,,,,,yes,exact,,tuned,right,"), "{}", lines[1]);
    assert!(lines[2].contains(",\"company\\`\"\"x\",'=SUM(A1),"), "{}", lines[2]);
    assert!(lines[3].contains(",nowhere,,,,,,,no,,,tuned,,"), "{}", lines[3]);
    assert!(table.contains(",\"\"\"O'Neil\"\"\nfounded\","), "a line break stays in its cell");
    for formula in ["=1", "+1", "-1+2", "@x", "\t=1", "＝1", " =1", "-", "-x"] {
        let document =
            Document { layers: vec![Layer::new(Origin::Base, vec![entity(formula, formula)])], ..Document::default() };
        let table = export(Format::Csv, &[document], &Options::default()).remove(0).content;
        assert!(table.split("\r\n").nth(1).unwrap().replace('"', "").starts_with(",entity,'"), "{table}");
    }
    let with_mark = Options { bom: true, ..Options::default() };
    assert!(export(Format::Csv, &[], &with_mark)[0].content.starts_with("\u{feff}id,"));
    assert!(made(Format::Nodes).contains("'=SUM(A1)"));
    assert!(made(Format::Edges).contains(",founder's `n`,张三,"));
}

#[test]
fn a_triple_with_one_end_in_the_text_tells_its_samples_in_every_form() {
    let said = Some(protocol::Agreement { found: 2, of: 3 });
    let head = Mention { span: Some(protocol::Span { start: 0, end: 3 }), agreement: said, ..Mention::new("Ann") };
    let record = Record::Relation { relation: "met".into(), head, tail: Mention::new("Zoe") };
    assert_eq!(record.agreement(), said);
    let crate::output::LeftOut::Relation(left_out) = record.clone().into() else { panic!("a triple") };
    assert_eq!(left_out.agreement, said);
    let layers = vec![Layer::new(Origin::Tuned, vec![record])];
    let document = Document { text: "Ann ran".into(), layers, ..Document::default() };
    let table = export(Format::Csv, &[document], &Options::default()).remove(0).content;
    assert!(table.trim_end().ends_with(",2 of 3,,,,,,"), "{table}");
}

#[test]
fn markdown_shows_words_as_they_are() {
    let page = made(Format::Markdown);
    assert!(
        page.contains("> &lt;b\\>张三&lt;/b\\> &amp; \"O'Neil\"\n> founded =SUM(A1) \\| \\`x\\`, 🙂 Ltd."),
        "{page}"
    );
    assert!(page.contains("| ✗ | company\\\\\\`\"x | \\=SUM(A1) | tuned | → 🙂 Ltd, company"), "{page}");
    assert!(page.lines().filter(|l| l.starts_with('|')).all(|l| l.replace("\\|", "").matches('|').count() == 6));
}

#[test]
fn brat_has_places_in_one_line_and_names_without_spaces() {
    let files = export(Format::Brat, &[document(), document()], &Options::default());
    let names: Vec<&str> = files.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["___a_b.txt", "___a_b.ann", "___a_b-2.txt", "___a_b-2.ann", "annotation.conf"]);
    assert_eq!(files[0].content, TEXT);
    let lines: Vec<&str> = files[1].content.lines().collect();
    assert_eq!(lines[0], "T1\t人物__a_ 3 5\t张三");
    assert_eq!(lines[1], "#1\tAnnotatorNotes T1\tright");
    assert!(lines.contains(&"R1\tfounder_s__n_ Arg1:T3 Arg2:T1"), "{lines:?}");
    assert!(lines.iter().any(|l| l.ends_with("\twho 12 20;21 28\t\"O'Neil\" founded")), "{lines:?}");
    assert!(lines.last().unwrap().starts_with("E1\tfounding:T4 who:T1 who2:T5 what:T"), "{lines:?}");
    for line in lines.iter().filter(|l| l.starts_with('T')) {
        let parts: Vec<&str> = line.split('\t').collect();
        let words: Vec<String> = parts[1]
            .split_once(' ')
            .unwrap()
            .1
            .split(';')
            .map(|place| {
                let (start, end) = place.split_once(' ').unwrap();
                let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
                TEXT.chars().skip(start).take(end - start).collect()
            })
            .collect();
        assert_eq!(words.join(" "), parts[2], "{line}");
    }
    assert!(files[4].content.contains("founding\twhat*:<ENTITY>, who*:<ENTITY>"), "{}", files[4].content);
    let text = "a\r\nb\u{85}c\u{2028}d\u{b}e";
    let mut records = vec![entity(text, "x")];
    ground::records(text, &mut records);
    let layers = vec![Layer::new(Origin::Tuned, records)];
    let odd = Document { id: "张".repeat(99), text: text.into(), layers, ..Document::default() };
    let files = export(Format::Brat, &[odd], &Options::default());
    assert_eq!(files[0].name, format!("{}.txt", "张".repeat(66)));
    assert_eq!(files[0].content, "a \nb\u{85}c\u{2028}d\u{b}e");
    assert_eq!(files[1].content, "T1\tx 0 1;3 4;5 6;7 8;9 10\ta b c d e\n");
}

#[test]
fn doccano_has_spans_and_relations_between_them() {
    let line: Value = serde_json::from_str(&made(Format::Doccano)).unwrap();
    let entities = line["entities"].as_array().unwrap();
    for entity in entities {
        let (start, end) = (entity["start_offset"].as_u64().unwrap(), entity["end_offset"].as_u64().unwrap());
        assert!(start < end && end <= TEXT.chars().count() as u64);
    }
    let labels: Vec<&str> = entities.iter().map(|e| e["label"].as_str().unwrap()).collect();
    assert!(labels.contains(&"人物 [a]") && labels.contains(&"founding"));
    let relations = line["relations"].as_array().unwrap();
    let types: Vec<&str> = relations.iter().map(|r| r["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["founder's `n`", "who", "who", "what"]);
    assert!(relations.iter().all(|r| r["from_id"].as_u64().unwrap() < entities.len() as u64));
}

#[test]
fn turtle_says_what_was_not_refused() {
    let turtle = made(Format::Turtle);
    assert!(turtle.contains("rdfs:label \"\\\"O'Neil\\\" founded\""), "{turtle}");
    assert!(turtle.contains("<urn:knowlm:relation:founder%27s%20%60n%60>"));
    assert!(turtle.contains("k:text \"../a b\" ; k:origin \"tuned\" ; k:start 3 ; k:end 37"), "{turtle}");
    // The company was corrected: it is no company.
    assert!(!turtle.contains("rdfs:label \"=SUM(A1)\" ;\n    k:gold"));
    for line in turtle.lines().filter(|l| !l.starts_with('@')) {
        let iris = line.matches('<').count();
        assert_eq!(iris, line.matches('>').count(), "{line}");
    }
}

#[test]
fn cypher_names_and_strings_do_not_end_early() {
    let statements = made(Format::Cypher);
    for line in statements.lines().filter(|l| l.starts_with('M')) {
        assert!(line.ends_with(';'), "{line}");
        // Outside strings and names nothing is left that a text could have brought in.
        let rest = outside_marks(line).unwrap();
        assert!(!rest.contains("SUM") && !rest.contains('张'), "{rest}");
    }
    assert!(statements.contains("SET n:`company_``\"x`"), "{statements}");
    assert!(statements.contains("[r:`founder's ``n``` {id: 'e"));
}

#[test]
fn graphml_and_pages_hold_hostile_words_as_words() {
    let xml = made(Format::GraphMl);
    assert!(xml.contains("<data key=\"node_name\">&quot;O&#39;Neil&quot; founded</data>"), "{xml}");
    assert_eq!(xml.matches("<edge id=").count(), 4);
    let page = made(Format::Html);
    assert!(page.contains("<title>A &lt;title&gt;</title>") && page.contains("&lt;b&gt;"));
    assert!(!page.contains("<b>") && !page.contains("<script") && !page.contains("http"));
    assert!(page.contains("<svg class=\"graph\"") && page.contains("not in the text"));
    let chinese = Options { language: Language::Zh, ..Options::default() };
    assert!(export(Format::Html, &[], &chinese)[0].content.contains("抽取结果"));
    assert!(made(Format::Svg).starts_with("<svg xmlns="));
    let mut records = vec![entity("张三", "x")];
    ground::records(TEXT, &mut records);
    let layers = vec![Layer::new(Origin::Tuned, records)];
    let alone = Document { text: TEXT.into(), layers, ..Document::default() };
    assert!(export(Format::Svg, &[alone], &Options::default())[0].content.contains("张三"));
}

#[test]
fn every_format_has_a_name_and_makes_something_of_nothing() {
    for format in Format::ALL {
        assert_eq!(Format::from_name(format.name()), Some(format));
        assert!(!format.media_type().is_empty() && !format.file_name().is_empty());
        export(format, &[], &Options::default());
        export(format, &[Document::default()], &Options::default());
        assert_eq!(export(format, &[document()], &Options::default()).len() > 1, format.is_folder());
    }
}
