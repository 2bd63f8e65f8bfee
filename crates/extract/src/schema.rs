//! What to extract, as people write it down: a file of entity types, relations and events.
//!
//! ```json
//! {"language": "en", "entities": ["person"], "relations": ["founder"], "events": {"merger": ["buyer", "seller"]}}
//! ```
//!
//! Where a name stands, an object may stand that says more: `{"name": "person", "description": "…", "examples": ["…"]}`.
//! The format is described for other programs in `docs/schema.schema.json`.

use protocol::{Asking, Language, SchemaChoice, Task, manifest::Title};

use crate::node::Node;
pub(crate) use literal::Literal;

mod literal;
mod write;
mod yaml;

/// What to extract from a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Schema {
    /// The language to ask in; that of each text when `None`.
    pub language: Option<Language>,
    /// Name for people.
    pub title: Title,
    /// What it is for, or where it is from.
    pub description: Option<String>,
    /// Entity types.
    pub entities: Vec<Item>,
    /// Relations.
    pub relations: Vec<RelationType>,
    /// Event types with their roles.
    pub events: Vec<EventType>,
}

/// A name, and what it means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The name, as the model is asked for it and as it stands in the output.
    pub name: String,
    /// What it means, in words.
    pub description: Option<String>,
    /// Words that are one.
    pub examples: Vec<String>,
}

/// A relation, and what it holds between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelationType {
    /// Its name and meaning.
    pub item: Item,
    /// Entity types its head can have; any when empty.
    pub head: Vec<String>,
    /// Entity types its tail can have, or `text`, `number`, `number with unit` or `date` where it is no entity; any when
    /// empty. What does not fit is told as an issue of the extraction.
    pub tail: Vec<String>,
}

/// An event type with its roles.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventType {
    /// Its name and meaning.
    pub item: Item,
    /// The roles its arguments can have.
    pub roles: Vec<Item>,
}

/// What is wrong with a schema file, and where: `events.merger: …`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", place(path))]
pub struct SchemaError {
    /// The place in the file, such as `events.merger[2]`; empty for all of it.
    pub path: String,
    /// What is wrong there, and what would be right.
    pub reason: String,
}

fn place(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}: ") }
}

type Read<T> = Result<T, SchemaError>;

/// The most code points of a name. A name is a few words; a sentence belongs into `description`.
const LONGEST_NAME: usize = 100;

impl Schema {
    /// Reads a schema written in JSON.
    ///
    /// # Errors
    /// It is no JSON, or no schema.
    pub fn from_json(json: &str) -> Read<Self> {
        let node = serde_json::from_str(json).map_err(|e| error("", format!("it is no JSON: {e}")))?;
        Self::read(&node)
    }

    /// Reads a schema from the tree of a JSON or YAML file.
    ///
    /// # Errors
    /// It is no schema: the place and the reason.
    pub fn read(file: &Node) -> Read<Self> {
        let wanted = "a schema is an object with \"entities\", \"relations\" or \"events\"";
        let Node::Map(entries) = file else { return Err(error("", format!("{wanted}; it is {}", file.kind()))) };
        let mut schema = Self::default();
        for (key, value) in entries {
            match key.as_str() {
                "language" => schema.language = Some(language(value)?),
                "title" => schema.title = title(value)?,
                "description" => schema.description = Some(text(value, key)?),
                "entities" => schema.entities = items(value, key)?,
                "relations" => schema.relations = relations(value, key)?,
                "events" => schema.events = events(value, key)?,
                "$schema" => {}
                _ => {
                    let known = "language, title, description, entities, relations, events";
                    return Err(error(key, format!("is not known here; known are {known}")));
                }
            }
        }
        if schema.entities.is_empty() && schema.relations.is_empty() && schema.events.is_empty() {
            return Err(error("", format!("it asks for nothing: {wanted}")));
        }
        Ok(schema)
    }

    /// What the model is asked of a text in this language: one choice for each task that the schema has. Events are
    /// asked for together, with the roles of all of them.
    pub fn choices(&self, language: Language) -> Vec<SchemaChoice> {
        let names = |items: &[Item]| items.iter().map(|i| i.name.clone()).collect::<Vec<_>>();
        let types = |task| match task {
            Task::Entities => names(&self.entities),
            Task::Relations => self.relations.iter().map(|r| r.item.name.clone()).collect(),
            Task::Events => self.events.iter().map(|e| e.item.name.clone()).collect(),
        };
        let mut roles: Vec<String> = Vec::new();
        for role in self.events.iter().flat_map(|e| &e.roles) {
            if !roles.contains(&role.name) {
                roles.push(role.name.clone());
            }
        }
        Task::ALL
            .into_iter()
            .map(|task| SchemaChoice {
                task,
                language: self.language.unwrap_or(language),
                types: types(task),
                roles: if task == Task::Events { roles.clone() } else { Vec::new() },
                asking: Asking::default(),
            })
            .filter(|choice| !choice.types.is_empty())
            .collect()
    }

