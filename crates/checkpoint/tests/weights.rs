//! What is done to weights: written in one form and read in another, taken apart and put together again, ended in the
//! middle and gone on with.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use checkpoint::{
    BlockFormat, Element, Source, Tensor, convert,
    diff::{Direction, ModelOptions, combine},
    merge::{self, Lora},
    source::Info,
    write::{self, Companion, Container, Content, MANIFEST_FILE, Meta, Planned, WriteError, WriteOptions},
};

const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5}"#;

const SHAPES: [(&str, &[usize]); 12] = [
    ("model.embed_tokens.weight", &[40, 32]),
    ("model.layers.0.self_attn.q_proj.weight", &[32, 32]),
    ("model.layers.0.self_attn.k_proj.weight", &[16, 32]),
    ("model.layers.0.self_attn.v_proj.weight", &[16, 32]),
    ("model.layers.0.self_attn.o_proj.weight", &[32, 32]),
    ("model.layers.0.mlp.gate_proj.weight", &[64, 32]),
    ("model.layers.0.mlp.down_proj.weight", &[32, 64]),
    ("model.layers.0.mlp.up_proj.weight", &[64, 32]),
    ("model.layers.0.input_layernorm.weight", &[32]),
    ("model.layers.0.post_attention_layernorm.weight", &[32]),
    ("model.norm.weight", &[32]),
    ("lm_head.weight", &[40, 32]),
];

/// Numbers that look random, and are exact in sixteen bits.
fn numbers(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 251) as f32 / 128.0 - 1.0).collect()
}

fn options(container: Container) -> ModelOptions {
    let mut write = WriteOptions::new("test");
    write.sums = true;
    ModelOptions { element: None, container, write }
}

fn quiet(_: u64, _: u64) -> bool {
    true
}

/// Writes a folder of these tensors.
fn folder(path: &Path, container: Container, tensors: &[(&str, Vec<usize>, Vec<f32>)], shard: u64) {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let planned: Vec<Planned<'_>> = tensors
        .iter()
        .zip(&bytes)
        .map(|((name, shape, _), bytes)| {
            let info = Info { name: (*name).into(), shape: shape.clone(), element: Element::F32 };
            Planned::kept(Tensor::stored(info, bytes))
        })
        .collect();
    let mut write = WriteOptions::new("test");
    write.shard_bytes = shard;
    let config = Companion { name: "config.json".into(), content: Content::Bytes(CONFIG.into()) };
    write::folder(path, container, &planned, &[config], &write, &quiet).unwrap();
}

type Named = (&'static str, Vec<usize>, Vec<f32>);

fn model(seed: usize) -> Vec<Named> {
    let one = |(i, (name, shape)): (usize, (&'static str, &[usize]))| {
        (name, shape.to_vec(), numbers(seed + i, shape.iter().product()))
    };
    SHAPES.into_iter().enumerate().map(one).collect()
}

/// All numbers of a set, by name.
fn read(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let source = Source::open(path).unwrap();
    convert::as_huggingface(&source)
        .unwrap()
        .iter()
        .map(|t| (t.info.name.clone(), (t.info.shape.clone(), t.to_vec())))
        .collect()
}

/// All files of a folder.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default())).collect()
}

#[test]
fn every_form_gives_the_same_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("one"), Container::Safetensors, &model(1), u64::MAX);
    let want = read(&at("one"));
    assert_eq!(want.len(), SHAPES.len());
    folder(&at("shards"), Container::Safetensors, &model(1), 9000);
    folder(&at("torch"), Container::PyTorch, &model(1), 9000);
    folder(&at("torch-one"), Container::PyTorch, &model(1), u64::MAX);
    for name in ["shards", "torch", "torch-one"] {
        assert_eq!(read(&at(name)), want, "{name}");
    }
    assert!(at("shards/model.safetensors.index.json").is_file() && !at("shards/model.safetensors").exists());
    // GGUF files have other names and another order of rows; without a tokenizer it is said.
    let source = Source::open(&at("one")).unwrap();
    let done = convert::to_gguf(&source, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap();
    assert!(done.notes[0].contains("no tokenizer"));
    assert_eq!(read(&at("m.gguf")), want);
    let gguf = Source::open(&at("m.gguf")).unwrap();
    assert_ne!(gguf.tensor("blk.0.attn_q.weight").unwrap().to_vec(), want["model.layers.0.self_attn.q_proj.weight"].1);
    convert::to_folder(&gguf, &at("back"), &options(Container::PyTorch), &quiet).unwrap();
    assert_eq!(read(&at("back")), want);
    // Eight bits are near.
    convert::to_gguf(&source, &at("q8.gguf"), Some(BlockFormat::Q8_0), &WriteOptions::new("convert"), &quiet).unwrap();
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 0.01;
    assert!(read(&at("q8.gguf")).iter().all(|(name, t)| t.1.iter().zip(&want[name].1).all(near)));
}

