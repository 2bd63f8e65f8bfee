//! What a model is: its sizes, read from GGUF metadata or from `config.json`.

use std::path::Path;

use checkpoint::{Projection, gguf::Directory, huggingface};

use crate::EngineError;

/// How positions are turned into the query and key vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotary {
    /// Neighbouring numbers form a pair: LLaMA models in GGUF files.
    Interleaved,
    /// Number `i` and number `i + d/2` form a pair: Hugging Face checkpoints, and Qwen2 everywhere.
    Halves,
}

/// The sizes of a LLaMA-family model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModelConfig {
    pub layers: usize,
    pub hidden: usize,
    pub feed_forward: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_size: usize,
    pub vocabulary: usize,
    pub context: usize,
    pub norm_epsilon: f32,
    pub rotary: Rotary,
    /// Angle per position of each pair.
    pub frequencies: Vec<f64>,
}

impl ModelConfig {
    /// Outputs and inputs of a projection.
    pub(crate) fn shape(&self, projection: Projection) -> (usize, usize) {
        let (q, kv) = (self.heads * self.head_size, self.kv_heads * self.head_size);
        match projection {
            Projection::Q => (q, self.hidden),
            Projection::K | Projection::V => (kv, self.hidden),
            Projection::O => (self.hidden, q),
            Projection::Gate | Projection::Up => (self.feed_forward, self.hidden),
            Projection::Down => (self.hidden, self.feed_forward),
        }
    }

    pub(crate) fn from_gguf(path: &Path, d: &Directory) -> Result<Self, EngineError> {
        let wrong = |reason: String| EngineError::Model { path: path.into(), reason };
        let architecture = d.text("general.architecture").unwrap_or("(none)");
        let rotary = match architecture {
            "llama" => Rotary::Interleaved,
            "qwen2" => Rotary::Halves,
            other => return Err(wrong(unknown_architecture(other))),
        };
        let key = |name: &str| format!("{architecture}.{name}");
        let size = |name: &str| match d.integer(&key(name)).and_then(|n| usize::try_from(n).ok()) {
            Some(n) if (1..1 << 24).contains(&n) => Ok(n),
            Some(n) => Err(wrong(format!("its metadata says {} is {n}, which is impossible", key(name)))),
            None => Err(wrong(format!("its metadata has no {}", key(name)))),
        };
        if let Some(experts) = d.integer(&key("expert_count")).filter(|n| *n > 0) {
            return Err(wrong(format!("it is a mixture of {experts} experts, which is not supported")));
        }
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        let head_size = size("attention.key_length").unwrap_or(hidden / heads);
        if size("rope.dimension_count").is_ok_and(|n| n != head_size) {
            return Err(wrong("it rotates only a part of each head, which is not supported".into()));
        }
        let base = d.number(&key("rope.freq_base")).unwrap_or(10000.0);
        let scaling = d.text(&key("rope.scaling.type")).unwrap_or("none");
        let stretch = match scaling {
            "none" => 1.0,
            "linear" => d.number(&key("rope.scaling.factor")).unwrap_or(1.0),
            other => return Err(wrong(format!("its rotary scaling \"{other}\" is not supported"))),
        };
        let mut context = size("context_length")?;
        if let Ok(window) = size("attention.sliding_window") {
            context = context.min(window);
        }
        Self {
            layers: size("block_count")?,
            hidden,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads: size("attention.head_count_kv").unwrap_or(heads),
            head_size,
            vocabulary: d.texts("tokenizer.ggml.tokens").map_or(0, <[String]>::len),
            context,
            norm_epsilon: d.number(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32,
            rotary,
            frequencies: frequencies(base, head_size, |_| 1.0 / stretch),
        }
        .checked()
        .map_err(wrong)
    }

    pub(crate) fn from_huggingface(path: &Path, c: &huggingface::Config) -> Result<Self, EngineError> {
        let wrong = |reason: String| EngineError::Model { path: path.into(), reason };
        if !["llama", "mistral", "qwen2"].contains(&c.model_type.as_str()) {
            return Err(wrong(unknown_architecture(&c.model_type)));
        }
        if c.num_attention_heads == 0 {
            return Err(wrong("its config.json has no num_attention_heads".into()));
        }
        let head_size = c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads);
        let scale = huggingface_scaling(c).map_err(wrong)?;
        let window = c.sliding_window.filter(|_| c.model_type == "mistral").unwrap_or(usize::MAX);
        Self {
            layers: c.num_hidden_layers,
            hidden: c.hidden_size,
            feed_forward: c.intermediate_size,
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads.unwrap_or(c.num_attention_heads),
            head_size,
            vocabulary: c.vocab_size,
            context: c.max_position_embeddings.min(window),
            norm_epsilon: if c.rms_norm_eps > 0.0 { c.rms_norm_eps as f32 } else { 1e-6 },
            rotary: Rotary::Halves,
            frequencies: frequencies(c.rope_theta.unwrap_or(10000.0), head_size, scale),
        }
        .checked()
        .map_err(wrong)
    }

