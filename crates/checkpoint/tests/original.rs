//! Original LLaMA models become what transformers' own conversion makes of them; `fixtures/llama/make.py` made them and
//! ran that conversion.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use checkpoint::{Source, convert, diff::ModelOptions, write::Container};
use common::{options, quiet};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama")
}

fn converted(from: &Path, out: &Path, rotary: bool) -> Result<Vec<String>, String> {
    let source = Source::open(from).map_err(|e| e.to_string())?;
    let options = ModelOptions { rotary, ..options(Container::Safetensors) };
    let done = convert::to_folder(&source, out, &options, &quiet).map_err(|e| e.to_string())?;
    Ok(done.notes.into_iter().map(|note| note.en).collect())
}

#[test]
fn every_generation_is_converted_as_transformers_converts_it() {
    let expected: BTreeMap<String, BTreeMap<String, Value>> =
        serde_json::from_slice(&fs::read(fixtures().join("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.len(), 6);
    for (model, tensors) in expected {
        let dir = tempfile::tempdir().unwrap();
        converted(&fixtures().join(&model), dir.path(), true).unwrap();
        let made = Source::open(dir.path()).unwrap();
        let names = |source: &Source| {
            let mut names: Vec<String> = source.infos().iter().map(|info| info.name.clone()).collect();
            names.sort();
            names
        };
        assert_eq!(names(&made), tensors.keys().cloned().collect::<Vec<_>>(), "{model}");
        for (name, wanted) in tensors {
            let tensor = made.tensor(&name).unwrap();
            match wanted {
                Value::String(sha256) => {
                    let found = Sha256::digest(tensor.numbers.whole().unwrap());
                    let found: String = found.iter().map(|b| format!("{b:02x}")).collect();
                    assert_eq!(found, sha256, "{model}: {name}");
                }
                // The angles of the rotary buffers, which processors compute to within a rounding.
                angles => {
                    let angles: Vec<f32> = serde_json::from_value(angles).unwrap();
                    let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b;
                    assert!(tensor.to_vec().iter().zip(&angles).all(near), "{model}: {name}");
                }
            }
        }
    }
}

#[test]
fn rotary_buffers_are_written_when_asked_for_and_of_an_original_only() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    converted(&fixtures().join("1-one"), &at("without"), false).unwrap();
    assert!(Source::open(&at("without")).unwrap().infos().iter().all(|info| !info.name.contains("inv_freq")));
    let error = converted(&at("without"), &at("x"), true).unwrap_err();
    assert!(error.contains("rotary buffers are written of an original LLaMA only"), "{error}");
}

#[test]
fn one_file_of_an_original_stands_for_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    converted(&fixtures().join("1-two"), &at("folder"), false).unwrap();
    converted(&fixtures().join("1-two/consolidated.01.pth"), &at("file"), false).unwrap();
    let file = |name: &str| fs::read(at(name).join("model.safetensors")).unwrap();
    assert_eq!(file("folder"), file("file"));
    assert!(at("file/config.json").is_file());
    // Elsewhere, nothing tells its heads: as it is, it would be taken for another model.
    fs::create_dir(at("alone")).unwrap();
    fs::copy(fixtures().join("1-one/consolidated.00.pth"), at("alone/7B.pth")).unwrap();
    let error = converted(&at("alone/7B.pth"), &at("x"), false).unwrap_err();
    assert!(error.contains("its tensors have the names of the original LLaMA: call its files consolidated.00.pth"));
}

#[test]
fn a_folder_without_a_configuration_is_said_to_be_one() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    converted(&fixtures().join("1-one"), &at("hf"), false).unwrap();
    fs::remove_file(at("hf/config.json")).unwrap();
    let notes = converted(&at("hf"), &at("again"), false).unwrap();
    assert!(notes.iter().any(|note| note.starts_with("there is no config.json beside the weights")), "{notes:?}");
}
