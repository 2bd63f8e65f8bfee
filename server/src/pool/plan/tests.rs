//! What requests come to.
#![allow(clippy::unwrap_used)]
use protocol::{AdapterManifest, Task};

use super::*;

fn adapter() -> AdapterInfo {
    AdapterInfo { name: "ie".into(), manifest: AdapterManifest::unknown("base"), rank: 16 }
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

fn drafts(ask: &Ask, adapter: Option<&AdapterInfo>) -> Result<Vec<Draft>, Sentence> {
    super::drafts(ask, adapter, Reading { context: 400, answer: 20, tokens: &|text| text.split_whitespace().count() })
}

#[test]
fn a_schema_asks_every_task_of_every_part_of_a_text_from_its_beginning_to_its_end() {
    let mut adapter = adapter();
    adapter.manifest.taught_chars.insert("en".into(), 20);
    let json = r#"{"entities": ["person"], "relations": ["met"]}"#.to_owned();
    let schema = NamedSchema { name: "People".into(), id: None, version: None, json };
    let ask = |compare| Ask::Schema {
        schema: schema.clone(),
        texts: texts(&["Ada met Bob, then. Bob met Eve, then.", " Zoe slept. "]),
        compare,
        asking: Default::default(),
    };
    let drafts = |compare| drafts(&ask(compare), Some(&adapter)).unwrap();
    let shown: Vec<_> = drafts(false)
        .iter()
        .map(|d| (d.number.unwrap(), d.part.map(|p| p.start), d.schema.as_ref().unwrap().task.code()))
        .collect();
    let long = [(1, Some(0), "ner"), (1, Some(0), "re"), (1, Some(19), "ner"), (1, Some(19), "re")];
    assert_eq!(shown, [&long[..], &[(2, None, "ner"), (2, None, "re")]].concat());
    let last = &drafts(false)[5];
    assert_eq!(last.prompt, extract::prompt::alpaca(&last.instruction, Some(" Zoe slept. ")));
    assert!(drafts(false)[2].prompt.contains("### Input:\nBob met Eve, then.\n"));
    let pairs = drafts(true);
    assert_eq!((pairs.len(), pairs[0].column, pairs[1].column), (12, Column::Base, Column::Tuned));
    assert_eq!(pairs[0].prompt, pairs[1].prompt);
}

#[test]
fn a_question_in_a_persons_own_words_is_kept_with_its_runs_and_is_the_only_one_that_is_not_guided() {
    let mut adapter = adapter();
    for (task, written) in [("ner", "(entity, type) (entity, type)"), ("re", "(head, relation, tail) (…)")] {
        adapter.manifest.formats.insert(task.into(), [("en".to_owned(), written.to_owned())].into());
    }
    let json = r#"{"entities": ["person"], "relations": ["met"]}"#.to_owned();
    let ask = |asking| {
        let schema = NamedSchema { json: json.clone(), ..NamedSchema::default() };
        Ask::Schema { schema, texts: texts(&["Ada met Bob."]), compare: false, asking }
    };
    let made = drafts(&ask(Asking::default()), Some(&adapter)).unwrap();
    assert!(made.iter().all(|draft| draft.guide.is_some()));
    let instructions: BTreeMap<_, _> = [(made[1].instruction.clone(), "Who met whom?".to_owned())].into();
    let own = drafts(&ask(Asking { instructions, ..Asking::default() }), Some(&adapter)).unwrap();
    assert_eq!((&own[0], own[1].instruction.as_str()), (&made[0], "Who met whom?"));
    assert!(own[1].guide.is_none() && own[1].prompt.contains("Who met whom?"));
    let long = [(made[1].instruction.clone(), "a".repeat(MAX_CHARS + 1))].into();
    let refused = drafts(&ask(Asking { instructions: long, ..Asking::default() }), Some(&adapter)).unwrap_err();
    assert!(refused.en.contains("200001 characters"));
}

#[test]
fn a_schema_that_cannot_be_read_is_refused_with_the_place() {
    let schema = NamedSchema { json: r#"{"entities": [1]}"#.into(), ..NamedSchema::default() };
    let ask = Ask::Schema { schema, texts: texts(&["a"]), compare: false, asking: Default::default() };
    assert!(drafts(&ask, None).unwrap_err().en.contains("entities[0]: must be a name"));
}

#[test]
fn a_completion_is_the_raw_prompt_without_adapter() {
    let drafts = drafts(&Ask::Complete { prompt: " Once\n".into() }, Some(&adapter())).unwrap();
    assert_eq!((drafts[0].prompt.as_str(), &drafts[0].adapter, drafts[0].mode), (" Once\n", &None, Mode::Pretrain));
    assert!(self::drafts(&Ask::Complete { prompt: " \n".into() }, None).unwrap_err().en.contains("empty"));
}

#[test]
fn an_extraction_is_one_templated_run_for_each_text() {
    let ask = Ask::Extract { instruction: "Find".into(), texts: texts(&["a", " ", "b"]), schema: None };
    let drafts = drafts(&ask, Some(&adapter())).unwrap();
    let got: Vec<_> = drafts.iter().map(|d| (d.text.as_deref(), d.number, d.column)).collect();
    assert_eq!(got, [(Some("a"), Some(1), Column::Tuned), (Some("b"), Some(2), Column::Tuned)]);
    assert_eq!(drafts[1].prompt, extract::prompt::alpaca("Find", Some("b")));
}

#[test]
fn both_columns_of_a_comparison_get_the_same_prompt_unless_the_base_gets_the_text() {
    let ask = |raw_base| Ask::Compare { instruction: "Find".into(), texts: texts(&["a"]), schema: None, raw_base };
    let same = drafts(&ask(false), Some(&adapter())).unwrap();
    assert_eq!((same[0].column, same[1].column), (Column::Base, Column::Tuned));
    assert_eq!(same[0].prompt, same[1].prompt);
    let raw = drafts(&ask(true), Some(&adapter())).unwrap();
    assert_eq!((raw[0].prompt.as_str(), raw[0].mode), ("a", Mode::Pretrain));
    assert!(drafts(&ask(false), None).unwrap_err().en.contains("--adapter"));
}

#[test]
fn an_empty_instruction_is_made_from_the_types() {
    let schema = |types: &[&str]| {
        Some(SchemaChoice {
            task: Task::Entities,
            language: Language::En,
            types: texts(types),
            roles: vec![],
            asking: Default::default(),
        })
    };
    let ask = |schema| Ask::Extract { instruction: String::new(), texts: texts(&["Ada"]), schema };
    let made = drafts(&ask(schema(&["person"])), Some(&adapter())).unwrap();
    assert!(made[0].instruction.contains("person"), "{}", made[0].instruction);
    assert!(drafts(&ask(schema(&[])), None).unwrap_err().en.contains("at least one type"));
    assert!(drafts(&ask(None), None).unwrap_err().en.contains("instruction is empty"));
}

#[test]
fn only_what_types_alone_ask_of_an_adapter_is_guided() {
    let mut adapter = adapter();
    let format = |en: &str| [("en".to_owned(), en.to_owned())].into();
    adapter.manifest.formats.insert("ner".into(), format("(entity, type) (entity, type)"));
    let types = texts(&["person"]);
    let schema = Some(SchemaChoice {
        task: Task::Entities,
        language: Language::En,
        types,
        roles: vec![],
        asking: Default::default(),
    });
    let made = extract::prompt::instruction(Some(&adapter.manifest), schema.as_ref().unwrap());
    let guided = |instruction: &str, schema: &Option<SchemaChoice>, adapter| {
        let (instruction, texts, schema) = (instruction.to_owned(), texts(&["Ada"]), schema.clone());
        drafts(&Ask::Extract { instruction, texts, schema }, adapter).unwrap()[0].guide.is_some()
    };
    assert!(guided("", &schema, Some(&adapter)) && guided(&made, &schema, Some(&adapter)));
    assert!(!guided("Find people.", &schema, Some(&adapter)), "the person wants something else");
    assert!(!guided("Find people.", &None, Some(&adapter)));
    assert!(!guided("", &schema, None), "the base was taught no form");
    let compare = Ask::Compare { instruction: String::new(), texts: texts(&["Ada"]), schema, raw_base: false };
    assert!(drafts(&compare, Some(&adapter)).unwrap().iter().all(|draft| draft.guide.is_none()));
}

#[test]
fn too_many_and_too_long_are_refused_with_the_limit() {
    let many = Ask::Extract { instruction: "x".into(), texts: vec!["a".into(); 51], schema: None };
    let refused = drafts(&many, None).unwrap_err();
    assert!(refused.en.contains("51 texts") && refused.zh.contains("51 段"), "{refused:?}");
    let long = Ask::Complete { prompt: "a".repeat(MAX_CHARS + 1) };
    assert!(drafts(&long, None).unwrap_err().en.contains("200001 characters"));
}

#[test]
fn titles_are_first_words() {
    assert_eq!(first_words("  Ada \n Lovelace "), "Ada Lovelace");
    assert_eq!(
        first_words("The quick brown fox jumps over the lazy dog again"),
        "The quick brown fox jumps over the lazy…"
    );
    assert_eq!(first_words(&"字".repeat(50)), format!("{}…", "字".repeat(40)));
}