    fn checked(self) -> Result<Self, String> {
        for (name, size, most) in [
            ("layers", self.layers, 1000),
            ("hidden numbers", self.hidden, 1 << 17),
            ("feed-forward numbers", self.feed_forward, 1 << 19),
            ("heads", self.heads, 1024),
            ("key/value heads", self.kv_heads, 1024),
            ("tokens in the vocabulary", self.vocabulary, 1 << 22),
            ("positions", self.context, 1 << 24),
        ] {
            if size == 0 || size > most {
                return Err(format!("it claims to have {size} {name}; 1 to {most} are possible"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(format!("{} heads cannot share {} key/value heads", self.heads, self.kv_heads));
        }
        if self.head_size == 0 || !self.head_size.is_multiple_of(16) || self.head_size > 1024 {
            return Err(format!("its heads have {} numbers; multiples of 16 up to 1024 are supported", self.head_size));
        }
        if !self.hidden.is_multiple_of(16) || !self.feed_forward.is_multiple_of(16) {
            return Err(format!(
                "its sizes {} and {} are not multiples of 16, which is not supported",
                self.hidden, self.feed_forward
            ));
        }
        Ok(self)
    }
}

fn unknown_architecture(name: &str) -> String {
    format!("its architecture is \"{name}\", which is not supported; supported are llama (with Mistral) and qwen2")
}

fn frequencies(base: f64, head_size: usize, scale: impl Fn(f64) -> f64) -> Vec<f64> {
    (0..head_size / 2)
        .map(|i| base.powf(-2.0 * i as f64 / head_size as f64))
        .map(|frequency| frequency * scale(frequency))
        .collect()
}

/// What each angle is multiplied with, from `rope_scaling`.
fn huggingface_scaling(c: &huggingface::Config) -> Result<Box<dyn Fn(f64) -> f64>, String> {
    let Some(scaling) = c.rope_scaling.as_ref().filter(|s| !s.is_null()) else { return Ok(Box::new(|_| 1.0)) };
    let number = |name: &str| scaling.get(name).and_then(serde_json::Value::as_f64);
    let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(|t| t.as_str()).unwrap_or("none");
    let factor = number("factor").unwrap_or(1.0);
    match kind {
        "default" | "none" => Ok(Box::new(|_| 1.0)),
        "linear" => Ok(Box::new(move |_| 1.0 / factor)),
        // Long waves are stretched, short ones kept, those between mixed (the Llama 3 models).
        "llama3" => {
            let low = number("low_freq_factor").unwrap_or(1.0);
            let high = number("high_freq_factor").unwrap_or(4.0);
            let original = number("original_max_position_embeddings").unwrap_or(8192.0);
            Ok(Box::new(move |frequency| {
                let turns = original * frequency / std::f64::consts::TAU;
                let mix = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                (1.0 - mix) / factor + mix
            }))
        }
        other => Err(format!("its rotary scaling \"{other}\" is not supported")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn folder(model_type: &str) -> huggingface::Config {
        huggingface::Config {
            model_type: model_type.into(),
            hidden_size: 64,
            intermediate_size: 128,
            num_hidden_layers: 2,
            num_attention_heads: 4,
            num_key_value_heads: Some(2),
            vocab_size: 100,
            max_position_embeddings: 32,
            ..Default::default()
        }
    }

    #[test]
    fn a_folder_of_the_llama_family_is_understood() {
        let c = ModelConfig::from_huggingface(Path::new("m"), &folder("llama")).unwrap();
        assert_eq!((c.head_size, c.kv_heads, c.context, c.rotary), (16, 2, 32, Rotary::Halves));
        assert_eq!(c.shape(Projection::K), (32, 64));
        assert_eq!(c.shape(Projection::Down), (64, 128));
        assert_eq!(c.frequencies[0], 1.0);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let error = |c: &huggingface::Config| ModelConfig::from_huggingface(Path::new("m"), c).unwrap_err().to_string();
        assert_eq!(
            error(&folder("gpt_neox")),
            "m: its architecture is \"gpt_neox\", which is not supported; supported are llama (with Mistral) and qwen2"
        );
        let mut c = folder("llama");
        c.num_key_value_heads = Some(3);
        assert_eq!(error(&c), "m: 4 heads cannot share 3 key/value heads");
        c.num_key_value_heads = None;
        c.num_hidden_layers = 0;
        assert_eq!(error(&c), "m: it claims to have 0 layers; 1 to 1000 are possible");
        c.num_hidden_layers = 1;
        c.rope_scaling = Some(serde_json::json!({"rope_type": "yarn"}));
        assert_eq!(error(&c), "m: its rotary scaling \"yarn\" is not supported");
    }

    #[test]
    fn llama_3_stretches_only_long_waves() {
        let mut c = folder("llama");
        c.rope_theta = Some(500_000.0);
        c.head_dim = Some(128);
        c.rope_scaling = Some(serde_json::json!({"rope_type": "llama3", "factor": 8.0}));
        let scaled = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap().frequencies;
        c.rope_scaling = None;
        let plain = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap().frequencies;
        assert_eq!(scaled[0], plain[0]);
        assert_eq!(scaled[63], plain[63] / 8.0);
    }
}