#[test]
fn an_original_llama_in_parts_is_put_together_and_turned() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("hf"), Container::Safetensors, &model(3), u64::MAX);
    let want = read(&at("hf"));
    let source = Source::open(&at("hf")).unwrap();
    convert::to_gguf(&source, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap();
    // The order of rows of the original files is that of GGUF files.
    let gguf = Source::open(&at("m.gguf")).unwrap();
    let names = [
        ("token_embd", "tok_embeddings", 1),
        ("output_norm", "norm", 2),
        ("output", "output", 0),
        ("blk.0.attn_q", "layers.0.attention.wq", 0),
        ("blk.0.attn_k", "layers.0.attention.wk", 0),
        ("blk.0.attn_v", "layers.0.attention.wv", 0),
        ("blk.0.attn_output", "layers.0.attention.wo", 1),
        ("blk.0.ffn_gate", "layers.0.feed_forward.w1", 0),
        ("blk.0.ffn_down", "layers.0.feed_forward.w2", 1),
        ("blk.0.ffn_up", "layers.0.feed_forward.w3", 0),
        ("blk.0.attn_norm", "layers.0.attention_norm", 2),
        ("blk.0.ffn_norm", "layers.0.ffn_norm", 2),
    ];
    let names = names.map(|(from, to, along)| (from, format!("{to}.weight"), along));
    fs::create_dir(at("original")).unwrap();
    for part in 0..2 {
        let halves: Vec<(&str, Vec<usize>, Vec<f32>)> = names
            .iter()
            .map(|(from, to, along)| {
                let tensor = gguf.tensor(&format!("{from}.weight")).unwrap();
                let (mut shape, all) = (tensor.info.shape.clone(), tensor.to_vec());
                let columns = tensor.info.columns();
                let half = match along {
                    0 => all[all.len() / 2 * part..][..all.len() / 2].to_vec(),
                    1 => {
                        all.chunks(columns).flat_map(|row| &row[columns / 2 * part..][..columns / 2]).copied().collect()
                    }
                    _ => all,
                };
                if let Some(size) = shape.get_mut(*along) {
                    *size /= 2;
                }
                (to.as_str(), shape, half)
            })
            .collect();
        folder(&at("part"), Container::PyTorch, &halves, u64::MAX);
        fs::rename(at("part/pytorch_model.bin"), at(&format!("original/consolidated.0{part}.pth"))).unwrap();
        fs::remove_dir_all(at("part")).unwrap();
    }
    let error = Source::open(&at("original")).unwrap_err().to_string();
    assert!(error.contains("params.json cannot be read"), "{error}");
    let parameters = r#"{"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "norm_eps": 1e-5, "vocab_size": -1}"#;
    fs::write(at("original/params.json"), parameters).unwrap();
    assert_eq!(read(&at("original")), want);
    let original = Source::open(&at("original")).unwrap();
    convert::to_folder(&original, &at("converted"), &options(Container::Safetensors), &quiet).unwrap();
    assert_eq!(read(&at("converted")), want);
    let config: serde_json::Value = serde_json::from_slice(&fs::read(at("converted/config.json")).unwrap()).unwrap();
    let sizes =
        ["hidden_size", "intermediate_size", "num_key_value_heads", "vocab_size"].map(|key| config[key].as_u64());
    assert_eq!(sizes, [32, 64, 1, 40].map(Some));
    fs::rename(at("original/consolidated.00.pth"), at("original/consolidated.02.pth")).unwrap();
    assert!(Source::open(&at("original")).unwrap_err().to_string().contains("consolidated.00.pth is missing"));
}

