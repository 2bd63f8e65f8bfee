//! From what to extract to the exact prompt.

use protocol::{AdapterManifest, Format, SchemaChoice, Taught};

pub use crate::wording::shape;
use crate::{oneke, wording};

/// The prompt of LoRA mode: the alpaca template. A blank input counts as none. Instruction and input are used as they
/// are; a model answers after the last line.
pub fn alpaca(instruction: &str, input: Option<&str>) -> String {
    match input.filter(|text| !text.trim().is_empty()) {
        Some(input) => format!(
            "Below is an instruction that describes a task, paired with an input that provides further context. \
             Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n"
        ),
        None => format!(
            "Below is an instruction that describes a task. \
             Write a response that appropriately completes the request.\n\n\
             ### Instruction:\n{instruction}\n\n### Response:\n"
        ),
    }
}

/// The taught schema that asks for exactly these types and roles, in whatever order.
pub fn taught_as<'m>(manifest: Option<&'m AdapterManifest>, choice: &SchemaChoice) -> Option<&'m Taught> {
    manifest?.taught.iter().find(|taught| {
        taught.task == choice.task
            && taught.language == choice.language
            && same_set(&taught.types, &choice.types)
            && same_set(&taught.roles, &choice.roles)
    })
}

/// The smallest taught schema that asks for at least these types and roles. An adapter that learnt types together
/// answers badly when asked for some of them: it is asked for all, and [`parse`](crate::parse) leaves out the others. Only
/// in the adapter's own way; otherwise it is asked for what is chosen.
pub fn taught_with<'m>(manifest: Option<&'m AdapterManifest>, choice: &SchemaChoice) -> Option<&'m Taught> {
    let fits = |taught: &&Taught| {
        taught.task == choice.task
            && taught.language == choice.language
            && within(&choice.types, &taught.types)
            && within(&choice.roles, &taught.roles)
    };
    manifest
        .filter(|_| !choice.types.is_empty() && in_own_way(manifest, choice))?
        .taught
        .iter()
        .filter(fits)
        .min_by_key(|t| t.types.len())
}

