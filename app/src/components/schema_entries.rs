//! The types of a schema as they are edited: each with its name, its meaning and its place.

use std::sync::atomic::{AtomicU32, Ordering};

use extract::{
    Schema,
    schema::{EventType, Item, RelationType},
    text::split_names,
};
use leptos::prelude::*;
use protocol::{AdapterManifest, Asking, Language, SchemaChoice, Task};

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Entity,
    Relation,
    Event,
    Role,
}

impl Kind {
    /// Whether the adapter was taught a name of this kind.
    pub fn is_taught(self, manifest: Option<&AdapterManifest>, language: Option<Language>, name: &str) -> bool {
        let task = match self {
            Self::Entity => Task::Entities,
            Self::Relation => Task::Relations,
            Self::Event | Self::Role => Task::Events,
        };
        let named = vec![name.to_owned()];
        let (types, roles) = if self == Self::Role { (Vec::new(), named) } else { (named, Vec::new()) };
        let taught = |language| {
            let choice =
                SchemaChoice { task, language, types: types.clone(), roles: roles.clone(), asking: Asking::default() };
            extract::prompt::taught(manifest, &choice).all()
        };
        language.map_or_else(|| taught(Language::En) || taught(Language::Zh), taught)
    }
}

/// A list of entries that changes while it is looked at.
pub type Entries = ArcRwSignal<Vec<Entry>>;

/// A type, relation, event type or role that is being edited.
#[derive(Clone)]
pub struct Entry {
    /// Tells it from the others while they are moved.
    pub key: u32,
    pub name: ArcRwSignal<String>,
    pub description: ArcRwSignal<String>,
    /// Words that are one, as a list that is typed.
    pub examples: ArcRwSignal<String>,
    /// Of a relation: the types its head can have, as a list that is typed.
    pub head: ArcRwSignal<String>,
    /// Of a relation: those of its tail.
    pub tail: ArcRwSignal<String>,
    /// Of an event.
    pub roles: Entries,
}

impl Entry {
    fn of(item: &Item) -> Self {
        static KEYS: AtomicU32 = AtomicU32::new(0);
        let text = |text: String| ArcRwSignal::new(text);
        Self {
            key: KEYS.fetch_add(1, Ordering::Relaxed),
            name: text(item.name.clone()),
            description: text(item.description.clone().unwrap_or_default()),
            examples: text(item.examples.join(", ")),
            head: text(String::new()),
            tail: text(String::new()),
            roles: ArcRwSignal::new(Vec::new()),
        }
    }

    fn item(&self) -> Item {
        let description = self.description.get().trim().to_owned();
        Item {
            name: self.name.get().trim().to_owned(),
            description: Some(description).filter(|d| !d.is_empty()),
            examples: split_names(&self.examples.get()),
        }
    }

    /// Whether it says more than its name.
    pub fn says_more(&self) -> bool {
        [&self.description, &self.examples, &self.head, &self.tail].iter().any(|text| text.with(|t| !t.is_empty()))
    }
}

fn items(entries: &Entries) -> Vec<Item> {
    entries.with(|entries| entries.iter().map(Entry::item).filter(|item| !item.name.is_empty()).collect())
}

fn entries(items: &[Item]) -> Entries {
    ArcRwSignal::new(items.iter().map(Entry::of).collect())
}

/// A schema that is being edited.
#[derive(Clone)]
pub struct Draft {
    pub language: ArcRwSignal<Option<Language>>,
    pub entities: Entries,
    pub relations: Entries,
    pub events: Entries,
    /// What the editor does not show, and keeps.
    kept: ArcRwSignal<Schema>,
}

impl Draft {
    /// A schema to be edited.
    pub fn of(schema: &Schema) -> Self {
        let draft = Self {
            language: ArcRwSignal::new(None),
            entities: entries(&[]),
            relations: entries(&[]),
            events: entries(&[]),
            kept: ArcRwSignal::new(Schema::default()),
        };
        draft.load(schema);
        draft
    }

    /// Goes on with another schema.
    pub fn load(&self, schema: &Schema) {
        let relation = |relation: &RelationType| {
            let entry = Entry::of(&relation.item);
            entry.head.set(relation.head.join(", "));
            entry.tail.set(relation.tail.join(", "));
            entry
        };
        let event = |event: &EventType| Entry { roles: entries(&event.roles), ..Entry::of(&event.item) };
        self.language.set(schema.language);
        self.entities.set(schema.entities.iter().map(Entry::of).collect());
        self.relations.set(schema.relations.iter().map(relation).collect());
        self.events.set(schema.events.iter().map(event).collect());
        self.kept.set(schema.clone());
    }

