//! The grammars of the formats that are written the same way by every adapter.

use std::fmt::Write;

use protocol::{EventPart, Format, Language, SchemaChoice, Task};
use serde_json::json;

use super::{NAME, quoted};
use crate::oneke;

/// The rules of answers in a format; `None` where nothing is asked for.
pub(super) fn rules(format: Format, choice: &SchemaChoice) -> Option<String> {
    let names = |names: &[String]| names.iter().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    let types: Vec<String> = names(&choice.types);
    let roles: Vec<String> = names(&choice.roles);
    if types.is_empty() {
        return None;
    }
    // What is asked of an argument alone is a role.
    let arguments = choice.task == Task::Events && choice.asking.only == Some(EventPart::Arguments);
    if format == Format::OnekeJson {
        return Some(by_type(choice, &types));
    }
    let json = format == Format::Json;
    // Without roles in the instruction a model names them itself.
    let name = if json { r#"/[^"\\\s][^"\\\n]*/"# } else { NAME };
    let any = |names: &[String]| {
        let of_names: Vec<String> = names.iter().map(|n| quoted(&if json { escaped(n) } else { n.clone() })).collect();
        if of_names.is_empty() { name.to_owned() } else { of_names.join(" | ") }
    };
    let (one, rest) = match format {
        Format::Lines => (r#"TYPE COLON WORDS COMMA WORDS"#.to_owned(), String::new()),
        Format::Angles => in_angles(choice, arguments),
        _ => in_objects(choice, arguments),
    };
    let (comma, colon, gap, nothing) = match (format, choice.language) {
        (Format::Lines, Language::En) => (", ", ": ", "\n", "None"),
        (Format::Lines, Language::Zh) => (",", "：", "\n", "无"),
        (_, Language::En) => (", ", ": ", " ", "None"),
        (_, Language::Zh) => (",", "：", "", "无"),
    };
    let answer = if json {
        "\"[\" (ONE (\", \" ONE)*)? \"]\"".to_owned()
    } else {
        let gap = if gap.is_empty() { String::new() } else { quoted(gap) };
        format!("ONE ({gap} ONE)* | {}", quoted(nothing))
    };
    let types = if arguments { any(&roles) } else { any(&types) };
    let roles = if rest.contains("ROLE") { format!("ROLE: {}\n", any(&roles)) } else { String::new() };
    let comma = if one.contains("COMMA") || rest.contains("COMMA") {
        format!("COMMA: {}\n", quoted(comma))
    } else {
        String::new()
    };
    let colon = if one.contains("COLON") { format!("COLON: {}\n", quoted(colon)) } else { String::new() };
    Some(format!("ANSWER: {answer}\nONE: {one}\n{rest}{comma}{colon}TYPE: {types}\n{roles}"))
}

/// `<entity, type>`, and an event's `<type, trigger, role#argument; …>`.
fn in_angles(choice: &SchemaChoice, arguments: bool) -> (String, String) {
    let one = match (choice.task, choice.asking.only) {
        (Task::Relations, _) => r#""<" WORDS COMMA TYPE COMMA WORDS ">""#,
        (Task::Events, None) => {
            let between = choice.language.pick("; ", ";");
            let one = format!("\"<\" TYPE COMMA WORDS (COMMA ARGUMENT ({} ARGUMENT)*)? \">\"", quoted(between));
            return (one, "ARGUMENT: ROLE \"#\" WORDS\n".to_owned());
        }
        (Task::Events, Some(EventPart::Triggers)) if !arguments => r#""<" TYPE COMMA WORDS ">""#,
        _ => r#""<" WORDS COMMA TYPE ">""#,
    };
    (one.to_owned(), String::new())
}

/// `{"entity": "…", "type": "…"}`.
fn in_objects(choice: &SchemaChoice, arguments: bool) -> (String, String) {
    let object = |keys: &[(&str, &str)]| {
        let mut written = String::new();
        for (index, (key, rule)) in keys.iter().enumerate() {
            let before = if index == 0 { "{" } else { "\", " };
            written.push_str(&format!("{} {rule} ", quoted(&format!("{before}\"{key}\": \""))));
        }
        written + &quoted("\"}")
    };
    match (choice.task, choice.asking.only) {
        _ if arguments => (object(&[("argument", "WORDS"), ("role", "TYPE")]), String::new()),
        (Task::Entities, _) => (object(&[("entity", "WORDS"), ("type", "TYPE")]), String::new()),
        (Task::Relations, _) => (object(&[("head", "WORDS"), ("relation", "TYPE"), ("tail", "WORDS")]), String::new()),
        (Task::Events, Some(_)) => (object(&[("trigger", "WORDS"), ("type", "TYPE")]), String::new()),
        (Task::Events, None) => {
            let list = format!("{} (ARGUMENT (\", \" ARGUMENT)*)? \"]}}\"", quoted("\", \"arguments\": ["));
            let one = format!("{} WORDS {} TYPE {list}", quoted("{\"trigger\": \""), quoted("\", \"type\": \""));
            (one, format!("ARGUMENT: {}\n", object(&[("argument", "WORDS"), ("role", "ROLE")])))
        }
    }
}

/// One object with every asked type as a key, in the asked order. Event types whose roles differ have a list each.
fn by_type(choice: &SchemaChoice, types: &[String]) -> String {
    let trimmed = |names: &[String]| names.iter().map(|n| n.trim().to_owned()).filter(|n| !n.is_empty()).collect();
    // Alike in every type but of events.
    let mut items: Vec<String> = Vec::new();
    let mut lists = Vec::new();
    for name in types {
        let roles: Vec<String> = trimmed(oneke::roles(choice, name));
        let item = item(choice, &roles);
        let known = items.iter().position(|other| *other == item);
        let number = known.unwrap_or(items.len());
        if known.is_none() {
            items.push(item);
        }
        lists.push(format!("{} LIST{}", quoted(&key(name)), numbered(number)));
    }
    let values = if items.iter().any(|item| item.contains("VALUE")) {
        "VALUE: \"\\\"NAN\\\"\" | TEXT | \"[\" TEXT (\", \" TEXT)+ \"]\"\n"
    } else {
        ""
    };
    let mut rules = format!("ANSWER: \"{{\" {} \"}}\"\n", lists.join(" \", \" "));
    for (number, item) in items.iter().enumerate() {
        let n = numbered(number);
        let _ = write!(rules, "LIST{n}: \"[\" (ITEM{n} (\", \" ITEM{n})*)? \"]\"\nITEM{n}: {item}\n");
    }
    rules + values + "TEXT: \"\\\"\" WORDS \"\\\"\"\n"
}

/// The first of several rules has no number.
fn numbered(number: usize) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

/// What stands in the list of a type.
fn item(choice: &SchemaChoice, roles: &[String]) -> String {
    match (choice.task, choice.asking.only) {
        (Task::Entities, _) | (Task::Events, Some(EventPart::Triggers)) => "TEXT".to_owned(),
        (Task::Relations, _) => format!("{} TEXT {} TEXT \"}}\"", quoted("{\"subject\": "), quoted(", \"object\": ")),
        (Task::Events, only) => {
            let keys: Vec<String> = roles.iter().map(|role| format!("{} VALUE", quoted(&key(role)))).collect();
            let keys = keys.join(" \", \" ");
            let begin = if only.is_none() {
                format!("{} TEXT {}", quoted("{\"trigger\": "), quoted(", \"arguments\": {"))
            } else {
                quoted("{\"arguments\": {")
            };
            format!("{begin} {keys} \"}}}}\"")
        }
    }
}

fn key(name: &str) -> String {
    format!("{}: ", json!(name))
}

/// Words as JSON writes them between quotation marks.
pub(super) fn escaped(words: &str) -> String {
    let written = json!(words).to_string();
    written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(words).to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::Asking;

    use super::*;
    use crate::guide::lark;

    fn grammar(format: Format, task: Task, only: Option<EventPart>) -> String {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let asking = Asking { only, ..Asking::in_format(format) };
        let choice = SchemaChoice {
            task,
            language: Language::En,
            types: own(&["a \"b\"", "c"]),
            roles: own(&["r", "s"]),
            asking,
        };
        let grammar = lark(None, &choice, "Ada \"x\"").unwrap();
        let rules = grammar.strip_prefix("%llguidance {\"no_forcing\": true}\nstart: ANSWER\n").unwrap();
        let (rules, words) = rules.split_once("WORDS: SPAN").unwrap();
        let escaped = words.contains("[\"Ada\",\" \",\"\\\\\\\"\",\"x\",\"\\\\\\\"\"]");
        assert_eq!(escaped, matches!(format, Format::Json | Format::OnekeJson), "{words}");
        rules.to_owned()
    }

    #[test]
    fn every_format_has_a_grammar_for_what_it_can_say() {
        use Task::{Entities, Events, Relations};
        assert_eq!(
            grammar(Format::Angles, Events, None),
            r##"ANSWER: ONE (" " ONE)* | "None"
ONE: "<" TYPE COMMA WORDS (COMMA ARGUMENT ("; " ARGUMENT)*)? ">"
ARGUMENT: ROLE "#" WORDS
COMMA: ", "
TYPE: "a \"b\"" | "c"
ROLE: "r" | "s"
"##
        );
        assert_eq!(
            grammar(Format::Lines, Relations, None),
            "ANSWER: ONE (\"\\n\" ONE)* | \"None\"\nONE: TYPE COLON WORDS COMMA WORDS\nCOMMA: \", \"\nCOLON: \": \"\nTYPE: \"a \\\"b\\\"\" | \"c\"\n"
        );
        assert_eq!(
            grammar(Format::Json, Entities, None),
            r#"ANSWER: "[" (ONE (", " ONE)*)? "]"
ONE: "{\"entity\": \"" WORDS "\", \"type\": \"" TYPE "\"}"
TYPE: "a \\\"b\\\"" | "c"
"#
        );
        assert_eq!(
            grammar(Format::OnekeJson, Events, None),
            r#"ANSWER: "{" "\"a \\\"b\\\"\": " LIST ", " "\"c\": " LIST "}"
LIST: "[" (ITEM (", " ITEM)*)? "]"
ITEM: "{\"trigger\": " TEXT ", \"arguments\": {" "\"r\": " VALUE ", " "\"s\": " VALUE "}}"
VALUE: "\"NAN\"" | TEXT | "[" TEXT (", " TEXT)+ "]"
TEXT: "\"" WORDS "\""
"#
        );
    }

    #[test]
    fn event_types_have_their_own_roles() {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let asking = Asking {
            roles: [("b".to_owned(), own(&["s"])), ("c".to_owned(), vec![])].into(),
            ..Asking::in_format(Format::OnekeJson)
        };
        let (types, roles) = (own(&["a", "b", "c"]), own(&["r", "s"]));
        let choice = SchemaChoice { task: Task::Events, language: Language::En, types, roles, asking };
        let grammar = lark(None, &choice, "Ada").unwrap();
        for rule in [
            r#"ANSWER: "{" "\"a\": " LIST ", " "\"b\": " LIST1 ", " "\"c\": " LIST2 "}""#,
            r#"ITEM: "{\"trigger\": " TEXT ", \"arguments\": {" "\"r\": " VALUE ", " "\"s\": " VALUE "}}""#,
            r#"ITEM1: "{\"trigger\": " TEXT ", \"arguments\": {" "\"s\": " VALUE "}}""#,
            r#"LIST2: "[" (ITEM2 (", " ITEM2)*)? "]""#,
        ] {
            assert!(grammar.lines().any(|line| line == rule), "{rule}\n{grammar}");
        }
    }

    #[test]
    fn parts_of_events_have_their_own() {
        let line = |grammar: String, rule: &str| {
            grammar.lines().find_map(|line| line.strip_prefix(rule).map(str::to_owned)).unwrap()
        };
        let part = |format, only| grammar(format, Task::Events, Some(only));
        use EventPart::{Arguments, Triggers};
        assert_eq!(line(part(Format::Angles, Triggers), "ONE: "), r#""<" TYPE COMMA WORDS ">""#);
        assert_eq!(line(part(Format::Angles, Arguments), "TYPE: "), r#""r" | "s""#);
        assert_eq!(line(part(Format::OnekeJson, Triggers), "ITEM: "), "TEXT");
        assert!(
            line(part(Format::OnekeJson, Arguments), "ITEM: ").starts_with(r#""{\"arguments\": {" "\"r\": " VALUE"#)
        );
        assert_eq!(line(part(Format::Tuples, Triggers), "TUPLE: "), r#""(" WORDS COMMA TYPE ")""#);
        assert_eq!(line(part(Format::Tuples, Arguments), "TYPE: "), r#""r" | "s""#);
    }
}