/// The answer format that a choice is asked in: the one it names, else the adapter's own. One that cannot say what a task
/// finds is as if none were named.
pub fn format(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> Format {
    let named = choice.asking.format.filter(|format| format.has(choice.task));
    named.unwrap_or_else(|| own_format(manifest, choice))
}

fn own_format(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> Format {
    manifest.and_then(|m| m.format.as_ref()?.of(choice.task)).unwrap_or(Format::Tuples)
}

/// The choice with the format that it will be asked in, so that its answers are read without the adapter.
pub fn resolve(manifest: Option<&AdapterManifest>, mut choice: SchemaChoice) -> SchemaChoice {
    let format = format(manifest, &choice);
    let default = choice.asking.format.is_none() && format == Format::Tuples;
    choice.asking.format = (!default).then_some(format);
    choice
}

/// Whether a choice is asked in the adapter's own way, in which it was taught.
pub(crate) fn in_own_way(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> bool {
    let asking = &choice.asking;
    asking.only.is_none() && asking.examples.is_empty() && format(manifest, choice) == own_format(manifest, choice)
}

/// The instruction that asks for a choice: the taught wording when the choice is a taught schema or part of one, and
/// asked in the adapter's own way; else a pattern with the chosen types and roles in the chosen order.
pub fn instruction(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> String {
    if in_own_way(manifest, choice)
        && let Some(taught) = taught_as(manifest, choice).or_else(|| taught_with(manifest, choice))
    {
        return taught.instruction.clone();
    }
    match format(manifest, choice) {
        Format::OnekeJson => oneke::instruction(choice),
        format => wording::instruction(format, choice),
    }
}

/// The exact prompt of an instruction about a text: in the adapter's template, or in the one that the format brings along.
pub fn prompt(
    manifest: Option<&AdapterManifest>,
    choice: Option<&SchemaChoice>,
    instruction: &str,
    input: Option<&str>,
) -> String {
    let oneke = choice.is_some_and(|choice| format(manifest, choice) == Format::OnekeJson);
    if oneke || manifest.is_some_and(|m| m.template == "llama-2") {
        oneke::prompt(instruction, input)
    } else {
        alpaca(instruction, input)
    }
}

/// Which of a choice's types and roles the adapter was taught for that task and language, in the choice's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaughtTypes {
    /// One for each of the choice's types.
    pub types: Vec<bool>,
    /// One for each of the choice's roles.
    pub roles: Vec<bool>,
}

impl TaughtTypes {
    /// Whether everything chosen was taught.
    pub fn all(&self) -> bool {
        self.types.iter().chain(&self.roles).all(|taught| *taught)
    }
}

/// Looks up every chosen type and role among those taught for the same task and language.
pub fn taught(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> TaughtTypes {
    let schemas: Vec<&Taught> = manifest
        .into_iter()
        .flat_map(|m| &m.taught)
        .filter(|t| t.task == choice.task && t.language == choice.language)
        .collect();
    let known = |names: &[String], of: fn(&Taught) -> &Vec<String>| {
        names.iter().map(|name| schemas.iter().any(|t| of(t).iter().any(|n| same(n, name)))).collect()
    };
    TaughtTypes { types: known(&choice.types, |t| &t.types), roles: known(&choice.roles, |t| &t.roles) }
}

fn same(a: &str, b: &str) -> bool {
    a.trim() == b.trim()
}

fn within(some: &[String], all: &[String]) -> bool {
    some.iter().all(|x| all.iter().any(|y| same(x, y)))
}

fn same_set(a: &[String], b: &[String]) -> bool {
    within(a, b) && within(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::{Asking, Language, Task, manifest::Title};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    fn choice(task: Task, language: Language, types: &[&str], roles: &[&str]) -> SchemaChoice {
        SchemaChoice { task, language, types: names(types), roles: names(roles), asking: Asking::default() }
    }

    fn manifest() -> AdapterManifest {
        let schema = |task, language, types: &[&str], roles: &[&str], instruction: &str| Taught {
            name: "n".into(),
            title: Title::default(),
            task,
            language,
            types: names(types),
            roles: names(roles),
            instruction: instruction.into(),
            examples: 1,
            dev_f1: 0.0,
            experimental: false,
        };
        AdapterManifest {
            taught: vec![
                schema(Task::Entities, Language::En, &["person", "location"], &[], "Exact EN."),
                schema(Task::Events, Language::Zh, &["收购"], &["主体机构", "金额"], "原样中文。"),
            ],
            ..AdapterManifest::unknown("base")
        }
    }

    #[test]
    fn the_template_is_the_one_the_published_adapter_was_trained_on() {
        assert_eq!(
            alpaca("Do it.", Some("A text.")),
            "Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n### Instruction:\nDo it.\n\n### Input:\nA text.\n\n### Response:\n"
        );
        let bare = "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nDo it.\n\n### Response:\n";
        assert_eq!(alpaca("Do it.", None), bare);
        assert_eq!(alpaca("Do it.", Some(" \n")), bare);
    }

    #[test]
    fn a_taught_schema_is_asked_in_the_taught_words_and_any_other_by_the_same_pattern() {
        use Language::{En, Zh};
        use Task::{Entities, Events, Relations};
        for (choice, expected) in [
            (choice(Entities, En, &["location", "person"], &[]), "Exact EN."),
            (choice(Events, Zh, &["收购"], &["金额", "主体机构"]), "原样中文。"),
            (
                choice(Entities, En, &["person", "brand"], &[]),
                "List every entity in the text with its type. Types: person, brand. Answer as (entity, type) pairs in the order of the text.",
            ),
            (
                choice(Relations, En, &["founder"], &[]),
                "List the relations stated in the text. Relations: founder. Answer as (head, relation, tail) triples.",
            ),
            (
                choice(Events, En, &["merger"], &["buyer", "seller"]),
                "List the events in the text. Event types: merger. Roles: buyer, seller. Answer as (trigger, event type, [(argument, role)]).",
            ),
            (
                choice(Events, En, &["merger"], &[]),
                "List the events in the text. Event types: merger. Answer as (trigger, event type, [(argument, role)]).",
            ),
            (
                choice(Entities, En, &[], &[]),
                "List every entity in the text with its type. Answer as (entity, type) pairs in the order of the text.",
            ),
            (
                choice(Entities, Zh, &["机构", "品牌"], &["忽略"]),
                "按出现顺序列出文本中的实体及其类型。类型：机构、品牌。以(实体,类型)的形式回答。",
            ),
            (
                choice(Relations, Zh, &["位于", "拥有"], &[]),
                "列出文本中陈述的关系。关系：位于、拥有。以(头实体,关系,尾实体)的形式回答。",
            ),
            (
                choice(Events, Zh, &["收购", "质押"], &["金额"]),
                "列出文本中的事件。事件类型：收购、质押。论元角色：金额。以(触发词,事件类型,[(论元,角色)])的形式回答。",
            ),
            (
                choice(Events, Zh, &["质押"], &[]),
                "列出文本中的事件。事件类型：质押。以(触发词,事件类型,[(论元,角色)])的形式回答。",
            ),
        ] {
            assert_eq!(instruction(Some(&manifest()), &choice), expected);
        }
    }

    #[test]
    fn some_types_of_a_taught_schema_are_asked_for_together_with_the_others() {
        assert_eq!(
            instruction(Some(&manifest()), &choice(Task::Entities, Language::En, &["location"], &[])),
            "Exact EN."
        );
        assert_eq!(
            instruction(Some(&manifest()), &choice(Task::Events, Language::Zh, &["收购"], &["金额"])),
            "原样中文。"
        );
        let none = choice(Task::Entities, Language::En, &[], &[]);
        assert_eq!(taught_with(Some(&manifest()), &none), None);
    }

    #[test]
    fn another_format_is_asked_for_by_the_pattern_and_one_that_does_not_fit_is_not() {
        let m = manifest();
        let asked = |format, task, language, types: &[&str], roles: &[&str]| {
            let asking = Asking::in_format(format);
            instruction(Some(&m), &SchemaChoice { asking, ..choice(task, language, types, roles) })
        };
        use Language::{En, Zh};
        use Task::{Entities, Events, Relations};
        for (format, task, language, expected) in [
            (
                Format::Angles,
                Entities,
                En,
                "List every entity in the text with its type. Types: person. Answer as <entity, type> pairs in the order of the text.",
            ),
            (Format::Tuples, Entities, En, "Exact EN."),
            (Format::Lines, Entities, En, "Exact EN."),
            (
                Format::Lines,
                Relations,
                En,
                "List the relations stated in the text. Relations: person. Answer with a line for each, relation: head, tail.",
            ),
            (
                Format::Lines,
                Relations,
                Zh,
                "列出文本中陈述的关系。关系：person。每行以“关系：头实体,尾实体”的格式回答。",
            ),
            (
                Format::Json,
                Relations,
                Zh,
                "列出文本中陈述的关系。关系：person。以JSON字符串[{\"head\": \"\", \"relation\": \"\", \"tail\": \"\"}]的格式回答。",
            ),
            (
                Format::Angles,
                Events,
                Zh,
                "列出文本中的事件。事件类型：person。论元角色：r。以<事件类型,触发词,角色#论元;角色#论元>的形式回答。",
            ),
        ] {
            let roles: &[&str] = if task == Events { &["r"] } else { &[] };
            assert_eq!(asked(format, task, language, &["person"], roles), expected);
        }
        let named = AdapterManifest { format: Some(protocol::TaughtFormat::All(Format::OnekeJson)), ..manifest() };
        let own = choice(Relations, En, &["founder"], &[]);
        assert!(instruction(Some(&named), &own).starts_with("{\"instruction\": \"You are an expert"));
        assert!(prompt(Some(&named), Some(&own), "x", Some("Ada")).starts_with("[INST] <<SYS>>"));
        assert_eq!(prompt(Some(&m), Some(&own), "x", Some("Ada")), alpaca("x", Some("Ada")));
        assert_eq!(resolve(Some(&named), own.clone()).asking.format, Some(Format::OnekeJson));
        assert_eq!(resolve(Some(&m), own).asking.format, None);
    }

    #[test]
    fn parts_of_events_and_examples_are_asked_for_in_words() {
        let examples = [("person".to_owned(), names(&["Ada", "Bob"])), ("city".to_owned(), names(&["Bath"]))];
        let asking = Asking { examples: examples.into(), ..Asking::default() };
        let with = SchemaChoice { asking, ..choice(Task::Entities, Language::En, &["person", "city"], &[]) };
        assert_eq!(
            instruction(Some(&manifest()), &with),
            "List every entity in the text with its type. Types: person, city. Examples: city: Bath; person: Ada, Bob. Answer as (entity, type) pairs in the order of the text."
        );
        let part = |only| {
            let asking = Asking { only: Some(only), ..Asking::default() };
            instruction(None, &SchemaChoice { asking, ..choice(Task::Events, Language::En, &["merger"], &["buyer"]) })
        };
        assert_eq!(
            part(protocol::EventPart::Triggers),
            "List the words in the text that name an event. Event types: merger. Answer as (trigger, event type)."
        );
        assert_eq!(
            part(protocol::EventPart::Arguments),
            "List the arguments of the events in the text. Event types: merger. Roles: buyer. Answer as (argument, role)."
        );
    }

    #[test]
    fn types_are_taught_for_a_task_and_a_language_only() {
        let m = manifest();
        let flags = taught(Some(&m), &choice(Task::Entities, Language::En, &["brand", "person"], &[]));
        assert_eq!((flags.types.clone(), flags.all()), (vec![false, true], false));
        assert!(taught(Some(&m), &choice(Task::Events, Language::Zh, &["收购"], &["金额"])).all());
        assert!(!taught(Some(&m), &choice(Task::Relations, Language::En, &["person"], &[])).all());
        assert!(!taught(None, &choice(Task::Entities, Language::En, &["person"], &[])).all());
    }
}
