//! What holds for every answer, whatever a model wrote.
#![allow(clippy::unwrap_used)]

mod holds;

use extract::{
    Parsed, ground, hint, label_color,
    offsets::{Offsets, Unit},
    parse, text,
};
use proptest::prelude::*;
use protocol::{Record, SchemaChoice, record::Mention, text::slice_chars};
use unicode_normalization::UnicodeNormalization;

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
    fn words_of_a_text_are_found_and_every_unit_counts_to_the_same_place(
        source in "([ab éë]|e\u{301}|\u{301}|한|\u{1112}\u{1161}\u{11ab}|张三|👍🏽|👨‍👩‍👧|𠮷|Ａ|İ){1,30}",
        (from, length) in (0..30_usize, 1..12_usize),
        composed in any::<bool>(),
    ) {
        let words: String = source.chars().skip(from).take(length).collect();
        prop_assume!(!words.is_empty() && !words.starts_with(' ') && !words.ends_with(' '));
        let said: String = if composed { words.nfc().collect() } else { words.nfd().collect() };
        let mut records = [Record::Entity { label: "x".into(), mention: Mention::new(said) }];
        ground::records(&source, &mut records);
        let [Record::Entity { mention, .. }] = &records else { unreachable!() };
        if let Some(span) = mention.span {
            prop_assert_eq!(slice_chars(&source, span.start, span.end), &mention.text);
            let bytes = Offsets::new(&source, Unit::Bytes).of(span);
            prop_assert_eq!(&source[bytes.start..bytes.end], &mention.text);
            let wide: Vec<u16> = source.encode_utf16().collect();
            let units = Offsets::new(&source, Unit::Utf16).of(span);
            prop_assert_eq!(String::from_utf16(&wide[units.start..units.end]).unwrap(), mention.text.clone());
            for unit in [Unit::Bytes, Unit::Utf16] {
                let offsets = Offsets::new(&source, unit);
                prop_assert_eq!(offsets.back(offsets.of(span)), Some(span));
            }
        }
        // Words between spaces are found however their letters are put together.
        let alone = |at: usize| source.chars().nth(at).is_none_or(|c| c == ' ');
        let begins = !words.starts_with('\u{301}') && (from == 0 || alone(from - 1));
        if begins && alone(from + words.chars().count()) {
            prop_assert!(mention.span.is_some(), "{words:?} in {source:?}");
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