    /// Its names, list by list, as [`color_of`](crate::color::color_of) takes them: entity types, relations, event types,
    /// roles.
    pub fn names(&self) -> Vec<Vec<String>> {
        let own = |items: &mut dyn Iterator<Item = &Item>| items.map(|i| i.name.clone()).collect::<Vec<_>>();
        vec![
            own(&mut self.entities.iter()),
            own(&mut self.relations.iter().map(|r| &r.item)),
            own(&mut self.events.iter().map(|e| &e.item)),
            own(&mut self.events.iter().flat_map(|e| &e.roles)),
        ]
    }

    /// Whether an event of this type can have an argument in this role.
    pub fn has_role(&self, event: &str, role: &str) -> bool {
        let of_type = self.events.iter().find(|e| e.item.name == event);
        of_type.is_some_and(|e| e.roles.iter().any(|r| r.name == role))
    }
}

fn error(path: &str, reason: impl Into<String>) -> SchemaError {
    SchemaError { path: path.to_owned(), reason: reason.into() }
}

fn language(value: &Node) -> Read<Language> {
    let code = text(value, "language")?;
    Language::from_code(&code)
        .ok_or_else(|| error("language", format!("is \"{code}\"; \"en\" and \"zh\" are possible, or leave it out")))
}

fn title(value: &Node) -> Read<Title> {
    let Node::Map(entries) = value else {
        let both = text(value, "title")?;
        return Ok(Title { en: both.clone(), zh: both });
    };
    let mut title = Title::default();
    for (key, value) in entries {
        let path = format!("title.{key}");
        match key.as_str() {
            "en" => title.en = text(value, &path)?,
            "zh" => title.zh = text(value, &path)?,
            _ => return Err(error(&path, "is not known here; known are en, zh")),
        }
    }
    Ok(title)
}

fn text(value: &Node, path: &str) -> Read<String> {
    match value {
        Node::Text(text) => Ok(text.trim().to_owned()),
        other => Err(error(path, format!("must be text; it is {}", other.kind()))),
    }
}

fn texts(value: &Node, path: &str) -> Read<Vec<String>> {
    match value {
        Node::List(list) => list.iter().enumerate().map(|(i, one)| text(one, &format!("{path}[{i}]"))).collect(),
        Node::Null => Ok(Vec::new()),
        one => Ok(vec![text(one, path)?]),
    }
}

/// A list of names and objects; `one` makes an entry of its place and value.
fn list<T>(value: &Node, path: &str, one: impl Fn(&Node, &str) -> Read<T>, name: fn(&T) -> &str) -> Read<Vec<T>> {
    let entries = match value {
        Node::List(entries) => entries,
        Node::Null => return Ok(Vec::new()),
        other => return Err(error(path, format!("must be a list of names, [\"…\", \"…\"]; it is {}", other.kind()))),
    };
    let mut read: Vec<T> = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let next = one(entry, &path)?;
        if read.iter().any(|earlier| name(earlier) == name(&next)) {
            return Err(error(&path, format!("\"{}\" stands in this list twice", name(&next))));
        }
        read.push(next);
    }
    Ok(read)
}

fn items(value: &Node, path: &str) -> Read<Vec<Item>> {
    list(value, path, |entry, path| item(entry, path, &[]), |item| &item.name)
}

fn relations(value: &Node, path: &str) -> Read<Vec<RelationType>> {
    let one = |entry: &Node, path: &str| {
        let mut relation = RelationType { item: item(entry, path, &["head", "tail"])?, ..Default::default() };
        if let Some(head) = entry.get("head") {
            relation.head = texts(head, &format!("{path}.head"))?;
        }
        if let Some(tail) = entry.get("tail") {
            relation.tail = texts(tail, &format!("{path}.tail"))?;
        }
        Ok(relation)
    };
    list(value, path, one, |relation| &relation.item.name)
}

