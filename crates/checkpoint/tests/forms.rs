//! Forms of files that are rarer: GGUF of the first versions, formats that are only listed, NumPy's archives, whole numbers.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;
#[path = "hostile/made.rs"]
#[allow(dead_code)]
mod made;

use std::{fs, path::Path};

use checkpoint::{
    BlockFormat, Source, convert,
    inspect::inspect,
    merge::{self, Lora},
    source::Info,
    write::{self, Container, Content, Planned, WriteOptions},
};
use common::{folder, model, options, quiet, read};

fn pytorch(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch").join(name)
}

#[test]
fn gguf_files_of_the_first_versions_are_read_and_written_as_the_third() {
    let dir = tempfile::tempdir().unwrap();
    for version in [1, 2] {
        let (old, new) = (dir.path().join("old.gguf"), dir.path().join(format!("{version}.gguf")));
        fs::write(&old, made::gguf(version)).unwrap();
        let source = Source::open(&old).unwrap();
        assert_eq!(source.directory().unwrap().version, version);
        convert::to_gguf(&source, &new, Some(BlockFormat::F32), &WriteOptions::new("convert"), &quiet).unwrap();
        for (path, version) in [(&old, version), (&new, 3)] {
            let source = Source::open(path).unwrap();
            let directory = source.directory().unwrap();
            assert_eq!(directory.version, version);
            assert_eq!(directory.text("general.architecture"), Some("llama"));
            assert_eq!(directory.texts("tokenizer.ggml.tokens").unwrap(), ["<s>", "a", "中"]);
            assert_eq!(directory.integers("tokenizer.ggml.token_type").unwrap(), [3, 1, 1]);
            let tensor = source.tensor("blk.0.attn_v.weight").unwrap();
            assert_eq!((&tensor.info.shape[..], tensor.to_vec()), (&[2, 32][..], vec![1.0; 64]));
        }
    }
}

#[test]
fn a_model_with_one_tensor_that_is_not_read_is_listed_and_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"a": {"dtype": "F8_E4M3", "shape": [2, 4], "data_offsets": [0, 8]},
        "b": {"dtype": "F16", "shape": [4], "data_offsets": [8, 16]}}"#;
    fs::write(dir.path().join("model.safetensors"), made::safetensors(header, 16)).unwrap();
    let found = inspect(dir.path()).unwrap();
    let rows: Vec<_> = found.tensors.iter().map(|t| (t.name.as_str(), t.element, t.bytes)).collect();
    assert_eq!(rows, [("a", "F8_E4M3", 8), ("b", "F16", 8)]);
    let source = Source::open(dir.path()).unwrap();
    let out = dir.path().join("out");
    let error = convert::to_folder(&source, &out, &options(Container::Safetensors), &quiet).unwrap_err().to_string();
    assert!(error.contains("its tensor a is stored as F8_E4M3, which is not read; weights are read as F32"), "{error}");
    assert!(!out.exists());
}

#[test]
fn archives_of_numpy_are_read_compressed_too_and_in_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.npz");
    fs::copy(pytorch("compressed.npz"), &path).unwrap();
    let wanted: Vec<f32> = (0..24).map(|i| i as f32 / 8.0 - 1.0).collect();
    for path in [dir.path(), &path] {
        let source = Source::open(path).unwrap();
        let numbers = |name: &str| source.tensor(name).unwrap().to_vec();
        assert_eq!((numbers("a"), numbers("b")), (wanted[..6].to_vec(), wanted.clone()));
        // Read, and let go of, and read again.
        assert_eq!(numbers("b"), wanted);
    }
    // A bomb: one entry that says it is long.
    let mut bomb = fs::read(&path).unwrap();
    let listed = bomb.windows(4).position(|w| w == b"PK\x01\x02").unwrap();
    bomb[listed + 24..listed + 28].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    fs::write(&path, &bomb).unwrap();
    let error = Source::open(&path).unwrap_err().to_string();
    assert!(
        error.contains("64 times as long as they are compressed, or longer; save them with numpy.savez"),
        "{error}"
    );
}

#[test]
fn whole_numbers_and_expanded_tensors_of_pytorch_are_read() {
    let source = Source::open(&pytorch("int8.bin")).unwrap();
    assert_eq!(source.tensor("a").unwrap().to_vec(), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0]);
    assert_eq!(source.tensor("b").unwrap().to_vec(), [1.0, 0.0]);
    let source = Source::open(&pytorch("expanded.bin")).unwrap();
    assert_eq!(source.tensor("rows").unwrap().to_vec(), [-1.0, -0.875, -0.75].repeat(4));
    assert_eq!(source.tensor("columns").unwrap().to_vec(), [-1.0, -1.0, -0.875, -0.875, -0.75, -0.75]);
}

