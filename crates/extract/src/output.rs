//! Records as they are written to files, one line a text; also what scores are made from.

use protocol::Task;
use serde::{Deserialize, Serialize};

/// Everything that was found in a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Extraction {
    /// Entities, in the order of the text.
    #[serde(default)]
    pub entities: Vec<Entity>,
    /// Triples.
    #[serde(default)]
    pub relations: Vec<Relation>,
    /// Events.
    #[serde(default)]
    pub events: Vec<Event>,
    /// What is doubtful; also what was answered but does not stand in the text.
    #[serde(default)]
    pub issues: Vec<Doubt>,
}

impl Extraction {
    /// Reads the records of a line; issues and every other field are left alone.
    ///
    /// # Errors
    /// A sentence that names the field that is not of the form.
    pub fn read_records(line: &serde_json::Value) -> Result<Self, String> {
        fn field<T: serde::de::DeserializeOwned>(line: &serde_json::Value, name: &str) -> Result<Vec<T>, String> {
            match line.get(name) {
                None | Some(serde_json::Value::Null) => Ok(Vec::new()),
                Some(value) => Vec::deserialize(value).map_err(|e| format!("\"{name}\" is not of the form: {e}")),
            }
        }
        Ok(Self {
            entities: field(line, "entities")?,
            relations: field(line, "relations")?,
            events: field(line, "events")?,
            issues: Vec::new(),
        })
    }
}

/// A named entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// Its type.
    #[serde(rename = "type")]
    pub label: String,
    /// Its words, as they stand in the text.
    pub text: String,
    /// The first code point; gold made by hand may not say where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// One past the last code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
}

/// A triple.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Relation {
    /// The relation's name.
    pub relation: String,
    /// The words of its head, as they stand in the text.
    pub head: String,
    /// The words of its tail, as they stand in the text.
    pub tail: String,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Its type.
    #[serde(rename = "type")]
    pub label: String,
    /// The words that name it, as they stand in the text.
    pub trigger: String,
    /// Who and what took part.
    #[serde(default)]
    pub arguments: Vec<Argument>,
}

/// An argument of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Argument {
    /// Its role.
    pub role: String,
    /// Its words, as they stand in the text.
    pub text: String,
}

/// One doubtful thing about the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doubt {
    /// Which answer it is about.
    pub task: Task,
    /// What is doubtful: an [`IssueKind`](crate::IssueKind) by name, `cut_off` or `repeated`.
    pub kind: String,
    /// The words it is about.
    #[serde(default)]
    pub words: String,
    /// How often it happened.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub count: usize,
    /// The record left out because of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<LeftOut>,
}

fn once() -> usize {
    1
}

fn is_once(count: &usize) -> bool {
    *count == 1
}

/// A record that is not shown as found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LeftOut {
    /// An event, with the arguments that were answered.
    Event(Event),
    /// A triple.
    Relation(Relation),
    /// An entity; it has no place.
    Entity(Entity),
}
