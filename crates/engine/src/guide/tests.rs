//! Guides over the default model's tokenizer. These tests need the model's file; where it is missing they say so and
//! pass.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use checkpoint::{Adapter, Gguf, find};
use protocol::{AdapterManifest, SchemaChoice};

use super::*;

fn guides() -> Option<&'static Guides> {
    static GUIDES: OnceLock<Option<Guides>> = OnceLock::new();
    let open = || match find::find_model(None, None) {
        Ok(model) => Some(Guides::new(Arc::new(Tokenizer::from_gguf(&Gguf::open(&model).unwrap()).unwrap()))),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    };
    GUIDES.get_or_init(open).as_ref()
}

fn manifest() -> AdapterManifest {
    let folder = find::find_adapter("ie-smollm2", None).unwrap();
    Adapter::open(&folder, |_, _| None)
        .map(|a| a.manifest)
        .unwrap_or_else(|_| serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap())
}

/// Follows a text token by token; how much of it the grammar allowed, and whether it may end there.
fn follow(guides: &Guides, guide: &mut Guide, text: &str) -> (String, bool) {
    let mut allowed = Vec::new();
    for token in guides.tokenizer.encode(text).unwrap() {
        if !may(guide, token) {
            return (String::from_utf8_lossy(&allowed).into_owned(), false);
        }
        guide.push(token).unwrap();
        allowed.extend_from_slice(guides.tokenizer.piece(token));
    }
    (String::from_utf8_lossy(&allowed).into_owned(), may(guide, guides.tokenizer.ends()[0]))
}

fn scores(guide: &mut Guide) -> Vec<f32> {
    let mut scores = vec![0.0; 49_152 + 8];
    guide.mask(&mut scores).unwrap();
    scores
}

fn may(guide: &mut Guide, token: u32) -> bool {
    scores(guide)[token as usize] == 0.0
}

fn accepts(grammar: &Grammar, text: &str) -> bool {
    let guides = guides().unwrap();
    let (allowed, ends) = follow(guides, &mut guides.compile(grammar, None).unwrap(), text);
    allowed == text && ends
}