#[test]
fn a_difference_and_its_base_are_the_model_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("raw"), Container::PyTorch, &model(1), 9000);
    folder(&at("tuned"), Container::Safetensors, &model(2), u64::MAX);
    let open = |name: &str| Source::open(&at(name)).unwrap();
    let do_it = |direction, raw: &str, other: &str, out: &str| {
        combine(direction, &open(raw), &open(other), &at(out), &options(Container::Safetensors), &quiet)
    };
    let done = do_it(Direction::Diff, "raw", "tuned", "diff").unwrap();
    assert!(done.notes[0].contains("no tokenizer"));
    let recovered = do_it(Direction::Recover, "raw", "diff", "again").unwrap();
    assert_eq!(read(&at("again")), read(&at("tuned")));
    let sum: f64 = model(2).iter().flat_map(|t| &t.2).map(|x| f64::from(*x)).sum();
    assert!((recovered.manifest.exact_sum.unwrap() - sum).abs() < 1e-9);
    assert_eq!(recovered.manifest.tensors[0].name, "model.embed_tokens.weight");

    // More entries in the vocabulary than the base has: those are whole in the difference.
    let mut larger = model(2);
    larger[0].1[0] = 42;
    larger[0].2.extend(numbers(99, 64));
    folder(&at("larger"), Container::Safetensors, &larger, u64::MAX);
    let done = do_it(Direction::Diff, "raw", "larger", "larger-diff").unwrap();
    assert!(done.notes.iter().any(|n| n.contains("has 42 rows, 40 of them also in")), "{:?}", done.notes);
    do_it(Direction::Recover, "raw", "larger-diff", "larger-again").unwrap();
    assert_eq!(read(&at("larger-again")), read(&at("larger")));
    // And fewer.
    do_it(Direction::Diff, "larger", "tuned", "smaller-diff").unwrap();
    do_it(Direction::Recover, "larger", "smaller-diff", "smaller-again").unwrap();
    assert_eq!(read(&at("smaller-again")), read(&at("tuned")));

    // What does not fit is named with both sides, and nothing is written.
    let mut odd = model(2);
    odd[1].1 = vec![16, 64];
    odd[2].0 = "model.layers.1.self_attn.k_proj.weight";
    folder(&at("odd"), Container::Safetensors, &odd, u64::MAX);
    let error = do_it(Direction::Diff, "raw", "odd", "nothing").unwrap_err().to_string();
    for words in [
        "model.layers.0.self_attn.q_proj.weight is [32, 32] in the first and [16, 64] in the second",
        "model.layers.0.self_attn.k_proj.weight is only in the first",
        "model.layers.1.self_attn.k_proj.weight is only in the second",
    ] {
        assert!(error.contains(words), "{error}");
    }
    assert!(!at("nothing").exists());
}

