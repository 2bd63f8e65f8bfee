//! A model's tokenizer as data: what its vocabulary is, and how text is cut by it. Read from `tokenizer.model`,
//! `tokenizer.json` or a GGUF file; written as `tokenizer.json` or as metadata of a GGUF file.

mod gguf;
mod pieces;
mod ranks;
mod read_json;
mod write_json;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{HuggingFaceError, SentencePieceError, sentencepiece::PieceKind};

/// Why a tokenizer was not converted.
#[derive(Debug, thiserror::Error)]
pub enum VocabularyError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A JSON file cannot be used.
    #[error(transparent)]
    Json(#[from] HuggingFaceError),
    /// A SentencePiece model cannot be used.
    #[error(transparent)]
    SentencePiece(#[from] SentencePieceError),
    /// It is of a kind that cannot be converted.
    #[error("the tokenizer of {path} cannot be converted: {reason}")]
    Unsupported {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A file of a tokenizer that is longer is none: the largest vocabularies make some 10 MB.
const MAX_FILE: u64 = 64 << 20;
/// Numbers without an entry, which are filled up: a few thousand at most, for adapters and round sizes.
const MAX_UNUSED: usize = 1 << 16;
/// Bytes of an entry that can be made of two others. The longest of published vocabularies are runs of 128 spaces.
const MAX_ENTRY: usize = 512;
/// Ways to make an entry of two others, for each entry: published vocabularies have two or three.
const MAX_WAYS: usize = 32;

/// That there are not too many merges for so many entries; each takes memory.
fn few_ways(merges: usize, entries: usize) -> Result<(), String> {
    if merges <= (entries + MAX_WAYS) * MAX_WAYS {
        return Ok(());
    }
    Err(format!("its {entries} entries can be made of each other in far more ways than those of any real vocabulary"))
}

/// An entry of the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its text, as the vocabulary writes it.
    pub text: String,
    /// How soon it is merged: the greatest first. Zero where merges say it.
    pub score: f32,
    /// What it is for.
    pub kind: PieceKind,
}

/// How text is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cutting {
    /// Into bytes, after it was split in a way that GGUF files have this name for.
    Bytes(&'static str),
    /// Into characters, spaces as `▁`.
    Pieces {
        /// Whether a space is put before a text.
        space_before: bool,
    },
}

/// A tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Vocabulary {
    /// The entries; a place is a token's number.
    pub entries: Vec<Entry>,
    /// What is merged, the first first.
    pub merges: Vec<(String, String)>,
    /// How text is cut.
    pub cutting: Cutting,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// What text without an entry becomes.
    pub unknown: Option<u32>,
    /// What fills up shorter texts.
    pub padding: Option<u32>,
    /// Whether a text begins with `bos`.
    pub add_bos: bool,
    /// Whether a text ends with `eos`.
    pub add_eos: bool,
    /// How a conversation becomes text.
    pub chat_template: Option<String>,
}

impl Vocabulary {
    fn new(entries: Vec<Entry>, cutting: Cutting) -> Self {
        Self {
            entries,
            merges: vec![],
            cutting,
            bos: None,
            eos: None,
            unknown: None,
            padding: None,
            add_bos: false,
            add_eos: false,
            chat_template: None,
        }
    }

    /// The tokenizer of a folder; `None` when it has none.
    ///
    /// # Errors
    /// It cannot be read, or is of a kind that cannot be converted.
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, VocabularyError> {
        let (json, model) = (folder.join("tokenizer.json"), folder.join("tokenizer.model"));
        let mut vocabulary = match (json.is_file(), model.is_file()) {
            (true, true) => {
                let json = Self::from_tokenizer_json(&json)?;
                // What there were scores for is better known than what merges tell.
                let scored = Self::from_tokenizer_model(&model).ok();
                let fits =
                    |s: &Self| matches!(json.cutting, Cutting::Pieces { .. }) && s.entries.len() <= json.entries.len();
                match scored.filter(fits) {
                    Some(scored) => json.with_scores(&scored),
                    None => json,
                }
            }
            (true, false) => Self::from_tokenizer_json(&json)?,
            (false, true) => Self::from_tokenizer_model(&model)?,
            (false, false) => return Ok(None),
        };
        vocabulary.read_settings(folder)?;
        Ok(Some(vocabulary))
    }

    /// The tokenizer of a `tokenizer.model`: SentencePiece's, or the list of ranks of LLaMA 3.
    ///
    /// # Errors
    /// It cannot be read, or is of a kind that cannot be converted.
    pub fn from_tokenizer_model(path: &Path) -> Result<Self, VocabularyError> {
        if ranks::is_list(path) { ranks::read(path) } else { pieces::read(path) }
    }

    fn with_scores(mut self, scored: &Self) -> Self {
        for (entry, with) in self.entries.iter_mut().zip(&scored.entries) {
            if entry.text == with.text {
                entry.score = with.score;
            }
        }
        self
    }

    /// Whether a text is cut into bytes: the list of ranks of LLaMA 3 makes such a vocabulary.
    pub(super) fn is_of_bytes(&self) -> bool {
        matches!(self.cutting, Cutting::Bytes(_))
    }

    /// The number of an entry.
    pub(super) fn find(&self, text: &str) -> Option<u32> {
        self.entries.iter().position(|e| e.text == text).and_then(|id| u32::try_from(id).ok())
    }

    /// The text of an entry.
    fn text(&self, id: Option<u32>) -> Option<&str> {
        self.entries.get(id? as usize).map(|e| e.text.as_str())
    }
}
