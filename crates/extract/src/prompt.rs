//! From what to extract to the exact prompt.

use protocol::{AdapterManifest, Language, SchemaChoice, Task, Taught};

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
/// answers badly when asked for some of them: it is asked for all, and [`parse`](crate::parse) leaves out the others.
pub fn taught_with<'m>(manifest: Option<&'m AdapterManifest>, choice: &SchemaChoice) -> Option<&'m Taught> {
    let fits = |taught: &&Taught| {
        taught.task == choice.task
            && taught.language == choice.language
            && within(&choice.types, &taught.types)
            && within(&choice.roles, &taught.roles)
    };
    manifest.filter(|_| !choice.types.is_empty())?.taught.iter().filter(fits).min_by_key(|t| t.types.len())
}

/// The instruction that asks for a choice: the taught wording when the choice is a taught schema or part of one, else
/// the same pattern with the chosen types and roles in the chosen order. A sentence with nothing to list is left out.
pub fn instruction(manifest: Option<&AdapterManifest>, choice: &SchemaChoice) -> String {
    if let Some(taught) = taught_as(manifest, choice).or_else(|| taught_with(manifest, choice)) {
        return taught.instruction.clone();
    }
    let no_roles = Vec::new();
    let roles = if choice.task == Task::Events { &choice.roles } else { &no_roles };
    let listed = |label: &str, names: &[String]| match (names.is_empty(), choice.language) {
        (true, _) => String::new(),
        (false, Language::En) => format!(" {label}: {}.", names.join(", ")),
        (false, Language::Zh) => format!("{label}：{}。", names.join("、")),
    };
    let (task, types_label, roles_label, form) = match (choice.language, choice.task) {
        (Language::En, Task::Entities) => (
            "List every entity in the text with its type.",
            "Types",
            "",
            " Answer as (entity, type) pairs in the order of the text.",
        ),
        (Language::En, Task::Relations) => {
            ("List the relations stated in the text.", "Relations", "", " Answer as (head, relation, tail) triples.")
        }
        (Language::En, Task::Events) => (
            "List the events in the text.",
            "Event types",
            "Roles",
            " Answer as (trigger, event type, [(argument, role)]).",
        ),
        (Language::Zh, Task::Entities) => {
            ("按出现顺序列出文本中的实体及其类型。", "类型", "", "以(实体,类型)的形式回答。")
        }
        (Language::Zh, Task::Relations) => ("列出文本中陈述的关系。", "关系", "", "以(头实体,关系,尾实体)的形式回答。"),
        (Language::Zh, Task::Events) => {
            ("列出文本中的事件。", "事件类型", "论元角色", "以(触发词,事件类型,[(论元,角色)])的形式回答。")
        }
    };
    format!("{task}{}{}{form}", listed(types_label, &choice.types), listed(roles_label, roles))
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
    use protocol::manifest::Title;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    fn choice(task: Task, language: Language, types: &[&str], roles: &[&str]) -> SchemaChoice {
        SchemaChoice { task, language, types: names(types), roles: names(roles) }
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
    fn types_are_taught_for_a_task_and_a_language_only() {
        let m = manifest();
        let flags = taught(Some(&m), &choice(Task::Entities, Language::En, &["brand", "person"], &[]));
        assert_eq!((flags.types.clone(), flags.all()), (vec![false, true], false));
        assert!(taught(Some(&m), &choice(Task::Events, Language::Zh, &["收购"], &["金额"])).all());
        assert!(!taught(Some(&m), &choice(Task::Relations, Language::En, &["person"], &[])).all());
        assert!(!taught(None, &choice(Task::Entities, Language::En, &["person"], &[])).all());
    }
}