/// A model as an original LLaMA folder of one part, with parameters and a tokenizer.
fn original(path: &Path, model: Vec<Named>) {
    let names = [
        ("self_attn.q_proj", "attention.wq"),
        ("self_attn.k_proj", "attention.wk"),
        ("self_attn.v_proj", "attention.wv"),
        ("self_attn.o_proj", "attention.wo"),
        ("mlp.gate_proj", "feed_forward.w1"),
        ("mlp.down_proj", "feed_forward.w2"),
        ("mlp.up_proj", "feed_forward.w3"),
        ("input_layernorm", "attention_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("model.embed_tokens", "tok_embeddings"),
        ("model.norm", "norm"),
        ("lm_head", "output"),
        ("model.layers", "layers"),
    ];
    let name = |name: &str| names.iter().fold(name.to_owned(), |name, (from, to)| name.replace(from, to));
    let tensors: Vec<(String, Vec<usize>, Vec<f32>)> =
        model.into_iter().map(|(old, shape, numbers)| (name(old), shape, numbers)).collect();
    let tensors: Vec<_> = tensors.iter().map(|t| (t.0.as_str(), t.1.clone(), t.2.clone())).collect();
    folder(path, Container::PyTorch, &tensors, u64::MAX);
    fs::rename(path.join("pytorch_model.bin"), path.join("consolidated.00.pth")).unwrap();
    fs::remove_file(path.join("config.json")).unwrap();
    let parameters = r#"{"dim": 32, "n_layers": 1, "n_heads": 2, "n_kv_heads": 1, "norm_eps": 1e-5, "vocab_size": -1}"#;
    fs::write(path.join("params.json"), parameters).unwrap();
    fs::write(path.join("tokenizer.model"), "of the original").unwrap();
}

/// A model as a GGUF file with a tokenizer of forty letters.
fn gguf_with_tokenizer(path: &Path, model: &[Named]) {
    let plain = path.with_extension("plain.gguf");
    folder(&path.with_extension("folder"), Container::Safetensors, model, u64::MAX);
    let source = Source::open(&path.with_extension("folder")).unwrap();
    convert::to_gguf(&source, &plain, None, &WriteOptions::new("test"), &quiet).unwrap();
    let source = Source::open(&plain).unwrap();
    let mut metadata = write::copied_metadata(&source, &["tokenizer.ggml.model"]);
    let letters: Vec<String> = (0..40u8).map(|i| char::from(b'A' + i).to_string()).collect();
    metadata.push(("tokenizer.ggml.model".into(), Meta::text("llama")));
    metadata.push(("tokenizer.ggml.tokens".into(), Meta::texts(&letters)));
    let planned: Vec<Planned<'_>> = source.tensors().into_iter().map(Planned::kept).collect();
    write::gguf(path, &metadata, &planned, &WriteOptions::new("test"), &quiet).unwrap();
}

#[test]
fn results_from_original_and_gguf_models_have_a_configuration_and_a_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let do_it = |direction, raw: &str, other: &str, out: &str| {
        let (raw, other) = (Source::open(&at(raw)).unwrap(), Source::open(&at(other)).unwrap());
        combine(direction, &raw, &other, &at(out), &options(Container::Safetensors), &quiet).unwrap().notes
    };
    let there = |folder: &str| files(&at(folder));
    let config = |folder: &str| serde_json::from_slice::<serde_json::Value>(&there(folder)["config.json"]).unwrap();
    original(&at("raw"), model(1));
    gguf_with_tokenizer(&at("tuned.gguf"), &model(2));

    // What the second model has goes first.
    let notes = do_it(Direction::Diff, "raw", "tuned.gguf", "diff");
    assert!(!notes.iter().any(|note| note.contains("no tokenizer")), "{notes:?}");
    assert!(there("diff").contains_key("tokenizer.json") && !there("diff").contains_key("tokenizer.model"));
    assert_eq!(config("diff")["num_key_value_heads"], 1);
    do_it(Direction::Recover, "raw", "diff", "again");
    assert_eq!(read(&at("again")), read(&at("tuned.gguf")));
    assert_eq!(there("again")["tokenizer.json"], there("diff")["tokenizer.json"]);

    // A bare difference gets what the original model has, and what was assumed is told.
    for name in ["config.json", "tokenizer.json"] {
        fs::remove_file(at("diff").join(name)).unwrap();
    }
    let notes = do_it(Direction::Recover, "raw", "diff", "from-raw");
    assert_eq!(there("from-raw")["tokenizer.model"], b"of the original");
    assert_eq!(config("from-raw")["hidden_size"], 32);
    assert!(notes.iter().any(|note| note.contains("max_position_embeddings")), "{notes:?}");

    // Without a tokenizer anywhere, that is said.
    fs::remove_file(at("raw/tokenizer.model")).unwrap();
    let notes = do_it(Direction::Recover, "raw", "diff", "mute");
    assert!(notes.iter().any(|note| note.contains("no tokenizer")), "{notes:?}");
}

