//! How far the samples of a question agree with its answer: in how many of them each record is said too.
//!
//! An answer is the likeliest way to go on at every step, and its samples are drawn by chance from the same model. What
//! it knows they repeat; what it made up, or could as well have called by another type, changes from one to the next.
//! Of an event trigger and arguments are counted each for itself.

use std::collections::HashSet;

use protocol::{
    Agreement, Record,
    record::{Mention, folded},
};

/// One thing that can be right or wrong: type or role, and words.
type Said = Vec<String>;

/// Writes to each mention that stands in the text in how many samples its record is said.
pub(crate) fn count(records: &mut [Record], samples: &[Vec<Record>]) {
    let samples: Vec<HashSet<Said>> = samples.iter().map(|records| records.iter().flat_map(all).collect()).collect();
    let of = samples.len() as u32;
    for record in records {
        let said = all(record);
        let mentions = record.mentions_mut();
        // A triple is one thing with two mentions.
        let said = said.iter().cycle().take(mentions.len());
        for (mention, said) in mentions.into_iter().zip(said) {
            let found = samples.iter().filter(|sample| sample.contains(said)).count() as u32;
            mention.agreement = mention.span.map(|_| Agreement { found, of });
        }
    }
}

/// What a record says, in the order of its mentions; of a triple once.
fn all(record: &Record) -> Vec<Said> {
    let said = |kind: &str, parts: &[&str]| {
        std::iter::once(kind.to_owned()).chain(parts.iter().map(|part| folded(part))).collect::<Said>()
    };
    match record {
        Record::Entity { label, mention } => vec![said("entity", &[label, &mention.text])],
        Record::Relation { relation, head, tail } => vec![said("relation", &[relation, &head.text, &tail.text])],
        Record::Event { label, trigger, arguments } => {
            let argument = |role: &str, words: &Mention| said("argument", &[label, role, &words.text]);
            let arguments = arguments.iter().map(|a| argument(&a.role, &a.mention));
            std::iter::once(said("event", &[label, &trigger.text])).chain(arguments).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Asking, Language, SchemaChoice, Task};

    use super::*;
    use crate::parse;

    const TEXT: &str = "In May Acme bought Beta, and Ann left.";

    /// Each mention of an answer with in how many of its samples it is said.
    fn counted(answer: &str, samples: &[&str]) -> Vec<String> {
        counted_of(None, answer, samples)
    }

    fn counted_of(schema: Option<&SchemaChoice>, answer: &str, samples: &[&str]) -> Vec<String> {
        let read = |answer: &str| parse::records(answer, TEXT, schema, true).records;
        let mut records = read(answer);
        count(&mut records, &samples.iter().map(|sample| read(sample)).collect::<Vec<_>>());
        let shown = |m: &Mention| match m.agreement {
            Some(Agreement { found, of }) => format!("{} {found} of {of}", m.text),
            None => m.text.clone(),
        };
        records
            .iter()
            .flat_map(|record| record.mentions().into_iter().map(|(_, m)| shown(m)).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn a_record_is_said_by_a_sample_that_has_its_type_and_words() {
        let samples = ["(acme, Company) (Ann, person)", "(Acme, person) (Acme, company)", "None"];
        assert_eq!(counted("(Acme, company) (Ann, person)", &samples), ["Acme 2 of 3", "Ann 1 of 3"]);
    }

    #[test]
    fn both_ends_of_a_triple_are_one_thing() {
        let samples = ["(Acme, bought, Beta)", "(Beta, bought, Acme)"];
        assert_eq!(counted("(Acme, bought, Beta)", &samples), ["Acme 1 of 2", "Beta 1 of 2"]);
    }

    #[test]
    fn of_an_event_trigger_and_arguments_are_counted_each_for_itself() {
        let samples = [
            "(bought, merger, [(Acme, target), (May, date)])",
            "(bought, trial, [(Acme, buyer)])",
            "(left, merger, [(Acme, buyer)])",
        ];
        assert_eq!(
            counted("(bought, merger, [(Acme, buyer), (May, date)])", &samples),
            ["bought 1 of 3", "Acme 1 of 3", "May 1 of 3"]
        );
    }

    #[test]
    fn what_does_not_stand_in_the_text_is_not_counted() {
        let types = vec!["company".to_owned(), "person".to_owned()];
        let (task, language, asking) = (Task::Entities, Language::En, Asking::default());
        let schema = SchemaChoice { task, language, types, roles: Vec::new(), asking };
        let answer = "(Acme, company) (Zoe, person)";
        assert_eq!(counted_of(Some(&schema), answer, &[answer]), ["Acme 1 of 1", "Zoe"]);
    }
}