#[test]
fn json_fits_its_schema() {
    if guides().is_none() {
        return;
    }
    let grammar = Grammar::JsonSchema(json!({
        "type": "object",
        "properties": { "name": { "type": "string" }, "age": { "type": "integer" } },
        "required": ["name", "age"],
        "additionalProperties": false
    }));
    assert!(accepts(&grammar, r#"{"name": "阿达 \"🙂\"", "age": 36}"#));
    assert!(!accepts(&grammar, r#"{"name": "Ada"}"#), "a required field is missing");
    assert!(!accepts(&grammar, r#"{"name": "Ada", "age": "36"}"#));
    assert!(!accepts(&grammar, "{\n \"name\": \"Ada\", \"age\": 36}"), "no other spaces than people write");
}

#[test]
fn a_regular_expression_holds_for_the_whole_answer() {
    if guides().is_none() {
        return;
    }
    let grammar = Grammar::Regex(r"\d{4}年(1[0-2]|[1-9])月".into());
    assert!(accepts(&grammar, "2019年12月"));
    assert!(!accepts(&grammar, "2019年13月"));
    assert!(!accepts(&grammar, "2019年12"));
}

#[test]
fn a_span_is_words_of_the_text() {
    if guides().is_none() {
        return;
    }
    let grammar = Grammar::Span { text: "In Oslo (Norway), 阳光城集团 paid 1,000 🙂.".into() };
    for span in ["Oslo", "Oslo (Norway), 阳", "光城集团", "paid 1,000", "🙂", "集"] {
        assert!(accepts(&grammar, span), "{span}");
    }
    for other in ["", " ", "slo", "Oslo Norway", "阳城", "paid 2"] {
        assert!(!accepts(&grammar, other), "{other}");
    }
}

#[test]
fn a_lark_grammar_is_followed_and_only_its_end_ends_it() {
    let Some(guides) = guides() else { return };
    let grammar = Grammar::Lark("start: \"yes\" | \"yes, \" WHO\nWHO: \"Ada\" | \"Bob\"".into());
    let end = 11;
    let mut guide = guides.compile(&grammar, Some(end)).unwrap();
    assert!(!may(&mut guide, end), "an answer must have begun");
    assert!(!guide.ended());
    follow(guides, &mut guide, "yes");
    assert!(may(&mut guide, end) && may(&mut guide, guides.tokenizer.ends()[0]));
    assert_eq!(scores(&mut guide)[49_152..], [f32::NEG_INFINITY; 8], "scores without tokens are never chosen");
    let mut other = guide.clone();
    assert_eq!(follow(guides, &mut guide, ", Bob"), (", Bob".into(), true));
    assert!(guide.ended());
    assert_eq!(follow(guides, &mut other, ", Ada"), (", Ada".into(), true), "a clone goes its own way");
}

#[test]
fn forced_tokens_are_those_the_mask_leaves() {
    let Some(guides) = guides() else { return };
    let grammar = Grammar::Lark("start: \"The answer is \" (\"yes\" | \"no\")".into());
    let mut guide = guides.compile(&grammar, None).unwrap();
    let mut masked = guide.clone();
    let forced = guide.forced();
    assert_eq!(forced, guides.tokenizer.encode("The answer is").unwrap(), "the space belongs to the next word");
    for token in forced {
        let scores = scores(&mut masked);
        assert!(scores.iter().enumerate().all(|(t, s)| (t == token as usize) == (*s == 0.0)));
        masked.push(token).unwrap();
        guide.push(token).unwrap();
    }
    assert_eq!(guide.forced(), Vec::<u32>::new());
}

#[test]
fn what_cannot_be_a_grammar_is_refused_in_one_sentence() {
    let Some(guides) = guides() else { return };
    for grammar in [
        Grammar::Lark("start: missing".into()),
        Grammar::Lark(String::new()),
        Grammar::Regex("(".into()),
        Grammar::JsonSchema(json!({ "type": "nothing" })),
        Grammar::JsonSchema(json!({ "$ref": "https://example.org/schema" })),
        Grammar::JsonSchema(json!({ "type": "integer", "minimum": 2, "maximum": 1 })),
    ] {
        let reason = guides.compile(&grammar, None).err().unwrap();
        println!("{reason}");
        assert!(!reason.is_empty() && !reason.contains('\n') && reason.chars().count() <= LONGEST_REASON + 1);
    }
}

#[derive(serde::Deserialize)]
struct Row {
    task: String,
    input: String,
    output: String,
}

/// The answers that the shipped adapter learnt from: excerpts, or the file of the same form that `KNOWLM_ANSWERS`
/// names, of which all but one in five hundred must be possible: some were marked up badly.
#[test]
fn taught_answers_are_possible() {
    let Some(guides) = guides() else { return };
    let excerpts = include_str!("../../tests/fixtures/answers.jsonl").to_owned();
    let file = std::env::var_os("KNOWLM_ANSWERS");
    let answers = file.as_ref().map_or(excerpts, |path| std::fs::read_to_string(path).unwrap());
    let manifest = manifest();
    let (mut refused, mut all) = (0, 0);
    let (mut compiling, mut masking, mut tokens, mut slowest) = (Duration::ZERO, Duration::ZERO, 0, Duration::ZERO);
    for line in answers.lines() {
        let row: Row = serde_json::from_str(line).unwrap();
        let taught = manifest.schema(&row.task).unwrap();
        let choice = SchemaChoice {
            task: taught.task,
            language: taught.language,
            types: taught.types.clone(),
            roles: taught.roles.clone(),
            asking: Default::default(),
        };
        let grammar = Grammar::Records(extract::guide::lark(Some(&manifest), &choice, &row.input).unwrap());
        let start = Instant::now();
        let mut guide = guides.compile(&grammar, None).unwrap();
        compiling += start.elapsed();
        slowest = slowest.max(start.elapsed());
        let (allowed, ends) = follow(guides, &mut guide, &row.output);
        all += 1;
        masking += guide.spent();
        tokens += guides.tokenizer.encode(&row.output).unwrap().len();
        if allowed != row.output || !ends {
            refused += 1;
            println!("{}: {:?}\n  {}\n  stopped after {allowed:?}", row.task, row.input, row.output);
        }
    }
    println!(
        "{refused} of {all} refused; compiling {:.2} ms each (at most {:.1}), masking {:.3} ms a token",
        compiling.as_secs_f64() * 1000.0 / f64::from(all),
        slowest.as_secs_f64() * 1000.0,
        masking.as_secs_f64() * 1000.0 / tokens as f64
    );
    assert!(refused * 500 <= all, "{refused} of {all} refused");
}

#[test]
fn a_text_that_fills_the_context_can_be_guided() {
    let Some(guides) = guides() else { return };
    let manifest = manifest();
    let taught = manifest.schema("wikigold").unwrap();
    let choice = SchemaChoice {
        task: taught.task,
        language: taught.language,
        types: taught.types.clone(),
        roles: vec![],
        asking: Default::default(),
    };
    for (text, answer) in [
        // Every word another one, and every word the same.
        ((0..6000).map(|n| format!("Ada{n}b ")).collect::<String>(), "(Ada5990b Ada5991b, person)"),
        ("Ada met Ada, ".repeat(3000), "(Ada, Ada met Ada, person)"),
        ("阳光城集团收购协信地产。".repeat(700), "(收购协信, organization) (团收, person)"),
    ] {
        let start = Instant::now();
        let grammar = Grammar::Records(extract::guide::lark(Some(&manifest), &choice, &text).unwrap());
        let mut guide = guides.compile(&grammar, None).unwrap();
        println!("{} characters: {:?}", text.chars().count(), start.elapsed());
        let followed = follow(guides, &mut guide, answer);
        println!("{:?} in masks", guide.spent());
        assert_eq!(followed, (answer.to_owned(), true));
    }
}

#[test]
fn every_answer_format_can_be_followed_and_only_with_asked_names_and_words_of_the_text() {
    use protocol::{Asking, EventPart, Format, Language, Task};
    if guides().is_none() {
        return;
    }
    let text = "Bob's \"Inc\", Leeds bought\nAcme for 1,000 dollars.";
    let own = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    let follows = |format, task, only, answer: &str| {
        let asking = Asking { only, ..Asking::in_format(format) };
        let (types, roles) = (own(&["owner", "a, b"]), own(&["buyer", "price"]));
        let choice = SchemaChoice { task, language: Language::En, types, roles, asking };
        let grammar = extract::guide::lark(None, &choice, text).unwrap();
        accepts(&Grammar::Records(grammar), answer)
    };
    use Task::{Entities, Events, Relations};
    for (format, task, only, answer) in [
        (Format::Tuples, Entities, None, "(Bob's \"Inc\", Leeds, owner) (Acme, a, b)"),
        (Format::Tuples, Events, Some(EventPart::Triggers), "(bought, owner)"),
        (Format::Tuples, Events, Some(EventPart::Arguments), "(1,000 dollars, price) (Acme, buyer)"),
        (Format::Angles, Entities, None, "<Acme, owner> <Leeds, a, b>"),
        (Format::Angles, Relations, None, "<Acme, owner, Bob's \"Inc\">"),
        (Format::Angles, Events, None, "<a, b, bought, buyer#Bob's \"Inc\", Leeds; price#1,000 dollars>"),
        (Format::Angles, Events, None, "<owner, bought>"),
        (Format::Angles, Events, None, "None"),
        (Format::Lines, Relations, None, "owner: Acme, Leeds\na, b: Leeds, Acme"),
        (
            Format::Json,
            Entities,
            None,
            r#"[{"entity": "Bob's \"Inc\"", "type": "owner"}, {"entity": "Acme", "type": "a, b"}]"#,
        ),
        (Format::Json, Relations, None, r#"[{"head": "Leeds bought\nAcme", "relation": "owner", "tail": "Bob"}]"#),
        (Format::Json, Relations, None, "[]"),
        (
            Format::Json,
            Events,
            None,
            r#"[{"trigger": "bought", "type": "owner", "arguments": [{"argument": "Acme", "role": "buyer"}]}]"#,
        ),
        (Format::Json, Events, Some(EventPart::Arguments), r#"[{"argument": "Acme", "role": "buyer"}]"#),
        (Format::OnekeJson, Entities, None, r#"{"owner": ["Acme", "Bob's \"Inc\""], "a, b": []}"#),
        (Format::OnekeJson, Relations, None, r#"{"owner": [{"subject": "Acme", "object": "Leeds"}], "a, b": []}"#),
        (
            Format::OnekeJson,
            Events,
            None,
            r#"{"owner": [{"trigger": "bought", "arguments": {"buyer": ["Bob", "Leeds"], "price": "NAN"}}], "a, b": []}"#,
        ),
        (Format::OnekeJson, Events, Some(EventPart::Triggers), r#"{"owner": ["bought"], "a, b": []}"#),
        (
            Format::OnekeJson,
            Events,
            Some(EventPart::Arguments),
            r#"{"owner": [{"arguments": {"buyer": "Acme", "price": "NAN"}}], "a, b": []}"#,
        ),
    ] {
        assert!(follows(format, task, only, answer), "{answer}");
        let renamed = ["owner", "buyer", "price", "a, b"].iter().fold(answer.to_owned(), |a, n| a.replace(n, "thief"));
        assert!(renamed == answer || !follows(format, task, only, &renamed), "{renamed}");
    }
    for (format, task, answer) in [
        (Format::Angles, Entities, "<Eve, owner>"),
        (Format::Lines, Relations, "owner: Acme, Eve"),
        (Format::Json, Entities, r#"[{"entity": "Eve", "type": "owner"}]"#),
        (Format::OnekeJson, Entities, r#"{"owner": ["Eve"], "a, b": []}"#),
    ] {
        assert!(!follows(format, task, None, answer), "{answer}");
    }
}