#[test]
fn work_that_was_ended_goes_on_and_makes_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("raw"), Container::Safetensors, &model(1), u64::MAX);
    folder(&at("diff"), Container::Safetensors, &model(2), u64::MAX);
    let (raw, diff) = (Source::open(&at("raw")).unwrap(), Source::open(&at("diff")).unwrap());
    let run = |out: &str, progress: write::Progress<'_>| {
        let mut options = options(Container::Safetensors);
        options.write.shard_bytes = 9000;
        options.write.threads = 2;
        combine(Direction::Recover, &raw, &diff, &at(out), &options, progress)
    };
    run("whole", &quiet).unwrap();
    let want = files(&at("whole"));
    for pieces in 0..12 {
        let out = format!("ended-{pieces}");
        let told = AtomicU64::new(0);
        let error = run(&out, &|_, _| told.fetch_add(1, Ordering::Relaxed) < pieces).unwrap_err().to_string();
        assert!(error.starts_with("stopped"), "{error}");
        let left = files(&at(&out));
        assert!(!left.contains_key(MANIFEST_FILE));
        let whole = |(name, bytes): (&String, &Vec<u8>)| !name.ends_with("safetensors") || want[name] == *bytes;
        assert!(left.iter().all(whole), "a file under its own name is whole");
        run(&out, &quiet).unwrap();
        assert_eq!(files(&at(&out)), want, "ended after {pieces} pieces");
        // Once more has nothing to do.
        run(&out, &|_, _| false).unwrap();
    }
}

#[test]
fn what_is_there_is_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("a"), Container::Safetensors, &model(1), u64::MAX);
    folder(&at("b"), Container::Safetensors, &model(2), u64::MAX);
    let source = Source::open(&at("a")).unwrap();
    let to = |out: &str, overwrite| {
        let mut options = options(Container::Safetensors);
        options.write.overwrite = overwrite;
        convert::to_folder(&source, &at(out), &options, &quiet).map_err(|e| e.to_string())
    };
    assert!(to("b", false).unwrap_err().contains("is there already"));
    assert!(to("a", true).unwrap_err().contains("is what is read from"));
    to("b", true).unwrap();
    assert_eq!(read(&at("b")), read(&at("a")));
    // A finished result is replaced too, when that is asked for.
    let damaged = vec![0; fs::read(at("b").join("model.safetensors")).unwrap().len()];
    fs::write(at("b").join("model.safetensors"), damaged).unwrap();
    to("b", true).unwrap();
    assert_eq!(read(&at("b")), read(&at("a")));
    let info = Info { name: "x".into(), shape: vec![2, 33], element: Element::F32 };
    let planned = Planned { tensor: Tensor::stored(info, &[0; 264]), element: Element::Block(BlockFormat::Q8_0) };
    let error = write::gguf(&at("x.gguf"), &[], &[planned], &WriteOptions::new("test"), &quiet).unwrap_err();
    assert!(matches!(error, WriteError::Misfit { .. }), "{error}");
}

