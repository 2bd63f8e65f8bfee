//! Files that someone broke or made to do harm: every reader says so or reads them, quickly, and never ends the program.
//!
//! Each test takes about a second. `KNOWLM_FUZZ_SECONDS=600 cargo test --release -p checkpoint --test hostile` takes longer.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    env, fs,
    path::Path,
    time::{Duration, Instant},
};

use checkpoint::{
    BlockFormat, Element, Source, Tensor, convert,
    convert::Vocabulary,
    diff::ModelOptions,
    merge::{self, Lora},
    source::Info,
    write::{self, Container, Meta, Planned, WriteOptions},
};

/// No file of a few kilobytes may take longer.
const LONGEST: Duration = Duration::from_secs(3);

/// Numbers that are the same each time (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides.max(1) as u64) as usize
    }

    /// Breaks a file in one to six places.
    fn break_up(&mut self, whole: &[u8], other: &[u8]) -> Vec<u8> {
        const ODD: [u64; 8] = [0, 1, 0x7f, 0xff, 0xffff_ffff, 1 << 60, u64::MAX, 0x7fff_ffff_ffff_ffff];
        let mut bytes = whole.to_vec();
        for _ in 0..=self.roll(6) {
            // Beginnings and ends say more than the middle.
            let near = |dice: &mut Self, length: usize| match dice.roll(3) {
                0 => dice.roll(length.min(64)),
                1 => length.saturating_sub(1 + dice.roll(length.min(256))),
                _ => dice.roll(length),
            };
            let at = near(self, bytes.len());
            if bytes.is_empty() {
                break;
            }
            match self.roll(6) {
                0 => bytes[at] ^= 1 << self.roll(8),
                1 => bytes[at] = self.roll(256) as u8,
                2 => {
                    let number = ODD[self.roll(ODD.len())].to_le_bytes();
                    let width = [1, 2, 4, 8][self.roll(4)].min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&number[..width]);
                }
                3 => bytes.truncate(at),
                4 => {
                    let from = self.roll(other.len());
                    let length = self.roll(64).min(other.len() - from).min(bytes.len() - at);
                    bytes[at..at + length].copy_from_slice(&other[from..from + length]);
                }
                _ => {
                    let piece = bytes[at..(at + 40).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    }
}

/// Breaks the file again and again, and has it read.
fn fuzz(whole: &[u8], name: &str, read: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    fuzz_in(dir.path(), whole, name, read);
}

/// The same in a folder with other files.
fn fuzz_in(dir: &Path, whole: &[u8], name: &str, read: impl Fn(&Path)) {
    let seconds = env::var("KNOWLM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let path = dir.join(name);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (started, mut count) = (Instant::now(), 0);
    fs::write(&path, whole).unwrap();
    read(&path);
    while started.elapsed() < Duration::from_secs(seconds) {
        let broken = dice.break_up(whole, whole);
        fs::write(&path, &broken).unwrap();
        // A machine that does other things may be slow once; a file that takes long does so each time.
        let took = || {
            let begun = Instant::now();
            read(&path);
            begun.elapsed()
        };
        let quick = took() < LONGEST || took() < LONGEST;
        assert!(quick, "case {count} of {name} took longer than {LONGEST:?}, twice");
        count += 1;
    }
    eprintln!("{name}: {count} files");
}

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
fn numpy() {
    let header = "{'descr': '<f4', 'fortran_order': True, 'shape': (4, 8), }                                    \n";
    let head = [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat();
    fuzz(&[head, vec![0x3c; 128]].concat(), "m.npy", read_all);
}

/// An archive of one file that is stored as it is.
fn zip(name: &str, content: &[u8]) -> Vec<u8> {
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
