//! The prompts of the model OneKE: an instruction that is a JSON object, in the form of LLaMA-2's conversations.
//!
//! The wording of the instructions is the one that the model was trained on; another wording asks it something else.

use protocol::{EventPart, SchemaChoice, Task};
use serde_json::json;

/// What stands above every conversation.
const SYSTEM: &str = "You are a helpful assistant. 你是一个乐于助人的助手。";

/// The prompt of a conversation with one question. Of an instruction that is a JSON object the input becomes the last
/// field; below any other it is written as it is.
pub(crate) fn prompt(instruction: &str, input: Option<&str>) -> String {
    let input = input.filter(|text| !text.trim().is_empty());
    let object = instruction.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    let said = match (object.map(str::trim_end), input) {
        (Some(""), Some(input)) => format!("{{\"input\": {}}}", json!(input)),
        (Some(fields), Some(input)) => format!("{{{fields}, \"input\": {}}}", json!(input)),
        (None, Some(input)) => format!("{instruction}\n{input}"),
        (_, None) => instruction.to_owned(),
    };
    format!("[INST] <<SYS>>\n{SYSTEM}\n<</SYS>>\n\n{said} [/INST]")
}

/// The instruction that asks for a choice: `{"instruction": …, "schema": […]}`; with descriptions the schema is an object of
/// them.
pub(crate) fn instruction(choice: &SchemaChoice) -> String {
    let said = choice.language.pick(english(choice), chinese(choice));
    let plain = choice.task != Task::Events || choice.asking.only == Some(EventPart::Triggers);
    let described = !choice.asking.descriptions.is_empty();
    let one = |name: &String| match (plain, described) {
        (true, false) => json!(name).to_string(),
        (true, true) => format!("{}: {}", json!(name), json!(description(choice, name))),
        (false, described) => event(choice, name, described),
    };
    let types = choice.types.iter().map(one).collect::<Vec<_>>().join(", ");
    let (open, close) = if described { ('{', '}') } else { ('[', ']') };
    let examples = &choice.asking.examples;
    let examples = if examples.is_empty() { String::new() } else { format!(", \"examples\": {}", json!(examples)) };
    format!("{{\"instruction\": {}, \"schema\": {open}{types}{close}{examples}}}", json!(said))
}

/// What a type means; empty where that is not said.
fn description<'a>(choice: &'a SchemaChoice, name: &str) -> &'a str {
    choice.asking.descriptions.get(name).map_or("", |description| description.own.as_str())
}

/// An event type with its roles: `{"event_type": …, "trigger": true, "arguments": […]}`, or with descriptions
/// `"type": {"type": description, "trigger": true, "arguments": {role: description}}`.
fn event(choice: &SchemaChoice, name: &String, described: bool) -> String {
    let trigger = if choice.asking.only.is_none() { "\"trigger\": true, " } else { "" };
    let roles = roles(choice, name);
    if !described {
        let roles = roles.iter().map(|role| json!(role).to_string()).collect::<Vec<_>>().join(", ");
        return format!("{{\"event_type\": {}, {trigger}\"arguments\": [{roles}]}}", json!(name));
    }
    let of_role = |role: &String| {
        let known = choice.asking.descriptions.get(name).and_then(|description| description.roles.get(role));
        format!("{}: {}", json!(role), json!(known.map_or("", String::as_str)))
    };
    let roles = roles.iter().map(of_role).collect::<Vec<_>>().join(", ");
    let own = match description(choice, name) {
        "" => String::new(),
        own => format!("{}: {}, ", json!(name), json!(own)),
    };
    format!("{}: {{{own}{trigger}\"arguments\": {{{roles}}}}}", json!(name))
}

/// The roles that an event type is asked for with: its own, where they are known.
pub(crate) fn roles<'a>(choice: &'a SchemaChoice, event: &str) -> &'a [String] {
    choice.asking.roles.get(event).unwrap_or(&choice.roles)
}

fn english(choice: &SchemaChoice) -> &'static str {
    match (choice.task, choice.asking.only) {
        (Task::Entities, _) => {
            "You are an expert in named entity recognition. Please extract entities that match the schema definition from the input. Return an empty list if the entity type does not exist. Please respond in the format of a JSON string."
        }
        (Task::Relations, _) => {
            "You are an expert in relationship extraction. Please extract relationship triples that match the schema definition from the input. Return an empty list for relationships that do not exist. Please respond in the format of a JSON string."
        }
        (Task::Events, None) => {
            "You are an expert in event extraction. Please extract events from the input that conform to the schema definition. Return an empty list for events that do not exist, and return NAN for arguments that do not exist. If an argument has multiple values, please return a list. Respond in the format of a JSON string."
        }
        (Task::Events, Some(EventPart::Triggers)) => {
            "You are an expert in event extraction. Please extract event types and event trigger words from the input that conform to the schema definition. Return an empty list for non-existent events. Please respond in the format of a JSON string."
        }
        (Task::Events, Some(EventPart::Arguments)) => {
            "You are an expert in event argument extraction. Please extract event arguments and their roles from the input that conform to the schema definition, which already includes event trigger words. If an argument does not exist, return NAN or an empty dictionary. Please respond in the format of a JSON string."
        }
    }
}

