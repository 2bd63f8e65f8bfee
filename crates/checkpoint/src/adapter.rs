//! LoRA adapters in PEFT format: `adapter_config.json`, `adapter_model.safetensors` (or `.bin`), and our
//! `manifest.json` that says what the adapter was taught.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use protocol::AdapterManifest;
use serde::Deserialize;

use crate::{
    HuggingFaceError,
    huggingface::{read_json, stored_tensors},
    map::Mapped,
    pattern::Pattern,
    pytorch::StoredTensor,
};

/// Ranks beyond this are no low-rank adapters any more.
const MAX_RANK: usize = 1024;

/// What is wrong with an adapter.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// A JSON file of it cannot be used.
    #[error(transparent)]
    File(#[from] HuggingFaceError),
    /// Its weights cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is of a kind we do not apply.
    #[error("{path} cannot be used: {reason}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It was made for another base.
    #[error("{path} does not fit the base: tensor {tensor} {reason}")]
    DoesNotFit {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How it does not fit.
        reason: String,
    },
}

/// A linear layer that an adapter can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Projection {
    Q,
    K,
    V,
    O,
    Gate,
    Up,
    Down,
}

impl Projection {
    /// All seven.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// Its name in Hugging Face checkpoints: `self_attn.q_proj`.
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }
}

/// The two factors of one change: `y += scale * B (A x)`.
#[derive(Clone, Debug)]
pub struct Factors {
    /// What `B (A x)` is multiplied with.
    pub scale: f32,
    /// `A`, row-major, `[rank, inputs]`.
    pub a: Vec<f32>,
    /// `B`, row-major, `[outputs, rank]`.
    pub b: Vec<f32>,
    /// Rank.
    pub rank: usize,
    /// Numbers going in.
    pub inputs: usize,
    /// Numbers coming out.
    pub outputs: usize,
}

/// An adapter.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// Its rank, as configured; single changes may have another.
    pub rank: usize,
    /// The changes, by layer and projection.
    pub factors: BTreeMap<(usize, Projection), Factors>,
    /// What it was taught.
    pub manifest: AdapterManifest,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    peft_type: String,
    r: usize,
    lora_alpha: f64,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    rank_pattern: Pattern<usize>,
    #[serde(default)]
    alpha_pattern: Pattern<f64>,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    base_model_name_or_path: Option<String>,
}

/// The manifest beside an adapter's weights, or what is assumed of one without.
///
/// # Errors
/// There is a manifest, and it cannot be read.
pub fn read_manifest(folder: &Path) -> Result<AdapterManifest, AdapterError> {
    let path = folder.join("manifest.json");
    if path.exists() {
        return Ok(read_json(&path)?);
    }
    let config: Config = read_json(&folder.join("adapter_config.json"))?;
    Ok(AdapterManifest::unknown(config.base_model_name_or_path.as_deref().unwrap_or("")))
}

impl Adapter {
    /// Reads an adapter for a base of which `shape` tells the `(outputs, inputs)` of every projection.
    ///
    /// # Errors
    /// A file is missing or damaged, the adapter is of a kind we do not apply, or a tensor does not fit.
    pub fn open(
        folder: &Path,
        shape: impl Fn(usize, Projection) -> Option<(usize, usize)>,
    ) -> Result<Self, AdapterError> {
        let config_path = folder.join("adapter_config.json");
        let config: Config = read_json(&config_path)?;
        if let Some(reason) = unsupported(&config) {
            return Err(AdapterError::Unsupported { path: config_path, reason });
        }
        let path = weights_path(folder);
        let factors = read_factors(&path, &config, shape)?;
        Ok(Self { rank: config.r, factors, manifest: read_manifest(folder)? })
    }
}

