//! Work on model files as the page shows it: asked for, waiting, on its way, done.

use serde::{Deserialize, Serialize};

use crate::text::Sentence;

/// What can be done to model files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Another form: a folder of Hugging Face's or PyTorch's files, or a GGUF file.
    #[default]
    Convert,
    /// Eight to four bits a number.
    Quantize,
    /// A base and adapters as one model.
    Merge,
    /// A tuned model out of the original and a difference.
    Recover,
    /// What tuning changed.
    Diff,
    /// Whether files are whole and the ones they are meant to be.
    Verify,
    /// What a file or folder holds.
    Inspect,
    /// From a hub.
    Download,
    /// How well a model foretells a text.
    Perplexity,
    /// The whole road: original weights, difference and adapter to a folder that can be served.
    Setup,
}

impl Operation {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 10] = [
        Self::Convert,
        Self::Quantize,
        Self::Merge,
        Self::Recover,
        Self::Diff,
        Self::Inspect,
        Self::Verify,
        Self::Perplexity,
        Self::Download,
        Self::Setup,
    ];

    /// The name in addresses, which is that of the command too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Convert => "convert",
            Self::Quantize => "quantize",
            Self::Merge => "merge",
            Self::Recover => "recover",
            Self::Diff => "diff",
            Self::Verify => "verify",
            Self::Inspect => "inspect",
            Self::Download => "download",
            Self::Perplexity => "perplexity",
            Self::Setup => "setup",
        }
    }

    /// The inverse of [`Operation::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    /// Whether it writes a model.
    pub fn writes(self) -> bool {
        matches!(self, Self::Convert | Self::Quantize | Self::Merge | Self::Recover | Self::Diff | Self::Setup)
    }
}

/// What a person entered, word for word: the fields of the page's form. Those that an operation does not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobRequest {
    /// What to do.
    pub operation: Operation,
    /// The model; of `recover`, `diff` and `setup` the one that was tuned, of `merge` the base, of `download` what to fetch.
    pub input: String,
    /// Of `recover` and `setup` the difference, of `diff` the tuned model, of `verify` a list of checksums.
    pub other: String,
    /// Of `merge`: an adapter in each line, `NAME` or `NAME=WEIGHT`; of `setup`: the one adapter, or nothing.
    pub adapters: String,
    /// The form of the result: `hf`, `pytorch` or `gguf`; of `quantize` also `gptq`.
    pub to: String,
    /// What numbers are stored as; empty for as they are.
    pub dtype: String,
    /// The name of the result; empty for one made of the model's.
    pub out: String,
    /// Of `quantize`: `on` to measure no perplexity.
    pub quick: String,
    /// Of `verify`: the published model whose checksums are meant.
    pub known: String,
    /// Of `download`: `base` or `adapter` for that part alone.
    pub part: String,
    /// Of `download` and `setup`: another hub.
    pub mirror: String,
    /// The longest file of a folder, such as `5GB`.
    pub shard: String,
    /// Of `quantize`: `on` to round with a calibration text.
    pub gptq: String,
    /// Of `quantize` with that: the file of the text; empty for the one that is built in.
    pub calibration: String,
    /// Of `quantize` and `perplexity`: the file of the text that is scored; empty for the one that is built in.
    pub text: String,
    /// Of `setup`: `on` to merge the adapter into the base.
    pub merged: String,
    /// Of `download`: patterns of the names that are fetched; any of use without them.
    pub include: String,
    /// Of `download`: patterns of the names that are not fetched.
    pub exclude: String,
    /// Of `download`: branch, tag or commit.
    pub revision: String,
}

impl JobRequest {
    /// The fields' names, in the form and in addresses.
    pub const FIELDS: [&str; 18] = [
        "input",
        "other",
        "adapters",
        "to",
        "dtype",
        "out",
        "quick",
        "known",
        "part",
        "mirror",
        "shard",
        "gptq",
        "calibration",
        "text",
        "merged",
        "include",
        "exclude",
        "revision",
    ];

    /// One that asks for an operation and nothing else yet.
    pub fn new(operation: Operation) -> Self {
        Self { operation, ..Self::default() }
    }

    /// A field by its name; nothing for a name that is none.
    pub fn field(&self, name: &str) -> &str {
        match name {
            "input" => &self.input,
            "other" => &self.other,
            "adapters" => &self.adapters,
            "to" => &self.to,
            "dtype" => &self.dtype,
            "out" => &self.out,
            "quick" => &self.quick,
            "known" => &self.known,
            "part" => &self.part,
            "mirror" => &self.mirror,
            "shard" => &self.shard,
            "gptq" => &self.gptq,
            "calibration" => &self.calibration,
            "text" => &self.text,
            "merged" => &self.merged,
            "include" => &self.include,
            "exclude" => &self.exclude,
            "revision" => &self.revision,
            _ => "",
        }
    }

