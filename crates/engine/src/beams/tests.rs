//! Beam search answers what Hugging Face's transformers answers, with the model of `tests/fixtures/transformers/beams.py`;
//! guided, what it answers with the same tokens allowed (`guided_beams.py`).
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{fs, path::Path, sync::Arc};

use protocol::Parameters;
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::{
    cpu::{CpuModel, Isa},
    guide::{Grammar, Guides},
    tiny,
    tokenizer::Tokenizer,
    weights::Source,
};

#[derive(Deserialize)]
struct Fixture {
    prompts: Vec<Vec<u32>>,
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    prompt: usize,
    beams: u32,
    ends: Vec<u32>,
    penalty: f64,
    #[serde(default = "one")]
    length_penalty: f64,
    #[serde(default)]
    early_stopping: bool,
    /// A regular expression.
    guide: Option<String>,
    answer: Vec<u32>,
    score: f32,
}

fn one() -> f64 {
    1.0
}

fn model() -> CpuModel {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers");
    let cases: Vec<Value> = serde_json::from_slice(&fs::read(fixtures.join("cases.json")).unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), cases[0]["config"].to_string()).unwrap();
    fs::copy(fixtures.join("llama.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let source = Source::open(dir.path()).unwrap();
    let config = source.config().unwrap();
    CpuModel::load(source, config, &[], 1, Isa::detect(), &|_, _| {}).unwrap()
}

/// The best answer, its score, and how many answers were known at the end.
fn search(model: &mut CpuModel, prompt: &[u32], case: &Case, tokenizer: Arc<Tokenizer>) -> (Vec<u32>, f32) {
    let guide = |expression: &String| {
        Guides::new(tokenizer.clone()).compile(&Grammar::Regex(expression.clone()), Some(2)).unwrap()
    };
    let guide = case.guide.as_ref().map(guide);
    let rules = Rules { tokenizer, stop: vec![], ends: case.ends.clone(), room: 24, loops: false };
    let parameters = Parameters {
        beams: case.beams,
        repetition_penalty: case.penalty,
        length_penalty: case.length_penalty,
        early_stopping: case.early_stopping,
        ..Parameters::neutral()
    };
    let penalties = Penalties::new(&parameters, vec![], prompt);
    let mut beams: Beams<CpuModel> = Beams::new(Search::of(&parameters), &rules, penalties, guide);
    let mut cache = model.cache();
    let whole = Segment { tokens: prompt, cache: &mut cache, adapter: None, scores: 1 };
    let mut scores = vec![];
    model.forward(&mut [whole], &mut scores).unwrap();
    while beams.take(&mut scores, &cache, &rules).unwrap().is_none() {
        beams.go_on(&cache);
        model.forward(&mut beams.segments(None), &mut scores).unwrap();
    }
    let best = &beams.finished[0];
    (best.tokens.clone(), best.score)
}

fn check(file: &str) {
    let fixture: Fixture = serde_json::from_str(file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    tiny::write_model(folder.path(), tiny::Kind::Llama);
    let Source::HuggingFace(tiny) = Source::open(folder.path()).unwrap() else { panic!("a folder") };
    let tokenizer = Arc::new(Tokenizer::from_huggingface(&tiny, 259).unwrap());
    let mut model = model();
    assert!(fixture.cases.len() >= 50);
    for case in &fixture.cases {
        let (answer, score) = search(&mut model, &fixture.prompts[case.prompt], case, tokenizer.clone());
        let what = format!("{case:?}");
        assert_eq!(answer, case.answer, "{what}");
        // The file has six digits of a score.
        let tolerance = (case.score.abs() * 1e-5).max(1e-3);
        assert!((score - case.score).abs() < tolerance, "{what}: {score} is not {}", case.score);
    }
}

#[test]
fn answers_are_those_of_transformers() {
    check(include_str!("../../tests/fixtures/transformers/beams.json"));
}

#[test]
fn guided_answers_are_those_of_transformers() {
    check(include_str!("../../tests/fixtures/transformers/guided_beams.json"));
}
