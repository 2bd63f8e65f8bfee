//! What came of jobs.

use serde::{Deserialize, Serialize};

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// A model was written.
    Written(Written),
    /// A model was rounded.
    Quantized(Box<Quantized>),
    /// Files were held against checksums.
    Verified(Verified),
    /// Files were looked into.
    Inspected(Box<Inspected>),
    /// Files came.
    Fetched(Vec<FetchedFile>),
    /// A text was scored.
    Scored(Measured),
}

/// A model that was written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Written {
    /// Its folder or file.
    pub path: String,
    /// How many tensors it has.
    pub tensors: usize,
    /// Bytes of its weights.
    pub bytes: u64,
    /// The sum of all its numbers, as the original system counts it, where it was computed.
    pub sum: Option<f32>,
    /// The published model that has this sum.
    pub known: Option<String>,
    /// The file with the checksums of all tensors.
    pub manifest: String,
    /// SHA-256 of that file.
    pub manifest_sha256: String,
}

/// A model that was rounded, and what that cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantized {
    /// What was written.
    pub written: Written,
    /// The format of most numbers.
    pub dtype: String,
    /// Bytes of the tensors before.
    pub bytes_before: u64,
    /// Bytes of the tensors after.
    pub bytes_after: u64,
    /// The error of each layer, relative to its numbers, where it is one; without a layer what is outside of layers.
    pub layers: Vec<(Option<u64>, Option<f64>)>,
    /// The tensor with the largest error: name, format, error.
    pub worst: Option<(String, String, f64)>,
    /// Where it was rounded with a calibration text: each layer with the error of its outputs, and what it were without.
    #[serde(default)]
    pub outputs: Vec<(usize, f64, f64)>,
    /// Tokens of that text.
    #[serde(default)]
    pub calibration_tokens: usize,
    /// Perplexity of the original.
    pub before: Option<Measured>,
    /// Perplexity of the result.
    pub after: Option<Measured>,
}

/// A perplexity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The value.
    pub value: f64,
    /// One standard error of it.
    pub error: f64,
    /// Tokens that were scored.
    pub tokens: usize,
}

/// What came of verifying.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    /// What was verified.
    pub path: String,
    /// Whether nothing is wrong.
    pub ok: bool,
    /// The published model that it is.
    pub known_as: Option<String>,
    /// Tensors that are right, those that were checked, and the manifest that they were held against.
    pub tensors: Option<(usize, usize, String)>,
    /// Every file.
    pub files: Vec<VerifiedFile>,
    /// What is wrong.
    pub problems: Vec<FileProblem>,
    /// Things that are wrong and not listed.
    pub more: usize,
}

/// A file that was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerifiedFile {
    /// Its name.
    pub file: String,
    /// Its size; none of one that is missing.
    pub bytes: Option<u64>,
    /// What is known of it.
    pub state: FileState,
    /// What it was held against: `md5 of checklist.chk`.
    pub by: Option<String>,
}

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Its checksum is right.
    Right,
    /// It can be read to its end; there is no checksum.
    Readable,
    /// Something is wrong with it.
    Wrong,
    /// It is not there.
    Missing,
}

/// Something that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileProblem {
    /// The file.
    pub file: String,
    /// The tensor, where it is about one.
    pub tensor: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a file or folder holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspected {
    /// What was looked into.
    pub path: String,
    /// `GGUF`, `safetensors`.
    pub kind: String,
    /// The files of weights: name and bytes.
    pub files: Vec<(String, u64)>,
    /// Files that are not listed.
    pub more_files: usize,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// How many tensors there are.
    pub tensors: usize,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// The tensors by how they are stored.
    pub stored: Vec<StoredAs>,
    /// The model's sizes.
    pub model: Option<ModelSizes>,
    /// Of an adapter: its base, rank, alpha, and what it changes.
    pub adapter: Option<[String; 4]>,
    /// The tokenizer: kind, place, tokens.
    pub tokenizer: Option<(String, String, Option<usize>)>,
    /// The tensors; layers that are alike once.
    pub groups: Vec<TensorGroup>,
    /// Tensors that are not listed.
    pub more: usize,
    /// What it takes to run it, per way of loading.
    pub memory: Vec<MemoryNeed>,
    /// Memory of the machine.
    pub machine: Option<u64>,
    /// What is free of it.
    pub free: Option<u64>,
}

/// Tensors that are stored alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredAs {
    /// `Q4_1`.
    pub element: String,
    /// Numbers in them.
    pub numbers: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// The sizes of a model; 0 where it does not tell.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelSizes {
    /// `llama`.
    pub architecture: String,
    /// Layers.
    pub layers: u64,
    /// Numbers between layers.
    pub hidden: u64,
    /// Numbers inside a feed-forward part.
    pub feed_forward: u64,
    /// Heads.
    pub heads: u64,
    /// Heads with keys and values.
    pub kv_heads: u64,
    /// Tokens that it knows.
    pub vocabulary: u64,
    /// Positions that it was made for.
    pub context: u64,
}

/// Tensors outside of layers, or those of layers that are alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorGroup {
    /// `0-29`; nothing for tensors outside of layers.
    pub layers: Option<String>,
    /// How many layers these are.
    pub count: usize,
    /// The tensors of one of them.
    pub tensors: Vec<TensorRow>,
}

/// A tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TensorRow {
    /// Its name, without its layer's.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub element: String,
    /// Bytes that they take.
    pub bytes: u64,
}

/// What it takes to run a model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryNeed {
    /// Bits that the layers' numbers are rounded to while loading; none for as they are stored.
    pub bits: Option<u8>,
    /// Bytes of the weights.
    pub weights: u64,
    /// Bytes of one run that fills the context.
    pub context: u64,
    /// Whether that fits into this machine, where it tells.
    pub fits: Option<bool>,
}

/// A file that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedFile {
    /// Where it is.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Whether its checksum was compared with the hub's.
    pub checked: bool,
    /// Whether it was there already.
    pub was_there: bool,
}
