//! From a model's answer to records.
//!
//! Reads the formats the shipped adapter was taught, `(entity, type)`, `(head, relation, tail)` and
//! `(trigger, event type, [(argument, role)])` with ASCII or full-width punctuation and `None` / `无`; and those of the
//! original system: tuples in a list, JSON objects with `head`, `relation` and `tail`, and the sentence
//! `输入中包含的关系三元组是：…`. Without a schema the shape decides: two fields are an entity, three a relation, three with
//! a list at the end an event.

use std::collections::{HashMap, hash_map::Entry};

use protocol::{
    Record, SchemaChoice, Task,
    record::{Argument, Found, Mention},
};

use crate::{
    ground::Ground,
    issue::{Issue, IssueKind},
    scan::{self, Piece},
    sentence,
    split::{Asked, fields},
};

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The records, in the answer's order, each once.
    pub records: Vec<Record>,
    /// What is doubtful.
    pub issues: Vec<Issue>,
    /// The whole answer says, in the asked format, that there is nothing to find.
    pub nothing_found: bool,
}

/// Reads an answer. `source` is the text it is about, `done` whether the answer has ended: while it has not, its
/// unfinished tail is left alone, and every record found stays as it is when more text comes.
///
/// With a schema, what is not in the asked format is an issue. Without one the answer may be anything, so only tuples
/// and triples with words of the text are taken for records, and nothing else is held against it.
pub fn records(answer: &str, source: &str, schema: Option<&SchemaChoice>, done: bool) -> Parsed {
    let asked = Asked::of(schema);
    let mut reader = Reader { asked, ground: Ground::new(source), parsed: Parsed::default(), seen: HashMap::new() };
    if done && says_nothing(answer) {
        reader.parsed.nothing_found = true;
        return reader.parsed;
    }
    if done && answer.trim().is_empty() {
        reader.parsed.issues.push(Issue::new(IssueKind::Empty, "", None));
        return reader.parsed;
    }
    match sentence::entries(answer, done).filter(|_| matches!(asked.task, None | Some(Task::Relations))) {
        Some(entries) => {
            for entry in entries {
                match entry {
                    Ok(readings) => reader.relation(&readings),
                    Err(words) => reader.unreadable(words),
                }
            }
        }
        None => {
            let mut stray = None;
            for piece in scan::pieces(answer, asked, done) {
                if let Piece::Other(words) = piece {
                    stray = stray.or(Some(words));
                } else {
                    reader.piece(piece, done);
                }
            }
            reader.stray(stray.filter(|_| done && asked.task.is_some()));
        }
    }
    reader.parsed
}

fn says_nothing(answer: &str) -> bool {
    let answer = answer.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '。' | '"' | '\''));
    matches!(answer.to_lowercase().as_str(), "none" | "无" | "没有" | "[]" | "{}" | "[ ]")
}

struct Reader<'a> {
    asked: Asked<'a>,
    ground: Ground<'a>,
    parsed: Parsed,
    /// For every record, without its places: its index unless it was left out, and that of the issue about its copies.
    seen: HashMap<Record, (Option<usize>, Option<usize>)>,
}