#[test]
fn a_folder_with_an_unknown_tokenizer_becomes_a_gguf_file_without() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("hf"), Container::Safetensors, &model(1), u64::MAX);
    fs::write(at("hf/tokenizer.json"), r#"{"model": {"type": "WordPiece", "vocab": {"a": 0}}}"#).unwrap();
    let source = Source::open(&at("hf")).unwrap();
    let done = convert::to_gguf(&source, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap();
    let said = done.notes.iter().any(|n| n.en.contains("the tokenizer is left out") && n.en.contains("only BPE"));
    assert!(said, "{:?}", done.notes);
    let made = Source::open(&at("m.gguf")).unwrap();
    assert_eq!(made.directory().unwrap().text("tokenizer.ggml.model"), Some("no_vocab"));
}

/// An adapter for [`model`], of numbers that are exact in sixteen bits.
fn lora(out: &Path) {
    let q = "base_model.model.model.layers.0.self_attn.q_proj";
    let (a, b) = (format!("{q}.lora_A.weight"), format!("{q}.lora_B.weight"));
    let numbers = |count: usize| -> Vec<u8> {
        (0..count).flat_map(|i| (((i * 7 % 5) as f32 - 2.0) / 4.0).to_le_bytes()).collect()
    };
    let (first, second) = (numbers(64), numbers(64));
    let planned = [(&a, [2, 32], &first), (&b, [32, 2], &second)].map(|(name, shape, bytes)| {
        let info = Info { name: name.clone(), shape: shape.into(), element: checkpoint::Element::F32 };
        Planned::kept(checkpoint::Tensor::stored(info, bytes))
    });
    let config = write::Companion {
        name: "adapter_config.json".into(),
        content: Content::Bytes(br#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#.to_vec()),
    };
    write::folder(out, Container::Adapter, &planned, &[config], &WriteOptions::new("test"), &quiet).unwrap();
}

#[test]
fn an_adapter_is_merged_into_a_gguf_file_that_stays_what_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("hf"), Container::Safetensors, &model(1), u64::MAX);
    fs::write(at("hf/tokenizer.model"), made::sentencepiece(&["<unk>", "a", "b", "ab"])).unwrap();
    lora(&at("lora"));
    let adapter = || vec![Lora::open(&at("lora"), 1.0).unwrap()];
    let hf = Source::open(&at("hf")).unwrap();
    merge::to_folder(&hf, &adapter(), &at("merged"), &options(Container::Safetensors), &quiet).unwrap();
    let wanted = read(&at("merged"));
    let options = WriteOptions::new("merge");
    for (format, most) in [(BlockFormat::F32, 1e-6), (BlockFormat::Q8_0, 0.03)] {
        let (base, out) = (at(&format!("{}.gguf", format.name())), at(&format!("{}-merged.gguf", format.name())));
        convert::to_gguf(&hf, &base, Some(format), &options, &quiet).unwrap();
        let source = Source::open(&base).unwrap();
        let done = merge::to_gguf(&source, &adapter(), &out, None, &options, &quiet).unwrap();
        assert_eq!(done.notes.iter().any(|n| n.en.contains("were unpacked, changed, and rounded again")), most > 0.01);
        let made = Source::open(&out).unwrap();
        let (old, new) = (source.directory().unwrap(), made.directory().unwrap());
        assert_eq!(old.metadata, new.metadata);
        assert_eq!(source.infos(), made.infos(), "names, shapes and types stay");
        for (name, (shape, numbers)) in read(&out) {
            let (wanted_shape, wanted) = &wanted[&name];
            assert_eq!(&shape, wanted_shape);
            for (x, y) in numbers.iter().zip(wanted) {
                assert!((x - y).abs() <= most, "{name} in {}: {x}, not {y}", format.name());
            }
        }
        for info in source.infos().iter().filter(|info| !info.name.contains("attn_q")) {
            let bytes = |source: &Source| source.tensor(&info.name).unwrap().numbers.whole().unwrap().to_vec();
            assert_eq!(bytes(&source), bytes(&made), "{} is not touched", info.name);
        }
    }
}
