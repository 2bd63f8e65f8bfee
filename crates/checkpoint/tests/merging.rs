//! Merged models are those that PEFT makes; `fixtures/merge/make.py` made them.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use checkpoint::{
    Source,
    diff::Outcome,
    merge::{self, Lora},
    write::Container,
};
use common::{options, quiet, read};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/merge").join(name)
}

fn merge(base: &Path, adapters: &[(&Path, f32)], out: &Path) -> Result<Outcome, String> {
    let base = Source::open(base).map_err(|e| e.to_string())?;
    let adapters: Result<Vec<Lora>, _> = adapters.iter().map(|(path, weight)| Lora::open(path, *weight)).collect();
    let adapters = adapters.map_err(|e| e.to_string())?;
    merge::to_folder(&base, &adapters, out, &options(Container::Safetensors), &quiet).map_err(|e| e.to_string())
}

/// The tensors of a merged model are those of the fixture, and the others those of the base.
fn is_as_peft_has_it(base: &str, adapters: &[(&str, f32)], wanted: &str) {
    let dir = tempfile::tempdir().unwrap();
    let paths: Vec<(PathBuf, f32)> = adapters.iter().map(|(name, weight)| (fixture(name), *weight)).collect();
    let adapters: Vec<(&Path, f32)> = paths.iter().map(|(path, weight)| (path.as_path(), *weight)).collect();
    merge(&fixture(base), &adapters, dir.path()).unwrap();
    let (before, after, changed) = (read(&fixture(base)), read(dir.path()), read(&fixture(wanted)));
    assert!(changed.keys().all(|name| after.contains_key(name)), "{wanted}");
    for (name, (shape, numbers)) in &after {
        let exact = !changed.contains_key(name);
        let (wanted_shape, wanted_numbers) = if exact { &before[name] } else { &changed[name] };
        assert_eq!(shape, wanted_shape, "{wanted}: {name}");
        for (x, y) in numbers.iter().zip(wanted_numbers) {
            assert!(x == y || !exact && (x - y).abs() <= 2e-6 * y.abs().max(0.1), "{wanted}: {name} has {x}, not {y}");
        }
    }
}

#[test]
fn every_kind_of_adapter_is_merged_as_peft_merges_it() {
    let llama = ["plain", "rslora", "dora", "saved", "embeddings", "embeddings_dora", "patterns"].map(|n| ("llama", n));
    let gpt2 = ["fan_in_fan_out", "fan_in_fan_out_dora"].map(|n| ("gpt2", n));
    for (base, name) in llama.into_iter().chain(gpt2) {
        is_as_peft_has_it(base, &[(name, 1.0)], &format!("{name}.safetensors"));
    }
    is_as_peft_has_it("llama", &[("plain", 0.7), ("rslora", 0.3)], "weighted.safetensors");
}

/// A weight lies between the base and what the adapter makes of it, whatever it does.
#[test]
fn a_weight_brings_the_base_a_part_of_the_way() {
    for name in ["saved", "dora", "embeddings_dora", "plain"] {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        merge(&fixture("llama"), &[(&fixture(name), 1.0)], &at("whole")).unwrap();
        merge(&fixture("llama"), &[(&fixture(name), 0.25)], &at("part")).unwrap();
        let (before, part, whole) = (read(&fixture("llama")), read(&at("part")), read(&at("whole")));
        for (tensor, (_, numbers)) in &part {
            let ends = before[tensor].1.iter().zip(&whole[tensor].1);
            for (x, (from, to)) in numbers.iter().zip(ends) {
                assert!((x - (from + 0.25 * (to - from))).abs() < 1e-6, "{name}: {tensor}");
            }
        }
    }
}

/// A copy of an adapter with another configuration.
fn with_config(name: &str, from: &str, to: &str, out: &Path) {
    fs::create_dir_all(out).unwrap();
    fs::copy(fixture(name).join("adapter_model.safetensors"), out.join("adapter_model.safetensors")).unwrap();
    let config = fs::read_to_string(fixture(name).join("adapter_config.json")).unwrap();
    assert!(config.contains(from));
    fs::write(out.join("adapter_config.json"), config.replace(from, to)).unwrap();
}

#[test]
fn what_would_become_another_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (out, changed) = (dir.path().join("out"), dir.path().join("changed"));
    let refused = |adapters: &[(&Path, f32)], words: &str| {
        let error = merge(&fixture("llama"), adapters, &out).unwrap_err();
        assert!(error.contains(words), "{error}");
        assert!(!out.exists());
    };
    with_config("plain", "\"use_dora\": false", "\"use_dora\": true", &changed);
    refused(&[(&changed, 1.0)], "is of a DoRA adapter (use_dora), and has no magnitude vector");
    with_config("dora", "\"use_dora\": true", "\"use_dora\": false", &changed);
    refused(&[(&changed, 1.0)], "does not say use_dora");
    with_config("patterns", "\"gate_proj\": 1", "\"(?=gate)gate_proj\": 1", &changed);
    refused(&[(&changed, 1.0)], "the expression \"(?=gate)gate_proj\", which is not understood");
    refused(&[(&fixture("saved"), 1.0), (&fixture("embeddings"), 1.0)], "lm_head.weight is changed by several of the");
    refused(&[(&fixture("saved"), 0.5), (&fixture("saved"), 0.5)], "what they make together is not defined");
}

#[test]
fn an_adapter_is_converted_to_and_fro() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let convert = |from: &Path, container, out: &str| {
        let source = Source::open(from).unwrap();
        checkpoint::convert::to_folder(&source, &at(out), &options(container), &quiet).unwrap();
    };
    convert(&fixture("saved"), Container::PyTorch, "bin");
    assert!(at("bin").join("adapter_model.bin").is_file() && at("bin").join("adapter_config.json").is_file());
    convert(&at("bin"), Container::Safetensors, "again");
    let file = |path: PathBuf| fs::read(path.join("adapter_model.safetensors")).unwrap();
    let tensors = |path: PathBuf| read(&path);
    assert_eq!(tensors(fixture("saved")), tensors(at("again")));
    assert_eq!(tensors(at("bin")), tensors(at("again")));
    assert!(!file(at("again")).is_empty());
    // It merges as before.
    merge(&fixture("llama"), &[(&at("bin"), 1.0)], &at("a")).unwrap();
    merge(&fixture("llama"), &[(&fixture("saved"), 1.0)], &at("b")).unwrap();
    assert_eq!(tensors(at("a")), tensors(at("b")));
}
