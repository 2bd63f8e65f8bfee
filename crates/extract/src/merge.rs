//! From the answers about the parts of a text to one extraction of the text.

use std::collections::{HashMap, HashSet};

use protocol::{FinishReason, Record, Span, Task, record::Mention};

use crate::{
    issue::{Issue, IssueKind},
    output::{Argument, Doubt, Entity, Event, Extraction, LeftOut, Relation},
    parse::Parsed,
    schema::Schema,
    types,
};

/// The answer to one task about one part of a text.
#[derive(Clone, Debug)]
pub struct Part {
    /// What was asked.
    pub task: Task,
    /// Where the part lies in the text.
    pub span: Span,
    /// What was answered about it, placed in the part.
    pub parsed: Parsed,
    /// How the answer ended.
    pub finish: FinishReason,
    /// The run that gave it, where it has an id.
    pub run: Option<String>,
}

/// Puts the answers about a text together. Places become places in the text; of what several parts say, type and words
/// without regard to case, the first is kept, and an event that two parts saw at the same place has the arguments of
/// both. What does not stand in the text, or has a role its event does not have, is an issue and nothing else. Issues say
/// which part of the text their answer is about, where there are several.
pub fn merge(schema: &Schema, mut parts: Vec<Part>) -> Extraction {
    parts.sort_by_key(|part| (part.task, part.span.start));
    let several = parts.windows(2).any(|two| matches!(two, [a, b] if a.span != b.span));
    let mut merged = Merged {
        schema,
        out: Extraction::default(),
        seen: HashSet::new(),
        triggers: HashMap::new(),
        about: About { task: Task::Entities, part: None, run: None },
    };
    for part in parts {
        merged.about = About { task: part.task, part: several.then_some(part.span), run: part.run.clone() };
        merged.part(part);
    }
    let records = merged.out.records();
    for (_, words) in types::misfits(schema, &records) {
        merged.about = About { task: Task::Relations, part: None, run: None };
        merged.doubt(IssueKind::NotOfType.name(), words, Told::default());
    }
    // Of entities at one place the longer goes first.
    merged.out.entities.sort_by_key(|e| (e.start, std::cmp::Reverse(e.end)));
    merged.out
}

struct Merged<'a> {
    schema: &'a Schema,
    out: Extraction,
    /// Keys of the records of earlier parts.
    seen: HashSet<String>,
    /// Place of an event's trigger and its type, in an earlier part: its index in the output.
    triggers: HashMap<(Span, String), usize>,
    about: About,
}

/// The answer that is being read.
struct About {
    task: Task,
    part: Option<Span>,
    run: Option<String>,
}

/// What is told with a doubt, beside its words.
#[derive(Default)]
struct Told {
    count: Option<usize>,
    at: Option<Span>,
    record: Option<LeftOut>,
}

