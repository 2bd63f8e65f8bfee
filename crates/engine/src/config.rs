//! What a model is: its sizes, read from GGUF metadata or from `config.json`.

use std::path::Path;

use checkpoint::{BlockFormat, Projection, gguf::Directory, huggingface};

use crate::{
    EngineError,
    rotary::{Scaling, yarn_length},
    window::{self, Windows},
};

/// The most numbers a head can have.
pub(crate) const MAX_HEAD: usize = 1024;

/// How positions are turned into the query and key vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotary {
    /// Neighbouring numbers form a pair: LLaMA models in GGUF files.
    Interleaved,
    /// Number `i` and number `i + d/2` form a pair: Hugging Face checkpoints, and Qwen everywhere.
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
    /// Of each layer, how many positions a row looks at, itself included; none where it looks at all before it.
    pub windows: Windows,
    pub norm_epsilon: f32,
    pub rotary: Rotary,
    /// Angle per position of each pair.
    pub frequencies: Vec<f64>,
    /// What turned queries and keys are multiplied with.
    pub turned_length: f64,
    /// Of `dynamic` angles, how they are stretched for contexts beyond the original: the base, and the scaling.
    pub dynamic: Option<(f64, Scaling)>,
    /// Whether each head's queries and keys are normalized before they are turned.
    pub head_norms: bool,
    /// What the projections are rounded to while loading, where they are stored unquantized.
    pub rounded_to: Option<BlockFormat>,
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

    /// Makes the context that of `positions`: shorter, or longer where the angles are dynamic; they are then stretched for
    /// exactly this length.
    ///
    /// # Errors
    /// It cannot be so long.
    pub(crate) fn load_for(&mut self, positions: usize) -> Result<(), String> {
        if positions > self.context {
            let Some((base, Scaling::Dynamic { factor, original, .. })) = self.dynamic else {
                let most = self.context;
                return Err(format!(
                    "its context has {most} positions, not {positions}; only models with dynamic angles can be loaded for more"
                ));
            };
            let scaling = Scaling::Dynamic { factor, original, length: positions as f64 }.checked()?;
            self.frequencies = scaling.turns(base, self.head_size).frequencies;
        }
        self.context = positions;
        self.windows = window::within(std::mem::take(&mut self.windows), positions);
        self.clone().checked().map(|_| ())
    }

    /// The first position that a row at `position` looks at in a layer.
    pub(crate) fn sees_from(&self, layer: usize, position: usize) -> usize {
        window::first(&self.windows, layer, position)
    }

    pub(crate) fn from_gguf(path: &Path, d: &Directory) -> Result<Self, EngineError> {
        let wrong = |reason: String| EngineError::Model { path: path.into(), reason };
        let architecture = d.text("general.architecture").unwrap_or("(none)");
        let rotary = match architecture {
            "llama" => Rotary::Interleaved,
            "qwen2" | "qwen3" => Rotary::Halves,
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
        let scaling = gguf_scaling(d, architecture).and_then(Scaling::checked).map_err(wrong)?;
        let turns = scaling.turns(base, head_size);
        let declared = size("context_length")?;
        let layers = size("block_count")?;
        let windows = d.windows(architecture, layers).map_err(wrong)?;
        Self {
            layers,
            hidden,
            feed_forward: size("feed_forward_length")?,
            heads,
            kv_heads: size("attention.head_count_kv").unwrap_or(heads),
            head_size,
            vocabulary: d.texts("tokenizer.ggml.tokens").map_or(0, <[String]>::len),
            context: declared,
            windows: window::within(windows, declared),
            norm_epsilon: d.number(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-5) as f32,
            rotary,
            frequencies: turns.frequencies,
            turned_length: turns.length,
            dynamic: None,
            head_norms: architecture == "qwen3",
            rounded_to: None,
        }
        .checked()
        .map_err(wrong)
    }

    pub(crate) fn from_huggingface(path: &Path, c: &huggingface::Config) -> Result<Self, EngineError> {
        let wrong = |reason: String| EngineError::Model { path: path.into(), reason };
        // What their configurations mean where they do not say.
        let default_context = match c.model_type.as_str() {
            "llama" => 2048,
            "mistral" => 131_072,
            "qwen2" | "qwen3" => 32768,
            other => return Err(wrong(unknown_architecture(other))),
        };
        if let Some(other) = c.hidden_act.as_deref().filter(|a| *a != "silu") {
            return Err(wrong(format!("its activation is \"{other}\"; only silu is computed")));
        }
        if c.num_attention_heads == 0 {
            return Err(wrong("its config.json has no num_attention_heads".into()));
        }
        let head_size = c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads);
        let declared = Some(c.max_position_embeddings).filter(|n| *n > 0).unwrap_or(default_context);
        let rope = c.rope_parameters.as_ref().or(c.rope_scaling.as_ref()).unwrap_or(&serde_json::Value::Null);
        let scaling = huggingface_scaling(rope, c, declared).and_then(Scaling::checked).map_err(wrong)?;
        let base = c.rope_theta.or_else(|| rope.get("rope_theta")?.as_f64()).unwrap_or(10000.0);
        if head_size == 0 || head_size > MAX_HEAD {
            return Err(wrong(format!("its heads have {head_size} numbers; 16 to {MAX_HEAD} are supported")));
        }
        if !(base.is_finite() && base > 1.0) {
            return Err(wrong(format!("its rope_theta is {base}; it must be greater than 1")));
        }
        let turns = scaling.turns(base, head_size);
        let windows = c.windows().map_err(wrong)?;
        Self {
            layers: c.num_hidden_layers,
            hidden: c.hidden_size,
            feed_forward: c.intermediate_size,
            heads: c.num_attention_heads,
            kv_heads: c.num_key_value_heads.unwrap_or(c.num_attention_heads),
            head_size,
            vocabulary: c.vocab_size,
            context: declared,
            windows: window::within(windows, declared),
            norm_epsilon: if c.rms_norm_eps > 0.0 { c.rms_norm_eps as f32 } else { 1e-6 },
            rotary: Rotary::Halves,
            frequencies: turns.frequencies,
            turned_length: turns.length,
            dynamic: matches!(scaling, Scaling::Dynamic { .. }).then_some((base, scaling)),
            head_norms: c.model_type == "qwen3",
            rounded_to: None,
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
        if self.head_size == 0 || !self.head_size.is_multiple_of(16) || self.head_size > MAX_HEAD {
            return Err(format!(
                "its heads have {} numbers; multiples of 16 up to {MAX_HEAD} are supported",
                self.head_size
            ));
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
    format!(
        "its architecture is \"{name}\", which is not supported; supported are llama (with Mistral), qwen2 and qwen3"
    )
}

/// How the angles are stretched, from the metadata of a GGUF file.
fn gguf_scaling(d: &Directory, architecture: &str) -> Result<Scaling, String> {
    let key = |name: &str| format!("{architecture}.rope.scaling.{name}");
    let number = |name: &str| d.number(&key(name));
    let older = d.number(&format!("{architecture}.rope.scale_linear"));
    let factor = number("factor").or(older).filter(|f| *f != 0.0).unwrap_or(1.0);
    // As in llama.cpp, a factor alone is a linear one.
    match d.text(&key("type")).unwrap_or("linear") {
        "none" => Ok(Scaling::None),
        "linear" => Ok(Scaling::Linear { factor }),
        "yarn" => {
            if number("yarn_log_multiplier").is_some_and(|m| m != 0.0) {
                return Err("its rotary scaling has a yarn_log_multiplier, which is not supported".into());
            }
            let trained = d.number(&format!("{architecture}.context_length"));
            Ok(Scaling::Yarn {
                factor,
                fast: number("yarn_beta_fast").unwrap_or(32.0),
                slow: number("yarn_beta_slow").unwrap_or(1.0),
                original: number("original_context_length").or(trained).unwrap_or(0.0),
                whole: true,
                length: number("yarn_attn_factor").or(number("attn_factor")).unwrap_or(1.0) * yarn_length(factor, 1.0),
            })
        }
        other => Err(format!(
            "its rotary scaling is \"{other}\", which is not supported; supported are none, linear and yarn"
        )),
    }
}

/// How the angles are stretched, from `rope_scaling` or `rope_parameters`; `context` is the declared one.
fn huggingface_scaling(rope: &serde_json::Value, c: &huggingface::Config, context: usize) -> Result<Scaling, String> {
    let number = |name: &str| rope.get(name).and_then(serde_json::Value::as_f64);
    let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(|t| t.as_str()).unwrap_or("default");
    if number("partial_rotary_factor").or(c.partial_rotary_factor).is_some_and(|part| part != 1.0) {
        return Err("it rotates only a part of each head, which is not supported".into());
    }
    let original = number("original_max_position_embeddings").or(c.original_max_position_embeddings.map(|n| n as f64));
    let factor = number("factor");
    let needed = || factor.ok_or_else(|| format!("its rotary scaling \"{kind}\" has no factor"));
    match kind {
        "default" | "none" => Ok(Scaling::None),
        // The context that is declared is the original one.
        "dynamic" => Ok(Scaling::Dynamic { factor: needed()?, original: context as f64, length: context as f64 }),
        "linear" => Ok(Scaling::Linear { factor: needed()? }),
        "llama3" => Ok(Scaling::Llama3 {
            factor: needed()?,
            low: number("low_freq_factor").unwrap_or(1.0),
            high: number("high_freq_factor").unwrap_or(4.0),
            original: original.unwrap_or(8192.0),
        }),
        "yarn" => {
            let original = original.unwrap_or(context as f64);
            let factor = factor.unwrap_or(context as f64 / original);
            let length = match (number("mscale"), number("mscale_all_dim")) {
                (Some(a), Some(b)) if a != 0.0 && b != 0.0 => yarn_length(factor, a) / yarn_length(factor, b),
                _ => yarn_length(factor, 1.0),
            };
            let or = |name: &str, default: f64| number(name).filter(|x| *x != 0.0).unwrap_or(default);
            Ok(Scaling::Yarn {
                factor,
                fast: or("beta_fast", 32.0),
                slow: or("beta_slow", 1.0),
                original,
                whole: rope.get("truncate").and_then(serde_json::Value::as_bool).unwrap_or(true),
                length: number("attention_factor").unwrap_or(length),
            })
        }
        other => Err(format!(
            "its rotary scaling is \"{other}\", which is not supported; supported are default, linear, dynamic, llama3 and yarn"
        )),
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
            "m: its architecture is \"gpt_neox\", which is not supported; supported are llama (with Mistral), qwen2 and qwen3"
        );
        let mut c = folder("llama");
        c.num_key_value_heads = Some(3);
        assert_eq!(error(&c), "m: 4 heads cannot share 3 key/value heads");
        c.num_key_value_heads = None;
        c.num_hidden_layers = 0;
        assert_eq!(error(&c), "m: it claims to have 0 layers; 1 to 1000 are possible");
        c.num_hidden_layers = 1;
        c.rope_scaling = Some(serde_json::json!({"rope_type": "longrope"}));
        assert_eq!(
            error(&c),
            "m: its rotary scaling is \"longrope\", which is not supported; supported are default, linear, dynamic, llama3 and yarn"
        );
        c.rope_scaling = Some(serde_json::json!({"type": "linear", "factor": 0}));
        assert_eq!(error(&c), "m: its rotary scaling has the factor 0, which is impossible");
        c.hidden_act = Some("gelu".into());
        c.rope_scaling = None;
        assert_eq!(error(&c), "m: its activation is \"gelu\"; only silu is computed");
    }

    #[test]
    fn what_old_folders_leave_out_is_what_it_was_then() {
        let mut c = folder("llama");
        c.max_position_embeddings = 0;
        assert_eq!(ModelConfig::from_huggingface(Path::new("m"), &c).unwrap().context, 2048);
        c.sliding_window = Some(Some(64));
        let llama = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap();
        assert_eq!((llama.context, llama.sees_from(0, 100)), (2048, 0));
        c.model_type = "mistral".into();
        let mistral = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap();
        assert_eq!((mistral.context, mistral.sees_from(1, 100)), (131_072, 37));
    }

    #[test]
    fn only_dynamic_angles_are_stretched_for_a_longer_context() {
        let mut c = folder("llama");
        let mut plain = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap();
        let error = plain.load_for(33).unwrap_err();
        assert!(error.starts_with("its context has 32 positions, not 33; only models with dynamic"), "{error}");
        plain.load_for(16).unwrap();
        assert_eq!(plain.context, 16);
        assert_eq!(plain.load_for(0).unwrap_err(), "it claims to have 0 positions; 1 to 16777216 are possible");
        c.rope_scaling = Some(serde_json::json!({"type": "dynamic", "factor": 4.0}));
        let mut dynamic = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap();
        let original = dynamic.frequencies.clone();
        dynamic.load_for(64).unwrap();
        assert_eq!((dynamic.context, dynamic.frequencies[0]), (64, 1.0));
        assert!(dynamic.frequencies[1] < original[1]);
    }

    #[test]
    fn the_stretching_of_a_gguf_file_is_that_of_its_folder() {
        let mut d = Directory::default();
        let mut set = |key: &str, value| d.metadata.insert(key.into(), value);
        use checkpoint::gguf::Value::{Float, Integer, Text, Texts};
        set("general.architecture", Text("qwen3".into()));
        for (key, n) in [
            ("embedding_length", 64),
            ("attention.head_count", 4),
            ("attention.head_count_kv", 2),
            ("attention.key_length", 32),
            ("feed_forward_length", 128),
            ("block_count", 2),
            ("context_length", 256),
            ("rope.scaling.original_context_length", 64),
        ] {
            set(&format!("qwen3.{key}"), Integer(n));
        }
        set("qwen3.attention.layer_norm_rms_epsilon", Float(0.5));
        set("qwen3.rope.scaling.type", Text("yarn".into()));
        set("qwen3.rope.scaling.factor", Float(4.0));
        set("tokenizer.ggml.tokens", Texts(vec!["a".into(); 100]));
        let mut c = folder("qwen3");
        (c.head_dim, c.max_position_embeddings, c.rms_norm_eps) = (Some(32), 256, 0.5);
        c.rope_parameters = Some(serde_json::json!({
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "rope_theta": 10000.0
        }));
        let folder = ModelConfig::from_huggingface(Path::new("m"), &c).unwrap();
        assert_eq!(ModelConfig::from_gguf(Path::new("m"), &d).unwrap(), folder);
        assert!(folder.turned_length > 1.1 && folder.head_norms);
    }
}
