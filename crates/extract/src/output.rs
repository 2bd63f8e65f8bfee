//! Records as they are written to files, one line a text; also what scores are made from.

use protocol::{
    Record, Span, Task,
    record::{self, Agreement, Certainty, Found, Mention},
};
use serde::{Deserialize, Serialize};

use crate::{graph::Origin, offsets::Offsets};

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
    /// What stands in the text, of records as pages show them.
    pub fn of(records: &[Record]) -> Self {
        Self::of_all(records.iter().filter(|record| record.stands()).cloned())
    }

    /// All of some records, as gold need not stand in the text.
    pub fn of_all(records: impl IntoIterator<Item = Record>) -> Self {
        let mut found = Self::default();
        for record in records {
            match LeftOut::from(record) {
                LeftOut::Entity(entity) => found.entities.push(entity),
                LeftOut::Relation(relation) => found.relations.push(relation),
                LeftOut::Event(event) => found.events.push(event),
            }
        }
        found
    }

    /// The places in the text of all mentions, and of the parts that issues name, counted in another unit. What issues say
    /// of answers stays in code points of these.
    pub fn count_in(&mut self, offsets: &Offsets) {
        let moved = |start: &mut Option<usize>, end: &mut Option<usize>| {
            for at in [start, end].into_iter().flatten() {
                *at = offsets.at(*at);
            }
        };
        let event = |e: &mut Event| {
            moved(&mut e.trigger_start, &mut e.trigger_end);
            e.arguments.iter_mut().for_each(|a| moved(&mut a.start, &mut a.end));
        };
        let relation = |r: &mut Relation| {
            moved(&mut r.head_start, &mut r.head_end);
            moved(&mut r.tail_start, &mut r.tail_end);
        };
        self.entities.iter_mut().for_each(|e| moved(&mut e.start, &mut e.end));
        self.relations.iter_mut().for_each(relation);
        self.events.iter_mut().for_each(event);
        for doubt in &mut self.issues {
            doubt.part = doubt.part.map(|part| offsets.of(part));
            match &mut doubt.record {
                Some(LeftOut::Event(e)) => event(e),
                Some(LeftOut::Relation(r)) => relation(r),
                Some(LeftOut::Entity(_)) | None => {}
            }
        }
    }

    /// The records, as pages show them: entities, then triples, then events.
    pub fn records(&self) -> Vec<Record> {
        let entity = |e: &Entity| Record::Entity {
            label: e.label.clone(),
            mention: mention(&e.text, (e.start, e.end), e.found, (e.certainty, e.agreement)),
        };
        let relation = |r: &Relation| Record::Relation {
            relation: r.relation.clone(),
            head: mention(&r.head, (r.head_start, r.head_end), r.found, (r.certainty, r.agreement)),
            tail: mention(&r.tail, (r.tail_start, r.tail_end), r.found, (r.certainty, r.agreement)),
        };
        let argument = |a: &Argument| record::Argument {
            role: a.role.clone(),
            mention: mention(&a.text, (a.start, a.end), a.found, (a.certainty, a.agreement)),
        };
        let event = |e: &Event| Record::Event {
            label: e.label.clone(),
            trigger: mention(&e.trigger, (e.trigger_start, e.trigger_end), e.found, (e.certainty, e.agreement)),
            arguments: e.arguments.iter().map(argument).collect(),
        };
        let entities = self.entities.iter().map(entity);
        entities.chain(self.relations.iter().map(relation)).chain(self.events.iter().map(event)).collect()
    }

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

/// Who found the records of a text, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MadeBy {
    /// The base or the tuned model.
    pub origin: Origin,
    /// The checkpoint's name.
    pub model: String,
    /// The adapter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// What was asked for: a schema by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Which version of that, of one that is saved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<u32>,
}