impl Merged<'_> {
    fn part(&mut self, part: Part) {
        let Part { span, parsed, finish, .. } = part;
        let mut new = Vec::new();
        let first_event = self.out.events.len();
        let mut places = Vec::new();
        // What does not stand in the text is told with its record.
        let mut missing: HashMap<usize, Vec<&Issue>> = HashMap::new();
        for issue in parsed.issues.iter().filter(|issue| issue.kind == IssueKind::NotInText) {
            missing.entry(issue.record.unwrap_or(usize::MAX)).or_default().push(issue);
        }
        for (index, mut record) in parsed.records.into_iter().enumerate() {
            for mention in record.mentions_mut() {
                mention.span = mention.span.map(|s| Span { start: s.start + span.start, end: s.end + span.start });
            }
            let key = record.key();
            let events = self.out.events.len();
            let place = match &record {
                Record::Event { label, trigger, .. } => trigger.span.map(|span| (span, label.clone())),
                _ => None,
            };
            // What stands in no part is no record, and may still be one of a later part.
            let stands = record.stands();
            let missing = missing.remove(&index).unwrap_or_default();
            missing.iter().for_each(|issue| self.astray(&record, issue));
            let at = missing.first().and_then(|issue| issue.at);
            self.record(record, self.seen.contains(&key), at);
            if stands {
                new.push(key);
            }
            if self.out.events.len() > events {
                places.extend(place);
            }
        }
        self.seen.extend(new);
        for (place, index) in places.into_iter().zip(first_event..) {
            self.triggers.entry(place).or_insert(index);
        }
        for issue in parsed.issues {
            if issue.kind != IssueKind::NotInText {
                let told = Told { count: Some(issue.count), at: issue.at, record: None };
                self.doubt(issue.kind.name(), issue.words, told);
            }
        }
        match finish {
            FinishReason::Length => self.doubt("cut_off", String::new(), Told::default()),
            FinishReason::Repeat => self.doubt("repeated", String::new(), Told::default()),
            _ => {}
        }
    }

    /// Adds a record, or the doubt that it does not stand in the text; `at` is where the answer says it.
    fn record(&mut self, record: Record, known: bool, at: Option<Span>) {
        let run = self.about.run.clone();
        match record {
            Record::Entity { label, mention } => {
                let entity = Entity::new(label, mention);
                let words = format!("{}, {}", entity.text, entity.label);
                if entity.start.is_none() {
                    self.not_in_text(words, LeftOut::Entity(entity), at);
                } else if !known {
                    self.found(&words);
                    self.out.entities.push(Entity { run, ..entity });
                }
            }
            Record::Relation { relation, head, tail } => {
                let grounded = head.span.is_some() && tail.span.is_some();
                let relation = Relation::new(relation, head, tail);
                let words = format!("{}, {}, {}", relation.head, relation.relation, relation.tail);
                if !grounded {
                    self.not_in_text(words, LeftOut::Relation(relation), at);
                } else if !known {
                    self.found(&words);
                    self.out.relations.push(Relation { run, ..relation });
                }
            }
            Record::Event { label, trigger, arguments } => {
                let Some(place) = trigger.span else {
                    let words = format!("{}, {label}", trigger.text);
                    let event = Event::new(label, trigger, arguments);
                    return self.not_in_text(words, LeftOut::Event(event), at);
                };
                self.event((place, label), trigger, arguments, known);
            }
        }
    }

    /// Adds an event whose trigger stands in the text, or its arguments to the event that an earlier part saw there.
    fn event(&mut self, at: (Span, String), trigger: Mention, arguments: Vec<protocol::record::Argument>, known: bool) {
        let run = self.about.run.clone();
        let mut kept: Vec<Argument> = Vec::new();
        for argument in arguments.into_iter().map(Argument::from) {
            if !self.schema.has_role(&at.1, &argument.role) {
                let words = format!("{}, {}", argument.text, argument.role);
                self.doubt(IssueKind::NotInSchema.name(), words, Told::default());
            } else if !kept.iter().any(|known| known.says(&argument)) {
                kept.push(argument);
            }
        }
        match self.triggers.get(&at).and_then(|index| self.out.events.get_mut(*index)) {
            Some(event) => {
                for argument in kept {
                    if !event.arguments.iter().any(|known| known.says(&argument)) {
                        event.arguments.push(argument);
                    }
                }
            }
            None if known => {}
            None => {
                self.found(&format!("{}, {}", trigger.text, at.1));
                self.out.events.push(Event { arguments: kept, run, ..Event::new(at.1, trigger, vec![]) });
            }
        }
    }

    /// Tells of an argument that does not stand in the text, with the event that is found without it.
    fn astray(&mut self, record: &Record, issue: &Issue) {
        let (Record::Event { label, trigger, .. }, Some(argument)) = (record, &issue.argument) else { return };
        let argument = Argument::from(argument.clone());
        let words = format!("{}, {}", argument.text, argument.role);
        if !self.schema.has_role(label, &argument.role) {
            let told = Told { at: issue.at, ..Told::default() };
            return self.doubt(IssueKind::NotInSchema.name(), words, told);
        }
        let event = Event { arguments: vec![argument], ..Event::new(label.clone(), trigger.clone(), vec![]) };
        self.not_in_text(words, LeftOut::Event(event), issue.at);
    }

    /// Forgets that an earlier part named this although it did not stand there.
    fn found(&mut self, words: &str) {
        let (task, kind) = (self.about.task, IssueKind::NotInText.name());
        self.out.issues.retain(|d| d.task != task || d.kind != kind || d.words != words);
    }

    fn not_in_text(&mut self, words: String, record: LeftOut, at: Option<Span>) {
        self.doubt(IssueKind::NotInText.name(), words, Told { count: None, at, record: Some(record) });
    }

    /// The same doubt about several parts is told once, with the place of the first.
    fn doubt(&mut self, kind: &str, words: String, told: Told) {
        let (task, part, count) = (self.about.task, self.about.part, told.count.unwrap_or(1));
        let same = |d: &&mut Doubt| d.task == task && d.kind == kind && d.words == words && d.record == told.record;
        match self.out.issues.iter_mut().find(same) {
            Some(earlier) => earlier.count += count,
            None => {
                let (kind, at, record) = (kind.to_owned(), told.at, told.record);
                self.out.issues.push(Doubt { task, kind, words, count, at, part, record });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::parse;
    use protocol::{Language, text::slice_chars};

    /// Answers about parts of a text, each `(part, answer)`, of a schema with one task.
    fn merged(text: &str, schema: &Schema, answers: &[(Span, &str)]) -> Extraction {
        let choice = schema.choices(Language::En).remove(0);
        let part = |(span, answer): &(Span, &str)| Part {
            task: choice.task,
            span: *span,
            parsed: parse::records(answer, slice_chars(text, span.start, span.end), Some(&choice), true),
            finish: FinishReason::Stop,
            run: Some(format!("run at {}", span.start)),
        };
        merge(schema, answers.iter().map(part).collect())
    }

    fn all(text: &str) -> Span {
        Span { start: 0, end: text.chars().count() }
    }

    fn schema(json: &str) -> Schema {
        Schema::from_json(json).unwrap()
    }

    #[test]
    fn places_are_those_of_the_text_and_words_are_the_texts_own() {
        let text = "🙂 Ada met Bob. 后来 ADA 去了 Rome, where ada died.";
        let (one, two) = (Span { start: 0, end: 14 }, Span { start: 14, end: text.chars().count() });
        let schema = schema(r#"{"entities": ["person", "city"]}"#);
        let found = merged(
            text,
            &schema,
            &[(two, "(ADA, person) (rome, city)"), (one, "(Bob, person) (Ada, person) (Zoe, person)")],
        );
        let shown: Vec<_> = found.entities.iter().map(|e| (e.text.as_str(), e.label.as_str(), e.start)).collect();
        assert_eq!(shown, [("Ada", "person", Some(2)), ("Bob", "person", Some(10)), ("Rome", "city", Some(25))]);
        for e in &found.entities {
            assert_eq!(slice_chars(text, e.start.unwrap(), e.end.unwrap()), e.text);
        }
        let json = serde_json::to_string(&found.issues).unwrap();
        let expected = r#"[{"task":"ner","kind":"not_in_text","words":"Zoe, person","at":{"start":29,"end":32},"part":{"start":0,"end":14},"record":{"type":"person","text":"Zoe"}}]"#;
        assert_eq!(json, expected);
        let runs: Vec<_> = found.entities.iter().filter_map(|e| e.run.as_deref()).collect();
        assert_eq!(runs, ["run at 0", "run at 0", "run at 14"]);
    }

    #[test]
    fn what_an_earlier_part_only_imagined_is_found_in_a_later_one() {
        let text = "Ada met Bob. Then Zoe came.";
        let (one, two) = (Span { start: 0, end: 12 }, Span { start: 12, end: 27 });
        let schema = schema(r#"{"entities": ["person"]}"#);
        let found = merged(text, &schema, &[(one, "(Ada, person) (Zoe, person)"), (two, "(Zoe, person)")]);
        let names: Vec<_> = found.entities.iter().map(|e| e.text.as_str()).collect();
        assert_eq!((names, found.issues.len()), (vec!["Ada", "Zoe"], 0));
    }

    #[test]
    fn two_events_of_one_trigger_in_one_answer_stay_two() {
        let text = "Acme acquired Beta; Ceta, Deta.";
        let schema = schema(r#"{"events": {"merger": ["buyer", "target"]}}"#);
        let answer =
            "(acquired, merger, [(Acme, buyer), (Beta, target)]) (acquired, merger, [(Ceta, buyer), (Deta, target)])";
        let found = merged(text, &schema, &[(all(text), answer)]);
        let arguments: Vec<_> = found.events.iter().map(|e| e.arguments.len()).collect();
        assert_eq!(arguments, [2, 2]);
    }

    #[test]
    fn a_triple_is_kept_when_both_ends_stand_in_the_text() {
        let text = "Ann founded Acme.";
        let found = merged(
            text,
            &schema(r#"{"relations": ["founder"]}"#),
            &[(all(text), "(Acme, founder, Ann) (Acme, founder, Bob)")],
        );
        let json = serde_json::to_string(&found.relations).unwrap();
        let expected = r#"[{"relation":"founder","head":"Acme","tail":"Ann","head_start":12,"head_end":16,"tail_start":0,"tail_end":3,"run":"run at 0"}]"#;
        assert_eq!(json, expected);
        assert_eq!((found.issues.len(), found.issues[0].words.as_str()), (1, "Acme, founder, Bob"));
    }

    #[test]
    fn an_event_seen_twice_has_the_arguments_of_both_and_only_roles_of_its_type() {
        let text = "In May Acme bought Beta. It paid 3 dollars.";
        let schema = schema(r#"{"events": {"merger": ["buyer", "target", "date"], "trial": ["judge"]}}"#);
        let answers = [
            (Span { start: 0, end: 24 }, "(bought, merger, [(Acme, buyer), (May, judge), (Gamma, target)])"),
            (all(text), "(bought, merger, [(Acme, buyer), (Beta, target)])"),
        ];
        let found = merged(text, &schema, &answers);
        let json = serde_json::to_string(&found.events).unwrap();
        let expected = r#"[{"type":"merger","trigger":"bought","trigger_start":12,"trigger_end":18,"arguments":[{"role":"buyer","text":"Acme","start":7,"end":11},{"role":"target","text":"Beta","start":19,"end":23}],"run":"run at 0"}]"#;
        assert_eq!(json, expected);
        let issues: Vec<_> = found.issues.iter().map(|d| (d.kind.as_str(), d.words.as_str())).collect();
        assert_eq!(issues, [("not_in_text", "Gamma, target"), ("not_in_schema", "May, judge")]);
        assert!(matches!(&found.issues[0].record, Some(LeftOut::Event(e)) if e.arguments[0].text == "Gamma"));
    }

    #[test]
    fn how_an_answer_ended_is_told() {
        let part = Part {
            task: Task::Entities,
            span: all(""),
            parsed: Parsed::default(),
            finish: FinishReason::Length,
            run: None,
        };
        let found = merge(&schema(r#"{"entities": ["a"]}"#), vec![part.clone(), part]);
        assert_eq!((found.issues[0].kind.as_str(), found.issues[0].count), ("cut_off", 2));
    }
}