impl Reader<'_> {
    fn piece(&mut self, piece: Piece<'_>, done: bool) {
        match piece {
            Piece::Entity { words, label } => self.entity(words, label),
            Piece::Relation(readings) => self.relation(&readings),
            Piece::Event { trigger, label, arguments, stray } => {
                self.event(trigger, label, &arguments);
                if let Some(words) = stray {
                    self.unreadable(words);
                }
            }
            Piece::Unknown(content) => self.shape(content),
            Piece::Object(pairs) => self.object(&pairs),
            Piece::Unreadable(words) => self.unreadable(words),
            Piece::Unfinished(words) if done && (self.asked.task.is_some() || !self.parsed.records.is_empty()) => {
                self.issue(IssueKind::BrokenOff, words, None);
            }
            Piece::Unfinished(_) | Piece::Other(_) => {}
        }
    }

    /// Text beside the records, or in their place.
    fn stray(&mut self, words: Option<&str>) {
        if let Some(words) = words {
            let kind = if self.parsed.records.is_empty() { IssueKind::Unreadable } else { IssueKind::OtherText };
            self.issue(kind, words, None);
        }
    }

    /// A tuple that no asked name explains.
    fn shape(&mut self, content: &str) {
        let count = fields(content).len();
        let pair = scan::last_comma(content);
        let ground = &mut self.ground;
        match self.asked.task {
            Some(Task::Entities) => match pair {
                Some((words, label)) if count == 2 || ground.holds(words) => self.entity(words, label),
                _ => self.unreadable(content),
            },
            Some(Task::Relations) => match scan::middle(content, |words| ground.holds(words)) {
                Some(reading) => self.relation(&[reading]),
                None => self.unreadable(content),
            },
            Some(Task::Events) => match pair {
                Some((trigger, label)) if count == 2 => self.event(trigger, label, &[]),
                _ => self.unreadable(content),
            },
            None => {
                let triple = scan::middle(content, |words| ground.holds(words));
                match (triple, pair) {
                    (Some([head, relation, tail]), Some((words, label))) => {
                        // `(Smith, John, person)`: the type is not in the text, the words before it are.
                        if !ground.holds(tail) && ground.holds(words) {
                            self.entity(words, label);
                        } else {
                            self.relation(&[[head, relation, tail]]);
                        }
                    }
                    (_, Some((words, label))) => self.entity(words, label),
                    _ => {}
                }
            }
        }
    }

    fn entity(&mut self, words: &str, label: &str) {
        let (label, asked) = scan::spelling(label, self.asked.types);
        self.keep(Record::Entity { label, mention: mention(words) }, asked, &[]);
    }

    /// Keeps the first reading whose head and tail stand in the text, else the first.
    fn relation(&mut self, readings: &[[&str; 3]]) {
        let ground = &mut self.ground;
        let fits = readings.iter().position(|[head, _, tail]| ground.holds(head) && ground.holds(tail));
        let Some([head, relation, tail]) = readings.get(fits.unwrap_or(0)) else { return };
        let (relation, asked) = scan::spelling(relation, self.asked.types);
        self.keep(Record::Relation { relation, head: mention(head), tail: mention(tail) }, asked, &[]);
    }

    fn event(&mut self, trigger: &str, label: &str, arguments: &[(&str, &str)]) {
        let (label, asked) = scan::spelling(label, self.asked.types);
        let mut unasked = Vec::new();
        let mut kept: Vec<Argument> = Vec::new();
        for (words, role) in arguments {
            let (role, asked) = scan::spelling(role, self.asked.roles);
            if asked {
                kept.push(Argument { role, mention: mention(words) });
            } else {
                unasked.push(format!("{words}, {role}"));
            }
        }
        self.keep(Record::Event { label, trigger: mention(trigger), arguments: kept }, asked, &unasked);
    }

    /// A JSON object with the keys of a triple or of an entity.
    fn object(&mut self, pairs: &[(String, String)]) {
        let value = |names: &[&str]| {
            let found = pairs.iter().find(|(key, value)| names.contains(&key.as_str()) && !value.is_empty());
            found.map(|(_, value)| value.as_str())
        };
        let triple = (value(&["head", "subject"]), value(&["relation", "predicate"]), value(&["tail", "object"]));
        let entity = (value(&["entity", "text", "name"]), value(&["type", "label", "entity_type"]));
        match (self.asked.task, triple, entity) {
            (None | Some(Task::Relations), (Some(head), Some(relation), Some(tail)), _) => {
                self.relation(&[[head, relation, tail]]);
            }
            (None | Some(Task::Entities), _, (Some(words), Some(label))) => self.entity(words, label),
            _ => {
                let words: Vec<&str> = pairs.iter().map(|(_, value)| value.as_str()).collect();
                self.unreadable(&words.join(", "));
            }
        }
    }

    /// Finds a record's words in the text and keeps it, unless it is there already or its type was not asked for. A
    /// model that was taught types together names them all, also when a person wants only some.
    fn keep(&mut self, mut record: Record, asked: bool, unasked_arguments: &[String]) {
        self.ground.place(&mut record);
        if self.asked.task.is_none() && record.mentions().iter().all(|(_, m)| m.span.is_none()) {
            return;
        }
        let index = self.parsed.records.len();
        let seen = match self.seen.entry(without_places(&record)) {
            Entry::Occupied(seen) => Some(seen.into_mut()),
            Entry::Vacant(new) => {
                new.insert((asked.then_some(index), None));
                None
            }
        };
        if let Some((first, issue)) = seen {
            match issue.and_then(|i| self.parsed.issues.get_mut(i)) {
                Some(issue) => issue.count += 1,
                None => {
                    *issue = Some(self.parsed.issues.len());
                    let words = words(&record);
                    self.parsed.issues.push(Issue::new(IssueKind::Duplicate, &words, *first));
                }
            }
            return;
        }
        self.ground.take(&record);
        if !asked {
            self.issue(IssueKind::NotInSchema, &words(&record), None);
            return;
        }
        for argument in unasked_arguments {
            self.issue(IssueKind::NotInSchema, argument, Some(index));
        }
        for (_, mention) in record.mentions() {
            if mention.span.is_none() {
                self.issue(IssueKind::NotInText, &mention.text, Some(index));
            }
        }
        self.parsed.records.push(record);
    }

    /// Nothing was asked for in a format without a schema.
    fn unreadable(&mut self, words: &str) {
        if self.asked.task.is_some() {
            self.issue(IssueKind::Unreadable, words, None);
        }
    }

    fn issue(&mut self, kind: IssueKind, words: &str, record: Option<usize>) {
        let issue = Issue::new(kind, words, record);
        match self.parsed.issues.last_mut() {
            Some(last) if (last.kind, last.record, &last.words) == (kind, record, &issue.words) => last.count += 1,
            _ => self.parsed.issues.push(issue),
        }
    }
}

fn without_places(record: &Record) -> Record {
    let mut record = record.clone();
    for mention in record.mentions_mut() {
        (mention.span, mention.found) = (None, Found::Exact);
    }
    record
}

fn mention(words: &str) -> Mention {
    Mention::new(words)
}

/// A record in words: `Ada, person`.
fn words(record: &Record) -> String {
    match record {
        Record::Entity { label, mention } => format!("{}, {label}", mention.text),
        Record::Relation { relation, head, tail } => format!("{}, {relation}, {}", head.text, tail.text),
        Record::Event { label, trigger, .. } => format!("{}, {label}", trigger.text),
    }
}
