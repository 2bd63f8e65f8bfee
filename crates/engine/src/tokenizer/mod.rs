//! Text to tokens and back.

mod gguf;
mod pieces;
mod sentencepiece;
mod stream;

use std::path::Path;

use checkpoint::{Gguf, HuggingFace};
pub(crate) use stream::TextStream;

use crate::EngineError;

/// What cuts text into tokens.
enum Inner {
    /// Byte-level BPE, and whatever a `tokenizer.json` describes.
    Described(Box<tokenizers::Tokenizer>),
    SentencePiece(Box<sentencepiece::Encoder>),
}

impl From<tokenizers::Tokenizer> for Inner {
    fn from(tokenizer: tokenizers::Tokenizer) -> Self {
        Self::Described(Box::new(tokenizer))
    }
}

impl From<sentencepiece::Encoder> for Inner {
    fn from(encoder: sentencepiece::Encoder) -> Self {
        Self::SentencePiece(Box::new(encoder))
    }
}

/// A model's tokenizer.
pub(crate) struct Tokenizer {
    inner: Inner,
    /// The bytes each token stands for; none for control tokens.
    pieces: Vec<Box<[u8]>>,
    bos: Option<u32>,
    /// Whether prompts begin with `bos` unless an adapter says otherwise.
    add_bos: bool,
    /// Tokens that end an answer.
    ends: Vec<u32>,
}

impl Tokenizer {
    /// The tokenizer inside a GGUF file.
    pub(crate) fn from_gguf(file: &Gguf) -> Result<Self, EngineError> {
        gguf::build(file.directory()).map_err(|reason| EngineError::Tokenizer { path: file.path().into(), reason })
    }

    /// The `tokenizer.json` of a Hugging Face folder, or its `tokenizer.model`.
    pub(crate) fn from_huggingface(folder: &HuggingFace, vocabulary: usize) -> Result<Self, EngineError> {
        let path = folder.path().join("tokenizer.json");
        let wrong = |reason: String| EngineError::Tokenizer { path: path.clone(), reason };
        if !path.is_file() {
            if folder.path().join("tokenizer.model").is_file() {
                return sentencepiece::from_folder(folder.path(), ids(folder.config().eos_token_id.as_ref()))
                    .map_err(|reason| EngineError::Tokenizer { path: folder.path().into(), reason });
            }
            return Err(wrong("there is no tokenizer.json in the folder, and no tokenizer.model".into()));
        }
        let inner = tokenizers::Tokenizer::from_file(&path).map_err(|e| wrong(e.to_string()))?;
        let pieces = pieces::of_tokenizer(&inner, vocabulary).map_err(wrong)?;
        let config = folder.config();
        let settings = settings(&folder.path().join("tokenizer_config.json"));
        let bos = ids(config.bos_token_id.as_ref()).first().copied();
        let add_bos = settings.get("add_bos_token").and_then(serde_json::Value::as_bool);
        // Without a setting: what the tokenizer's own template does.
        let add_bos = add_bos.unwrap_or_else(|| {
            inner.encode_fast("a", true).is_ok_and(|e| e.get_ids().first().copied() == bos && bos.is_some())
        });
        let ends = ids(config.eos_token_id.as_ref());
        Ok(Self::new(inner.into(), pieces, bos, add_bos, ends))
    }

    fn new(inner: Inner, pieces: Vec<Box<[u8]>>, bos: Option<u32>, add_bos: bool, mut ends: Vec<u32>) -> Self {
        let id = |word: &str| match &inner {
            Inner::Described(tokenizer) => tokenizer.token_to_id(word),
            Inner::SentencePiece(encoder) => encoder.id(word),
        };
        // Chat models end their turn with one of these, whatever the metadata names.
        for word in ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "</s>"] {
            if let Some(id) = id(word).filter(|id| pieces.get(*id as usize).is_some_and(|p| p.is_empty())) {
                ends.push(id);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        Self { inner, pieces, bos, add_bos, ends }
    }

    /// The tokens of a prompt; `add_bos` overrides the model's own habit.
    pub(crate) fn prompt(&self, text: &str, add_bos: Option<bool>) -> Result<Vec<u32>, String> {
        let mut tokens = self.encode(text)?;
        if add_bos.unwrap_or(self.add_bos)
            && let Some(bos) = self.bos
            && tokens.first() != Some(&bos)
        {
            tokens.insert(0, bos);
        }
        Ok(tokens)
    }

    /// The begin token, if these tokens of a prompt begin with it.
    pub(crate) fn begins_with(&self, tokens: &[u32]) -> Option<u32> {
        self.bos.filter(|bos| self.add_bos && tokens.first() == Some(bos))
    }

    /// The tokens of a text, and nothing else.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        match &self.inner {
            Inner::Described(tokenizer) => {
                let encoding = tokenizer.encode_fast(text, false).map_err(|e| e.to_string())?;
                Ok(encoding.get_ids().to_vec())
            }
            Inner::SentencePiece(encoder) => Ok(encoder.encode(text)),
        }
    }

    /// The bytes a token stands for; none for control tokens and unknown numbers.
    pub(crate) fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], |p| p)
    }

    /// The bytes of every token.
    pub(crate) fn pieces(&self) -> &[Box<[u8]>] {
        &self.pieces
    }

    /// The tokens that end an answer.
    pub(crate) fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Whether a token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The number of a token, by its name.
    pub(crate) fn id(&self, token: &str) -> Option<u32> {
        match &self.inner {
            Inner::Described(tokenizer) => tokenizer.token_to_id(token),
            Inner::SentencePiece(encoder) => encoder.id(token),
        }
    }
}

/// One token number or several, as `config.json` has them.
fn ids(value: Option<&serde_json::Value>) -> Vec<u32> {
    let one = |v: &serde_json::Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    match value {
        Some(serde_json::Value::Array(all)) => all.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => vec![],
    }
}

/// A JSON file that need not be there.
fn settings(path: &Path) -> serde_json::Value {
    std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}
