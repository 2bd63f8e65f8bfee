//! What holds for every answer, whatever a model wrote.
#![allow(clippy::unwrap_used)]

mod holds;

use extract::{Parsed, hint, label_color, parse, text};
use proptest::prelude::*;
use protocol::SchemaChoice;

fn schemas() -> Vec<Option<SchemaChoice>> {
    holds::schemas(&["a", "b, c", "机构"], &["r"])
}

/// Text made of what the formats are made of.
fn answers() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec![
        "(",
        ")",
        "（",
        "）",
        "[",
        "]",
        "{",
        "}",
        ",",
        "，",
        ", ",
        " ",
        "\n",
        "'",
        "\"",
        ":",
        "：",
        "；",
        "。",
        "\\",
        "a",
        "b, c",
        "机构",
        "r",
        "x",
        "İ",
        "🙂",
        "(x, a)",
        "(x,机构)",
        "(x, a, 🙂)",
        "(x, a, [(x, r)])",
        "{'head':'x','relation':'a','tail':'y'}",
        "head",
        "None",
        "关系三元组是：",
        "a：x，y；",
    ]);
    prop_oneof![3 => prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat()), 1 => any::<String>()]
}

fn sources() -> impl Strategy<Value = String> {
    prop_oneof!["[xyaİ🙂机构 ,()]{0,30}", any::<String>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_slice_to_the_words_and_marks_are_the_whole_text(answer in answers(), source in sources()) {
        for schema in schemas() {
            holds::read(&answer, &source, schema.as_ref());
        }
    }

    #[test]
    fn a_growing_answer_only_adds_records(answer in answers(), source in sources()) {
        for schema in schemas() {
            let mut before = Parsed::default();
            for (end, _) in answer.char_indices().chain([(answer.len(), ' ')]) {
                let now = parse::records(&answer[..end], &source, schema.as_ref(), false);
                holds::grows(&before, &now, &answer);
                before = now;
            }
            let last = parse::records(&answer, &source, schema.as_ref(), true);
            holds::grows(&before, &last, &answer);
        }
    }

    #[test]
    fn small_helpers_never_panic(any in any::<String>()) {
        hint::looks_like_instruction(&any);
        prop_assert!(text::split_texts(&any).iter().all(|t| !t.trim().is_empty()));
        prop_assert!(label_color(&any, &[]) < 12);
    }
}

#[test]
fn hostile_answers_are_read_in_time() {
    let parts = [
        "(",
        "(a",
        ")",
        "a)",
        "(a,",
        "x, a, ",
        "(x, a, [",
        "[,",
        "(,[",
        "(\n",
        "\n",
        "{",
        "{'",
        "'  ",
        "{'a':",
        "(x) (",
        "((x) (",
        ":-), ",
        "a：x，",
        "(x, a) ",
        "(x, a, y) ",
        "(x, a, [(x, r)]) ",
        "(x, y) ",
        "（",
        "\"\\",
    ];
    let source = "x xx y ".repeat(3000);
    for part in parts {
        for prefix in ["", "(", "(x, a, [(", "{'k': '", "关系三元组是："] {
            let answer = format!("{prefix}{}", part.repeat(20_000 / part.len()));
            for schema in schemas() {
                let parsed = parse::records(&answer, &source, schema.as_ref(), true);
                assert!(parsed.records.len() <= answer.len(), "{prefix}{part}…");
            }
        }
    }
}
