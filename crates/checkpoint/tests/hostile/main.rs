//! Files that someone broke or made to do harm: every reader says so or reads them, quickly, in little memory, and never
//! ends the program.
//!
//! [`known`] has files of which it is known what they did once. The others are whole files that are broken at random
//! places; each test takes about a second. For longer, on one thread and in the background:
//!
//! `KNOWLM_FUZZ_SECONDS=600 nice cargo test --release -p checkpoint --test hostile -- --nocapture --test-threads 1`
//!
//! Each prints the seed of its dice and how many files it read; `KNOWLM_FUZZ_SEED` sets it. Without, the seed is always
//! the same, and a longer run goes on where a shorter one ended.
#![allow(clippy::unwrap_used, missing_docs)]

mod dice;
mod known;
mod made;
mod memory;

use std::{fs, path::Path};

use checkpoint::{
    BlockFormat, Element, Source, Tensor, convert,
    convert::Vocabulary,
    diff::ModelOptions,
    merge::{self, Lora},
    source::Info,
    write::{self, Container, Meta, Planned, WriteOptions},
};
use dice::{fuzz, fuzz_in};

/// Reads all tensors of a set, but of each only some numbers: a small file can name many large ones.
fn read_all(path: &Path) {
    let Ok(source) = Source::open(path) else { return };
    for tensor in source.tensors() {
        let mut numbers = vec![0.0; tensor.info.count().min(1 << 12)];
        tensor.numbers.read(0, &mut numbers);
        let mut bytes = vec![0; tensor.info.bytes().min(1 << 12)];
        tensor.numbers.copy(0, &mut bytes);
    }
    let _ = convert::as_huggingface(&source).map(|tensors| tensors.len());
    if let Some(directory) = source.directory() {
        let _ = Vocabulary::from_gguf(directory);
    }
}

fn tensors(bytes: &[u8]) -> Vec<Planned<'_>> {
    let info = |name: &str, shape: &[usize], element| Info { name: name.into(), shape: shape.into(), element };
    let f16 = Element::Block(BlockFormat::F16);
    [
        info("token_embd.weight", &[8, 32], Element::F32),
        info("blk.0.attn_q.weight", &[32, 32], f16),
        info("blk.0.attn_norm.weight", &[32], Element::F32),
    ]
    .map(|info| {
        let length = info.bytes();
        Planned::kept(Tensor::stored(info, &bytes[..length]))
    })
    .into()
}

/// A file that our own writer made.
fn written(container: Container, name: &str) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![0x3c; 4096];
    write::folder(dir.path(), container, &tensors(&bytes), &[], &WriteOptions::new("test"), &|_, _| true).unwrap();
    fs::read(dir.path().join(name)).unwrap()
}

fn gguf() -> Vec<u8> {
    let path = tempfile::tempdir().unwrap().keep().join("m.gguf");
    let metadata = [
        ("general.architecture", Meta::text("llama")),
        ("llama.attention.head_count", Meta::u32(2)),
        ("llama.embedding_length", Meta::u32(32)),
        ("tokenizer.ggml.model", Meta::text("llama")),
        ("tokenizer.ggml.tokens", Meta::texts(&["<unk>", "<s>", "a"])),
        ("tokenizer.ggml.scores", Meta::f32s(&[0.0, 0.0, -1.0])),
        ("tokenizer.ggml.token_type", Meta::i32s(&[2, 3, 1])),
    ]
    .map(|(key, value)| (key.to_owned(), value));
    let bytes = vec![0x3c; 4096];
    write::gguf(&path, &metadata, &tensors(&bytes), &WriteOptions::new("test"), &|_, _| true).unwrap();
    let file = fs::read(&path).unwrap();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    file
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pytorch").join(name)).unwrap()
}

#[test]
fn safetensors() {
    fuzz(&written(Container::Safetensors, "model.safetensors"), "m.safetensors", read_all);
}

#[test]
fn pytorch() {
    fuzz(&written(Container::PyTorch, "pytorch_model.bin"), "m.bin", read_all);
}

#[test]
fn pytorch_of_its_own_making() {
    fuzz(&fixture("tensors.bin"), "m.pth", read_all);
}

#[test]
fn pytorch_before_version_1_6() {
    fuzz(&fixture("legacy.bin"), "m.pth", read_all);
}

#[test]
fn gguf_files() {
    fuzz(&gguf(), "m.gguf", read_all);
}

#[test]
fn gguf_files_of_the_first_versions() {
    for version in [1, 2] {
        fuzz(&made::gguf(version), &format!("v{version}.gguf"), read_all);
    }
}