    /// The schema as it stands; entries without a name are left out. Tracked.
    pub fn schema(&self) -> Schema {
        let relation = |entry: &Entry| RelationType {
            item: entry.item(),
            head: split_names(&entry.head.get()),
            tail: split_names(&entry.tail.get()),
        };
        let event = |entry: &Entry| EventType { item: entry.item(), roles: items(&entry.roles) };
        let kept = self.kept.get();
        let mut schema = Schema {
            language: self.language.get(),
            entities: items(&self.entities),
            relations: self.relations.with(|r| r.iter().map(relation).collect()),
            events: self.events.with(|e| e.iter().map(event).collect()),
            title: kept.title,
            description: kept.description,
        };
        schema.relations.retain(|r| !r.item.name.is_empty());
        schema.events.retain(|e| !e.item.name.is_empty());
        schema
    }
}

/// The names in what a person typed or pasted, a list in any usual form; of events also lines such as `merger: buyer, seller`.
pub fn typed_names(typed: &str, events: bool) -> Vec<(String, Vec<String>)> {
    if !(events && typed.contains([':', '：'])) {
        return split_names(typed).into_iter().map(|name| (name, Vec::new())).collect();
    }
    let line = |line: &str| {
        let (name, roles) = line.split_once([':', '：']).unwrap_or((line, ""));
        (name.trim().to_owned(), split_names(roles))
    };
    typed.lines().map(line).filter(|(name, _)| !name.is_empty()).collect()
}

/// Adds what a person typed or pasted.
pub fn add(list: &Entries, kind: Kind, typed: &str) {
    let named = typed_names(typed, kind == Kind::Event);
    list.update(|list| {
        for (name, roles) in named {
            let roles: Vec<Item> = roles.iter().map(|role| Item::named(role)).collect();
            match list.iter().find(|entry| entry.name.with_untracked(|n| *n == name)) {
                // Known: only what is new of its roles.
                Some(entry) => entry.roles.update(|known| {
                    let new = |role: &&Item| known.iter().all(|k| k.name.with_untracked(|n| *n != role.name));
                    let new: Vec<Entry> = roles.iter().filter(new).map(Entry::of).collect();
                    known.extend(new);
                }),
                None => list.push(Entry { roles: entries(&roles), ..Entry::of(&Item::named(&name)) }),
            }
        }
    });
}

/// Moves an entry one place up or down.
pub fn shift(list: &Entries, key: u32, down: bool) {
    list.update(|list| {
        let Some(at) = list.iter().position(|entry| entry.key == key) else { return };
        let to = if down { at + 1 } else { at.wrapping_sub(1) };
        if to < list.len() {
            list.swap(at, to);
        }
    });
}

/// Takes an entry out.
pub fn remove(list: &Entries, key: u32) {
    list.update(|list| list.retain(|entry| entry.key != key));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ALL: &str = r#"{"language": "en", "title": "News", "description": "For the desk.",
        "entities": ["person", {"name": "organization", "description": "Companies.", "examples": ["Acme", "Beta"]}],
        "relations": [{"name": "founded in", "head": "organization", "tail": ["date", "number"]}],
        "events": {"merger": ["buyer", {"name": "price", "description": "With currency."}], "strike": []}}"#;

    fn edited(edit: impl Fn(&Draft)) -> Schema {
        leptos::reactive::owner::Owner::new().with(|| {
            let draft = Draft::of(&Schema::from_json(ALL).unwrap());
            edit(&draft);
            draft.schema()
        })
    }

    #[test]
    fn what_is_not_edited_stays() {
        assert_eq!(edited(|_| {}), Schema::from_json(ALL).unwrap());
    }

    #[test]
    fn lists_are_pasted_and_what_is_there_already_is_not_added_again() {
        let schema = edited(|draft| {
            add(&draft.entities, Kind::Entity, "person、place；\ndate");
            add(&draft.events, Kind::Event, "merger: price, date\nbirth：child，mother");
            add(&draft.events, Kind::Event, "death, strike");
        });
        let names: Vec<_> = schema.entities.iter().map(|i| i.name.as_str()).collect();
        assert_eq!(names, ["person", "organization", "place", "date"]);
        let events: Vec<_> = schema.events.iter().map(|e| (e.item.name.as_str(), e.roles.len())).collect();
        assert_eq!(events, [("merger", 3), ("strike", 0), ("birth", 2), ("death", 0)]);
    }

    #[test]
    fn entries_move_by_one_and_not_beyond_the_ends() {
        let schema = edited(|draft| {
            let keys: Vec<u32> = draft.entities.with(|e| e.iter().map(|e| e.key).collect());
            shift(&draft.entities, keys[0], false);
            shift(&draft.entities, keys[1], true);
            shift(&draft.entities, keys[0], true);
            remove(&draft.relations, draft.relations.with(|r| r[0].key));
        });
        let names: Vec<_> = schema.entities.iter().map(|i| i.name.as_str()).collect();
        assert_eq!((names, schema.relations.len()), (vec!["organization", "person"], 0));
    }
}
