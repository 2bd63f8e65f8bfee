//! What is done to weights: taken apart and put together again, ended in the middle and gone on with.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

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
    source::{Info, Numbers},
    write::{self, Container, MANIFEST_FILE, Meta, Planned, WriteError, WriteOptions},
};
use common::{Named, folder, model, numbers, options, quiet, read};

/// All files of a folder.
fn files(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(path).unwrap().map(|e| e.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap_or_default())).collect()
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
    assert!(done.notes[0].en.contains("no tokenizer"));
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
    assert!(done.notes.iter().any(|n| n.en.contains("has 42 rows, 40 of them also in")), "{:?}", done.notes);
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
    assert!(!notes.iter().any(|note| note.en.contains("no tokenizer")), "{notes:?}");
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
    assert!(notes.iter().any(|note| note.en.contains("max_position_embeddings")), "{notes:?}");

    // Without a tokenizer anywhere, that is said.
    fs::remove_file(at("raw/tokenizer.model")).unwrap();
    let notes = do_it(Direction::Recover, "raw", "diff", "mute");
    assert!(notes.iter().any(|note| note.en.contains("no tokenizer")), "{notes:?}");
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

/// Numbers that count how often they are told that all were read.
#[derive(Default)]
struct Told {
    done: AtomicU64,
}

impl Numbers for &Told {
    fn read(&self, from: usize, out: &mut [f32]) {
        out.iter_mut().zip(from..).for_each(|(o, place)| *o = (place % 1000) as f32);
    }

    fn done(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tensors_are_told_when_all_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let (told, count) = (Told::default(), (2 << 20) + 77);
    let tensor = || {
        let info = Info { name: "x".into(), shape: vec![count], element: Element::F32 };
        Tensor { info, numbers: Box::new(&told) }
    };
    let planned = Planned { tensor: tensor(), element: Element::Block(BlockFormat::F16) };
    let mut options = WriteOptions::new("test");
    options.sums = true;
    let manifest = write::folder(dir.path(), Container::Safetensors, &[planned], &[], &options, &quiet).unwrap();
    assert_eq!(told.done.load(Ordering::Relaxed), 1);
    // Pieces and their parts are put together as they were cut.
    let wanted = tensor().to_vec();
    assert_eq!(Source::open(dir.path()).unwrap().tensor("x").unwrap().to_vec(), wanted);
    assert_eq!(manifest.exact_sum, Some(wanted.iter().map(|x| f64::from(*x)).sum()));
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

/// Long enough to be read and written in several pieces, none of which begins or ends where a page does.
#[test]
fn long_tensors_are_the_same_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let lengths = [("a", 7), ("b", 2_500_003), ("c", 3), ("d", 1_500_000)];
    let tensors: Vec<_> = (1..).zip(lengths).map(|(seed, (name, n))| (name, vec![n], numbers(seed, n))).collect();
    folder(&at("first"), Container::Safetensors, &tensors, u64::MAX);
    let wanted = read(&at("first"));
    assert_eq!(wanted["b"].1, tensors[1].2);
    let half = Some(Element::Block(BlockFormat::F16));
    let steps = [("second", Container::PyTorch, None), ("third", Container::Safetensors, half)];
    let last = [("fourth", Container::PyTorch, Some(Element::F32)), ("fifth", Container::Safetensors, None)];
    let mut from = "first";
    for (name, container, element) in steps.into_iter().chain(last) {
        let how = ModelOptions { element, ..options(container) };
        convert::to_folder(&Source::open(&at(from)).unwrap(), &at(name), &how, &quiet).unwrap();
        assert!(read(&at(name)) == wanted, "{name}");
        from = name;
    }
}