/// A model of the original LLaMA's form in two files, and one of either changed or `params.json`.
#[test]
fn original_llama() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![0x3c; 4096];
    let shapes: [(&str, &[usize]); 6] = [
        ("tok_embeddings.weight", &[16, 8]),
        ("output.weight", &[8, 16]),
        ("norm.weight", &[16]),
        ("layers.0.attention.wq.weight", &[8, 16]),
        ("layers.0.attention.wo.weight", &[16, 8]),
        ("layers.0.feed_forward.w2.weight", &[16, 8]),
    ];
    let planned: Vec<Planned<'_>> = shapes
        .iter()
        .map(|(name, shape)| {
            let element = Element::Block(BlockFormat::F16);
            let info = Info { name: (*name).into(), shape: shape.to_vec(), element };
            let length = info.bytes();
            Planned::kept(Tensor::stored(info, &bytes[..length]))
        })
        .collect();
    let made = dir.path().join("made");
    write::folder(&made, Container::PyTorch, &planned, &[], &WriteOptions::new("test"), &|_, _| true).unwrap();
    let part = fs::read(made.join("pytorch_model.bin")).unwrap();
    let folder = dir.path().join("7B");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("consolidated.00.pth"), &part).unwrap();
    fs::write(folder.join("consolidated.01.pth"), &part).unwrap();
    let parameters = r#"{"dim": 16, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "norm_eps": 1e-5}"#;
    fs::write(folder.join("params.json"), parameters).unwrap();
    fs::write(folder.join("tokenizer.model"), made::sentencepiece(&["<unk>", "a", "b", "ab"])).unwrap();
    let read = |_: &Path| {
        let Ok(source) = Source::open(&folder) else { return };
        let _ = convert::companions(&source, None, &mut vec![]);
        drop(source);
        read_all(&folder);
    };
    assert_eq!(Source::open(&folder).unwrap().infos().len(), 6);
    fuzz_in(&folder, parameters.as_bytes(), "params.json", read);
    fs::write(folder.join("params.json"), parameters).unwrap();
    fuzz_in(&folder, &part, "consolidated.01.pth", read);
}

/// Matrices packed as GPTQ models have them.
#[test]
fn packed_matrices() {
    let dir = tempfile::tempdir().unwrap();
    let header = r#"{"x.qweight": {"dtype": "I32", "shape": [2, 8], "data_offsets": [0, 64]},
        "x.qzeros": {"dtype": "I32", "shape": [2, 1], "data_offsets": [64, 72]},
        "x.scales": {"dtype": "F16", "shape": [2, 8], "data_offsets": [72, 104]},
        "x.g_idx": {"dtype": "I32", "shape": [16], "data_offsets": [104, 168]}}"#;
    let weights = made::safetensors(header, 168);
    let config = r#"{"bits": 4, "group_size": 8, "desc_act": true, "checkpoint_format": "gptq"}"#;
    fs::write(dir.path().join("quantize_config.json"), config).unwrap();
    let read = |_: &Path| {
        let Ok(source) = Source::open(dir.path()) else { return };
        for tensor in convert::as_huggingface(&source).into_iter().flatten() {
            let mut numbers = vec![0.0; tensor.info.count().min(1 << 12)];
            tensor.numbers.read(0, &mut numbers);
        }
    };
    fuzz_in(dir.path(), &weights, "model.safetensors", read);
    fs::write(dir.path().join("model.safetensors"), weights).unwrap();
    fuzz_in(dir.path(), config.as_bytes(), "quantize_config.json", read);
}

#[test]
fn sentencepiece() {
    let model = made::sentencepiece(&["<unk>", "a", "b", "ab", "c", "abc"]);
    fuzz(&model, "tokenizer.model", |path| {
        if let Ok(vocabulary) = Vocabulary::from_tokenizer_model(path) {
            vocabulary.companions();
            let _ = vocabulary.metadata(100);
        }
    });
}

#[test]
fn numpy() {
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 8), }                                    \n";
    let head = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    fuzz(&[head, vec![0x3c; 128]].concat(), "m.npy", read_all);
}

/// An archive of one file that is stored as it is.
pub fn zip(name: &str, content: &[u8]) -> Vec<u8> {
    let (size, length) = ((content.len() as u32).to_le_bytes(), (name.len() as u16).to_le_bytes());
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..], &crc32fast::hash(content).to_le_bytes(), &size, &size];
    let common = [&common.concat()[..], &length, &[0, 0]].concat();
    let local = [b"PK\x03\x04", &common[..], name.as_bytes(), content].concat();
    let listed = [b"PK\x01\x02\x14\x00", &common[..], &[0; 14], name.as_bytes()].concat();
    let (at, long) = ((local.len() as u32).to_le_bytes(), (listed.len() as u32).to_le_bytes());
    let end = [b"PK\x05\x06\0\0\0\0\x01\0\x01\0", &long[..], &at, &[0, 0]].concat();
    [local, listed, end].concat()
}