/// `{"merger": ["buyer", …], …}`, or a list of `{"name": "merger", "roles": ["buyer", …]}`.
fn events(value: &Node, path: &str) -> Read<Vec<EventType>> {
    let with_roles = |entry: &Node, path: &str, item| {
        let roles = entry.get("roles").map(|roles| items(roles, &format!("{path}.roles")));
        Ok(EventType { item, roles: roles.transpose()?.unwrap_or_default() })
    };
    let Node::Map(entries) = value else {
        if !matches!(value, Node::List(_) | Node::Null) {
            let reason = "must be an object of event types with their roles, {\"merger\": [\"buyer\", …]}; it is ";
            return Err(error(path, format!("{reason}{}", value.kind())));
        }
        let one = |entry: &Node, path: &str| with_roles(entry, path, item(entry, path, &["roles"])?);
        return list(value, path, one, |event| &event.item.name);
    };
    let mut read: Vec<EventType> = Vec::new();
    for (name, value) in entries {
        let path = format!("{path}.{name}");
        // As they are written they differ, or the file would be none: without the spaces around them they may not.
        if read.iter().any(|earlier| earlier.item.name == name.trim()) {
            return Err(error(&path, format!("\"{}\" stands in this list twice", name.trim())));
        }
        read.push(match value {
            Node::Map(_) => {
                let mut item = described(value, &path, &["roles"])?;
                item.name = checked_name(name, &path)?;
                with_roles(value, &path, item)?
            }
            Node::List(_) | Node::Null => {
                let item = Item { name: checked_name(name, &path)?, ..Item::default() };
                EventType { item, roles: items(value, &path)? }
            }
            other => {
                let reason = format!("must be a list of roles, [\"buyer\", …]; it is {}", other.kind());
                return Err(error(&path, reason));
            }
        });
    }
    Ok(read)
}

/// A name, or an object with one. `more` are the keys that the caller reads.
fn item(value: &Node, path: &str, more: &[&str]) -> Read<Item> {
    match value {
        Node::Text(name) => Ok(Item { name: checked_name(name, path)?, ..Item::default() }),
        Node::Map(_) => {
            let name = value.get("name").ok_or_else(|| error(path, "has no \"name\""))?;
            let path_of_name = format!("{path}.name");
            let name = checked_name(&text(name, &path_of_name)?, &path_of_name)?;
            Ok(Item { name, ..described(value, path, &[more, &["name"]].concat())? })
        }
        other => Err(error(path, format!("must be a name in quotation marks; it is {}", other.kind()))),
    }
}

/// Description and examples of an object.
fn described(value: &Node, path: &str, more: &[&str]) -> Read<Item> {
    let Node::Map(entries) = value else { return Ok(Item::default()) };
    let mut item = Item::default();
    for (key, value) in entries {
        let path = format!("{path}.{key}");
        match key.as_str() {
            "description" => item.description = Some(text(value, &path)?),
            "examples" => item.examples = texts(value, &path)?,
            known if more.contains(&known) => {}
            _ => {
                let known = [more, &["description", "examples"]].concat().join(", ");
                return Err(error(&path, format!("is not known here; known are {known}")));
            }
        }
    }
    Ok(item)
}

