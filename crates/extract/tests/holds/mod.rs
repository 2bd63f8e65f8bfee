//! What holds for every answer, whatever a model wrote; for the properties and for the fuzzer.

use extract::{Parsed, ground, judge, marks, parse};
use protocol::{Asking, Language, Record, SchemaChoice, Task, text::slice_chars};

/// Nothing asked, and every task with these names.
pub fn schemas(types: &[&str], roles: &[&str]) -> Vec<Option<SchemaChoice>> {
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
    let choice = |task| {
        let (types, roles) = (own(types), own(roles));
        Some(SchemaChoice { task, language: Language::En, types, roles, asking: Asking::default() })
    };
    vec![None, choice(Task::Entities), choice(Task::Relations), choice(Task::Events)]
}

/// Reads an answer that has ended. Places are those of the words, marks are the whole text, issues name records that are
/// there, and words looked for again are found again.
pub fn read(answer: &str, source: &str, schema: Option<&SchemaChoice>) -> Parsed {
    let parsed = parse::records(answer, source, schema, true);
    for (_, mention) in parsed.records.iter().flat_map(Record::mentions) {
        if let Some(span) = mention.span {
            assert!(span.start < span.end, "{answer:?}");
            assert_eq!(slice_chars(source, span.start, span.end), mention.text, "{answer:?}");
        }
    }
    for issue in &parsed.issues {
        assert!(issue.record.is_none_or(|r| r < parsed.records.len()), "{answer:?}");
        assert!(!issue.sentence(Language::Zh).is_empty(), "{answer:?}");
    }
    let text: String = marks::marks(source, &parsed.records).into_iter().map(|s| s.text).collect();
    assert_eq!(text, source, "{answer:?}");
    let mut again = parsed.records.clone();
    ground::records(source, &mut again);
    assert_eq!(judge::compare(&again, &parsed.records).only_left, Vec::<usize>::new(), "{answer:?}");
    parsed
}

/// More of an answer only adds records.
pub fn grows(early: &Parsed, late: &Parsed, answer: &str) {
    let (early, late) = (&early.records, &late.records);
    assert!(late.starts_with(early), "{early:?} then {late:?} in {answer:?}");
}