#[test]
fn numpy_archives() {
    let header = "{'descr': '<f2', 'fortran_order': False, 'shape': (8, 8), }                                   \n";
    let head = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    let archive = zip("x.npy", &[head, vec![0x3c; 128]].concat());
    let path = tempfile::tempdir().unwrap().keep().join("m.npz");
    fs::write(&path, &archive).unwrap();
    assert_eq!(Source::open(&path).unwrap().infos()[0].shape, [8, 8]);
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    fuzz(&archive, "m.npz", read_all);
}

#[test]
fn adapters() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    let name = "model.layers.0.self_attn.q_proj.weight";
    let bytes = vec![0x3c; 4096];
    let matrix = |name: &str, shape: &[usize]| {
        let info = Info { name: name.into(), shape: shape.into(), element: Element::F32 };
        let length = info.bytes();
        Planned::kept(Tensor::stored(info, &bytes[..length]))
    };
    let write = |out: &Path, container, tensors: &[Planned<'_>]| {
        write::folder(out, container, tensors, &[], &WriteOptions::new("test"), &|_, _| true).unwrap();
    };
    write(&base, Container::Safetensors, &[matrix(name, &[16, 16])]);
    let lora = dir.path().join("lora");
    let of = |part: &str| format!("base_model.model.{}.{part}", name.trim_end_matches(".weight"));
    let (a, b) = (of("lora_A.weight"), of("lora_B.weight"));
    write(&lora, Container::Adapter, &[matrix(&a, &[2, 16]), matrix(&b, &[16, 2])]);
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "use_rslora": false, "use_dora": false,
        "fan_in_fan_out": false, "alpha_pattern": {"q_proj": 8}, "target_modules": ["q_proj"]}"#;
    fs::write(lora.join("adapter_config.json"), config).unwrap();
    let source = Source::open(&base).unwrap();
    // Onto the base itself, which is refused once the adapter is read, was found to fit, and the result is planned:
    // the last step before anything is written.
    let merged = || {
        let adapter = Lora::open(&lora, 1.0).map_err(|e| e.to_string())?;
        let options = ModelOptions {
            element: None,
            container: Container::Safetensors,
            rotary: false,
            write: WriteOptions { threads: 1, ..WriteOptions::new("test") },
        };
        merge::to_folder(&source, &[adapter], &base, &options, &|_, _| true).map_err(|e| e.to_string())
    };
    let refused = || {
        let error = merged().unwrap_err();
        assert!(error.contains("is what is read from"), "{error}");
    };
    let read = |_: &Path| assert!(merged().is_err());
    let weights = fs::read(lora.join("adapter_model.safetensors")).unwrap();
    refused();
    fuzz_in(&lora, &weights, "adapter_model.safetensors", read);
    fs::write(lora.join("adapter_model.safetensors"), weights).unwrap();
    refused();
    fuzz_in(&lora, config.as_bytes(), "adapter_config.json", read);
}

#[test]
fn indexes() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = vec![0x3c; 4096];
    let options = WriteOptions { shard_bytes: 1500, ..WriteOptions::new("test") };
    write::folder(dir.path(), Container::Safetensors, &tensors(&bytes), &[], &options, &|_, _| true).unwrap();
    let name = "model.safetensors.index.json";
    let index = fs::read(dir.path().join(name)).unwrap();
    fuzz_in(dir.path(), &index, name, |_| read_all(dir.path()));
}

#[test]
fn tokenizers() {
    let list = "YQ== 0\nYg== 1\nIA== 2\nYWI= 3\nIGFi 4\n";
    fuzz(list.as_bytes(), "tokenizer.model", |path| drop(Vocabulary::from_tokenizer_model(path)));
    let json = r#"{"model": {"type": "BPE", "byte_fallback": true, "unk_token": "a", "vocab": {"a": 0, "b": 1, "ab": 2},
        "merges": ["a b"]}, "added_tokens": [{"id": 3, "content": "<s>", "special": true}], "normalizer": null,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}]}, "post_processor": {"type":
        "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}]}}"#;
    fuzz(json.as_bytes(), "tokenizer.json", |path| {
        if let Ok(vocabulary) = Vocabulary::from_tokenizer_json(path) {
            vocabulary.companions();
            let _ = vocabulary.metadata(100);
        }
    });
}
