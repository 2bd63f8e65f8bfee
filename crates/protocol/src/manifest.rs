//! What is known of a model and of an adapter beside its weights.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    format::{Asking, TaughtFormat},
    params::ParameterPatch,
    text::Language,
};

/// What to extract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Task {
    /// Named entities.
    #[serde(rename = "ner")]
    Entities,
    /// Relations between entities.
    #[serde(rename = "re")]
    Relations,
    /// Events with triggers and arguments.
    #[serde(rename = "ee")]
    Events,
}

impl Task {
    /// All three, in the order the page shows them.
    pub const ALL: [Self; 3] = [Self::Entities, Self::Relations, Self::Events];

    /// The code used in manifests and stored with runs: `ner`, `re`, `ee`.
    pub fn code(self) -> &'static str {
        match self {
            Self::Entities => "ner",
            Self::Relations => "re",
            Self::Events => "ee",
        }
    }

    /// The inverse of [`Task::code`].
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.code() == code)
    }
}

/// A name in both languages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Title {
    /// English.
    pub en: String,
    /// Chinese.
    pub zh: String,
}

impl Title {
    /// The name in a language.
    pub fn in_language(&self, language: Language) -> &str {
        language.pick(&self.en, &self.zh)
    }
}

/// A schema the adapter was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taught {
    /// Short name, unique in the manifest.
    pub name: String,
    /// Name for people.
    pub title: Title,
    /// What it extracts.
    pub task: Task,
    /// Language of the instruction and of the texts.
    pub language: Language,
    /// Entity types, relation names or event types, in the taught order.
    pub types: Vec<String>,
    /// Argument roles, for events.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// The exact instruction it was trained on.
    pub instruction: String,
    /// How many training examples it saw.
    pub examples: u32,
    /// Micro F1 on held-out texts of the same set, in percent.
    pub dev_f1: f64,
    /// Too weak to rely on; the page says so.
    #[serde(default)]
    pub experimental: bool,
}

/// What an adapter was taught; lies beside its weights as `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterManifest {
    /// Name of the base it was trained on.
    pub base_model: String,
    /// sha256 of the base's file, when it was trained on exactly one.
    #[serde(default)]
    pub base_file_sha256: Option<String>,
    /// The prompt template: `alpaca`, or `llama-2` for `[INST] … [/INST]`. The format `oneke-json` brings the latter along.
    #[serde(default = "alpaca")]
    pub template: String,
    /// Whether the prompt begins with the model's BOS token.
    #[serde(default)]
    pub add_bos: bool,
    /// The token that ends an answer, in words; the model's own when empty.
    #[serde(default)]
    pub end_token: Option<String>,
    /// The answer format by name, `"oneke-json"`, or one for each task code, `{"re": "json"}`; `tuples` where none is
    /// named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<TaughtFormat>,
    /// The exact punctuation of tuples for each task code and language code, and `nothing_found`.
    #[serde(default)]
    pub formats: BTreeMap<String, BTreeMap<String, String>>,
    /// Default decoding.
    #[serde(default)]
    pub decoding: ParameterPatch,
    /// For each language code: how long the texts usually were that it was trained on, in code points. Longer texts are
    /// extracted in parts of that length, a sentence up to twice as long; without a number here, in parts as long as
    /// the model can read.
    #[serde(default)]
    pub taught_chars: BTreeMap<String, usize>,
    /// For each task code: the most types to ask for at once; larger schemas are asked in groups. Where it is not said, as
    /// many as the format was taught with: any number, of `oneke-json` 6 entity types and 4 relations or events.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub group: BTreeMap<String, usize>,
    /// The schemas it was trained on.
    #[serde(default)]
    pub taught: Vec<Taught>,
}

fn alpaca() -> String {
    "alpaca".into()
}

impl AdapterManifest {
    /// The manifest of an adapter that has none: alpaca template, published defaults, nothing taught.
    pub fn unknown(base_model: &str) -> Self {
        Self {
            base_model: base_model.into(),
            base_file_sha256: None,
            template: alpaca(),
            add_bos: true,
            end_token: None,
            format: None,
            formats: BTreeMap::new(),
            decoding: ParameterPatch::default(),
            taught_chars: BTreeMap::new(),
            group: BTreeMap::new(),
            taught: Vec::new(),
        }
    }

    /// The taught schema of this name.
    pub fn schema(&self, name: &str) -> Option<&Taught> {
        self.taught.iter().find(|t| t.name == name)
    }
}

/// What to ask for: a taught schema's types, or some of them, or others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChoice {
    /// What to extract.
    pub task: Task,
    /// Language of the instruction.
    pub language: Language,
    /// Entity types, relation names or event types.
    pub types: Vec<String>,
    /// Argument roles, for events.
    #[serde(default)]
    pub roles: Vec<String>,
    /// How to ask, where that is not the adapter's own way.
    #[serde(default, skip_serializing_if = "Asking::is_default")]
    pub asking: Asking,
}

/// A model we know by name: where it comes from and how it decodes best.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModelEntry {
    /// The checkpoint's name, as shown.
    pub name: String,
    /// File name below `models/`.
    pub file: String,
    /// Checksum of the file.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
    /// Its licence.
    pub license: String,
    /// Where it comes from: a Python package that holds the file.
    pub package: PackageSource,
    /// Decoding that suits it in pretrain mode.
    #[serde(default)]
    pub pretrain: ParameterPatch,
    /// Decoding that suits it in LoRA mode, below an adapter's own.
    #[serde(default)]
    pub lora: ParameterPatch,
    /// Name of the adapter LoRA mode uses by default.
    #[serde(default)]
    pub adapter: Option<String>,
}

/// A file inside a Python package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSource {
    /// Package name.
    pub name: String,
    /// Package version.
    pub version: String,
}

/// A text the pages offer to try, with what the shipped model must find in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Example {
    /// Name for people.
    pub title: Title,
    /// Name of the taught schema it is asked with.
    pub schema: String,
    /// The text.
    pub text: String,
    /// Where the text is from.
    pub source: String,
    /// Words that must be among the records; the tests ask the model.
    pub finds: Vec<String>,
}
