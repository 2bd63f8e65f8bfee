//! `verify`: which file is wrong, what is wrong with it, and how to get it again.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use checkpoint::verify::{FileState, VerifyError, VerifyOptions, VerifyReport, verify};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

/// The checksums of "abc".
const MD5: &str = "900150983cd24fb0d6963f7d28e17f72";
const SHA256: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn check(path: &Path, options: &VerifyOptions) -> VerifyReport {
    verify(path, options, &|done, total| assert!(done <= total)).unwrap()
}

fn notes(report: &VerifyReport) -> Vec<&str> {
    report.notes.iter().map(|note| note.en.as_str()).collect()
}

fn listed(list: &Path) -> VerifyOptions {
    VerifyOptions { list: Some(list.into()), threads: 2, ..Default::default() }
}

fn weights(path: &Path, names: &[&str]) {
    let bytes = [0; 8];
    let views = names.iter().map(|name| (*name, TensorView::new(Dtype::F32, vec![2], &bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A folder with two shards, their index and a configuration.
fn model() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    weights(&at("model-00001-of-00002.safetensors"), &["a", "b"]);
    weights(&at("model-00002-of-00002.safetensors"), &["c"]);
    let index = r#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors"}}"#;
    fs::write(at("model.safetensors.index.json"), index).unwrap();
    fs::write(at("config.json"), "{}").unwrap();
    fs::write(at("tokenizer.json"), "{}").unwrap();
    dir
}

#[test]
fn a_whole_model_is_right() {
    let dir = model();
    let report = check(dir.path(), &VerifyOptions::default());
    assert!(report.ok, "{:?}", report.problems);
    assert!(report.files.iter().all(|f| f.state == FileState::Readable) && report.files.len() == 2);
    assert_eq!(notes(&report), ["there is no list of checksums to compare with; --md5 LIST names one"]);
}

#[test]
fn what_an_index_names_must_be_there() {
    let dir = model();
    let second = dir.path().join("model-00002-of-00002.safetensors");
    weights(&second, &["d"]);
    let report = check(dir.path(), &VerifyOptions::default());
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert_eq!((problem.file.as_str(), problem.tensor.as_deref()), ("model-00002-of-00002.safetensors", Some("c")));
    assert!(problem.what.ends_with("which is in none of the files"), "{}", problem.what);
    assert!(report.notes[0].en.starts_with("1 tensors of the files are not named"), "{:?}", report.notes);

    fs::remove_file(&second).unwrap();
    let report = check(dir.path(), &VerifyOptions::default());
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(problem.what.starts_with("it is missing"), "{}", problem.what);

    fs::remove_file(dir.path().join("config.json")).unwrap();
    fs::remove_file(dir.path().join("tokenizer.json")).unwrap();
    let report = check(dir.path(), &VerifyOptions::default());
    assert!(report.problems.iter().any(|p| p.file == "config.json"));
    assert!(report.notes.iter().any(|n| n.en.contains("tokenizer")));
}

#[test]
fn a_file_that_is_cut_empty_or_never_fetched_is_named() {
    let dir = model();
    let file = dir.path().join("model-00001-of-00002.safetensors");
    let bytes = fs::read(&file).unwrap();
    let what = |content: &[u8]| {
        fs::write(&file, content).unwrap();
        let report = check(dir.path(), &VerifyOptions::default());
        let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
        assert_eq!(problem.file, "model-00001-of-00002.safetensors");
        assert!(problem.remedy.starts_with("get it again from where it came"));
        problem.what.clone()
    };
    assert!(what(&bytes[..bytes.len() - 1]).starts_with("it is damaged or something else"));
    assert_eq!(what(b""), "it is empty");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n";
    assert!(what(pointer).contains("git lfs pull"));
}

#[test]
fn a_list_is_held_against_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("one.txt"), "abc").unwrap();
    fs::write(at("two.txt"), "abd").unwrap();
    let list = at("list.txt");
    fs::write(&list, format!("{MD5}  elsewhere/one.txt\n{SHA256}  two.txt\n{MD5}  three.txt\n")).unwrap();
    let report = check(dir.path(), &listed(&list));
    let states: Vec<_> = report.files.iter().map(|f| (f.file.as_str(), f.state)).collect();
    assert_eq!(
        states,
        [("one.txt", FileState::Right), ("three.txt", FileState::Missing), ("two.txt", FileState::Wrong)]
    );
    assert!(!report.ok);
    assert!(report.problems.iter().any(|p| p.file == "two.txt" && p.what.contains(SHA256)));

    fs::write(&list, "hello\n").unwrap();
    let error = verify(dir.path(), &listed(&list), &|_, _| {}).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn the_list_beside_original_files_is_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("params.json"), "abc").unwrap();
    fs::write(dir.path().join("checklist.chk"), format!("{MD5}  params.json\n")).unwrap();
    let report = check(dir.path(), &VerifyOptions::default());
    assert!(report.ok, "{:?}", report.problems);
    assert_eq!((report.files[0].file.as_str(), report.files[0].state), ("params.json", FileState::Right));
}