#[test]
fn an_adapter_becomes_part_of_its_base() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("base"), Container::Safetensors, &model(1), u64::MAX);
    let adapter = |name: &str, config: &str, tensors: &[Named]| {
        folder(&at(name), Container::Adapter, tensors, u64::MAX);
        fs::write(at(name).join("adapter_config.json"), config).unwrap();
    };
    let (a, b) = (numbers(5, 2 * 32), numbers(6, 16 * 2));
    let tensors: [Named; 2] = [
        ("base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight", vec![2, 32], a.clone()),
        ("base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight", vec![16, 2], b.clone()),
    ];
    adapter("lora", r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#, &tensors);
    let base = Source::open(&at("base")).unwrap();
    let merge = |out: &str, adapters: &[(&str, f32)]| {
        let adapters: Vec<Lora> = adapters.iter().map(|(name, w)| Lora::open(&at(name), *w).unwrap()).collect();
        merge::to_folder(&base, &adapters, &at(out), &options(Container::Safetensors), &quiet)
            .map_err(|e| e.to_string())
    };
    merge("merged", &[("lora", 1.0)]).unwrap();
    let (before, after) = (read(&at("base")), read(&at("merged")));
    for (name, (_, numbers)) in &before {
        if !name.contains("k_proj") {
            assert_eq!(*numbers, after[name].1, "{name}");
            continue;
        }
        for (i, w) in numbers.iter().enumerate() {
            let (row, column) = (i / 32, i % 32);
            let change = b[row * 2] * a[column] + b[row * 2 + 1] * a[32 + column];
            assert_eq!(after[name].1[i], w + 2.0 * change);
        }
    }
    // A second one of half the weight that takes half of it back.
    merge("both", &[("lora", 1.0), ("lora", -1.0)]).unwrap();
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
    assert!(read(&at("both")).iter().all(|(name, t)| t.1.iter().zip(&before[name].1).all(near)));
    // Straight to GGUF.
    let loras = [Lora::open(&at("lora"), 1.0).unwrap()];
    merge::to_gguf(&base, &loras, &at("m.gguf"), None, &WriteOptions::new("merge"), &quiet).unwrap();
    assert_eq!(read(&at("m.gguf")), after);

    let wrong: Named = ("base_model.model.model.layers.7.self_attn.k_proj.lora_A.weight", vec![2, 32], a);
    adapter("other", r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4}"#, &[wrong]);
    let error = merge("nothing", &[("other", 1.0)]).unwrap_err();
    assert!(error.contains("does not fit the base") && error.contains("layers.7.self_attn.k_proj"), "{error}");
    adapter("pissa", r#"{"lora_alpha": 4, "init_lora_weights": "pissa"}"#, &tensors);
    assert!(Lora::open(&at("pissa"), 1.0).unwrap_err().to_string().contains("changed by pissa"));
}

#[test]
fn whole_numbers_of_eight_bits_and_doubles_become_weights() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let (q, norm) = ("model.layers.0.self_attn.q_proj.weight", "model.layers.0.input_layernorm.weight");
    let eights: Vec<u8> = (0..32 * 32).map(|i| (i % 255) as u8).collect();
    let largest: Vec<f32> = (0..32).map(|row| 0.5 + row as f32).collect();
    let model = model(1);
    let stored: Vec<(String, Vec<usize>, Element, Vec<u8>)> = model
        .iter()
        .map(|(name, shape, numbers)| match *name {
            name if name == q => (name.into(), shape.clone(), Element::I8, eights.clone()),
            name if name == norm => {
                let bytes = numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect();
                (name.into(), shape.clone(), Element::F64, bytes)
            }
            name => {
                let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
                (name.to_owned(), shape.clone(), Element::F32, bytes)
            }
        })
        .collect();
    let write = |out: &str, scales: bool| {
        let mut stored = stored.clone();
        if scales {
            let bytes = largest.iter().flat_map(|x| x.to_le_bytes()).collect();
            stored.push((q.replace(".weight", ".SCB"), vec![32], Element::F32, bytes));
            stored.push((q.replace(".weight", ".weight_format"), vec![1], Element::U8, vec![0]));
        }
        let planned: Vec<Planned<'_>> = stored
            .iter()
            .map(|(name, shape, element, bytes)| {
                let info = Info { name: name.clone(), shape: shape.clone(), element: *element };
                Planned::kept(Tensor::stored(info, bytes))
            })
            .collect();
        let config = Companion { name: "config.json".into(), content: Content::Bytes(CONFIG.into()) };
        let options = WriteOptions::new("test");
        write::folder(&at(out), Container::Safetensors, &planned, &[config], &options, &quiet).unwrap();
    };
    write("scaled", true);
    write("bare", false);
    let whole = |i: usize| f32::from(eights[i] as i8);
    for (from, wanted) in [
        ("scaled", Box::new(|i: usize| whole(i) * largest[i / 32] / 127.0) as Box<dyn Fn(usize) -> f32>),
        ("bare", Box::new(whole)),
    ] {
        let source = Source::open(&at(from)).unwrap();
        let mut options = options(Container::Safetensors);
        options.element = Some(Element::Block(BlockFormat::F16));
        let to = format!("{from}-hf");
        let notes = convert::to_folder(&source, &at(&to), &options, &quiet).unwrap().notes;
        assert_eq!(notes.iter().any(|note| note.contains("taken as they are")), from == "bare", "{notes:?}");
        let gguf = format!("{from}.gguf");
        convert::to_gguf(&source, &at(&gguf), None, &WriteOptions::new("convert"), &quiet).unwrap();
        let infos = |path: &str| Source::open(&at(path)).unwrap().infos().to_vec();
        assert_eq!(infos(&to).len(), SHAPES.len(), "what lay beside is no tensor of the model");
        assert!(infos(&gguf).iter().all(|info| info.element.format().is_some()), "{:?}", infos(&gguf));
        for result in [to, gguf] {
            let read = read(&at(&result));
            for (i, x) in read[q].1.iter().enumerate() {
                assert!((x - wanted(i)).abs() <= 1e-3 * wanted(i).abs(), "{result} {i}: {x} {}", wanted(i));
            }
            assert_eq!(read[norm].1, model.iter().find(|t| t.0 == norm).unwrap().2);
        }
    }
    // Without a type that is asked for, a folder keeps what it has.
    let source = Source::open(&at("bare")).unwrap();
    convert::to_folder(&source, &at("kept"), &options(Container::Safetensors), &quiet).unwrap();
    let element = |name: &str| Source::open(&at("kept")).unwrap().tensor(name).unwrap().info.element;
    assert_eq!((element(q), element(norm)), (Element::I8, Element::F64));
}

