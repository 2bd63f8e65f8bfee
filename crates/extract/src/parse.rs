//! From a model's answer to records.
//!
//! Reads the formats the shipped adapter was taught, `(entity, type)`, `(head, relation, tail)` and
//! `(trigger, event type, [(argument, role)])` with ASCII or full-width punctuation and `None` / `无`; and those of the
//! original system: tuples in a list, JSON objects with `head`, `relation` and `tail`, the sentence
//! `输入中包含的关系三元组是：…`, and objects with the asked types as keys. These are read whatever format was asked for; lines
//! of relations and tuples in angle brackets, which plain text also has, only where they were (see
//! [`Format`](protocol::Format)). Without a schema the shape decides: two fields are an entity, three a relation, three
//! with a list at the end an event.

use std::collections::hash_map::Entry;

use protocol::{
    Format, Record, SchemaChoice, Span, Task,
    record::{Argument, Mention},
};

use crate::{
    ground::Ground,
    issue::{Issue, IssueKind},
    object::Pair,
    quick::QuickMap,
    scan::{self, Piece},
    sentence,
    split::{Asked, fields},
};

/// What an answer says. An event whose trigger stands in the text has those arguments alone that stand there too: the
/// others are issues.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// The records, in the answer's order, each once.
    pub records: Vec<Record>,
    /// What is doubtful.
    pub issues: Vec<Issue>,
    /// The whole answer says, in the asked format, that there is nothing to find.
    pub nothing_found: bool,
    /// Records that were given again, no more often than their words stand in the text: nothing is wrong with that.
    pub repeated: usize,
    /// Of answers put together: for each record the number of the answer that gave it, in the order in which they were
    /// given. Empty for one answer.
    pub answers: Vec<usize>,
}

/// Reads an answer. `source` is the text it is about, `done` whether the answer has ended: while it has not, its
/// unfinished tail is left alone, and every record found stays as it is when more text comes.
///
/// With a schema, what is not in the asked format is an issue. Without one the answer may be anything, so only tuples
/// and triples with words of the text are taken for records, and nothing else is held against it.
pub fn records(answer: &str, source: &str, schema: Option<&SchemaChoice>, done: bool) -> Parsed {
    let asked = Asked::of(schema);
    let mut reader = Reader {
        asked,
        answer,
        counted: (0, 0),
        here: None,
        ground: Ground::new(source),
        parsed: Parsed::default(),
        seen: QuickMap::default(),
    };
    if done && says_nothing(answer) {
        reader.parsed.nothing_found = true;
        return reader.parsed;
    }
    if done && answer.trim().is_empty() {
        reader.parsed.issues.push(Issue::new(IssueKind::Empty, "", None));
        return reader.parsed;
    }
    let listed = match schema {
        Some(choice) if choice.task != Task::Relations => None,
        Some(choice) if choice.asking.format == Some(Format::Lines) => {
            sentence::entries(answer, done).or_else(|| sentence::lines(answer, asked.types, done))
        }
        _ => sentence::entries(answer, done),
    };
    match listed {
        Some(entries) => {
            for entry in entries {
                match entry {
                    Ok(readings) => reader.relation(&readings),
                    Err(words) => reader.unreadable(words),
                }
            }
        }
        None => {
            let (mut stray, mut nothing) = (None, false);
            for piece in scan::pieces(answer, asked, done) {
                // Types whose lists are empty, or say that there is nothing.
                nothing |= matches!(piece, Piece::Nothing | Piece::Object { label: Some(_), .. } | Piece::Named { .. });
                match piece {
                    Piece::Other(words) => stray = stray.or(Some(words)),
                    piece => reader.piece(piece, done),
                }
            }
            reader.parsed.nothing_found =
                nothing && done && reader.parsed.records.is_empty() && reader.parsed.issues.is_empty();
            reader.stray(stray.filter(|_| done && asked.task.is_some()));
        }
    }
    reader.parsed
}

fn says_nothing(answer: &str) -> bool {
    let answer = answer.trim_matches(|c: char| c.is_whitespace() || matches!(c, '.' | '。' | '"' | '\''));
    // Longer than any of them.
    if answer.len() > 12 {
        return false;
    }
    matches!(answer.to_lowercase().as_str(), "none" | "无" | "没有" | "[]" | "{}" | "[ ]")
}

struct Reader<'a> {
    asked: Asked<'a>,
    answer: &'a str,
    /// A byte of the answer, and how many code points stand before it.
    counted: (usize, usize),
    /// Where the words of the record just read stand in the answer, in bytes.
    here: Option<(usize, usize)>,
    ground: Ground<'a>,
    parsed: Parsed,
    /// The records so far, as [`said`] makes one line of each.
    seen: QuickMap<String, Seen>,
}

/// A record that was given before.
#[derive(Default)]
struct Seen {
    /// Its index, unless it was left out.
    index: Option<usize>,
    /// How often it was given again.
    copies: usize,
    /// The index of the issue about these.
    issue: Option<usize>,
}