fn unsupported(config: &Config) -> Option<String> {
    if !config.peft_type.is_empty() && config.peft_type != "LORA" {
        return Some(format!("it is a {} adapter; only LORA is applied", config.peft_type));
    }
    if config.r == 0 || config.r > MAX_RANK {
        return Some(format!("its rank is {}; it must be 1 to {MAX_RANK}", config.r));
    }
    if !config.lora_alpha.is_finite() || config.alpha_pattern.values().any(|alpha| !alpha.is_finite()) {
        return Some("its lora_alpha is no number".into());
    }
    if let Some(rank) = config.rank_pattern.values().find(|rank| !(1..=MAX_RANK).contains(*rank)) {
        return Some(format!("its rank_pattern has the rank {rank}; it must be 1 to {MAX_RANK}"));
    }
    for (name, odd) in [("rank_pattern", config.rank_pattern.odd()), ("alpha_pattern", config.alpha_pattern.odd())] {
        if let Some(odd) = odd {
            return Some(format!("its {name} has the expression \"{odd}\", which is not understood here"));
        }
    }
    if config.use_dora {
        return Some("it uses DoRA (use_dora), which is not applied; merge it into its base first".into());
    }
    match config.bias.as_deref() {
        None | Some("none") => None,
        Some(bias) => {
            Some(format!("it trains biases (bias: {bias}), which are not applied; merge it into its base first"))
        }
    }
}

fn weights_path(folder: &Path) -> PathBuf {
    let (path, other) = (folder.join("adapter_model.safetensors"), folder.join("adapter_model.bin"));
    if !path.is_file() && other.is_file() { other } else { path }
}

/// Either factor of a pair, as found in the file.
#[derive(Default)]
struct Pair {
    a: Option<(String, Vec<usize>, Vec<f32>)>,
    b: Option<(String, Vec<usize>, Vec<f32>)>,
}

fn read_factors(
    path: &Path,
    config: &Config,
    shape: impl Fn(usize, Projection) -> Option<(usize, usize)>,
) -> Result<BTreeMap<(usize, Projection), Factors>, AdapterError> {
    let damaged = |reason: String| HuggingFaceError::Damaged { path: path.into(), reason };
    let misfit =
        |tensor: &str, reason: String| AdapterError::DoesNotFit { path: path.into(), tensor: tensor.into(), reason };
    let map = Mapped::open(path).map_err(|source| AdapterError::Io { path: path.into(), source })?;
    let mut pairs: BTreeMap<(usize, Projection), Pair> = BTreeMap::new();
    for StoredTensor { name, format, shape: dimensions, from, to } in stored_tensors(map.bytes(), path)? {
        let Some((layer, projection, is_a)) = parse_name(&name) else {
            return Err(misfit(&name, "changes a part of the model that adapters cannot change here".into()));
        };
        let Some((outputs, inputs)) = shape(layer, projection) else {
            return Err(misfit(&name, format!("belongs to layer {layer}, which the base does not have")));
        };
        // Before memory is taken for it: many names may stand for the same bytes.
        let (fits, needed) = match (dimensions.as_slice(), is_a) {
            ([rank, columns], true) => (*columns == inputs && *rank <= MAX_RANK, format!("[rank, {inputs}]")),
            ([rows, rank], false) => (*rows == outputs && *rank <= MAX_RANK, format!("[{outputs}, rank]")),
            (_, true) => (false, format!("[rank, {inputs}]")),
            (_, false) => (false, format!("[{outputs}, rank]")),
        };
        if !fits {
            return Err(misfit(&name, format!("is {dimensions:?}, the base needs {needed}")));
        }
        let Some(format) = format else {
            return Err(HuggingFaceError::Unsupported { path: path.into(), tensor: name }.into());
        };
        let mut numbers = vec![0.0; dimensions.iter().product()];
        format.dequantize(map.bytes().get(from..to).unwrap_or_default(), &mut numbers);
        if numbers.iter().any(|x| !x.is_finite()) {
            return Err(damaged(format!("tensor {name} holds numbers that are not finite")).into());
        }
        let pair = pairs.entry((layer, projection)).or_default();
        let half = if is_a { &mut pair.a } else { &mut pair.b };
        *half = Some((name, dimensions, numbers));
    }
    if pairs.is_empty() {
        return Err(damaged("it holds no tensors".into()).into());
    }
    let mut factors = BTreeMap::new();
    for ((layer, projection), pair) in pairs {
        let (outputs, inputs) = shape(layer, projection).unwrap_or_default();
        let ((a_name, a_shape, a), (b_name, b_shape, b)) = match (pair.a, pair.b) {
            (Some(a), Some(b)) => (a, b),
            (Some((name, ..)), None) | (None, Some((name, ..))) => {
                return Err(misfit(&name, "has no counterpart: lora_A and lora_B must both be there".into()));
            }
            (None, None) => continue,
        };
        let rank = a_shape.first().copied().unwrap_or(0);
        if rank == 0 {
            return Err(misfit(&a_name, format!("is {a_shape:?}, a rank of at least 1 is needed")));
        }
        if b_shape != [outputs, rank] {
            return Err(misfit(&b_name, format!("is {b_shape:?}, the base needs [{outputs}, {rank}]")));
        }
        let module = format!("model.layers.{layer}.{}", projection.path());
        let configured = config.rank_pattern.of(&module).copied().unwrap_or(config.r);
        if rank != configured {
            return Err(misfit(&a_name, format!("has the rank {rank}, its configuration says {configured}")));
        }
        let alpha = config.alpha_pattern.of(&module).copied().unwrap_or(config.lora_alpha);
        let divisor = if config.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
        let scale = (alpha / divisor) as f32;
        factors.insert((layer, projection), Factors { scale, a, b, rank, inputs, outputs });
    }
    Ok(factors)
}

