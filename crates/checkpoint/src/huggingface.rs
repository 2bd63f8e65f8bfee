//! Hugging Face folders: `config.json`, a tokenizer, and weights in safetensors or PyTorch files.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    BlockFormat, PyTorchError, TensorView,
    map::Mapped,
    pytorch::{self, StoredTensor},
    small,
};

/// No JSON file of a model folder is larger; tokenizers with big vocabularies reach some 20 MB.
const MAX_JSON: u64 = 256 << 20;

/// What is wrong with a model folder.
#[derive(Debug, thiserror::Error)]
pub enum HuggingFaceError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is not what its name says.
    #[error("{path} is damaged or something else: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        reason: String,
    },
    /// A PyTorch file cannot be used.
    #[error(transparent)]
    PyTorch(#[from] PyTorchError),
    /// There are no weights we read.
    #[error("{path} holds no weights: neither model.safetensors nor pytorch_model.bin, nor an index of either")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A tensor has a number type that weights do not have.
    #[error("{path}: tensor {tensor} has a type that weights do not have; they must be F32, F16 or BF16")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor that the model needs is not there.
    #[error("{path} has no tensor {tensor}: it is no complete model of this architecture")]
    Missing {
        /// The folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
}

/// The part of `config.json` that describes a LLaMA-family model.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Config {
    pub model_type: String,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub num_key_value_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub vocab_size: usize,
    pub max_position_embeddings: usize,
    pub rms_norm_eps: f64,
    pub rope_theta: Option<f64>,
    pub rope_scaling: Option<serde_json::Value>,
    /// What newer folders have in place of `rope_theta` and `rope_scaling`.
    pub rope_parameters: Option<serde_json::Value>,
    pub partial_rotary_factor: Option<f64>,
    pub original_max_position_embeddings: Option<usize>,
    /// `None` where the file says nothing of it, `Some(None)` where it says `null`.
    #[serde(deserialize_with = "said")]
    pub sliding_window: Option<Option<usize>>,
    pub use_sliding_window: bool,
    pub max_window_layers: Option<usize>,
    pub layer_types: Option<Vec<String>>,
    pub hidden_act: Option<String>,
    pub tie_word_embeddings: bool,
    pub bos_token_id: Option<serde_json::Value>,
    pub eos_token_id: Option<serde_json::Value>,
    #[serde(rename = "_name_or_path")]
    pub name_or_path: Option<String>,
}

/// What a file says, `null` included.
fn said<'de, D: serde::Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// The window of Mistral configurations that say nothing of it: transformers leaves out what is as usual.
const MISTRAL_WINDOW: usize = 4096;

/// Layers beyond this are no model's.
const MAX_LAYERS: usize = 1000;

impl Config {
    /// Of each layer, how many positions a row looks at, itself included; none where it looks at all before it. As in
    /// Mistral, Qwen2 and Qwen3 of Hugging Face's transformers. Empty where no layer has such a window.
    ///
    /// # Errors
    /// `layer_types` names another number of layers, or a kind of attention that is not known.
    pub fn windows(&self) -> Result<Vec<Option<usize>>, String> {
        let layers = self.num_hidden_layers.min(MAX_LAYERS);
        let usual = (self.model_type == "mistral").then_some(MISTRAL_WINDOW);
        let width = self.sliding_window.unwrap_or(usual).filter(|width| *width > 0);
        let Some(width) = width else { return Ok(vec![]) };
        let slides: Vec<bool> = match (self.model_type.as_str(), &self.layer_types) {
            ("mistral", _) => vec![true; layers],
            ("qwen2" | "qwen3", None) if self.use_sliding_window => {
                // What their configurations mean where they do not say.
                let full = self.max_window_layers.unwrap_or(28);
                (0..layers).map(|layer| layer >= full).collect()
            }
            ("qwen2" | "qwen3", Some(types)) if self.use_sliding_window => {
                if types.len() != layers {
                    return Err(format!("its layer_types names {} layers, it has {layers}", types.len()));
                }
                let known = ["full_attention", "sliding_attention"];
                if let Some(other) = types.iter().find(|t| !known.contains(&t.as_str())) {
                    return Err(format!(
                        "a layer's attention is \"{other}\"; only full and sliding attention are known"
                    ));
                }
                types.iter().map(|t| t == known[1]).collect()
            }
            _ => return Ok(vec![]),
        };
        Ok(slides.into_iter().map(|slides| slides.then_some(width)).collect())
    }
}

/// A model folder with its shards mapped.
#[derive(Debug)]
pub struct HuggingFace {
    path: PathBuf,
    config: Config,
    shards: Vec<(PathBuf, Mapped)>,
    tensors: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    shard: usize,
    format: BlockFormat,
    rows: usize,
    columns: usize,
    from: usize,
    to: usize,
}

