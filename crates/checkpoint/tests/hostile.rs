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
    let seconds = env::var("KNOWLM_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (started, mut count) = (Instant::now(), 0);
    fs::write(&path, whole).unwrap();
    read(&path);
    while started.elapsed() < Duration::from_secs(seconds) {
        let broken = dice.break_up(whole, whole);
        fs::write(&path, &broken).unwrap();
        let begun = Instant::now();
        read(&path);
        assert!(begun.elapsed() < LONGEST, "case {count} of {name} took {:?}", begun.elapsed());
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
