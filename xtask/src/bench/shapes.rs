//! A model of TinyLlama's shape whose weights are chance: how fast it is does not depend on what it knows.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Map, json};

use super::folder;
use crate::process::{program, run};

/// What it is called.
pub const NAME: &str = "1.1B parameters, TinyLlama's layers with the default model's vocabulary";
const FORMATS: [&str; 3] = ["q4_0", "q4_k", "q8_0"];
const LAYERS: usize = 22;
const WIDTH: usize = 2048;
const FEED_FORWARD: usize = 5632;
const HEADS: usize = 32;
const KV_HEADS: usize = 4;
const VOCABULARY: usize = 49_152;

/// Its file in each format; made once, of 2.3 GB of weights that are deleted again.
///
/// # Errors
/// The disk has no room for them, or the conversion fails.
pub fn files(binary: &Path, default: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let folder = folder()?;
    let files = FORMATS.map(|format| (format, folder.join(format!("shape.{format}.gguf"))));
    if files.iter().any(|(_, file)| !file.is_file()) {
        println!("\nmaking the larger model once, in {}", folder.display());
        let whole = folder.join("shape");
        let convert = |from: &Path, to: &[&str], out: &Path| {
            // Nothing of an earlier time that was ended.
            let mut command = program(binary);
            run(command
                .args(["weights", "convert"])
                .arg(from)
                .args(["--overwrite", "--to"])
                .args(to)
                .arg("--out")
                .arg(out))
        };
        // With the default model's tokenizer; its weights are replaced.
        convert(default, &["hf"], &whole)?;
        write_model(&whole)?;
        for (format, file) in &files {
            convert(&whole, &["gguf", "--dtype", format], file)?;
        }
        fs::remove_dir_all(&whole)?;
    }
    Ok(files.into())
}

fn write_model(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().contains(".safetensors") || path.to_string_lossy().contains("manifest") {
            fs::remove_file(path)?;
        }
    }
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "torch_dtype": "float16",
        "hidden_size": WIDTH, "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS, "vocab_size": VOCABULARY,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": false, "bos_token_id": 1, "eos_token_id": 2
    });
    fs::write(folder.join("config.json"), config.to_string())?;

    let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![VOCABULARY, WIDTH])];
    let kv = WIDTH / HEADS * KV_HEADS;
    for layer in 0..LAYERS {
        let of_layer = [
            ("input_layernorm", vec![WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![kv, WIDTH]),
            ("self_attn.v_proj", vec![kv, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("mlp.gate_proj", vec![FEED_FORWARD, WIDTH]),
            ("mlp.up_proj", vec![FEED_FORWARD, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, FEED_FORWARD]),
        ];
        tensors.extend(of_layer.map(|(name, shape)| (format!("model.layers.{layer}.{name}.weight"), shape)));
    }
    tensors.push(("model.norm.weight".into(), vec![WIDTH]));
    tensors.push(("lm_head.weight".into(), vec![VOCABULARY, WIDTH]));
    write_weights(&folder.join("model.safetensors"), &tensors)
}

/// The layout of safetensors: the header's length, the header, the numbers.
fn write_weights(path: &Path, tensors: &[(String, Vec<usize>)]) -> Result<()> {
    let (mut header, mut at) = (Map::new(), 0);
    for (name, shape) in tensors {
        let end = at + 2 * shape.iter().product::<usize>();
        header.insert(name.clone(), json!({ "dtype": "F16", "shape": shape, "data_offsets": [at, end] }));
        at = end;
    }
    let header = serde_json::to_vec(&header)?;
    let file = File::create(path).with_context(|| format!("could not write {}", path.display()))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut chance = Chance(1);
    for (_, shape) in tensors {
        let norm = shape.len() == 1;
        for _ in 0..shape.iter().product::<usize>() {
            let number = if norm { ONE } else { chance.half() };
            file.write_all(&number.to_le_bytes())?;
        }
    }
    file.flush().with_context(|| format!("could not write {}", path.display()))
}

/// 1 in half precision.
const ONE: u16 = 0x3c00;

struct Chance(u64);

impl Chance {
    /// A number in half precision from 1/64 to 1/16, either sign: about as large as the weights of such models.
    fn half(&mut self) -> u16 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = (self.0 >> 40) as u16;
        // Exponents 9 and 10 of 15 for one, after the sign.
        let exponent = 9 + (bits >> 10 & 1);
        (bits & 0x8000) | exponent << 10 | bits & 0x3ff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_small_and_of_either_sign() {
        let mut chance = Chance(1);
        let halves: Vec<u16> = (0..1000).map(|_| chance.half()).collect();
        assert!(halves.iter().all(|half| (9..=10).contains(&(half >> 10 & 0x1f))));
        let negative = halves.iter().filter(|half| **half >= 0x8000).count();
        assert!((400..600).contains(&negative), "{negative}");
    }
}