impl MadeBy {
    /// In words: `model + adapter, schema v3`.
    pub fn title(&self) -> String {
        let adapter = self.adapter.as_ref().map(|name| format!(" + {name}")).unwrap_or_default();
        let version = self.schema_version.map(|version| format!(" v{version}")).unwrap_or_default();
        let schema = self.schema.as_ref().map(|name| format!(", {name}{version}")).unwrap_or_default();
        format!("{}{adapter}{schema}", self.model)
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
    /// How the words were found.
    #[serde(default, skip_serializing_if = "Found::is_exact")]
    pub found: Found,
    /// How sure the model was of it.
    #[serde(default, skip_serializing_if = "Certainty::is_unknown")]
    pub certainty: Certainty,
    /// In how many samples it was said too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// The run whose answer it is from, where that has an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
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
    /// The first code point of the head.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_start: Option<usize>,
    /// One past the head's last code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_end: Option<usize>,
    /// The first code point of the tail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_start: Option<usize>,
    /// One past the tail's last code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail_end: Option<usize>,
    /// How head and tail were found; of two ways the less certain.
    #[serde(default, skip_serializing_if = "Found::is_exact")]
    pub found: Found,
    /// How sure the model was of it.
    #[serde(default, skip_serializing_if = "Certainty::is_unknown")]
    pub certainty: Certainty,
    /// In how many samples it was said too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// The run whose answer it is from, where that has an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Event {
    /// Its type.
    #[serde(rename = "type")]
    pub label: String,
    /// The words that name it, as they stand in the text.
    pub trigger: String,
    /// The first code point of the trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_start: Option<usize>,
    /// One past the trigger's last code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger_end: Option<usize>,
    /// How the trigger was found.
    #[serde(default, skip_serializing_if = "Found::is_exact")]
    pub found: Found,
    /// How sure the model was of trigger and type.
    #[serde(default, skip_serializing_if = "Certainty::is_unknown")]
    pub certainty: Certainty,
    /// In how many samples it was said too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    /// Who and what took part.
    #[serde(default)]
    pub arguments: Vec<Argument>,
    /// The run whose answer it is from, where that has an id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// An argument of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Argument {
    /// Its role.
    pub role: String,
    /// Its words, as they stand in the text.
    pub text: String,
    /// The first code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<usize>,
    /// One past the last code point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<usize>,
    /// How the words were found.
    #[serde(default, skip_serializing_if = "Found::is_exact")]
    pub found: Found,
    /// How sure the model was of words and role.
    #[serde(default, skip_serializing_if = "Certainty::is_unknown")]
    pub certainty: Certainty,
    /// In how many samples it was said too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
}

impl Argument {
    /// Whether both say the same, wherever it stands.
    pub(crate) fn says(&self, other: &Self) -> bool {
        self.role == other.role && self.text == other.text
    }
}

impl From<Record> for LeftOut {
    fn from(record: Record) -> Self {
        match record {
            Record::Entity { label, mention } => Self::Entity(Entity::new(label, mention)),
            Record::Relation { relation, head, tail } => Self::Relation(Relation::new(relation, head, tail)),
            Record::Event { label, trigger, arguments } => Self::Event(Event::new(label, trigger, arguments)),
        }
    }
}

impl Entity {
    /// An entity of a mention.
    pub fn new(label: String, mention: Mention) -> Self {
        let (start, end) = ends(&mention);
        let Mention { text, found, certainty, agreement, .. } = mention;
        Self { label, text, start, end, found, certainty, agreement, run: None }
    }
}

impl Relation {
    /// A triple of two mentions.
    pub fn new(relation: String, head: Mention, tail: Mention) -> Self {
        let ((head_start, head_end), (tail_start, tail_end)) = (ends(&head), ends(&tail));
        let (found, certainty) = (head.found.max(tail.found), head.certainty.max(tail.certainty));
        let agreement = Agreement::fewest([head.agreement, tail.agreement]);
        let (head, tail) = (head.text, tail.text);
        Self {
            relation,
            head,
            tail,
            head_start,
            head_end,
            tail_start,
            tail_end,
            found,
            certainty,
            agreement,
            run: None,
        }
    }
}

impl Event {
    /// An event of mentions.
    pub fn new(label: String, trigger: Mention, arguments: Vec<record::Argument>) -> Self {
        let (trigger_start, trigger_end) = ends(&trigger);
        let arguments = arguments.into_iter().map(Argument::from).collect();
        let Mention { text, found, certainty, agreement, .. } = trigger;
        Self { label, trigger: text, trigger_start, trigger_end, found, certainty, agreement, arguments, run: None }
    }
}

impl From<record::Argument> for Argument {
    fn from(argument: record::Argument) -> Self {
        let (start, end) = ends(&argument.mention);
        let Mention { text, found, certainty, agreement, .. } = argument.mention;
        Self { role: argument.role, text, start, end, found, certainty, agreement }
    }
}

fn ends(mention: &Mention) -> (Option<usize>, Option<usize>) {
    (mention.span.map(|s| s.start), mention.span.map(|s| s.end))
}

fn mention(
    text: &str,
    (start, end): (Option<usize>, Option<usize>),
    found: Found,
    (certainty, agreement): (Certainty, Option<Agreement>),
) -> Mention {
    let span = start.zip(end).filter(|(start, end)| start < end).map(|(start, end)| Span { start, end });
    Mention { text: text.to_owned(), span, found, certainty, agreement }
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
    /// Where the words stand in the answer, in its code points; of several places the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Span>,
    /// The part of the text that the answer is about, where the text was read in several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Span>,
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