impl HuggingFace {
    /// Reads the configuration and maps every shard.
    ///
    /// # Errors
    /// A file is missing, damaged, or holds number types we do not read.
    pub fn open(path: &Path) -> Result<Self, HuggingFaceError> {
        let config: Config = read_json(&path.join("config.json"))?;
        let mut folder = Self { path: path.into(), config, shards: Vec::new(), tensors: BTreeMap::new() };
        for shard in shard_paths(path)? {
            folder.add_shard(shard)?;
        }
        Ok(folder)
    }

    fn add_shard(&mut self, path: PathBuf) -> Result<(), HuggingFaceError> {
        let map = Mapped::open(&path).map_err(|source| HuggingFaceError::Io { path: path.clone(), source })?;
        let shard = self.shards.len();
        for tensor in stored_tensors(map.bytes(), &path)? {
            let Some(format) = tensor.format else {
                // Old exports carry integer or boolean buffers; only weights are asked for.
                continue;
            };
            let columns = tensor.shape.last().copied().unwrap_or(1);
            let rows = tensor.shape.iter().rev().skip(1).fold(1usize, |n, d| n.saturating_mul(*d));
            let StoredTensor { name, from, to, .. } = tensor;
            self.tensors.insert(name, Place { shard, format, rows, columns, from, to });
        }
        self.shards.push((path, map));
        Ok(())
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Says that these bytes of a tensor will not be read soon again: they need not be kept in memory.
    pub fn done_with(&self, bytes: &[u8]) {
        self.shards.iter().for_each(|(_, map)| map.done_with(bytes));
    }

    /// All tensors: name, format, number of weights.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, BlockFormat, usize)> {
        self.tensors.iter().map(|(name, p)| (name.as_str(), p.format, p.rows * p.columns))
    }

    /// A tensor that must be there.
    ///
    /// # Errors
    /// It is not.
    pub fn tensor(&self, name: &str) -> Result<TensorView<'_>, HuggingFaceError> {
        self.find(name).ok_or_else(|| HuggingFaceError::Missing { path: self.path.clone(), tensor: name.into() })
    }

    /// A tensor that may be there.
    pub fn find(&self, name: &str) -> Option<TensorView<'_>> {
        let place = self.tensors.get(name)?;
        let bytes = self.shards.get(place.shard)?.1.bytes().get(place.from..place.to)?;
        Some(TensorView { format: place.format, rows: place.rows, columns: place.columns, bytes })
    }
}

/// The storage format of a safetensors number type.
fn format_of(dtype: Dtype) -> Option<BlockFormat> {
    match dtype {
        Dtype::F32 => Some(BlockFormat::F32),
        Dtype::F16 => Some(BlockFormat::F16),
        Dtype::BF16 => Some(BlockFormat::Bf16),
        _ => None,
    }
}

/// The tensors of a safetensors or PyTorch file, by the bytes of all of it.
pub(crate) fn stored_tensors(bytes: &[u8], path: &Path) -> Result<Vec<StoredTensor>, HuggingFaceError> {
    if path.extension().is_some_and(|e| e == "bin") {
        return Ok(pytorch::tensors(bytes, path)?);
    }
    let start = bytes.as_ptr() as usize;
    let parsed = SafeTensors::deserialize(bytes)
        .map_err(|e| HuggingFaceError::Damaged { path: path.into(), reason: e.to_string() })?;
    let stored = parsed.tensors().into_iter().map(|(name, view)| {
        let from = view.data().as_ptr() as usize - start;
        let (format, shape) = (format_of(view.dtype()), view.shape().to_vec());
        StoredTensor { name, format, shape, from, to: from + view.data().len() }
    });
    Ok(stored.collect())
}

/// Reads a JSON file of bounded size.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, HuggingFaceError> {
    let io = |source| HuggingFaceError::Io { path: path.into(), source };
    let damaged = |reason: String| HuggingFaceError::Damaged { path: path.into(), reason };
    let bytes = small::read(path, MAX_JSON).map_err(|source| match source.kind() {
        io::ErrorKind::FileTooLarge => damaged(format!("a JSON file of more than {MAX_JSON} bytes is too large")),
        _ => io(source),
    })?;
    serde_json::from_slice(&bytes).map_err(|e| damaged(e.to_string()))
}