#[test]
fn published_models_are_told_by_name_and_say_how_to_fetch_a_file_again() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("zhixi-13b-lora");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("adapter_model.bin");
    fs::write(&file, "abc").unwrap();
    let report = check(&folder, &VerifyOptions::default());
    assert_eq!(report.known_as.as_deref(), Some("zhixi-13b-lora"));
    let problem = report.problems.iter().find(|p| p.what.contains("308f8424b1b6ac8dff343716dd78cde7")).unwrap();
    assert!(problem.remedy.starts_with("fetch it again: knowlm download zhixi-13b-lora --include 'adapter_model.bin'"));

    // Elsewhere such a name means nothing, unless one says so.
    let other = dir.path().join("mine");
    fs::rename(&folder, &other).unwrap();
    let report = check(&other, &VerifyOptions::default());
    assert_eq!(report.known_as, None);
    assert!(
        report.notes.iter().any(|n| n.en.starts_with("the names are those of zhixi-13b-lora")),
        "{:?}",
        report.notes
    );
    let known = |name: &str| VerifyOptions { known: Some(name.into()), ..Default::default() };
    assert!(!check(&other.join("adapter_model.bin"), &known("zhixi-13b-lora")).ok);
    assert!(matches!(verify(&other, &known("zhixi-7b"), &|_, _| {}), Err(VerifyError::Unknown { .. })));
}

#[test]
fn a_place_without_weights_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let error = verify(dir.path(), &VerifyOptions::default(), &|_, _| {}).unwrap_err();
    assert!(error.to_string().ends_with("holds no weights: no .safetensors, .bin, .pth or .gguf file"));
    assert!(matches!(
        verify(&dir.path().join("none"), &VerifyOptions::default(), &|_, _| {}),
        Err(VerifyError::Io { .. })
    ));
}

/// Bytes as they were, but some of them.
fn mutated(bytes: &[u8], changes: &[(usize, u8)], cut: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, value) in changes {
        let at = at % bytes.len();
        bytes[at] = *value;
    }
    bytes.truncate(bytes.len().saturating_sub(cut));
    bytes
}

proptest::proptest! {
    /// Whatever is in the files, there is a report.
    #[test]
    fn no_folder_panics(
        which in 0usize..6,
        changes in proptest::collection::vec((proptest::prelude::any::<usize>(), proptest::prelude::any::<u8>()), 0..6),
        cut in 0usize..12,
    ) {
        let dir = model();
        let manifest = format!(
            r#"{{"version": 1, "program": "knowlm", "operation": "recover", "job": "", "sum": 0.0, "exact_sum": 0.0, "tensors": [
            {{"name": "c", "file": "model-00002-of-00002.safetensors", "element": "F32", "shape": [2], "sha256": "{SHA256}", "sum": 0.0}}],
            "files": {{"config.json": "{SHA256}"}}}}"#
        );
        fs::write(dir.path().join("knowlm-manifest.json"), manifest).unwrap();
        fs::write(dir.path().join("MD5SUMS"), format!("{MD5}  config.json\n{MD5}  model.bin\n")).unwrap();
        let names = ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "config.json",
            "knowlm-manifest.json", "MD5SUMS", "model-00002-of-00002.safetensors"];
        let path = dir.path().join(names[which]);
        fs::write(&path, mutated(&fs::read(&path).unwrap(), &changes, cut)).unwrap();
        let _ = verify(dir.path(), &VerifyOptions { threads: 1, ..Default::default() }, &|_, _| {});
        let _ = checkpoint::inspect::inspect(dir.path());
        let _ = checkpoint::inspect::inspect(&path);
    }
}

#[test]
fn tensors_are_held_against_their_manifest() {
    let dir = model();
    let file = dir.path().join("model-00002-of-00002.safetensors");
    let zeros = "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc";
    let manifest = |sha256: &str, shape: &str| {
        let json = format!(
            r#"{{"version": 1, "program": "knowlm", "operation": "recover", "job": "", "sum": null, "exact_sum": null, "files": {{}}, "tensors": [
            {{"name": "c", "file": "model-00002-of-00002.safetensors", "element": "F32", "shape": {shape}, "sha256": "{sha256}", "sum": null}}]}}"#
        );
        fs::write(dir.path().join("knowlm-manifest.json"), json).unwrap();
    };
    manifest(zeros, "[2]");
    let report = check(dir.path(), &VerifyOptions::default());
    assert!(report.ok, "{:?}", report.problems);
    assert_eq!(report.tensors.map(|t| (t.checked, t.right)), Some((1, 1)));
    assert!(check(&file, &VerifyOptions::default()).tensors.is_some_and(|t| t.right == 1), "of one file, too");

    manifest(SHA256, "[2]");
    let problem = check(dir.path(), &VerifyOptions::default()).problems.remove(0);
    assert_eq!(problem.tensor.as_deref(), Some("c"));
    assert!(problem.what.contains(zeros) && problem.remedy.contains("make it again"), "{problem:?}");
    manifest(zeros, "[1, 2]");
    assert!(check(dir.path(), &VerifyOptions::default()).problems[0].what.contains("[1, 2]"));
}