impl Reader<'_> {
    fn piece(&mut self, piece: Piece<'_>, done: bool) {
        self.here = None;
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
            Piece::Object { label, pairs, inner, raw } => self.object(label.as_deref(), &pairs, &inner, raw),
            Piece::Named { words, .. } if is_missing(&words) => {}
            Piece::Named { label, words } => match self.asked.task {
                Some(Task::Entities) => self.entity(&words, &label),
                Some(Task::Events) => self.event(&words, &label, &[]),
                _ => self.unreadable(&words),
            },
            Piece::Unreadable(words) => self.unreadable(words),
            Piece::Unfinished(words) if done && (self.asked.task.is_some() || !self.parsed.records.is_empty()) => {
                self.issue(IssueKind::BrokenOff, words, None);
            }
            Piece::Unfinished(_) | Piece::Other(_) | Piece::Nothing => {}
        }
    }

    /// Text beside the records, or in their place.
    fn stray(&mut self, words: Option<&str>) {
        if let Some(words) = words {
            let kind = if self.parsed.records.is_empty() && !self.parsed.nothing_found {
                IssueKind::Unreadable
            } else {
                IssueKind::OtherText
            };
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
        self.here = self.bytes_of(words);
        let (label, asked) = scan::spelling(label, self.asked.types);
        self.keep(Record::Entity { label, mention: mention(words) }, asked, &[]);
    }

    /// Keeps the first reading whose head and tail stand in the text, else the first.
    fn relation(&mut self, readings: &[[&str; 3]]) {
        let ground = &mut self.ground;
        let fits = readings.iter().position(|[head, _, tail]| ground.holds(head) && ground.holds(tail));
        let Some([head, relation, tail]) = readings.get(fits.unwrap_or(0)) else { return };
        self.here = self.bytes_of(head);
        let (relation, asked) = scan::spelling(relation, self.asked.types);
        self.keep(Record::Relation { relation, head: mention(head), tail: mention(tail) }, asked, &[]);
    }

    fn event(&mut self, trigger: &str, label: &str, arguments: &[(&str, &str)]) {
        self.here = self.bytes_of(trigger);
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

    /// A JSON object with the keys of a triple, an entity or an event. `label` is its type, where that is the key it stands
    /// under.
    fn object(&mut self, label: Option<&str>, pairs: &[Pair<'_>], inner: &[Pair<'_>], raw: &str) {
        let value = |names: &[&str]| {
            let found = pairs.iter().find(|(key, value)| names.contains(&&**key) && !is_missing(value));
            found.map(|(_, value)| &**value)
        };
        let (head, tail) = (value(&["head", "subject"]), value(&["tail", "object"]));
        let relation = value(&["relation", "predicate"]).or(label);
        let kind = value(&["type", "label", "entity_type", "event_type"]).or(label);
        let entity = value(&["entity", "text", "name"]);
        let nothing = label.is_some() && pairs.iter().all(|(_, value)| is_missing(value));
        match self.asked.task {
            _ if nothing && inner.iter().all(|(_, value)| is_missing(value)) => {}
            Some(Task::Entities) if self.asked.arguments => {
                let arguments = match value(&["argument"]).zip(value(&["role"])) {
                    Some(argument) => vec![argument],
                    None => arguments(inner),
                };
                if arguments.is_empty() && (inner.is_empty() || label.is_none()) {
                    self.unreadable(raw);
                }
                for (words, role) in arguments {
                    self.entity(words, role);
                }
            }
            Some(Task::Events) => match value(&["trigger"]).zip(kind) {
                Some((trigger, kind)) => self.event(trigger, kind, &arguments(inner)),
                None => self.unreadable(raw),
            },
            task => match (head, relation, tail, entity.zip(kind)) {
                (Some(head), Some(relation), Some(tail), _) if task != Some(Task::Entities) => {
                    self.relation(&[[head, relation, tail]]);
                }
                (.., Some((words, kind))) if task != Some(Task::Relations) => self.entity(words, kind),
                _ if inner.is_empty() => {
                    let words: Vec<&str> = pairs.iter().map(|(_, value)| &**value).collect();
                    self.unreadable(&words.join(", "));
                }
                _ => self.unreadable(raw),
            },
        }
    }

    /// Finds a record's words in the text and keeps it, unless it is there already or its type was not asked for. A
    /// model that was taught types together names them all, also when a person wants only some.
    fn keep(&mut self, mut record: Record, asked: bool, unasked_arguments: &[String]) {
        self.ground.place(&mut record);
        if self.asked.task.is_none() && record.mentions().iter().all(|(_, m)| m.span.is_none()) {
            return;
        }
        let astray = without_astray(&mut record);
        let index = self.parsed.records.len();
        match self.seen.entry(said(&record)) {
            Entry::Occupied(seen) => {
                let seen = seen.into_mut();
                seen.copies += 1;
                let ends = if matches!(record, Record::Relation { .. }) { 2 } else { 1 };
                let mentions = record.mentions();
                let places = mentions.iter().take(ends).map(|(_, mention)| self.ground.count(&mention.text)).min();
                match seen.issue.and_then(|i| self.parsed.issues.get_mut(i)) {
                    Some(issue) => issue.count = seen.copies,
                    // As often as the words stand in the text they may be listed.
                    None if seen.copies < places.unwrap_or(0) => self.parsed.repeated += 1,
                    None => {
                        self.parsed.repeated -= seen.copies - 1;
                        seen.issue = Some(self.parsed.issues.len());
                        let mut issue = Issue::new(IssueKind::Duplicate, &words(&record), seen.index);
                        issue.count = seen.copies;
                        issue.at = self.here.and_then(|bytes| self.place(bytes));
                        self.parsed.issues.push(issue);
                    }
                }
                return;
            }
            Entry::Vacant(new) => {
                new.insert(Seen { index: asked.then_some(index), ..Seen::default() });
            }
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
        for argument in astray {
            self.issue(IssueKind::NotInText, &format!("{}, {}", argument.mention.text, argument.role), Some(index));
            if let Some(issue) = self.parsed.issues.last_mut() {
                issue.argument = Some(argument);
            }
        }
        self.parsed.records.push(record);
    }

    /// Which bytes of the answer words are, when they are a piece of it.
    fn bytes_of(&self, words: &str) -> Option<(usize, usize)> {
        let words = words.trim();
        let from = (words.as_ptr() as usize).checked_sub(self.answer.as_ptr() as usize)?;
        let to = from.checked_add(words.len())?;
        (!words.is_empty() && self.answer.get(from..to)? == words).then_some((from, to))
    }

    /// Bytes of the answer as code points.
    fn place(&mut self, (from, to): (usize, usize)) -> Option<Span> {
        let words = self.answer.get(from..to)?;
        // Pieces come in the answer's order, nearly always.
        let (byte, chars) = if from < self.counted.0 { (0, 0) } else { self.counted };
        let start = chars + self.answer.get(byte..from)?.chars().count();
        self.counted = (from, start);
        Some(Span { start, end: start + words.chars().count() })
    }

    /// Nothing was asked for in a format without a schema.
    fn unreadable(&mut self, words: &str) {
        if self.asked.task.is_some() {
            self.issue(IssueKind::Unreadable, words, None);
        }
    }

    fn issue(&mut self, kind: IssueKind, words: &str, record: Option<usize>) {
        let mut issue = Issue::new(kind, words, record);
        issue.at = self.bytes_of(words).or(self.here).and_then(|bytes| self.place(bytes));
        match self.parsed.issues.last_mut() {
            Some(last) if (last.kind, last.record, &last.words) == (kind, record, &issue.words) => last.count += 1,
            _ => self.parsed.issues.push(issue),
        }
    }
}

/// Takes those arguments out of an event that do not stand in the text, where its trigger does: what is left of it is found,
/// and these are not. An event without a trigger in the text is as it was answered.
fn without_astray(record: &mut Record) -> Vec<Argument> {
    let Record::Event { trigger, arguments, .. } = record else { return Vec::new() };
    if trigger.span.is_none() {
        return Vec::new();
    }
    let (kept, astray) = std::mem::take(arguments).into_iter().partition(|a| a.mention.span.is_some());
    *arguments = kept;
    astray
}

/// What OneKE answers where there is nothing.
fn is_missing(words: &str) -> bool {
    matches!(words, "" | "NAN")
}

/// Words and roles of an event's arguments: of `{"role": "words"}`, or of `{"argument": "words", "role": "role"}` one after
/// another.
fn arguments<'p>(inner: &'p [Pair<'_>]) -> Vec<(&'p str, &'p str)> {
    let mut found = Vec::new();
    let (mut words, mut role) = (None, None);
    for (key, value) in inner {
        match &**key {
            "argument" => words = Some(&**value),
            "role" => role = Some(&**value),
            key if !is_missing(value) => found.push((&**value, key)),
            _ => {}
        }
        if let (Some(known), Some(as_role)) = (words, role) {
            (words, role) = (None, None);
            if !is_missing(known) {
                found.push((known, as_role));
            }
        }
    }
    found
}

/// What a record says, wherever it stands.
fn said(record: &Record) -> String {
    let (label, first) = match record {
        Record::Entity { label, mention } => (label, mention),
        Record::Relation { relation, head, .. } => (relation, head),
        Record::Event { label, trigger, .. } => (label, trigger),
    };
    let mut said = String::with_capacity(label.len() + first.text.len() + 32);
    let mut add = |words: &str| {
        said.push_str(words);
        said.push('\u{0}');
    };
    add(label);
    add(&first.text);
    match record {
        Record::Entity { .. } => {}
        Record::Relation { tail, .. } => add(&tail.text),
        Record::Event { arguments, .. } => {
            // Told from a relation, where there is no schema.
            add("");
            for argument in arguments {
                add(&argument.role);
                add(&argument.mention.text);
            }
        }
    }
    said
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