fn shard_paths(folder: &Path) -> Result<Vec<PathBuf>, HuggingFaceError> {
    let is_there = |name: &&str| folder.join(name).is_file();
    let all =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
    let Some(name) = all.iter().find(|name| is_there(name)) else {
        return Err(HuggingFaceError::NoWeights { path: folder.into() });
    };
    let index_path = folder.join(name);
    if !name.ends_with(".json") {
        return Ok(vec![index_path]);
    }
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index: Index = read_json(&index_path)?;
    let mut names: Vec<String> = index.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    if let Some(bad) = names.iter().find(|n| Path::new(n).file_name().is_none_or(|f| f != n.as_str())) {
        return Err(HuggingFaceError::Damaged {
            path: index_path,
            reason: format!("the shard \"{bad}\" is not in the same folder"),
        });
    }
    Ok(names.into_iter().map(|n| folder.join(n)).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;

    use super::*;

    fn save(path: &Path, tensors: &[(&str, Vec<usize>, Vec<f32>)]) {
        let bytes: Vec<Vec<u8>> = tensors.iter().map(|t| t.2.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|(t, b)| (t.0, safetensors::tensor::TensorView::new(Dtype::F32, t.1.clone(), b).unwrap()));
        fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
    }

    #[test]
    fn windows_are_those_of_the_layers_that_slide() {
        let config = |model_type: &str| Config {
            model_type: model_type.into(),
            num_hidden_layers: 3,
            sliding_window: Some(Some(64)),
            ..Config::default()
        };
        assert_eq!(config("mistral").windows().unwrap(), [Some(64); 3]);
        assert!(config("llama").windows().unwrap().is_empty());
        let of = |json: &str| serde_json::from_str::<Config>(json).unwrap().windows().unwrap();
        assert_eq!(of(r#"{"model_type": "mistral", "num_hidden_layers": 1}"#), [Some(4096)]);
        assert!(of(r#"{"model_type": "mistral", "num_hidden_layers": 1, "sliding_window": null}"#).is_empty());
        assert!(of(r#"{"model_type": "qwen2", "num_hidden_layers": 1, "use_sliding_window": true}"#).is_empty());
        let mut qwen = config("qwen2");
        assert!(qwen.windows().unwrap().is_empty(), "it is not asked for");
        qwen.use_sliding_window = true;
        assert_eq!(qwen.windows().unwrap(), [None; 3], "the first 28 look at everything");
        qwen.max_window_layers = Some(1);
        assert_eq!(qwen.windows().unwrap(), [None, Some(64), Some(64)]);
        let types = |t: [&str; 3]| Some(t.map(str::to_owned).to_vec());
        qwen.layer_types = types(["sliding_attention", "full_attention", "sliding_attention"]);
        assert_eq!(qwen.windows().unwrap(), [Some(64), None, Some(64)]);
        qwen.layer_types = types(["full_attention", "full_attention", "chunked_attention"]);
        assert!(qwen.windows().unwrap_err().contains("\"chunked_attention\""));
        qwen.layer_types = Some(vec![]);
        assert_eq!(qwen.windows().unwrap_err(), "its layer_types names 0 layers, it has 3");
    }

    #[test]
    fn shards_of_an_index_are_one_model() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("config.json"), r#"{"model_type": "llama", "hidden_size": 2}"#).unwrap();
        save(&at("a.safetensors"), &[("x", vec![2, 1], vec![1.0, 2.0])]);
        save(&at("b.safetensors"), &[("y", vec![2], vec![3.0, 4.0])]);
        fs::write(
            at("model.safetensors.index.json"),
            r#"{"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}"#,
        )
        .unwrap();
        let model = HuggingFace::open(dir.path()).unwrap();
        assert_eq!(model.config().hidden_size, 2);
        let y = model.tensor("y").unwrap();
        assert_eq!(
            (y.rows, y.columns, y.bytes),
            (1, 2, [3.0f32.to_le_bytes(), 4.0f32.to_le_bytes()].concat().as_slice())
        );
        assert_eq!(model.tensor("x").unwrap().rows, 2);
        assert!(model.tensor("z").unwrap_err().to_string().contains("has no tensor z"));

        fs::write(at("model.safetensors.index.json"), r#"{"weight_map": {"x": "../a.safetensors"}}"#).unwrap();
        assert!(HuggingFace::open(dir.path()).unwrap_err().to_string().contains("is not in the same folder"));
        fs::remove_file(at("model.safetensors.index.json")).unwrap();
        assert!(HuggingFace::open(dir.path()).unwrap_err().to_string().contains("holds no weights"));
    }

    #[test]
    fn a_cut_shard_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("config.json"), "{}").unwrap();
        let path = dir.path().join("model.safetensors");
        save(&path, &[("x", vec![2, 1], vec![1.0, 2.0])]);
        let bytes = fs::read(&path).unwrap();
        for length in [3, 20, bytes.len() - 1] {
            fs::write(&path, &bytes[..length]).unwrap();
            assert!(HuggingFace::open(dir.path()).unwrap_err().to_string().contains("is damaged or something else"));
        }
    }
}
