//! The answers about a text, put together as what is said of the whole text.
//!
//! A page shows records as [`parse`](crate::parse) gives them: with their places, and with those that do not stand in the
//! text. This makes one such list of the answers to several tasks about several parts of a text;
//! [`merge`](crate::merge) makes lines of files of the same parts.

use std::collections::HashMap;

use protocol::{
    Record, Span,
    record::{Argument, folded},
};

use crate::{
    issue::{Issue, IssueKind},
    merge::Part,
    parse::Parsed,
    schema::Schema,
    types,
};

/// Puts answers together. Places become places in the text; of what several parts say, type and words without regard to
/// case, the first that stands in the text is kept, and an event that two parts saw at the same place has the arguments
/// of both. Roles that an event type does not have are issues.
pub fn records(schema: &Schema, parts: Vec<Part>) -> Parsed {
    let mut parts: Vec<(usize, Part)> = parts.into_iter().enumerate().collect();
    parts.sort_by_key(|(_, part)| (part.task, part.span.start));
    let nothing_found = !parts.is_empty() && parts.iter().all(|(_, part)| part.parsed.nothing_found);
    let mut together = Together::new(schema);
    for (number, part) in parts {
        together.number = number;
        together.part(part);
    }
    together.end();
    together.out.nothing_found = nothing_found && together.out.records.is_empty();
    together.out
}

struct Together<'a> {
    schema: &'a Schema,
    out: Parsed,
    /// Key of a record: its index.
    seen: HashMap<String, usize>,
    /// Place of an event's trigger and its type, in an earlier part: its index.
    triggers: HashMap<(Span, String), usize>,
    /// Which of the answers is being read.
    number: usize,
}

impl<'a> Together<'a> {
    fn new(schema: &'a Schema) -> Self {
        Self { schema, out: Parsed::default(), seen: HashMap::new(), triggers: HashMap::new(), number: 0 }
    }

    fn part(&mut self, part: Part) {
        let mut indexes = Vec::with_capacity(part.parsed.records.len());
        let mut triggers = Vec::new();
        for mut record in part.parsed.records {
            for mention in record.mentions_mut() {
                let moved = |s: Span| Span { start: s.start + part.span.start, end: s.end + part.span.start };
                mention.span = mention.span.map(moved);
            }
            let unasked = self.without_foreign_roles(&mut record);
            let trigger = match &record {
                Record::Event { label, trigger, .. } => trigger.span.map(|span| (span, label.clone())),
                _ => None,
            };
            let index = self.keep(record, trigger.as_ref());
            indexes.push(index);
            triggers.extend(trigger.map(|at| (at, index)));
            for words in unasked {
                self.issue(Issue::new(IssueKind::NotInSchema, &words, Some(index)));
            }
        }
        for (at, index) in triggers {
            self.triggers.entry(at).or_insert(index);
        }
        for issue in part.parsed.issues {
            // What is not in the text is told of the records that are kept.
            if issue.kind != IssueKind::NotInText || issue.argument.is_some() {
                let record = issue.record.and_then(|i| indexes.get(i).copied());
                let kind = if self.is_foreign(&issue, record) { IssueKind::NotInSchema } else { issue.kind };
                self.issue(Issue { record, kind, ..issue });
            }
        }
    }

    /// Whether an issue is about an argument in a role that its event does not have.
    fn is_foreign(&self, issue: &Issue, record: Option<usize>) -> bool {
        let label = record.and_then(|index| self.out.records.get(index)).map(Record::label);
        let role = issue.argument.as_ref().map(|argument| argument.role.as_str());
        label.zip(role).is_some_and(|(label, role)| !self.schema.has_role(label, role))
    }

    /// What can only be said of all answers together.
    fn end(&mut self) {
        let records = &self.out.records;
        // What one part imagined, and another found.
        self.out.issues.retain(|issue| {
            let Some((argument, index)) = issue.argument.as_ref().zip(issue.record) else { return true };
            let Some(Record::Event { arguments, .. }) = records.get(index) else { return true };
            let said = |known: &Argument| {
                known.role == argument.role && folded(&known.mention.text) == folded(&argument.mention.text)
            };
            !arguments.iter().any(said)
        });
        for (index, words) in types::misfits(self.schema, &self.out.records) {
            self.issue(Issue::new(IssueKind::NotOfType, &words, Some(index)));
        }
    }

