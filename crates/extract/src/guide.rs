//! From what is asked of a text to a grammar of its answers.
//!
//! Types, relations and roles are those that the instruction names (of a taught schema also others, which are left out of
//! the records), words are those of the text. The adapter's own tuples are read off the manifest's samples of them,
//! `(entity, type) (entity, type)`; an adapter whose manifest has none, names no format, or has samples that are not made
//! like these, is not guided. Every other [`Format`] has a grammar of its own. The grammar is in the Lark dialect of the
//! library `llguidance`.
//!
//! The whole answer is one terminal. Words of the text may themselves hold commas and brackets, so that only what comes
//! later decides where a mention ended; within a terminal every reading is followed, between terminals only one. Bytes
//! that are certain are not forced as tokens: the start of a word is often written with other tokens than the whole, and
//! the adapter learnt the whole.

mod written;

use protocol::{AdapterManifest, EventPart, Format, SchemaChoice, Task, text::span_pieces};
use serde_json::json;

use crate::prompt::{self, taught_with};

/// The grammar of answers about `text` to the instruction that [`prompt::instruction`](crate::prompt::instruction) makes
/// of a choice; `None` where answers cannot be foreseen.
pub fn lark(manifest: Option<&AdapterManifest>, choice: &SchemaChoice, text: &str) -> Option<String> {
    let pieces = span_pieces(text.trim());
    if pieces.is_empty() {
        return None;
    }
    let (rules, pieces) = match prompt::format(manifest, choice) {
        Format::Tuples => (tuples(manifest, choice)?, json!(pieces)),
        format @ (Format::Angles | Format::Lines) => (written::rules(format, choice)?, json!(pieces)),
        // Within JSON the words are those of the text as JSON writes them.
        format @ (Format::Json | Format::OnekeJson) => {
            let pieces: Vec<String> = pieces.into_iter().map(written::escaped).collect();
            (written::rules(format, choice)?, json!(pieces))
        }
    };
    Some(format!(
        "%llguidance {{\"no_forcing\": true}}\nstart: ANSWER\n{rules}\
         WORDS: SPAN & /\\S|\\S(?s:.*)\\S/\nSPAN: %regex {}\n",
        json!({ "substring_chunks": pieces })
    ))
}

