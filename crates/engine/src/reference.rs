//! What is computed is what Hugging Face's transformers computes: tiny models of every architecture and of every
//! way of turning positions into angles, with both backends and all instruction sets of this machine.
//!
//! The files in `tests/fixtures/transformers` were made by its `make.py`, which also says how.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use checkpoint::Adapter;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    backend::{Backend, Segment},
    candle::CandleModel,
    config::ModelConfig,
    cpu::{CpuModel, Isa},
    weights::Source,
};

/// What scores may differ by, as a share of the greatest: the sums are the same, their order is not.
const TOLERANCE: f32 = 3e-5;

#[derive(Deserialize)]
struct Case {
    name: String,
    weights: String,
    adapter: Option<String>,
    config: Value,
    /// What the model is loaded for, if not for its own context.
    context: Option<usize>,
    tokens: Vec<u32>,
    /// After some of the tokens: the scores of the whole vocabulary.
    scores: Map<String, Value>,
    greedy: Vec<u32>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/transformers")
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&fs::read(fixtures().join("cases.json")).unwrap()).unwrap()
}

impl Case {
    fn folder(&self) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), self.config.to_string()).unwrap();
        let name = if self.weights.ends_with(".bin") { "pytorch_model.bin" } else { "model.safetensors" };
        fs::copy(fixtures().join(&self.weights), dir.path().join(name)).unwrap();
        dir
    }

    fn open(&self) -> (Source, ModelConfig, Vec<Adapter>) {
        let dir = self.folder();
        let source = Source::open(dir.path()).unwrap();
        let mut config = source.config().unwrap();
        self.context.into_iter().for_each(|positions| config.load_for(positions).unwrap());
        let shape = |layer, p| (layer < config.layers).then(|| config.shape(p));
        let adapters = self.adapter.iter().map(|name| Adapter::open(&fixtures().join(name), shape).unwrap()).collect();
        (source, config, adapters)
    }

    fn check<B: Backend>(&self, model: &mut B, what: &str) {
        let name = format!("{} on {what}", self.name);
        let adapter = self.adapter.as_ref().map(|_| 0);
        let mut cache = model.cache();
        let count = self.tokens.len();
        let segment = Segment { tokens: &self.tokens, cache: &mut cache, adapter, scores: count };
        let scores = model.each(&mut [segment]).unwrap().remove(0);
        let rows: Vec<&[f32]> = scores.chunks_exact(scores.len() / count).collect();
        assert!(self.scores.len() == 3);
        for (place, want) in &self.scores {
            let got = rows[place.parse::<usize>().unwrap()];
            let want: Vec<f32> = want.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect();
            assert_eq!(got.len(), want.len());
            let size = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let off = got.iter().zip(&want).fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(off < TOLERANCE * size, "{name}, position {place}: {off} of {size}");
        }
        let mut token = best(rows[count - 1]);
        for (i, want) in self.greedy.iter().enumerate() {
            assert_eq!(token, *want, "{name}, token {i} of the answer");
            if i + 1 < self.greedy.len() {
                let segment = Segment { tokens: &[token], cache: &mut cache, adapter, scores: 1 };
                token = best(&model.each(&mut [segment]).unwrap()[0]);
            }
        }
    }
}

fn best(scores: &[f32]) -> u32 {
    (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap() as u32
}

#[test]
fn scores_and_greedy_text_are_those_of_transformers_and_peft() {
    let cases = cases();
    assert_eq!(cases.len(), 15);
    for case in cases {
        for isa in Isa::all() {
            let (source, config, adapters) = case.open();
            case.check(&mut CpuModel::load(source, config, &adapters, 2, isa, &|_, _| {}).unwrap(), isa.name());
        }
        let (source, config, adapters) = case.open();
        case.check(&mut CandleModel::load(source, config, &adapters).unwrap(), "candle");
    }
}

/// Each further token stretches the angles of transformers: ours are those of the context that a model is loaded for.
#[test]
fn the_context_of_dynamic_angles_is_the_original_one_unless_a_longer_is_asked_for() {
    let case = |name: &str| cases().into_iter().find(|c| c.name == name).unwrap().open().1;
    let (short, long) = (case("llama with dynamic angles"), case("llama with dynamic angles, long"));
    assert_eq!((short.context, long.context), (64, 150));
    assert!(long.frequencies[1] < short.frequencies[1]);
}

#[test]
fn a_window_is_the_same_for_any_cutting_of_the_text() {
    let case = cases().into_iter().find(|c| c.name == "mistral with a window").unwrap();
    for isa in Isa::all() {
        let (source, config, _) = case.open();
        assert_eq!(config.windows, [Some(37); 2]);
        let mut model = CpuModel::load(source, config, &[], 2, isa, &|_, _| {}).unwrap();
        let want = last_scores(&mut model, &case.tokens);
        for step in [1, 7, 36, 64, 100] {
            let mut cache = model.cache();
            let mut last = vec![];
            for tokens in case.tokens.chunks(step) {
                last = model
                    .each(&mut [Segment { tokens, cache: &mut cache, adapter: None, scores: 1 }])
                    .unwrap()
                    .remove(0);
            }
            assert_eq!(last, want, "{} steps of {step}", isa.name());
        }
    }
}

#[test]
fn weights_rounded_while_loading_give_nearly_the_same_scores() {
    use checkpoint::BlockFormat::{Q4_0, Q8_0};
    for name in ["llama", "qwen3"] {
        let case = cases().into_iter().find(|c| c.name == name).unwrap();
        let scores = |to| {
            let (source, mut config, _) = case.open();
            config.rounded_to = to;
            let mut ours = CpuModel::load(source, config.clone(), &[], 2, Isa::detect(), &|_, _| {}).unwrap();
            let mut reference = CandleModel::load(case.open().0, config, &[]).unwrap();
            [last_scores(&mut ours, &case.tokens), last_scores(&mut reference, &case.tokens)]
        };
        let [exact, _] = scores(None);
        let distance = |a: &[f32], b: &[f32]| {
            let square = |x: f32| x * x;
            let off: f32 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
            (off / b.iter().map(|b| square(*b)).sum::<f32>()).sqrt()
        };
        let [eight, eight_reference] = scores(Some(Q8_0));
        let [four, four_reference] = scores(Some(Q4_0));
        let (d8, d4) = (distance(&eight, &exact), distance(&four, &exact));
        assert!(0.0 < d8 && d8 < 0.05 && d8 < d4 && d4 < 0.6, "{name}: 8 bits {d8}, 4 bits {d4}");
        // Both backends round activations to bytes, each in its own way.
        assert!(distance(&eight, &eight_reference) < 0.05, "{name}");
        assert!(distance(&four, &four_reference) < 0.05, "{name}");
    }
}

fn last_scores<B: Backend>(model: &mut B, tokens: &[u32]) -> Vec<f32> {
    let mut cache = model.cache();
    let segment = Segment { tokens, cache: &mut cache, adapter: None, scores: 1 };
    model.each(&mut [segment]).unwrap().remove(0)
}