    fn without_foreign_roles(&self, record: &mut Record) -> Vec<String> {
        let Record::Event { label, arguments, .. } = record else { return Vec::new() };
        let mut unasked = Vec::new();
        arguments.retain(|argument| {
            let has = self.schema.has_role(label, &argument.role);
            if !has {
                unasked.push(format!("{}, {}", argument.mention.text, argument.role));
            }
            has
        });
        unasked
    }

    /// Adds a record, or what it adds to one that is there; gives the index of that.
    fn keep(&mut self, record: Record, trigger: Option<&(Span, String)>) -> usize {
        let earlier = trigger.and_then(|at| self.triggers.get(at)).copied();
        if let (Some(index), Record::Event { arguments, .. }) = (earlier, &record) {
            self.add_arguments(index, arguments);
            return index;
        }
        let key = record.key();
        if let Some(index) = self.seen.get(&key).copied() {
            if self.out.records.get(index).is_some_and(|old| record.stands() && !old.stands()) {
                self.replace(index, record);
                if let Some(number) = self.out.answers.get_mut(index) {
                    *number = self.number;
                }
            }
            return index;
        }
        let index = self.out.records.len();
        self.seen.insert(key, index);
        self.out.records.push(record);
        self.out.answers.push(self.number);
        self.tell_missing(index);
        index
    }

    fn replace(&mut self, index: usize, record: Record) {
        if let Some(old) = self.out.records.get_mut(index) {
            *old = record;
        }
        self.out.issues.retain(|i| i.kind != IssueKind::NotInText || i.record != Some(index) || i.argument.is_some());
        self.tell_missing(index);
    }

    fn add_arguments(&mut self, index: usize, more: &[Argument]) {
        let Some(mut record) = self.out.records.get(index).cloned() else { return };
        let Record::Event { arguments, .. } = &mut record else { return };
        for argument in more {
            let same = |a: &&mut Argument| a.role == argument.role && a.mention.text == argument.mention.text;
            match arguments.iter_mut().find(same) {
                Some(known) if known.mention.span.is_none() => known.mention.clone_from(&argument.mention),
                Some(_) => {}
                None => arguments.push(argument.clone()),
            }
        }
        self.seen.entry(record.key()).or_insert(index);
        self.replace(index, record);
    }

    /// An issue for every mention of a record that does not stand in the text.
    fn tell_missing(&mut self, index: usize) {
        let Some(record) = self.out.records.get(index) else { return };
        let missing: Vec<String> =
            record.mentions().iter().filter(|(_, m)| m.span.is_none()).map(|(_, m)| m.text.clone()).collect();
        for words in missing {
            self.issue(Issue::new(IssueKind::NotInText, &words, Some(index)));
        }
    }

