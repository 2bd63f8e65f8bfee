//! Models from one form into another: the same numbers in each, by other names and in another order.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::fs;

use checkpoint::{
    BlockFormat, Element, Source, Tensor, convert,
    huggingface::Config,
    source::Info,
    write::{self, Companion, Container, Content, Meta, Planned, WriteOptions},
};
use common::{CONFIG, SHAPES, folder, model, numbers, options, quiet, read};

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
    assert!(done.notes[0].en.contains("no tokenizer"));
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
fn windows_of_attention_go_into_a_gguf_file_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let (at, gguf) = (|name: &str| dir.path().join(name), dir.path().join("m.gguf"));
    folder(&at("one"), Container::Safetensors, &model(1), u64::MAX);
    let qwen = r#"qwen2", "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 0, "x": ""#;
    for (kind, windows, saved) in [
        (r#"mistral", "sliding_window": 32, "x": ""#, vec![Some(32)], "mistral"),
        ("mistral", vec![Some(4096)], "mistral"),
        ("llama", vec![], "llama"),
        (qwen, vec![Some(16)], "qwen2"),
    ] {
        fs::write(at("one/config.json"), CONFIG.replace("llama", kind)).unwrap();
        let options = WriteOptions { overwrite: true, ..WriteOptions::new("convert") };
        convert::to_gguf(&Source::open(&at("one")).unwrap(), &gguf, None, &options, &quiet).unwrap();
        let file = Source::open(&gguf).unwrap();
        let architecture = if saved == "qwen2" { "qwen2" } else { "llama" };
        assert_eq!(file.directory().unwrap().windows(architecture, 1).unwrap(), windows, "{kind}");
        let back = at(&format!("back-{}", kind.len()));
        convert::to_folder(&file, &back, &self::options(Container::Safetensors), &quiet).unwrap();
        let config: Config = serde_json::from_slice(&fs::read(back.join("config.json")).unwrap()).unwrap();
        assert_eq!((config.model_type.as_str(), config.windows().unwrap()), (saved, windows), "{kind}");
    }
}

#[test]
fn a_dynamic_scaling_that_is_lost_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    folder(&at("one"), Container::Safetensors, &model(1), u64::MAX);
    let scaling = r#""rms_norm_eps": 1e-5, "rope_scaling": {"type": "dynamic", "factor": 2.0}"#;
    fs::write(at("one/config.json"), CONFIG.replace(r#""rms_norm_eps": 1e-5"#, scaling)).unwrap();
    let source = Source::open(&at("one")).unwrap();
    let done = convert::to_gguf(&source, &at("m.gguf"), None, &WriteOptions::new("convert"), &quiet).unwrap();
    assert!(done.notes.iter().any(|n| n.en.contains("dynamic: it ends at its 64 tokens")), "{:?}", done.notes);
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
        assert_eq!(notes.iter().any(|note| note.en.contains("taken as they are")), from == "bare", "{notes:?}");
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
