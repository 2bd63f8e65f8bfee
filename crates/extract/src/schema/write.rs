//! Schemas written down again, and seen as what is asked at once.

use std::collections::BTreeMap;

use protocol::{AdapterManifest, Asking, Description, Format, Language, SchemaChoice, Task};
use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{EventType, Item, RelationType, Schema};
use crate::prompt;

impl Schema {
    /// The schema as a file in JSON. Read again, it is the same schema; names that say nothing more are written as names.
    pub fn to_json(&self) -> String {
        // Names and texts only: there is nothing in it that could not be written.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// One task as a schema: every event type can have every role, unless its own are known.
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
                let event = |name: &String| EventType {
                    item: Item::named(name),
                    roles: items(choice.asking.roles.get(name).unwrap_or(&choice.roles)),
                };
                schema.events = choice.types.iter().map(event).collect();
            }
        }
        schema
    }

    /// Every type and every role as one list each, as colours are given by. Its task is the first that the schema has.
    pub fn labels(&self) -> SchemaChoice {
        let mut choices = self.choices(Language::En).into_iter();
        let Some(mut all) = choices.next() else {
            let task = Task::Entities;
            return SchemaChoice {
                task,
                language: Language::En,
                types: Vec::new(),
                roles: Vec::new(),
                asking: Asking::default(),
            };
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
    /// adapter's manifest, or else the format, says that it can be asked for at once. Event types bring their own roles
    /// along.
    pub fn questions(
        &self,
        language: Language,
        manifest: Option<&AdapterManifest>,
        asking: &Asking,
    ) -> Vec<SchemaChoice> {
        let mut questions = Vec::new();
        for choice in self.choices(language) {
            let choice = prompt::resolve(manifest, SchemaChoice { asking: asking.of(choice.task), ..choice });
            let of_manifest = manifest.and_then(|m| m.group.get(choice.task.code())).copied().filter(|size| *size > 0);
            let size = of_manifest.or(prompt::format(manifest, &choice).group(choice.task)).unwrap_or(usize::MAX);
            for types in groups(&choice.types, size) {
                let of_group = |role: &&String| types.iter().any(|event| self.has_role(event, role));
                let roles = choice.roles.iter().filter(of_group).cloned().collect();
                let mut question = SchemaChoice { types: types.to_vec(), roles, ..choice.clone() };
                if asking.with_examples {
                    question.asking.examples = self.examples(&question);
                }
                if prompt::format(manifest, &question) == Format::OnekeJson {
                    question.asking.roles = self.own_roles(&question);
                    question.asking.descriptions = self.descriptions(&question);
                }
                questions.push(question);
            }
        }
        questions
    }

    /// The roles of each event type of a question, where they are not the same for all.
    fn own_roles(&self, question: &SchemaChoice) -> BTreeMap<String, Vec<String>> {
        let asked = self.events.iter().filter(|event| question.types.contains(&event.item.name));
        let of = |event: &EventType| event.roles.iter().map(|role| role.name.clone()).collect::<Vec<_>>();
        let own: BTreeMap<String, Vec<String>> = match question.task {
            Task::Events => asked.map(|event| (event.item.name.clone(), of(event))).collect(),
            _ => BTreeMap::new(),
        };
        if own.values().all(|roles| *roles == question.roles) { BTreeMap::new() } else { own }
    }

    /// What the schema says of a question's types and their roles; nothing where it says nothing of any.
    fn descriptions(&self, question: &SchemaChoice) -> BTreeMap<String, Description> {
        let own = |item: &Item| item.description.clone().unwrap_or_default();
        let plain = |item: &Item| (item.name.clone(), Description { own: own(item), ..Description::default() });
        let with_roles = |event: &EventType| {
            let roles = event.roles.iter().filter(|role| role.description.is_some());
            let roles = roles.map(|role| (role.name.clone(), own(role))).collect();
            (event.item.name.clone(), Description { own: own(&event.item), roles })
        };
        let all: Vec<(String, Description)> = match question.task {
            Task::Entities => self.entities.iter().map(plain).collect(),
            Task::Relations => self.relations.iter().map(|relation| plain(&relation.item)).collect(),
            Task::Events => self.events.iter().map(with_roles).collect(),
        };
        all.into_iter()
            .filter(|(name, said)| question.types.contains(name) && *said != Description::default())
            .collect()
    }

    /// The examples that the schema has of a question's types and roles.
    fn examples(&self, question: &SchemaChoice) -> BTreeMap<String, Vec<String>> {
        let types: Vec<&Item> = match question.task {
            Task::Entities => self.entities.iter().collect(),
            Task::Relations => self.relations.iter().map(|r| &r.item).collect(),
            Task::Events => {
                self.events.iter().flat_map(|event| std::iter::once(&event.item).chain(&event.roles)).collect()
            }
        };
        let asked = |item: &&Item| question.types.contains(&item.name) || question.roles.contains(&item.name);
        let with_some = types.into_iter().filter(asked).filter(|item| !item.examples.is_empty());
        with_some.map(|item| (item.name.clone(), item.examples.clone())).collect()
    }
}

/// Types in groups of a size. What remains is a group of its own when it is at least half of one, else it joins the last.
fn groups(types: &[String], size: usize) -> Vec<&[String]> {
    let size = size.max(1);
    let mut groups: Vec<&[String]> = types.chunks(size).collect();
    if let [.., before, last] = groups.as_slice()
        && last.len() * 2 < size
    {
        let joined = types.len() - last.len() - before.len();
        groups.truncate(groups.len() - 2);
        groups.extend(types.get(joined..));
    }
    groups
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
    use protocol::{EventPart, Format, TaughtFormat};

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
        assert_eq!(schema.questions(Language::En, Some(&manifest), &Asking::default()), schema.choices(Language::En));
        manifest.group = [("ner".to_owned(), 2), ("ee".to_owned(), 1)].into();
        let asked: Vec<_> = schema
            .questions(Language::En, Some(&manifest), &Asking::default())
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
    fn a_format_that_was_taught_in_groups_is_asked_in_them() {
        let names: Vec<String> = (0..15).map(|n| format!("\"t{n}\"")).collect();
        let schema =
            |count: usize| Schema::from_json(&format!("{{\"entities\": [{}]}}", names[..count].join(","))).unwrap();
        let sizes = |count, manifest: Option<&AdapterManifest>, asking: &Asking| {
            let asked = schema(count).questions(Language::En, manifest, asking);
            asked.iter().map(|q| q.types.len()).collect::<Vec<_>>()
        };
        let oneke = Asking::in_format(Format::OnekeJson);
        assert_eq!(sizes(15, None, &oneke), [6, 6, 3], "half a group is one of its own");
        assert_eq!(sizes(14, None, &oneke), [6, 8], "less than half joins the last");
        assert_eq!(sizes(7, None, &oneke), [7]);
        assert_eq!(sizes(15, None, &Asking::default()), [15]);
        let mut manifest = AdapterManifest::unknown("base");
        manifest.format = Some(TaughtFormat::All(Format::OnekeJson));
        assert_eq!(sizes(15, Some(&manifest), &Asking::default()), [6, 6, 3]);
        assert_eq!(sizes(15, Some(&manifest), &Asking::in_format(Format::Json)), [15]);
        manifest.group = [("ner".to_owned(), 5)].into();
        assert_eq!(sizes(15, Some(&manifest), &Asking::default()), [5, 5, 5], "the manifest knows best");
    }

    #[test]
    fn questions_take_along_how_to_ask_and_the_examples_of_their_types() {
        let schema = Schema::from_json(
            r#"{"entities": [{"name": "person", "examples": ["Ada"]}, "place"],
                "events": {"merger": [{"name": "buyer", "examples": ["Acme"]}]}}"#,
        );
        let asking = Asking {
            format: Some(Format::Lines),
            only: Some(EventPart::Triggers),
            with_examples: true,
            ..Asking::default()
        };
        let asked = schema.unwrap().questions(Language::En, None, &asking);
        let said: Vec<_> = asked.iter().map(|q| (q.asking.format, q.asking.only, q.asking.examples.clone())).collect();
        let one = |name: &str, word: &str| [(name.to_owned(), vec![word.to_owned()])].into();
        assert_eq!(
            said,
            [(None, None, one("person", "Ada")), (None, Some(EventPart::Triggers), one("buyer", "Acme"))],
            "lines say neither entities nor events"
        );
    }

    #[test]
    fn a_format_that_says_roles_and_meanings_type_by_type_is_told_them() {
        let asked =
            Schema::from_json(ALL).unwrap().questions(Language::En, None, &Asking::in_format(Format::OnekeJson));
        let asking = |task| asked.iter().find(|q| q.task == task).map(|q| q.asking.clone()).unwrap();
        let events = asking(Task::Events);
        assert_eq!(events.roles["merger"], ["buyer", "price"]);
        assert_eq!((events.roles["arrest"].as_slice(), events.roles["strike"].len()), (&["suspect".to_owned()][..], 0));
        assert_eq!(events.descriptions["merger"].roles["price"], "With currency.");
        assert_eq!(events.descriptions["arrest"].own, "By police.");
        assert!(!events.descriptions.contains_key("strike") && asking(Task::Relations).descriptions.is_empty());
        assert_eq!(asking(Task::Entities).descriptions["organization"].own, "Companies.");
        let tuples = Schema::from_json(ALL).unwrap().questions(Language::En, None, &Asking::default());
        assert!(tuples.iter().all(|q| q.asking.is_default()), "their published form has no place for that");
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