#[test]
fn metadata_of_a_gguf_file_are_copied_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("a.gguf"), dir.path().join("b.gguf"));
    let metadata = vec![
        ("general.architecture".to_owned(), Meta::text("llama")),
        ("llama.block_count".to_owned(), Meta::u32(7)),
        ("tokenizer.ggml.tokens".to_owned(), Meta::texts(&["a", "中"])),
        ("tokenizer.ggml.scores".to_owned(), Meta::f32s(&[0.5, -1.0])),
        ("tokenizer.ggml.token_type".to_owned(), Meta::i32s(&[1, 3])),
        ("tokenizer.ggml.add_bos_token".to_owned(), Meta::bool(true)),
        ("llama.rope.freq_base".to_owned(), Meta::f32(10000.0)),
    ];
    let info = Info { name: "token_embd.weight".into(), shape: vec![2, 4], element: Element::F32 };
    let bytes: Vec<u8> = numbers(1, 8).iter().flat_map(|x| x.to_le_bytes()).collect();
    let planned = || [Planned::kept(Tensor::stored(info.clone(), &bytes))];
    write::gguf(&one, &metadata, &planned(), &WriteOptions::new("test"), &quiet).unwrap();
    let source = Source::open(&one).unwrap();
    assert_eq!(source.directory().unwrap().texts("tokenizer.ggml.tokens").unwrap(), ["a", "中"]);
    assert_eq!(write::copied_metadata(&source, &[]), metadata);
    write::gguf(&two, &write::copied_metadata(&source, &[]), &planned(), &WriteOptions::new("test"), &quiet).unwrap();
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
}
