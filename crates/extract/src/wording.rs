//! The instruction that asks for types in a format, in words.

use protocol::{EventPart, Format, Language, SchemaChoice, Task};

/// `List the relations stated in the text. Relations: founder. Answer as (head, relation, tail) triples.` A sentence with
/// nothing to list is left out.
pub(crate) fn instruction(format: Format, choice: &SchemaChoice) -> String {
    let language = choice.language;
    let listed = |label: &str, names: &[String]| match (names.is_empty(), language) {
        (true, _) => String::new(),
        (false, Language::En) => format!(" {label}: {}.", names.join(", ")),
        (false, Language::Zh) => format!("{label}：{}。", names.join("、")),
    };
    let (task, types_label, roles_label) = match (choice.task, choice.asking.only) {
        (Task::Entities, _) => (
            language.pick("List every entity in the text with its type.", "按出现顺序列出文本中的实体及其类型。"),
            language.pick("Types", "类型"),
            "",
        ),
        (Task::Relations, _) => (
            language.pick("List the relations stated in the text.", "列出文本中陈述的关系。"),
            language.pick("Relations", "关系"),
            "",
        ),
        (Task::Events, only) => (
            match only {
                None => language.pick("List the events in the text.", "列出文本中的事件。"),
                Some(EventPart::Triggers) => {
                    language.pick("List the words in the text that name an event.", "列出文本中的事件触发词。")
                }
                Some(EventPart::Arguments) => {
                    language.pick("List the arguments of the events in the text.", "列出文本中的事件论元。")
                }
            },
            language.pick("Event types", "事件类型"),
            language.pick("Roles", "论元角色"),
        ),
    };
    let no_roles = Vec::new();
    let asks_roles = choice.task == Task::Events && choice.asking.only != Some(EventPart::Triggers);
    let roles = if asks_roles { &choice.roles } else { &no_roles };
    let (types, roles) = (listed(types_label, &choice.types), listed(roles_label, roles));
    format!("{task}{types}{roles}{}{}", examples(choice), ending(format, choice))
}

/// `Examples: person: Ada, Bob; place: Paris.`
fn examples(choice: &SchemaChoice) -> String {
    let examples = &choice.asking.examples;
    let listed = |colon: &str, comma: &str, between: &str| {
        let words = examples.iter().map(|(name, words)| format!("{name}{colon}{}", words.join(comma)));
        words.collect::<Vec<_>>().join(between)
    };
    match (examples.is_empty(), choice.language) {
        (true, _) => String::new(),
        (false, Language::En) => format!(" Examples: {}.", listed(": ", ", ", "; ")),
        (false, Language::Zh) => format!("例如：{}。", listed("：", "、", "；")),
    }
}

/// How to answer.
fn ending(format: Format, choice: &SchemaChoice) -> String {
    let shape = shape(format, choice.task, choice.asking.only, choice.language);
    let bracketed = matches!(format, Format::Tuples | Format::Angles);
    match (choice.language, choice.task) {
        (Language::En, Task::Entities) if bracketed => format!(" Answer as {shape} pairs in the order of the text."),
        (Language::En, Task::Relations) if bracketed => format!(" Answer as {shape} triples."),
        (Language::En, _) if format == Format::Json => format!(" Answer as a JSON list {shape}."),
        (Language::En, _) if format == Format::Lines => format!(" Answer with a line for each, {shape}."),
        (Language::En, _) => format!(" Answer as {shape}."),
        (Language::Zh, _) if format == Format::Json => format!("以JSON字符串{shape}的格式回答。"),
        (Language::Zh, _) if format == Format::Lines => format!("每行以“{shape}”的格式回答。"),
        (Language::Zh, _) => format!("以{shape}的形式回答。"),
    }
}

/// What an answer in a format looks like, as instructions and pages show it.
pub fn shape(format: Format, task: Task, only: Option<EventPart>, language: Language) -> &'static str {
    use EventPart::{Arguments, Triggers};
    use Task::{Entities, Events, Relations};
    let (en, zh) = match (format, task, only) {
        (Format::Tuples, Entities, _) => ("(entity, type)", "(实体,类型)"),
        (Format::Tuples, Relations, _) => ("(head, relation, tail)", "(头实体,关系,尾实体)"),
        (Format::Tuples, Events, None) => {
            ("(trigger, event type, [(argument, role)])", "(触发词,事件类型,[(论元,角色)])")
        }
        (Format::Tuples, Events, Some(Triggers)) => ("(trigger, event type)", "(触发词,事件类型)"),
        (Format::Tuples, Events, Some(Arguments)) => ("(argument, role)", "(论元,角色)"),
        (Format::Angles, Entities, _) => ("<entity, type>", "<实体,类型>"),
        (Format::Angles, Relations, _) => ("<head, relation, tail>", "<头实体,关系,尾实体>"),
        (Format::Angles, Events, None) => {
            ("<event type, trigger, role#argument; role#argument>", "<事件类型,触发词,角色#论元;角色#论元>")
        }
        (Format::Angles, Events, Some(Triggers)) => ("<event type, trigger>", "<事件类型,触发词>"),
        (Format::Angles, Events, Some(Arguments)) => ("<argument, role>", "<论元,角色>"),
        (Format::Lines, ..) => ("relation: head, tail", "关系：头实体,尾实体"),
        (Format::Json, Entities, _) => same(r#"[{"entity": "", "type": ""}]"#),
        (Format::Json, Relations, _) => same(r#"[{"head": "", "relation": "", "tail": ""}]"#),
        (Format::Json, Events, None) => {
            same(r#"[{"trigger": "", "type": "", "arguments": [{"argument": "", "role": ""}]}]"#)
        }
        (Format::Json, Events, Some(Triggers)) => same(r#"[{"trigger": "", "type": ""}]"#),
        (Format::Json, Events, Some(Arguments)) => same(r#"[{"argument": "", "role": ""}]"#),
        (Format::OnekeJson, Entities, _) => (r#"{"type": ["entity"]}"#, r#"{"类型": ["实体"]}"#),
        (Format::OnekeJson, Relations, _) => {
            (r#"{"relation": [{"subject": "", "object": ""}]}"#, r#"{"关系": [{"subject": "", "object": ""}]}"#)
        }
        (Format::OnekeJson, Events, Some(Triggers)) => {
            (r#"{"event type": ["trigger"]}"#, r#"{"事件类型": ["触发词"]}"#)
        }
        (Format::OnekeJson, Events, _) => (
            r#"{"event type": [{"trigger": "", "arguments": {"role": ""}}]}"#,
            r#"{"事件类型": [{"trigger": "", "arguments": {"角色": ""}}]}"#,
        ),
    };
    language.pick(en, zh)
}

fn same(shape: &'static str) -> (&'static str, &'static str) {
    (shape, shape)
}
