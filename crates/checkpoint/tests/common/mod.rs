//! A small model, and its folders in any form.
// Not every test needs all of it.
#![allow(clippy::unwrap_used, dead_code, missing_docs)]

use std::{collections::BTreeMap, path::Path};

use checkpoint::{
    Element, Source, Tensor, convert,
    diff::ModelOptions,
    source::Info,
    write::{self, Companion, Container, Content, Planned, WriteOptions},
};

/// Of a model of one layer.
pub const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 40, "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5}"#;

/// Its tensors.
pub const SHAPES: [(&str, &[usize]); 12] = [
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
pub fn numbers(seed: usize, count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + seed * 104_729) % 251) as f32 / 128.0 - 1.0).collect()
}

/// How it is written, with sums.
pub fn options(container: Container) -> ModelOptions {
    let mut write = WriteOptions::new("test");
    write.sums = true;
    ModelOptions { element: None, container, rotary: false, write }
}

/// Nobody wants to know how far it is.
pub fn quiet(_: u64, _: u64) -> bool {
    true
}

/// Writes a folder of these tensors.
pub fn folder(path: &Path, container: Container, tensors: &[(&str, Vec<usize>, Vec<f32>)], shard: u64) {
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

/// Name, shape and numbers of a tensor.
pub type Named = (&'static str, Vec<usize>, Vec<f32>);

/// A model; each seed has other numbers.
pub fn model(seed: usize) -> Vec<Named> {
    let one = |(i, (name, shape)): (usize, (&'static str, &[usize]))| {
        (name, shape.to_vec(), numbers(seed + i, shape.iter().product()))
    };
    SHAPES.into_iter().enumerate().map(one).collect()
}

/// All numbers of a set, by name.
pub fn read(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let source = Source::open(path).unwrap();
    convert::as_huggingface(&source)
        .unwrap()
        .iter()
        .map(|t| (t.info.name.clone(), (t.info.shape.clone(), t.to_vec())))
        .collect()
}
