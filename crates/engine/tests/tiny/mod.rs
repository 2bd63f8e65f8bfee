//! A tiny model with random weights, as a Hugging Face folder: everything that does not need a model which
//! knows something is tested on it, on any machine.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{fs, path::Path};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use serde_json::json;

/// Numbers in the stream, feed-forward numbers, layers, heads, key/value heads, context.
const SIZES: (usize, usize, usize, usize, usize, usize) = (64, 96, 3, 4, 2, 300);
/// 256 bytes and three control tokens.
const VOCABULARY: usize = 259;

/// What the model is.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Llama,
    /// Each head has keys and values of its own: half as many numbers as matrices have in a block.
    LlamaOwnKeys,
    /// With biases on queries, keys and values.
    Qwen2,
}

/// Writes the model.
pub fn write_model(folder: &Path, kind: Kind) {
    let (hidden, feed_forward, layers, heads, kv_heads, context) = SIZES;
    let kv_heads = if kind == Kind::LlamaOwnKeys { heads } else { kv_heads };
    let config = json!({
        "model_type": if kind == Kind::Qwen2 { "qwen2" } else { "llama" },
        "hidden_size": hidden, "intermediate_size": feed_forward, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": VOCABULARY,
        "max_position_embeddings": context, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "tie_word_embeddings": false, "bos_token_id": 256, "eos_token_id": 257,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..=255u32 {
        let plain = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
        let shifted = 256 + (0..byte).filter(|b| !matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)).count() as u32;
        let c = char::from_u32(if plain { byte } else { shifted }).unwrap();
        vocabulary.insert(c.to_string(), json!(byte));
    }
    let special = |id: u32, word: &str| json!({"id": id, "content": word, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [special(256, "<bos>"), special(257, "<eos>"), special(258, "<|im_end|>")],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();

    let mut rng = ChaCha8Rng::seed_from_u64(42);
    let mut file = Tensors::default();
    let kv = hidden / heads * kv_heads;
    file.add(&mut rng, "model.embed_tokens.weight", &[VOCABULARY, hidden], 1.0);
    file.add(&mut rng, "lm_head.weight", &[VOCABULARY, hidden], 0.4);
    file.add(&mut rng, "model.norm.weight", &[hidden], 1.0);
    for layer in 0..layers {
        let name = |n: &str| format!("model.layers.{layer}.{n}");
        for (n, rows, columns) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.k_proj", kv, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("self_attn.o_proj", hidden, hidden),
            ("mlp.gate_proj", feed_forward, hidden),
            ("mlp.up_proj", feed_forward, hidden),
            ("mlp.down_proj", hidden, feed_forward),
        ] {
            file.add(&mut rng, &name(&format!("{n}.weight")), &[rows, columns], 0.3);
            if kind == Kind::Qwen2 && n.starts_with("self_attn") && !n.contains("o_proj") {
                file.add(&mut rng, &name(&format!("{n}.bias")), &[rows], 0.5);
            }
        }
        file.add(&mut rng, &name("input_layernorm.weight"), &[hidden], 1.0);
        file.add(&mut rng, &name("post_attention_layernorm.weight"), &[hidden], 1.0);
    }
    file.save(&folder.join("model.safetensors"));
}

/// Writes an adapter for it, strong enough to be noticed.
pub fn write_adapter(folder: &Path) {
    let (hidden, feed_forward, layers, heads, kv_heads, _) = SIZES;
    let kv = hidden / heads * kv_heads;
    let config = json!({"peft_type": "LORA", "r": 5, "lora_alpha": 10, "base_model_name_or_path": "tiny"});
    fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(43);
    let mut file = Tensors::default();
    for layer in 0..layers {
        for (n, rows, columns) in [
            ("self_attn.q_proj", hidden, hidden),
            ("self_attn.v_proj", kv, hidden),
            ("mlp.up_proj", feed_forward, hidden),
            ("mlp.down_proj", hidden, feed_forward),
        ] {
            let name = format!("base_model.model.model.layers.{layer}.{n}");
            file.add(&mut rng, &format!("{name}.lora_A.weight"), &[5, columns], 0.3);
            file.add(&mut rng, &format!("{name}.lora_B.weight"), &[rows, 5], 0.3);
        }
    }
    file.save(&folder.join("adapter_model.safetensors"));
}

#[derive(Default)]
struct Tensors(Vec<(String, Vec<usize>, Vec<u8>)>);

impl Tensors {
    fn add(&mut self, rng: &mut ChaCha8Rng, name: &str, shape: &[usize], size: f32) {
        let n: usize = shape.iter().product();
        let bytes = (0..n).flat_map(|_| rng.random_range(-size..size).to_le_bytes()).collect();
        self.0.push((name.into(), shape.to_vec(), bytes));
    }

    fn save(&self, path: &Path) {
        let views = self
            .0
            .iter()
            .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }
}
