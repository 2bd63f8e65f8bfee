//! A tiny LLaMA model with random weights as a GGUF file, in any block format.

#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use checkpoint::BlockFormat;
use half::f16;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const LAYERS: usize = 2;
const HIDDEN: usize = 256;
const FEED_FORWARD: usize = 512;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
/// No whole number of tiles.
pub const VOCABULARY: usize = 150;
const CONTEXT: usize = 256;

/// A model's tensors.
pub struct TinyGguf(Vec<Tensor>);

struct Tensor {
    name: String,
    format: BlockFormat,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

impl TinyGguf {
    /// All matrices in a format.
    pub fn new(format: BlockFormat) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(44);
        let mut tensors = Vec::new();
        let mut add = |name: String, format, rows, columns, bytes| {
            tensors.push(Tensor { name, format, rows, columns, bytes });
        };
        let kv = HIDDEN / HEADS * KV_HEADS;
        let mut matrices = vec![("token_embd".into(), VOCABULARY, HIDDEN), ("output".into(), VOCABULARY, HIDDEN)];
        let mut norms = vec!["output_norm".to_owned()];
        for layer in 0..LAYERS {
            let name = |n: &str| format!("blk.{layer}.{n}");
            norms.extend([name("attn_norm"), name("ffn_norm")]);
            matrices.extend([
                (name("attn_q"), HIDDEN, HIDDEN),
                (name("attn_k"), kv, HIDDEN),
                (name("attn_v"), kv, HIDDEN),
                (name("attn_output"), HIDDEN, HIDDEN),
                (name("ffn_gate"), FEED_FORWARD, HIDDEN),
                (name("ffn_up"), FEED_FORWARD, HIDDEN),
                (name("ffn_down"), HIDDEN, FEED_FORWARD),
            ]);
        }
        for (name, rows, columns) in matrices {
            let bytes = blocks(&mut rng, format, rows * columns);
            add(name, format, rows, columns, bytes);
        }
        for name in norms {
            let bytes = (0..HIDDEN).flat_map(|_| rng.random_range(0.7f32..1.3).to_le_bytes()).collect();
            add(name, BlockFormat::F32, 1, HIDDEN, bytes);
        }
        Self(tensors)
    }

    /// The same numbers in single precision.
    pub fn plain(&self) -> Self {
        let plain = |t: &Tensor| {
            let mut numbers = vec![0.0; t.rows * t.columns];
            t.format.dequantize(&t.bytes, &mut numbers);
            let bytes = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
            Tensor { name: t.name.clone(), format: BlockFormat::F32, bytes, ..*t }
        };
        Self(self.0.iter().map(plain).collect())
    }

    /// Writes the file.
    pub fn save(&self, path: &Path) {
        let sizes = [
            ("block_count", LAYERS),
            ("context_length", CONTEXT),
            ("embedding_length", HIDDEN),
            ("feed_forward_length", FEED_FORWARD),
            ("attention.head_count", HEADS),
            ("attention.head_count_kv", KV_HEADS),
        ];
        let mut out = b"GGUF\x03\0\0\0".to_vec();
        let put = |out: &mut Vec<u8>, n: usize| out.extend((n as u64).to_le_bytes());
        let text = |out: &mut Vec<u8>, text: &str| {
            put(out, text.len());
            out.extend(text.as_bytes());
        };
        put(&mut out, self.0.len());
        put(&mut out, sizes.len() + 2);
        text(&mut out, "general.architecture");
        out.extend(8u32.to_le_bytes());
        text(&mut out, "llama");
        for (key, n) in sizes {
            text(&mut out, &format!("llama.{key}"));
            out.extend(4u32.to_le_bytes());
            out.extend((n as u32).to_le_bytes());
        }
        text(&mut out, "tokenizer.ggml.tokens");
        out.extend([9u32, 8].map(u32::to_le_bytes).concat());
        put(&mut out, VOCABULARY);
        (0..VOCABULARY).for_each(|i| text(&mut out, &format!("t{i}")));
        let mut at = 0usize;
        for t in &self.0 {
            text(&mut out, &format!("{}.weight", t.name));
            let shape: &[usize] = if t.rows == 1 { &[t.columns] } else { &[t.columns, t.rows] };
            out.extend((shape.len() as u32).to_le_bytes());
            shape.iter().for_each(|n| put(&mut out, *n));
            let id = (0..64).find(|id| BlockFormat::from_gguf(*id) == Some(t.format)).unwrap();
            out.extend(id.to_le_bytes());
            put(&mut out, at);
            at += t.bytes.len().next_multiple_of(32);
        }
        for t in &self.0 {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&t.bytes);
        }
        fs::write(path, out).unwrap();
    }
}

/// Random blocks, of numbers as large as those of matrices usually are.
fn blocks(rng: &mut ChaCha8Rng, format: BlockFormat, numbers: usize) -> Vec<u8> {
    use BlockFormat::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    // Where the scale is and what it is about, and the same of the minimum.
    let factors: &[(usize, f32)] = match format {
        F32 | F16 | Bf16 => {
            let mut bytes = vec![0; numbers * format.block_bytes()];
            let numbers: Vec<f32> = (0..numbers).map(|_| rng.random_range(-0.1..0.1)).collect();
            format.quantize(&numbers, &mut bytes);
            return bytes;
        }
        Q8_0 => &[(0, 8e-4)],
        Q4_0 => &[(0, 0.013)],
        Q4_1 => &[(0, 0.013), (2, -0.1)],
        Q5_0 => &[(0, 0.0065)],
        Q5_1 => &[(0, 0.0065), (2, -0.1)],
        Q4K => &[(0, 4.2e-4), (2, 3.2e-3)],
        Q5K => &[(0, 2.1e-4), (2, 3.2e-3)],
        Q6K => &[(208, 6.5e-5)],
    };
    let mut bytes: Vec<u8> = (0..numbers / format.block() * format.block_bytes()).map(|_| rng.random()).collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        for (at, size) in factors {
            let factor = f16::from_f32(size * rng.random_range(0.7f32..1.3));
            block[*at..at + 2].copy_from_slice(&factor.to_le_bytes());
        }
    }
    bytes
}
