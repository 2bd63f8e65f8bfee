//! Schemas written down again, and seen as what is asked at once.

use protocol::{AdapterManifest, Language, SchemaChoice, Task};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{EventType, Item, RelationType, Schema};

impl Schema {
    /// The schema as a file in JSON. Read again, it is the same schema; names that say nothing more are written as names.
    pub fn to_json(&self) -> String {
        // Names and texts only: there is nothing in it that could not be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// One task as a schema: every event type can have every role.
    pub fn of_choice(choice: &SchemaChoice) -> Self {
        let items = |names: &[String]| names.iter().map(|name| Item::named(name)).collect::<Vec<_>>();
        let mut schema = Self { language: Some(choice.language), ..Self::default() };
        match choice.task {
            Task::Entities => schema.entities = items(&choice.types),
            Task::Relations => {
                let relation = |item| RelationType { item, ..RelationType::default() };
                schema.relations = items(&choice.types).into_iter().map(relation).collect();
            }
            Task::Events => {
                let event = |item| EventType { item, roles: items(&choice.roles) };
                schema.events = items(&choice.types).into_iter().map(event).collect();
            }
        }
        schema
    }

    /// Every type and every role as one list each, as colours are given by. Its task is the first that the schema has.
    pub fn labels(&self) -> SchemaChoice {
        let mut choices = self.choices(Language::En).into_iter();
        let Some(mut all) = choices.next() else {
            let task = Task::Entities;
            return SchemaChoice { task, language: Language::En, types: Vec::new(), roles: Vec::new() };
        };
        for choice in choices {
            for (into, names) in [(&mut all.types, choice.types), (&mut all.roles, choice.roles)] {
                for name in names {
                    if !into.contains(&name) {
                        into.push(name);
                    }
                }
            }
        }
        all
    }

    /// What an adapter is asked of a text in this language: [`Schema::choices`], each in groups of as many types as the
    /// adapter's manifest says that it can be asked for at once. Event types bring their own roles along.
    pub fn questions(&self, language: Language, manifest: Option<&AdapterManifest>) -> Vec<SchemaChoice> {
        let mut questions = Vec::new();
        for choice in self.choices(language) {
            let group = manifest.and_then(|m| m.group.get(choice.task.code())).copied().filter(|size| *size > 0);
            let Some(size) = group.filter(|size| *size < choice.types.len()) else {
                questions.push(choice);
                continue;
            };
            for types in choice.types.chunks(size) {
                let of_group = |role: &&String| types.iter().any(|event| self.has_role(event, role));
                let roles = choice.roles.iter().filter(of_group).cloned().collect();
                questions.push(SchemaChoice { types: types.to_vec(), roles, ..choice.clone() });
            }
        }
        questions
    }
}

impl Item {
    /// A name that says nothing more.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    fn says_more(&self) -> bool {
        self.description.is_some() || !self.examples.is_empty()
    }

    fn write_more<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        if let Some(description) = &self.description {
            map.serialize_entry("description", description)?;
        }
        if !self.examples.is_empty() {
            map.serialize_entry("examples", &self.examples)?;
        }
        Ok(())
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(language) = &self.language {
            map.serialize_entry("language", language)?;
        }
        let title = &self.title;
        if title.en == title.zh {
            if !title.en.is_empty() {
                map.serialize_entry("title", &title.en)?;
            }
        } else {
            map.serialize_entry("title", title)?;
        }
        if let Some(description) = &self.description {
            map.serialize_entry("description", description)?;
        }
        if !self.entities.is_empty() {
            map.serialize_entry("entities", &self.entities)?;
        }
        if !self.relations.is_empty() {
            map.serialize_entry("relations", &self.relations)?;
        }
        if !self.events.is_empty() {
            map.serialize_entry("events", &Events(&self.events))?;
        }
        map.end()
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.says_more() {
            return serializer.serialize_str(&self.name);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name)?;
        self.write_more(&mut map)?;
        map.end()
    }
}

impl Serialize for RelationType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.head.is_empty() && self.tail.is_empty() {
            return self.item.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.item.name)?;
        self.item.write_more(&mut map)?;
        for (key, types) in [("head", &self.head), ("tail", &self.tail)] {
            if !types.is_empty() {
                map.serialize_entry(key, types)?;
            }
        }
        map.end()
    }
}

/// Event types by name, in their order.
struct Events<'a>(&'a [EventType]);

impl Serialize for Events<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|event| (&event.item.name, event)))
    }
}

impl Serialize for EventType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !self.item.says_more() {
            return self.roles.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        self.item.write_more(&mut map)?;
        map.serialize_entry("roles", &self.roles)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: &str = r#"{"language": "en", "title": {"en": "News", "zh": "新闻"}, "description": "For the desk.",
        "entities": ["person", {"name": "organization", "description": "Companies.", "examples": ["Acme"]}],
        "relations": [{"name": "founded in", "head": "organization", "tail": ["date"]}, "founder"],
        "events": {"merger": ["buyer", {"name": "price", "description": "With currency."}], "arrest": {"description": "By police.", "roles": ["suspect"]}, "strike": []}}"#;

    #[test]
    fn a_schema_written_and_read_again_is_the_same() {
        let schema = Schema::from_json(ALL).unwrap();
        assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
        let plain = Schema::from_json(r#"{"title": "财务", "relations": ["b", "a"]}"#).unwrap();
        let written = plain.to_json().split_whitespace().collect::<String>();
        assert_eq!(written, r#"{"title":"财务","relations":["b","a"]}"#);
    }

    #[test]
    fn large_schemas_are_asked_in_groups_where_the_manifest_says_so() {
        let schema = Schema::from_json(ALL).unwrap();
        let mut manifest = AdapterManifest::unknown("base");
        assert_eq!(schema.questions(Language::En, Some(&manifest)), schema.choices(Language::En));
        manifest.group = [("ner".to_owned(), 2), ("ee".to_owned(), 1)].into();
        let asked: Vec<_> = schema
            .questions(Language::En, Some(&manifest))
            .into_iter()
            .map(|q| (q.task.code(), q.types.join(" "), q.roles.join(" ")))
            .collect();
        let asked: Vec<_> = asked.iter().map(|(t, a, b)| (*t, a.as_str(), b.as_str())).collect();
        assert_eq!(
            asked,
            [
                ("ner", "person organization", ""),
                ("re", "founded in founder", ""),
                ("ee", "merger", "buyer price"),
                ("ee", "arrest", "suspect"),
                ("ee", "strike", ""),
            ]
        );
    }

    #[test]
    fn a_choice_is_a_schema_of_one_task_and_labels_are_all_names() {
        let schema = Schema::from_json(ALL).unwrap();
        let labels = schema.labels();
        assert_eq!(labels.types, ["person", "organization", "founded in", "founder", "merger", "arrest", "strike"]);
        assert_eq!(labels.roles, ["buyer", "price", "suspect"]);
        for choice in schema.choices(Language::En) {
            assert_eq!(Schema::of_choice(&choice).choices(Language::Zh), [choice]);
        }
    }
}
