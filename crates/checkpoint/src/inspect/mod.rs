//! What a model file or folder holds: tensors, sizes, configuration, tokenizer, and what it takes to run it.

mod facts;
mod fold;
mod memory;

use std::path::{Path, PathBuf};

pub use facts::{Facts, TokenizerFacts};
pub(crate) use fold::layer_of;
pub use fold::{Group, fold};
pub use memory::{LoadMode, Machine, Needs};
use serde::Serialize;

use crate::{
    small,
    source::{Source, SourceError},
};

/// What was found.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// What was inspected.
    pub path: PathBuf,
    /// What it is written as: `GGUF`, `safetensors`.
    pub kind: &'static str,
    /// The files of weights.
    pub files: Vec<File>,
    /// Numbers in all tensors.
    pub parameters: u64,
    /// Bytes of all tensors.
    pub bytes: u64,
    /// The tensors by how they are stored, the most numbers first.
    pub stored: Vec<Stored>,
    /// The tensors, in the model's order.
    pub tensors: Vec<TensorRow>,
    /// The model's sizes, where a configuration tells them.
    pub model: Option<Facts>,
    /// The tokenizer, where there is one.
    pub tokenizer: Option<TokenizerFacts>,
    /// `adapter_config.json`, where it is an adapter.
    pub adapter: Option<serde_json::Value>,
    /// The configuration as it stands: `config.json`, `params.json`, or the metadata of a GGUF file but for long lists.
    pub config: Option<serde_json::Value>,
    /// What it takes to run it, per way of loading, where it is a model that could be run.
    pub memory: Vec<Needs>,
    /// This machine.
    pub machine: Machine,
}

/// A file.
#[derive(Clone, Debug, Serialize)]
pub struct File {
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

/// Tensors that are stored alike.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// `Q4_1`.
    pub element: &'static str,
    /// How many tensors.
    pub tensors: usize,
    /// Numbers in them.
    pub numbers: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// A tensor.
#[derive(Clone, Debug, Serialize)]
pub struct TensorRow {
    /// Its name.
    pub name: String,
    /// Its dimensions, the slowest first.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub element: &'static str,
    /// How many there are.
    pub numbers: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// The file it is in.
    pub file: String,
}

/// Inspects a file or a folder.
///
/// # Errors
/// It cannot be read, is damaged, or is nothing we know.
pub fn inspect(path: &Path) -> Result<Inspection, SourceError> {
    let source = Source::open(path)?;
    let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let tensors: Vec<TensorRow> = source
        .infos()
        .iter()
        .map(|info| TensorRow {
            name: info.name.clone(),
            shape: info.shape.clone(),
            element: info.element.name(),
            numbers: info.count() as u64,
            bytes: info.bytes() as u64,
            file: source.file_of(&info.name).map(name).unwrap_or_default(),
        })
        .collect();
    let config = facts::config(&source);
    let model = facts::model(&source, config.as_ref());
    let sum = |part: fn(&TensorRow) -> u64| tensors.iter().map(part).fold(0, u64::saturating_add);
    Ok(Inspection {
        path: path.into(),
        kind: source.kind().name(),
        files: source.files().map(|(path, bytes)| File { file: name(path), bytes }).collect(),
        parameters: sum(|t| t.numbers),
        bytes: sum(|t| t.bytes),
        stored: stored(&tensors),
        // What is only listed cannot be run.
        memory: match source.unread() {
            None => model.as_ref().map(|model| memory::needs(&source, model)).unwrap_or_default(),
            Some(_) => vec![],
        },
        machine: Machine::this(),
        tokenizer: facts::tokenizer(&source),
        adapter: small_json(&source.folder().join("adapter_config.json")).filter(|_| path.is_dir()),
        tensors,
        model,
        config,
    })
}

fn stored(tensors: &[TensorRow]) -> Vec<Stored> {
    let mut all: Vec<Stored> = Vec::new();
    for t in tensors {
        match all.iter_mut().find(|s| s.element == t.element) {
            Some(s) => {
                s.tensors += 1;
                s.numbers += t.numbers;
                s.bytes += t.bytes;
            }
            None => all.push(Stored { element: t.element, tensors: 1, numbers: t.numbers, bytes: t.bytes }),
        }
    }
    all.sort_by_key(|s| std::cmp::Reverse(s.numbers));
    all
}

/// A configuration: a JSON file that need not be there.
fn small_json(path: &Path) -> Option<serde_json::Value> {
    serde_json::from_slice(&small::read(path, 4 << 20).ok()?).ok()
}