/// The rules of tuples, in the punctuation of the manifest's samples. Where the format was chosen or named, the usual
/// punctuation does for a manifest without samples.
fn tuples(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> Option<String> {
    let named = choice.asking.format.is_some() || manifest.is_some_and(|m| m.format.is_some());
    let of_manifest =
        |name: &str| manifest.and_then(|m| m.formats.get(name)?.get(choice.language.code())).map(String::as_str);
    let usual = |sample: (&'static str, &'static str)| named.then(|| choice.language.pick(sample.0, sample.1));
    let sample = match (choice.task, choice.asking.only) {
        (Task::Events, Some(EventPart::Triggers)) => {
            Some(choice.language.pick("(trigger, type) (trigger, type)", "(触发词,类型)(触发词,类型)"))
        }
        (Task::Events, Some(EventPart::Arguments)) => {
            Some(choice.language.pick("(argument, role) (argument, role)", "(论元,角色)(论元,角色)"))
        }
        (Task::Entities, _) => {
            of_manifest("ner").or_else(|| usual(("(entity, type) (entity, type)", "(实体,类型)(实体,类型)")))
        }
        (Task::Relations, _) => {
            of_manifest("re").or_else(|| usual(("(head, relation, tail) (…)", "(头实体,关系,尾实体)(…)")))
        }
        (Task::Events, None) => of_manifest("ee").or_else(|| {
            usual(("(trigger, event type, [(argument, role), (…)]) (…)", "(触发词,事件类型,[(论元,角色),(…)])(…)"))
        }),
    }?;
    let pair = choice.task == Task::Events && choice.asking.only.is_some();
    let form = Form::of(sample, if pair { Task::Entities } else { choice.task })?;
    let nothing = of_manifest("nothing_found").or_else(|| usual(("None", "无")));
    let nothing = nothing.map_or(String::new(), |words| format!(" | {}", quoted(words)));
    // Asked for some types of a taught schema, the adapter is asked for all of them.
    let taught = taught_with(manifest, choice);
    let (types, roles) = taught.map_or((&choice.types, &choice.roles), |t| (&t.types, &t.roles));
    let types = if choice.asking.only == Some(EventPart::Arguments) && pair { roles } else { types };
    // A model that would give some words a type that was not asked for, and may not, gives them an asked one, which is
    // wrong. Where it was taught the names, it may say what it likes; `parse` leaves out what was not asked.
    let free = taught.map_or(String::new(), |_| format!(" | {NAME}"));
    let types = format!("{}{free}", names(types)?);
    let Form { open, comma, close, gap, list } = form;
    let (open, comma, close) = (quoted(&open), quoted(&comma), quoted(&close));
    let (tuple, rest) = match list {
        None if choice.task == Task::Relations => ("WORDS COMMA TYPE COMMA WORDS", String::new()),
        None => ("WORDS COMMA TYPE", String::new()),
        Some(List { open: list, between, close: end }) => {
            // Without roles in the instruction a model names them itself.
            let roles = names(roles).map_or_else(|| NAME.to_owned(), |roles| format!("{roles}{free}"));
            let (list, between, end) = (quoted(&list), quoted(&between), quoted(&end));
            let rest = format!(
                "LIST: {list} (ARGUMENT ({between} ARGUMENT)*)? {end}\nARGUMENT: {open} WORDS {comma} ROLE {close}\nROLE: {roles}\n"
            );
            ("WORDS COMMA TYPE LIST", rest)
        }
    };
    let gap = if gap.is_empty() { String::new() } else { quoted(&gap) };
    Some(format!(
        "ANSWER: TUPLE ({gap} TUPLE)*{nothing}\nTUPLE: {open} {tuple} {close}\nCOMMA: {comma}\nTYPE: {types}\n{rest}"
    ))
}

/// A name of the model's own. None begins with a digit: behind a number's comma it would be read as more of the number.
const NAME: &str = r"/[^0-9()（）\[\],，\s][^()（）\[\],，\n]{0,39}/";

/// Names as alternatives; `None` when there is none.
fn names(names: &[String]) -> Option<String> {
    let names: Vec<String> = names.iter().map(|n| n.trim()).filter(|n| !n.is_empty()).map(quoted).collect();
    (!names.is_empty()).then(|| names.join(" | "))
}

/// A text as the grammar's language writes it.
fn quoted(text: &str) -> String {
    json!(text).to_string().replace('\u{7f}', "\\u007f")
}

/// The punctuation of a format: `(entity, type) (entity, type)`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Form {
    open: String,
    comma: String,
    close: String,
    /// Between tuples.
    gap: String,
    /// Of an event's arguments.
    list: Option<List>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct List {
    /// From the type to the first argument, or to the list's end.
    open: String,
    between: String,
    close: String,
}

impl Form {
    /// Reads a sample of a format.
    fn of(sample: &str, task: Task) -> Option<Self> {
        let marks = marks(sample);
        let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
        match (task, marks.as_slice()) {
            (Task::Entities, [open, comma, next, other, close]) if comma == other => {
                Some(Self::plain(open, comma, close, next.strip_prefix(close)?.strip_suffix(open)?))
            }
            (Task::Relations, [open, comma, other, next, close]) if comma == other => {
                Some(Self::plain(open, comma, close, next.strip_prefix(close)?.strip_suffix(open)?))
            }
            (Task::Events, [open, comma, list, role, argument, next, close]) if comma == role => {
                let list = list.strip_suffix(open)?;
                let between = argument.strip_prefix(close)?.strip_suffix(open)?;
                let (end, gap) = next.strip_prefix(close)?.split_once(close)?;
                let list = List { open: list.to_owned(), between: between.to_owned(), close: end.to_owned() };
                Some(Self { list: Some(list), ..Self::plain(open, comma, close, gap.strip_suffix(open)?) })
            }
            _ => None,
        }
    }

    fn plain(open: &str, comma: &str, close: &str, gap: &str) -> Self {
        let [open, comma, close, gap] = [open, comma, close, gap].map(str::to_owned);
        Self { open, comma, close, gap, list: None }
    }
}

/// The punctuation between the words of a sample, with the spaces around it.
fn marks(sample: &str) -> Vec<String> {
    let is_mark = |c: char| "()（）[]【】<>,，、;；:：#".contains(c);
    let mut marks: Vec<String> = vec![String::new()];
    for c in sample.trim().chars() {
        match marks.last_mut() {
            Some(mark) if is_mark(c) || c.is_whitespace() => mark.push(c),
            // A space alone is part of the words.
            Some(mark) if !mark.chars().any(is_mark) => mark.clear(),
            _ => marks.push(String::new()),
        }
    }
    marks.retain(|mark| mark.chars().any(is_mark));
    marks
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::{Asking, Language};

    use super::*;

    fn form(sample: &str, task: Task) -> [String; 7] {
        let form = Form::of(sample, task).unwrap();
        let list = form.list.unwrap_or(List { open: String::new(), between: String::new(), close: String::new() });
        [form.open, form.comma, form.close, form.gap, list.open, list.between, list.close]
    }

    #[test]
    fn a_format_is_read_off_its_sample() {
        use Task::{Entities, Events, Relations};
        assert_eq!(form("(entity, type) (entity, type)", Entities), ["(", ", ", ")", " ", "", "", ""]);
        assert_eq!(form("（实体，类型）（实体，类型）", Entities), ["（", "，", "）", "", "", "", ""]);
        assert_eq!(form("<entity, type>; <entity, type>", Entities), ["<", ", ", ">", "; ", "", "", ""]);
        assert_eq!(form("(head, relation, tail) (…)", Relations), ["(", ", ", ")", " ", "", "", ""]);
        assert_eq!(
            form("(trigger, event type, [(argument, role), (…)]) (…)", Events),
            ["(", ", ", ")", " ", ", [", ", ", "]"]
        );
        assert_eq!(form("(触发词,事件类型,[(论元,角色),(…)])(…)", Events), ["(", ",", ")", "", ",[", ",", "]"]);
        assert_eq!(Form::of("JSON: {\"entities\": []}", Entities), None);
        assert_eq!(Form::of("(entity, type)", Entities), None, "how tuples are parted is not said");
    }

    fn manifest() -> AdapterManifest {
        let mut manifest = AdapterManifest::unknown("base");
        manifest.formats = serde_json::from_value(json!({
            "ner": { "en": "(entity, type) (entity, type)" },
            "nothing_found": { "en": "None" }
        }))
        .unwrap();
        manifest
    }

    fn people(task: Task) -> SchemaChoice {
        SchemaChoice {
            task,
            language: Language::En,
            types: vec!["a \"b\"".into(), " ".into()],
            roles: vec![],
            asking: Asking::default(),
        }
    }

    #[test]
    fn a_grammar_has_the_asked_names_and_the_words_of_the_text() {
        let grammar = lark(Some(&manifest()), &people(Task::Entities), " Ada (UK) \n").unwrap();
        assert_eq!(
            grammar,
            r#"%llguidance {"no_forcing": true}
start: ANSWER
ANSWER: TUPLE (" " TUPLE)* | "None"
TUPLE: "(" WORDS COMMA TYPE ")"
COMMA: ", "
TYPE: "a \"b\""
WORDS: SPAN & /\S|\S(?s:.*)\S/
SPAN: %regex {"substring_chunks":["Ada"," ","(","UK",")"]}
"#
        );
    }

    #[test]
    fn an_answer_may_name_what_was_not_asked_where_the_names_were_taught() {
        let mut manifest = manifest();
        manifest.taught = serde_json::from_value(json!([
            {"name": "a", "title": {"en": "", "zh": ""}, "task": "ner", "language": "en", "types": ["brand", "a \"b\""],
             "instruction": "x", "examples": 1, "dev_f1": 0.0},
            {"name": "b", "title": {"en": "", "zh": ""}, "task": "ner", "language": "zh", "types": ["机构"],
             "instruction": "x", "examples": 1, "dev_f1": 0.0}
        ]))
        .unwrap();
        let types = |name: &str| {
            let asked = SchemaChoice { types: vec![name.into()], ..people(Task::Entities) };
            let grammar = lark(Some(&manifest), &asked, "Ada").unwrap();
            grammar.lines().find_map(|line| line.strip_prefix("TYPE: ")).unwrap().to_owned()
        };
        assert_eq!(types("brand"), format!(r#""brand" | "a \"b\"" | {NAME}"#), "what is taught is asked together");
        assert_eq!(types("robot"), "\"robot\"", "what is not taught would never be named");
    }

    #[test]
    fn what_cannot_be_foreseen_is_not_guided() {
        let manifest = manifest();
        assert_eq!(lark(None, &people(Task::Entities), "Ada"), None);
        assert_eq!(lark(Some(&AdapterManifest::unknown("base")), &people(Task::Entities), "Ada"), None);
        assert_eq!(lark(Some(&manifest), &people(Task::Relations), "Ada"), None, "its format is not known");
        assert_eq!(lark(Some(&manifest), &people(Task::Entities), " "), None);
        let nothing = SchemaChoice { types: vec![], ..people(Task::Entities) };
        assert_eq!(lark(Some(&manifest), &nothing, "Ada"), None);
    }
}