    /// The same issue of several parts is told once.
    fn issue(&mut self, issue: Issue) {
        let same = |i: &&mut Issue| (i.kind, i.record, &i.words) == (issue.kind, issue.record, &issue.words);
        match self.out.issues.iter_mut().find(same) {
            Some(earlier) => earlier.count += issue.count,
            None => self.out.issues.push(issue),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::parse;
    use protocol::{FinishReason, Language, Task, text::slice_chars};

    const TEXT: &str = "🙂 In May Acme bought Beta. 后来 ACME paid Ann 3 dollars.";

    fn said(schema: &str, answers: &[(Task, Span, &str)]) -> Parsed {
        let schema = Schema::from_json(schema).unwrap();
        let choices = schema.choices(Language::En);
        let part = |(task, span, answer): &(Task, Span, &str)| Part {
            task: *task,
            span: *span,
            parsed: parse::records(
                answer,
                slice_chars(TEXT, span.start, span.end),
                choices.iter().find(|c| c.task == *task),
                true,
            ),
            finish: FinishReason::Stop,
            run: None,
        };
        records(&schema, answers.iter().map(part).collect())
    }

    fn one() -> Span {
        Span { start: 0, end: 26 }
    }

    fn two() -> Span {
        Span { start: 26, end: TEXT.chars().count() }
    }

    #[test]
    fn places_are_those_of_the_whole_text_and_tasks_stand_together() {
        let schema = r#"{"entities": ["company", "person"], "relations": ["paid"]}"#;
        let found = said(
            schema,
            &[
                (Task::Relations, two(), "(ACME, paid, Ann)"),
                (Task::Entities, two(), "(Ann, person) (ACME, company)"),
                (Task::Entities, one(), "(Acme, company) (Beta, company)"),
            ],
        );
        let labels: Vec<_> = found.records.iter().map(Record::label).collect();
        assert_eq!(labels, ["company", "company", "person", "paid"], "what two parts name is kept once");
        assert_eq!(found.answers, [2, 2, 1, 0], "each by the answer that gave it");
        for (_, mention) in found.records.iter().flat_map(Record::mentions) {
            let span = mention.span.unwrap();
            assert_eq!(slice_chars(TEXT, span.start, span.end), mention.text);
        }
        assert!(found.issues.is_empty() && !found.nothing_found);
    }

    #[test]
    fn what_one_part_imagined_is_found_by_another() {
        let schema = r#"{"entities": ["person"]}"#;
        let answers =
            [(Task::Entities, one(), "(Ann, person) (Zoe, person)"), (Task::Entities, two(), "(Ann, person)")];
        let found = said(schema, &answers);
        assert_eq!(found.records.iter().map(Record::grounded).collect::<Vec<_>>(), [true, false]);
        let issues: Vec<_> = found.issues.iter().map(|i| (i.kind, i.words.as_str(), i.record)).collect();
        assert_eq!(issues, [(IssueKind::NotInText, "Zoe", Some(1))]);
    }

    #[test]
    fn an_event_has_the_arguments_of_all_parts_and_only_roles_of_its_type() {
        let schema = r#"{"events": {"merger": ["buyer", "target", "date"], "trial": ["judge"]}}"#;
        let all = Span { start: 0, end: TEXT.chars().count() };
        let found = said(
            schema,
            &[
                (Task::Events, Span { start: 0, end: 27 }, "(bought, merger, [(Acme, buyer), (May, judge)])"),
                (Task::Events, Span { start: 2, ..all }, "(bought, merger, [(Acme, buyer), (Beta, target)])"),
            ],
        );
        let [Record::Event { arguments, .. }] = found.records.as_slice() else { panic!("{found:?}") };
        assert_eq!(arguments.iter().map(|a| a.role.as_str()).collect::<Vec<_>>(), ["buyer", "target"]);
        assert_eq!((found.issues[0].kind, found.issues[0].words.as_str()), (IssueKind::NotInSchema, "May, judge"));
    }

    #[test]
    fn what_an_event_is_without_is_an_issue_until_another_part_finds_it() {
        let schema = r#"{"events": {"merger": ["buyer", "target"]}}"#;
        let (first, both) = (Span { start: 0, end: 26 }, Span { start: 2, end: TEXT.chars().count() });
        let answer = "(bought, merger, [(Acme, buyer), (Zoe, target), (Ann, target)])";
        let found = said(schema, &[(Task::Events, first, answer)]);
        let told = |found: &Parsed| found.issues.iter().map(|i| (i.kind, i.words.clone())).collect::<Vec<_>>();
        let not = |words: &str| (IssueKind::NotInText, words.to_owned());
        assert!(found.records.len() == 1 && found.records[0].grounded());
        assert_eq!(told(&found), [not("Zoe, target"), not("Ann, target")]);
        let found = said(schema, &[(Task::Events, first, answer), (Task::Events, both, answer)]);
        assert_eq!((found.records.len(), told(&found)), (1, vec![not("Zoe, target")]));
    }

    #[test]
    fn nothing_is_found_when_no_part_finds_anything() {
        let schema = r#"{"entities": ["person"]}"#;
        assert!(said(schema, &[(Task::Entities, one(), "None"), (Task::Entities, two(), "None")]).nothing_found);
        assert!(!said(schema, &[(Task::Entities, one(), "None"), (Task::Entities, two(), "?")]).nothing_found);
    }
}
