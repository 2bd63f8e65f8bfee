//! Guided answers end complete before their limit, whatever the model would rather say: random schemas on a model of
//! random weights, one token a byte.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code)]
mod tiny;

use engine::{EngineOptions, GenerateRequest, Grammar, LocalEngine, Outcome};
use protocol::{FinishReason, Parameters};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Map, Value, json};

fn engine() -> LocalEngine {
    let dir = tempfile::tempdir().unwrap();
    tiny::write_model(dir.path(), tiny::Kind::Llama);
    let mut options = EngineOptions::new(dir.path());
    options.threads = Some(1);
    LocalEngine::load(options, |_| {}).unwrap()
}

/// A random schema, and the shortest text that fits it, as the engine writes spaces.
fn schema(rng: &mut ChaCha8Rng, depth: u32) -> (Value, String) {
    const NAMES: [&str; 5] = ["id", "name", "kind", "note", "parts"];
    match rng.random_range(0..if depth == 0 { 6 } else { 9 }) {
        0 => (json!({ "type": "string" }), "\"\"".into()),
        1 => {
            let least = rng.random_range(1..5);
            (json!({ "type": "string", "minLength": least }), format!("\"{}\"", "a".repeat(least)))
        }
        2 => (json!({ "type": "integer" }), "0".into()),
        3 => (json!({ "type": "boolean" }), "true".into()),
        4 => (json!({ "type": "integer", "minimum": 100, "maximum": 999 }), "100".into()),
        5 => {
            let all = ["person", "award", "misc", "location", "country"];
            let names = &all[..rng.random_range(1..5)];
            let least = names.iter().min_by_key(|name| name.len()).unwrap();
            (json!({ "enum": names }), format!("\"{least}\""))
        }
        6 => {
            let (items, item) = schema(rng, depth - 1);
            let least = rng.random_range(0..3);
            let shortest = format!("[{}]", vec![item; least].join(", "));
            (json!({ "type": "array", "items": items, "minItems": least }), shortest)
        }
        7 => {
            let (one, a) = schema(rng, depth - 1);
            let (other, b) = schema(rng, depth - 1);
            (json!({ "anyOf": [one, other] }), if a.len() <= b.len() { a } else { b })
        }
        _ => {
            let (mut properties, mut required, mut parts) = (Map::new(), Vec::new(), Vec::new());
            for name in &NAMES[..rng.random_range(1..4)] {
                let (value, shortest) = schema(rng, depth - 1);
                properties.insert((*name).to_owned(), value);
                if rng.random_bool(0.6) {
                    required.push(*name);
                    parts.push(format!("\"{name}\": {shortest}"));
                }
            }
            let object = json!({
                "type": "object", "properties": properties, "required": required, "additionalProperties": false,
            });
            (object, format!("{{{}}}", parts.join(", ")))
        }
    }
}

/// Whether a value is one of a schema's.
fn fits(schema: &Value, value: &Value) -> bool {
    let least = |name: &str| schema[name].as_u64().unwrap_or(0);
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| fits(schema, value));
    }
    if let Some(names) = schema["enum"].as_array() {
        return names.contains(value);
    }
    match schema["type"].as_str().unwrap() {
        "string" => value.as_str().is_some_and(|text| text.chars().count() as u64 >= least("minLength")),
        "integer" => {
            value.as_i64().is_some_and(|n| schema["minimum"].is_null() || (100..=999).contains(&n))
                || (schema["minimum"].is_null() && value.is_number())
        }
        "boolean" => value.is_boolean(),
        "array" => value.as_array().is_some_and(|items| {
            items.len() as u64 >= least("minItems") && items.iter().all(|item| fits(&schema["items"], item))
        }),
        _ => value.as_object().is_some_and(|fields| {
            let required = schema["required"].as_array().unwrap();
            required.iter().all(|name| fields.contains_key(name.as_str().unwrap()))
                && fields.iter().all(|(name, value)| fits(&schema["properties"][name], value))
        }),
    }
}

fn answer(engine: &LocalEngine, grammar: Grammar, tokens: usize, beams: u32, seed: u64) -> Outcome {
    let parameters = Parameters {
        max_new_tokens: tokens as u32,
        temperature: 1.3,
        seed: Some(seed),
        beams,
        ..Parameters::neutral()
    };
    let request = GenerateRequest::new(format!("Say something of {seed}: "), None, parameters);
    engine.generate(GenerateRequest { guide: Some(grammar), ..request }, |_| {}).unwrap()
}

#[test]
fn json_is_whole_whenever_a_whole_answer_fits() {
    let engine = engine();
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let (mut whole, mut tight) = (0, 0);
    for seed in 0..400 {
        let (schema, shortest) = schema(&mut rng, 2);
        // Often hardly more than it takes.
        let more = if rng.random_bool(0.4) { rng.random_range(0..4) } else { rng.random_range(0..50) };
        let tokens = (shortest.len() + more).min(60);
        let beams = if seed % 4 == 3 { 3 } else { 1 };
        let outcome = answer(&engine, Grammar::JsonSchema(schema.clone()), tokens, beams, seed);
        assert_eq!(outcome.error, None);
        if shortest.len() > tokens {
            continue;
        }
        let told = format!("{schema}\n{tokens} tokens, {beams} beams, shortest {shortest}\n{:?}", outcome.text);
        if outcome.finish_reason == FinishReason::Repeat {
            continue;
        }
        assert_eq!(outcome.finish_reason, FinishReason::Stop, "{told}");
        assert!(outcome.completion_tokens as usize <= tokens, "{told}");
        let value: Value = serde_json::from_str(&outcome.text).map_err(|e| format!("{e}: {told}")).unwrap();
        assert!(fits(&schema, &value), "{told}");
        whole += 1;
        tight += usize::from(shortest.len() + 3 > tokens);
    }
    assert!(whole > 250 && tight > 60, "{whole} whole, {tight} of them with hardly any room");
}

#[test]
fn expressions_and_grammars_are_brought_to_an_end() {
    let engine = engine();
    let cases: [(Grammar, usize); 5] = [
        (Grammar::Regex("[a-z]{3,200}!".into()), 4),
        (Grammar::Regex("(yes|no|maybe)( because .*)?\\.".into()), 3),
        (Grammar::Regex("<b>[^<]*</b>".into()), 7),
        (Grammar::Lark("start: \"(\" WORD \", \" WORD \")\" (\" \" start)?\nWORD: /[a-z]+/".into()), 6),
        (Grammar::Span { text: "Ada met Charles in London.".into() }, 2),
    ];
    for (grammar, shortest) in cases {
        for tokens in [shortest, shortest + 1, shortest + 7, 60] {
            for beams in [1, 4] {
                let outcome = answer(&engine, grammar.clone(), tokens, beams, tokens as u64);
                let told = format!("{grammar:?} in {tokens} with {beams}: {:?}", outcome.text);
                assert_eq!((outcome.finish_reason, outcome.error), (FinishReason::Stop, None), "{told}");
            }
        }
    }
}