fn checked_name(name: &str, path: &str) -> Read<String> {
    let name = name.trim();
    let length = name.chars().count();
    if name.is_empty() {
        return Err(error(path, "the name is empty"));
    }
    if length > LONGEST_NAME {
        let reason = format!(
            "the name has {length} characters, at most {LONGEST_NAME} are possible; say more in \"description\""
        );
        return Err(error(path, reason));
    }
    if name.chars().any(char::is_control) {
        return Err(error(path, "the name has a line break or another control character in it"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(items: &[Item]) -> Vec<&str> {
        items.iter().map(|i| i.name.as_str()).collect()
    }

    #[test]
    fn a_schema_is_names_or_objects_that_say_more() {
        let schema = Schema::from_json(
            r#"{"language": "en", "title": {"en": "News", "zh": "新闻"},
                "entities": ["person", {"name": "organization", "description": "Companies.", "examples": ["Acme"]}],
                "relations": [{"name": "founded in", "head": "organization", "tail": ["date"]}, "founder"],
                "events": {"merger": ["buyer", {"name": "price", "description": "With currency."}], "strike": [],
                           "arrest": {"description": "By police.", "roles": ["suspect"]}}}"#,
        );
        let schema = schema.unwrap();
        assert_eq!(schema.language, Some(Language::En));
        assert_eq!(schema.title.zh, "新闻");
        assert_eq!(names(&schema.entities), ["person", "organization"]);
        assert_eq!(schema.entities[1].examples, ["Acme"]);
        assert_eq!(
            (schema.relations[0].head.as_slice(), schema.relations[0].tail.as_slice()),
            (&["organization".to_owned()][..], &["date".to_owned()][..])
        );
        let events: Vec<_> = schema.events.iter().map(|e| (e.item.name.as_str(), names(&e.roles))).collect();
        assert_eq!(events, [("merger", vec!["buyer", "price"]), ("strike", vec![]), ("arrest", vec!["suspect"])]);
        let as_list = Schema::from_json(r#"{"events": [{"name": "merger", "roles": ["buyer"]}, "strike"]}"#).unwrap();
        assert_eq!((names(&as_list.events[0].roles), names(&as_list.events[1].roles)), (vec!["buyer"], vec![]));
    }

    #[test]
    fn it_asks_one_thing_for_each_task_and_events_with_the_roles_of_all() {
        let json = r#"{"entities": ["person"], "events": {"merger": ["buyer", "date"], "trial": ["date", "judge"]}}"#;
        let schema = Schema::from_json(json).unwrap();
        let choices = schema.choices(Language::Zh);
        assert_eq!(choices.iter().map(|c| c.task).collect::<Vec<_>>(), [Task::Entities, Task::Events]);
        assert_eq!(choices[1].types, ["merger", "trial"]);
        assert_eq!(choices[1].roles, ["buyer", "date", "judge"]);
        assert!(choices.iter().all(|c| c.language == Language::Zh && (c.task == Task::Events || c.roles.is_empty())));
        assert!(schema.has_role("trial", "judge") && !schema.has_role("merger", "judge"));
        let english = Schema::from_json(r#"{"language": "en", "relations": ["founder"]}"#).unwrap();
        assert_eq!(english.choices(Language::Zh)[0].language, Language::En, "the file's language goes first");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (json, expected) in [
            ("[1", "it is no JSON: EOF while parsing a list at line 1 column 2"),
            ("[]", "a schema is an object with \"entities\", \"relations\" or \"events\"; it is a list"),
            ("{}", "it asks for nothing: a schema is an object with \"entities\", \"relations\" or \"events\""),
            (
                r#"{"entitys": ["a"]}"#,
                "entitys: is not known here; known are language, title, description, entities, relations, events",
            ),
            (r#"{"entities": "person"}"#, "entities: must be a list of names, [\"…\", \"…\"]; it is text"),
            (r#"{"entities": ["a", 7]}"#, "entities[1]: must be a name in quotation marks; it is the number 7"),
            (r#"{"entities": ["a", " "]}"#, "entities[1]: the name is empty"),
            (r#"{"entities": ["a", {"nam": "b"}]}"#, "entities[1]: has no \"name\""),
            (r#"{"entities": ["a", "b", "a"]}"#, "entities[2]: \"a\" stands in this list twice"),
            (
                r#"{"relations": [{"name": "a", "haed": "b"}]}"#,
                "relations[0].haed: is not known here; known are head, tail, name, description, examples",
            ),
            (
                r#"{"events": {"merger": "buyer"}}"#,
                "events.merger: must be a list of roles, [\"buyer\", …]; it is text",
            ),
            (
                r#"{"events": {"merger": ["a", true]}}"#,
                "events.merger[1]: must be a name in quotation marks; it is the value true",
            ),
            (
                r#"{"events": 1}"#,
                "events: must be an object of event types with their roles, {\"merger\": [\"buyer\", …]}; it is the number 1",
            ),
            (r#"{"events": {"a": [], "a": []}}"#, "it is no JSON: \"a\" stands here twice at line 1 column 29"),
            (r#"{"events": {"a": [], " a": []}}"#, "events. a: \"a\" stands in this list twice"),
            (
                r#"{"language": "fr", "entities": ["a"]}"#,
                "language: is \"fr\"; \"en\" and \"zh\" are possible, or leave it out",
            ),
        ] {
            assert_eq!(Schema::from_json(json).unwrap_err().to_string(), expected, "{json}");
        }
        let long = format!(r#"{{"entities": ["{}"]}}"#, "x".repeat(101));
        assert!(Schema::from_json(&long).unwrap_err().to_string().contains("101 characters"));
    }
}