/// Layer, projection and factor of `base_model.model.model.layers.3.mlp.up_proj.lora_A.weight`.
fn parse_name(name: &str) -> Option<(usize, Projection, bool)> {
    let rest = name.split_once("layers.")?.1;
    let (layer, rest) = rest.split_once('.')?;
    let projection = Projection::ALL.into_iter().find(|p| rest.starts_with(p.path()))?;
    let factor = rest.strip_prefix(projection.path())?;
    let is_a = match factor {
        ".lora_A.weight" | ".lora_A.default.weight" => true,
        ".lora_B.weight" | ".lora_B.default.weight" => false,
        _ => return None,
    };
    Some((layer.parse().ok()?, projection, is_a))
}

/// Whether a folder holds an adapter.
pub fn is_adapter(folder: &Path) -> bool {
    fs::metadata(folder.join("adapter_config.json")).is_ok_and(|m| m.is_file())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use safetensors::{Dtype, tensor::TensorView};

    fn write(folder: &Path, config: &str, tensors: &[(&str, [usize; 2])]) {
        fs::write(folder.join("adapter_config.json"), config).unwrap();
        let zeros = vec![0u8; 4096];
        let views = tensors.iter().map(|(name, shape)| {
            (*name, TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..shape[0] * shape[1] * 4]).unwrap())
        });
        fs::write(folder.join("adapter_model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    }

    fn open(folder: &Path) -> Result<Adapter, AdapterError> {
        Adapter::open(folder, |layer, p| (layer < 2).then_some(if p == Projection::Down { (8, 16) } else { (16, 8) }))
    }

    const A: &str = "base_model.model.model.layers.1.mlp.down_proj.lora_A.weight";
    const B: &str = "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight";
    const CONFIG: &str = r#"{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "some-base"}"#;

    #[test]
    fn an_adapter_without_manifest_is_unknown_and_scaled() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), CONFIG, &[(A, [4, 16]), (B, [8, 4])]);
        let adapter = open(dir.path()).unwrap();
        assert_eq!(adapter.rank, 4);
        assert_eq!(adapter.manifest, AdapterManifest::unknown("some-base"));
        let f = &adapter.factors[&(1, Projection::Down)];
        assert_eq!((f.scale, f.rank, f.inputs, f.outputs, f.a.len(), f.b.len()), (2.0, 4, 16, 8, 64, 32));

        write(dir.path(), r#"{"r": 4, "lora_alpha": 8, "use_rslora": true}"#, &[(A, [4, 16]), (B, [8, 4])]);
        assert_eq!(open(dir.path()).unwrap().factors[&(1, Projection::Down)].scale, 4.0);
    }

    #[test]
    fn layers_may_have_ranks_and_scales_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let config = r#"{"r": 4, "lora_alpha": 8, "rank_pattern": {"down_proj": 2}, "alpha_pattern": {"layers.0.mlp.down_proj": 3}}"#;
        let first = |name: &str| name.replace(".1.", ".0.");
        let up = |name: &str| name.replace("down_proj", "up_proj");
        write(
            dir.path(),
            config,
            &[
                (A, [2, 16]),
                (B, [8, 2]),
                (&first(A), [2, 16]),
                (&first(B), [8, 2]),
                (&up(A), [4, 8]),
                (&up(B), [16, 4]),
            ],
        );
        let factors = open(dir.path()).unwrap().factors;
        let of = |layer, p| (factors[&(layer, p)].rank, factors[&(layer, p)].scale);
        assert_eq!(of(1, Projection::Down), (2, 4.0));
        assert_eq!(of(0, Projection::Down), (2, 1.5));
        assert_eq!(of(1, Projection::Up), (4, 2.0));

        write(dir.path(), config, &[(A, [4, 16]), (B, [8, 4])]);
        let error = open(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with(&format!("tensor {A} has the rank 4, its configuration says 2")), "{error}");
    }

    #[test]
    fn misfits_name_the_tensor_and_both_shapes() {
        let dir = tempfile::tempdir().unwrap();
        let error = |tensors: &[(&str, [usize; 2])]| {
            write(dir.path(), CONFIG, tensors);
            open(dir.path()).unwrap_err().to_string()
        };
        assert!(
            error(&[(A, [4, 12]), (B, [8, 4])])
                .ends_with(&format!("does not fit the base: tensor {A} is [4, 12], the base needs [rank, 16]"))
        );
        assert!(error(&[(A, [4, 16]), (B, [9, 4])]).ends_with("is [9, 4], the base needs [8, rank]"));
        assert!(error(&[(A, [4, 16])]).contains("has no counterpart"));
        assert!(
            error(&[(&A.replace(".1.", ".2."), [4, 16])]).contains("belongs to layer 2, which the base does not have")
        );
        assert!(
            error(&[("base_model.model.lm_head.lora_A.weight", [4, 16])])
                .contains("lm_head.lora_A.weight changes a part")
        );
    }

    #[test]
    fn kinds_that_are_not_applied_are_named() {
        let dir = tempfile::tempdir().unwrap();
        for (config, words) in [
            (r#"{"peft_type": "LOHA", "r": 4, "lora_alpha": 8}"#, "LOHA"),
            (r#"{"r": 0, "lora_alpha": 8}"#, "its rank is 0"),
            (r#"{"r": 4, "lora_alpha": 8, "use_dora": true}"#, "DoRA"),
            (r#"{"r": 4, "lora_alpha": 8, "bias": "all"}"#, "bias"),
            (r#"{"r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 0}}"#, "the rank 0"),
            (r#"{"r": 4, "lora_alpha": 8, "alpha_pattern": {"(?=q)q_proj": 1}}"#, "the expression \"(?=q)q_proj\""),
            ("{", "is damaged or something else"),
        ] {
            write(dir.path(), config, &[(A, [4, 16]), (B, [8, 4])]);
            assert!(open(dir.path()).unwrap_err().to_string().contains(words), "{config}");
        }
        fs::write(dir.path().join("adapter_config.json"), CONFIG).unwrap();
        fs::remove_file(dir.path().join("adapter_model.safetensors")).unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("adapter_model.safetensors cannot be read"));
        fs::write(dir.path().join("adapter_model.bin"), "pickle").unwrap();
        assert!(open(dir.path()).unwrap_err().to_string().contains("adapter_model.bin is no PyTorch file, or damaged"));
    }
}