fn chinese(choice: &SchemaChoice) -> &'static str {
    match (choice.task, choice.asking.only) {
        (Task::Entities, _) => {
            "你是专门进行实体抽取的专家。请从input中抽取出符合schema定义的实体，不存在的实体类型返回空列表。请按照JSON字符串的格式回答。"
        }
        (Task::Relations, _) => {
            "你是专门进行关系抽取的专家。请从input中抽取出符合schema定义的关系三元组，不存在的关系返回空列表。请按照JSON字符串的格式回答。"
        }
        (Task::Events, None) => {
            "你是专门进行事件提取的专家。请从input中抽取出符合schema定义的事件，不存在的事件返回空列表，不存在的论元返回NAN，如果论元存在多值请返回列表。请按照JSON字符串的格式回答。"
        }
        (Task::Events, Some(EventPart::Triggers)) => {
            "你是专门进行事件提取的专家。请从input中抽取出符合schema定义的事件类型及事件触发词，不存在的事件返回空列表。请按照JSON字符串的格式回答。"
        }
        (Task::Events, Some(EventPart::Arguments)) => {
            "你是专门进行事件论元提取的专家。请从input中抽取出符合schema定义的事件论元及论元角色，不存在的论元返回NAN或空字典，如果论元存在多值请返回列表。请按照JSON字符串的格式回答。"
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use protocol::{Asking, Format, Language};

    use super::*;

    fn choice(task: Task, only: Option<EventPart>) -> SchemaChoice {
        let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let asking = Asking { only, ..Asking::in_format(Format::OnekeJson) };
        SchemaChoice { task, language: Language::En, types: own(&["a \"b\"", "c"]), roles: own(&["r"]), asking }
    }

    #[test]
    fn the_prompt_is_a_conversation_about_one_json_object() {
        let asked = prompt(r#"{"instruction": "Find.", "schema": ["a"]}"#, Some("say \"hi\"\n"));
        assert_eq!(
            asked,
            "[INST] <<SYS>>\nYou are a helpful assistant. 你是一个乐于助人的助手。\n<</SYS>>\n\n{\"instruction\": \"Find.\", \"schema\": [\"a\"], \"input\": \"say \\\"hi\\\"\\n\"} [/INST]"
        );
        assert!(prompt("Say it.", Some("A text.")).ends_with("\n\nSay it.\nA text. [/INST]"));
        assert!(prompt("Say it.", None).ends_with("\n\nSay it. [/INST]"));
    }

    #[test]
    fn the_schema_of_an_instruction_has_the_form_of_its_task() {
        for (task, only, expected) in [
            (Task::Entities, None, json!(["a \"b\"", "c"])),
            (Task::Relations, None, json!(["a \"b\"", "c"])),
            (
                Task::Events,
                None,
                json!([{"event_type": "a \"b\"", "trigger": true, "arguments": ["r"]}, {"event_type": "c", "trigger": true, "arguments": ["r"]}]),
            ),
            (Task::Events, Some(EventPart::Triggers), json!(["a \"b\"", "c"])),
            (
                Task::Events,
                Some(EventPart::Arguments),
                json!([{"event_type": "a \"b\"", "arguments": ["r"]}, {"event_type": "c", "arguments": ["r"]}]),
            ),
        ] {
            let said: serde_json::Value = serde_json::from_str(&instruction(&choice(task, only))).unwrap();
            assert_eq!(said["schema"], expected);
            assert!(said["instruction"].as_str().unwrap().starts_with("You are an expert in "));
        }
        let mut own = choice(Task::Events, None);
        own.types = vec!["a".into(), "b".into()];
        own.roles = vec!["r".into(), "s".into()];
        own.asking.roles = [("a".to_owned(), vec!["r".to_owned()]), ("b".to_owned(), vec!["s".to_owned()])].into();
        let schema = |choice: &SchemaChoice| {
            serde_json::from_str::<serde_json::Value>(&instruction(choice)).unwrap()["schema"].take()
        };
        let event = |name: &str, role: &str| json!({"event_type": name, "trigger": true, "arguments": [role]});
        assert_eq!(schema(&own), json!([event("a", "r"), event("b", "s")]), "each event type has its own roles");
        let says = |own: &str, role: &str| protocol::Description {
            own: own.into(),
            roles: if role.is_empty() { Default::default() } else { [(role.to_owned(), "who".to_owned())].into() },
        };
        own.asking.descriptions = [("a".to_owned(), says("It is an a.", "r")), ("b".to_owned(), says("", ""))].into();
        assert_eq!(
            schema(&own),
            json!({"a": {"a": "It is an a.", "trigger": true, "arguments": {"r": "who"}}, "b": {"trigger": true, "arguments": {"s": ""}}})
        );
        let mut described = choice(Task::Relations, None);
        described.asking.descriptions = [("c".to_owned(), says("A c.", ""))].into();
        assert_eq!(schema(&described), json!({"a \"b\"": "", "c": "A c."}));
        let chinese = SchemaChoice { language: Language::Zh, ..choice(Task::Events, None) };
        assert!(instruction(&chinese).starts_with("{\"instruction\": \"你是专门进行事件提取的专家。"));
    }
}
