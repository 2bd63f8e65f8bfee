//! How a model is asked to write down what it finds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::manifest::Task;

/// An answer format. How each is asked for, read and guided is in the crate `extract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// `(entity, type)`, `(head, relation, tail)`, `(trigger, event type, [(argument, role)])`.
    Tuples,
    /// `<entity, type>`, `<head, relation, tail>`, `<event type, trigger, role#argument; …>`.
    Angles,
    /// A line for each relation: `relation: head, tail`.
    Lines,
    /// A JSON list of objects: `[{"head": …, "relation": …, "tail": …}]`.
    Json,
    /// One JSON object with the asked types as its keys, as the model OneKE was taught; the instruction is JSON too.
    OnekeJson,
}

impl Format {
    /// All of them, in the order that people choose from.
    pub const ALL: [Self; 5] = [Self::Tuples, Self::Angles, Self::Lines, Self::Json, Self::OnekeJson];

    /// The name in manifests, on the command line and in forms.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tuples => "tuples",
            Self::Angles => "angles",
            Self::Lines => "lines",
            Self::Json => "json",
            Self::OnekeJson => "oneke-json",
        }
    }

    /// The inverse of [`Format::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }

    /// Whether what a task finds can be written in it.
    pub fn has(self, task: Task) -> bool {
        self != Self::Lines || task == Task::Relations
    }

    /// The most types that are asked for at once, where the format was taught with a limit; a manifest may say otherwise.
    pub fn group(self, task: Task) -> Option<usize> {
        match (self, task) {
            (Self::OnekeJson, Task::Entities) => Some(6),
            (Self::OnekeJson, _) => Some(4),
            _ => None,
        }
    }
}

/// A part of events that is asked for alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventPart {
    /// Triggers with their event types.
    Triggers,
    /// Arguments with their roles. They have no trigger to belong to: each is found like an entity, with the role as its
    /// type.
    Arguments,
}

impl EventPart {
    /// The inverse of the name in JSON and in forms.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "triggers" => Some(Self::Triggers),
            "arguments" => Some(Self::Arguments),
            _ => None,
        }
    }
}

/// How something is asked for, beside what is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    /// The answer format; the adapter's own where none is named, or where the named one cannot say what is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The part of events that is asked for; whole events where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only: Option<EventPart>,
    /// Whether the examples that a schema has are given to the model.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_examples: bool,
    /// The examples themselves: words for each name that has some.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub examples: BTreeMap<String, Vec<String>>,
    /// The roles of each event type, for formats that say them type by type; without it every event type has all roles.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Vec<String>>,
    /// What the types mean, for formats that can say it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub descriptions: BTreeMap<String, Description>,
    /// Instructions in a person's own words, each by the one that stands in its place otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub instructions: BTreeMap<String, String>,
}

/// What a type and its roles mean, in words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The type; empty where only its roles are described.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub own: String,
    /// Those of its roles that are described.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, String>,
}

impl Asking {
    /// In this format.
    pub fn in_format(format: Format) -> Self {
        Self { format: Some(format), ..Self::default() }
    }

    /// What of it holds for a task: the format if that can say what the task finds, and the part if it is about events.
    #[must_use]
    pub fn of(&self, task: Task) -> Self {
        let format = self.format.filter(|format| format.has(task));
        Self { format, only: self.only.filter(|_| task == Task::Events), ..Self::default() }
    }

    /// What is asked in place of an instruction that was made: a person's own words, where there are any, else that itself.
    pub fn wording(&self, made: String) -> String {
        self.instructions.get(&made).filter(|own| !own.trim().is_empty()).cloned().unwrap_or(made)
    }

    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The answer format of an adapter: one for all tasks, or one for each task code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TaughtFormat {
    /// `"oneke-json"`.
    All(Format),
    /// `{"re": "json", "ee": "angles"}`.
    ByTask(BTreeMap<String, Format>),
}

impl TaughtFormat {
    /// That of a task.
    pub fn of(&self, task: Task) -> Option<Format> {
        match self {
            Self::All(format) => Some(*format),
            Self::ByTask(formats) => formats.get(task.code()).copied(),
        }
        .filter(|format| format.has(task))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        for format in Format::ALL {
            assert_eq!(serde_json::to_value(format).unwrap(), format.name());
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
        for (name, part) in [("triggers", EventPart::Triggers), ("arguments", EventPart::Arguments)] {
            assert_eq!(serde_json::to_value(part).unwrap(), name);
            assert_eq!(EventPart::from_name(name), Some(part));
        }
    }

    #[test]
    fn own_words_stand_in_place_of_what_was_made_and_of_nothing_else() {
        let instructions = [("Find people.".into(), "Find all people.".into()), ("Find cities.".into(), " ".into())];
        let asking = Asking { instructions: instructions.into(), ..Asking::default() };
        let asked = ["Find people.", "Find cities.", "Find dates."].map(|made| asking.wording(made.into()));
        assert_eq!(asked, ["Find all people.", "Find cities.", "Find dates."]);
        assert!(asking.of(Task::Entities).is_default(), "they belong to no single question");
    }

    #[test]
    fn a_manifest_names_one_format_or_one_for_each_task() {
        let of = |json: &str, task| serde_json::from_str::<TaughtFormat>(json).unwrap().of(task);
        assert_eq!(of(r#""oneke-json""#, Task::Events), Some(Format::OnekeJson));
        assert_eq!(of(r#"{"re": "json"}"#, Task::Relations), Some(Format::Json));
        assert_eq!(of(r#"{"re": "json"}"#, Task::Entities), None);
        assert_eq!(of(r#""lines""#, Task::Entities), None, "a line is a relation");
        assert!(serde_json::from_str::<TaughtFormat>(r#""xml""#).is_err());
    }
}