    /// Sets a field by its name; a name that is none is passed over.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let field = match name {
            "input" => &mut self.input,
            "other" => &mut self.other,
            "adapters" => &mut self.adapters,
            "to" => &mut self.to,
            "dtype" => &mut self.dtype,
            "out" => &mut self.out,
            "quick" => &mut self.quick,
            "known" => &mut self.known,
            "part" => &mut self.part,
            "mirror" => &mut self.mirror,
            "shard" => &mut self.shard,
            "gptq" => &mut self.gptq,
            "calibration" => &mut self.calibration,
            "text" => &mut self.text,
            "merged" => &mut self.merged,
            "include" => &mut self.include,
            "exclude" => &mut self.exclude,
            "revision" => &mut self.revision,
            _ => return,
        };
        *field = value.into();
    }
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedJob {
    /// The field, as in [`JobRequest::FIELDS`].
    pub field: String,
    /// What is wrong with it, and what to do.
    pub sentence: Sentence,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Another one is before it.
    Waiting,
    /// Being worked on.
    Running,
    /// Stopped by a person; it can go on.
    Stopped,
    /// Ended as it should.
    Done,
    /// It could not be done.
    Failed,
}

impl JobState {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Stopped, Self::Done, Self::Failed];

    /// The name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The inverse of [`JobState::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether something will still happen by itself.
    pub fn is_going(self) -> bool {
        matches!(self, Self::Waiting | Self::Running)
    }
}

/// A part of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Files are opened.
    #[default]
    Opening,
    /// Files are written.
    Writing,
    /// The result is compared with what it was made of.
    Comparing,
    /// The perplexity of the original is measured.
    Before,
    /// The perplexity of the result is measured.
    After,
    /// Checksums are computed.
    Checking,
    /// Files come from the hub.
    Fetching,
    /// Layers are rounded with a calibration text.
    Rounding,
    /// A text is scored.
    Scoring,
}

impl Phase {
    /// Whether its progress counts bytes; else pieces of a text, or layers.
    pub fn counts_bytes(self) -> bool {
        !matches!(self, Self::Before | Self::After | Self::Rounding | Self::Scoring)
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// What is being done.
    pub phase: Phase,
    /// Bytes or pieces that are done.
    pub done: u64,
    /// All of them; 0 while that is not known.
    pub total: u64,
    /// Bytes or pieces a second, once that can be told.
    pub per_second: Option<f64>,
    /// Seconds that this part still takes.
    pub seconds_left: Option<f64>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its id.
    pub id: String,
    /// What was asked for.
    pub request: JobRequest,
    /// Where it is.
    pub state: JobState,
    /// Jobs that are before it, of one that waits.
    pub before: usize,
    /// How far it is; of a stopped one, how far it was.
    pub progress: Option<JobProgress>,
    /// What is worth knowing of it.
    pub notes: Vec<Sentence>,
    /// Why it failed, or was stopped by the program.
    pub error: Option<Sentence>,
    /// The place of what it writes.
    pub place: Option<String>,
    /// What came of it. In lists only whether it is right, of a verification.
    pub outcome: Option<Outcome>,
    /// When it was asked for, in milliseconds since 1970.
    pub created_at: i64,
    /// Time that was worked on it, in milliseconds.
    pub busy_ms: i64,
}

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

/// What the page of model files shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeightsView {
    /// The folder that results are written to.
    pub folder: String,
    /// What is free on its disk.
    pub free: Option<u64>,
    /// Models that are there.
    pub models: Vec<FoundFiles>,
    /// Adapters that are there.
    pub adapters: Vec<FoundFiles>,
    /// Published models that can be fetched: name and title.
    pub published: Vec<(String, String)>,
    /// Published models that have checksums.
    pub with_sums: Vec<String>,
    /// The jobs, the newest first.
    pub jobs: Vec<JobView>,
    /// What is wrong with what was entered.
    pub refused: Option<RefusedJob>,
}

/// A model or adapter that lies where those are sought.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFiles {
    /// Its name there.
    pub name: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Whether it lies in the data folder of this server.
    pub own: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_set_and_read_by_its_name() {
        let mut request = JobRequest::new(Operation::Merge);
        for name in JobRequest::FIELDS {
            request.set(name, name);
        }
        assert!(JobRequest::FIELDS.iter().all(|name| request.field(name) == *name), "{request:?}");
        request.set("nothing", "x");
        assert_eq!(request.field("nothing"), "");
        assert_eq!(request.operation, Operation::Merge);
    }

    #[test]
    fn names_lead_back_to_what_they_name() {
        assert!(Operation::ALL.iter().all(|o| Operation::from_name(o.name()) == Some(*o)));
        assert!(JobState::ALL.iter().all(|s| JobState::from_name(s.name()) == Some(*s)));
        assert_eq!(Operation::from_name("nothing"), None);
    }
}
