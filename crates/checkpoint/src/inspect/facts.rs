//! What a configuration says of a model.

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::small_json;
use crate::{
    gguf::{Directory, Value},
    source::{Kind, Source},
};

/// Lists in the metadata that are longer than this are only counted.
const LONG: usize = 16;

/// The sizes of a model. Zero stands for what is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// `llama`.
    pub architecture: String,
    /// Layers.
    pub layers: u64,
    /// Numbers between layers.
    pub hidden: u64,
    /// Numbers inside a feed-forward part.
    pub feed_forward: u64,
    /// Heads that ask.
    pub heads: u64,
    /// Heads that keep keys and values.
    pub kv_heads: u64,
    /// Numbers of a head.
    pub head_size: u64,
    /// Tokens it knows.
    pub vocabulary: u64,
    /// Positions it was made for.
    pub context: u64,
}

/// The tokenizer that lies with a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenizerFacts {
    /// Where it is: a file's name, or `metadata`.
    pub place: String,
    /// What it is: `BPE`, `SentencePiece`, or as the metadata says.
    pub kind: String,
    /// Tokens that it knows, where that is told.
    pub tokens: Option<usize>,
}

/// The configuration as it stands.
pub(super) fn config(source: &Source) -> Option<Json> {
    if let Some(directory) = source.directory() {
        return Some(metadata(directory));
    }
    let names: &[&str] = if source.kind() == Kind::OriginalLlama { &["params.json"] } else { &["config.json"] };
    names.iter().find_map(|name| small_json(&source.folder().join(name)))
}

fn metadata(directory: &Directory) -> Json {
    let shown = |value: &Value| match value {
        Value::Integer(n) => i64::try_from(*n).map_or_else(|_| json!(n.to_string()), |n| json!(n)),
        Value::Float(x) => json!(x),
        Value::Bool(b) => json!(b),
        Value::Text(text) if text.len() > 4000 => json!(format!("({} bytes)", text.len())),
        Value::Text(text) => json!(text),
        Value::Texts(all) if all.len() <= LONG => json!(all),
        Value::Integers(all) if all.len() <= LONG => json!(all),
        Value::Floats(all) if all.len() <= LONG => json!(all),
        Value::Bytes(all) => json!(format!("({} bytes)", all.len())),
        Value::Texts(all) => json!(format!("({} texts)", all.len())),
        Value::Integers(all) => json!(format!("({} numbers)", all.len())),
        Value::Floats(all) => json!(format!("({} numbers)", all.len())),
    };
    Json::Object(directory.metadata.iter().map(|(key, value)| (key.clone(), shown(value))).collect())
}

/// The sizes of a model.
pub(super) fn model(source: &Source, config: Option<&Json>) -> Option<Facts> {
    let config = config?;
    let number = |key: &str| config.get(key).and_then(Json::as_u64);
    let facts = if let Some(directory) = source.directory() {
        let architecture = directory.text("general.architecture")?;
        let size = |key: &str| directory.integer(&format!("{architecture}.{key}"));
        let (hidden, heads) = (size("embedding_length")?, size("attention.head_count")?);
        Facts {
            architecture: architecture.into(),
            layers: size("block_count")?,
            hidden,
            feed_forward: size("feed_forward_length").unwrap_or(0),
            heads,
            kv_heads: size("attention.head_count_kv").unwrap_or(heads),
            head_size: size("attention.key_length").or(hidden.checked_div(heads)).unwrap_or(0),
            vocabulary: directory.texts("tokenizer.ggml.tokens").map_or(0, |tokens| tokens.len() as u64),
            context: size("context_length").unwrap_or(0),
        }
    } else if source.kind() == Kind::OriginalLlama {
        let (hidden, heads) = (number("dim")?, number("n_heads")?);
        // Its own files do not tell; the embedding does, and the context was always the same.
        let rows = |name: &str| source.infos().iter().find(|i| i.name == name)?.shape.first().copied();
        Facts {
            architecture: "llama".into(),
            layers: number("n_layers")?,
            hidden,
            feed_forward: rows("layers.0.feed_forward.w1.weight").unwrap_or(0) as u64,
            heads,
            kv_heads: number("n_kv_heads").unwrap_or(heads),
            head_size: hidden.checked_div(heads).unwrap_or(0),
            vocabulary: rows("tok_embeddings.weight").unwrap_or(0) as u64,
            context: number("max_seq_len").unwrap_or(2048),
        }
    } else {
        let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
        Facts {
            architecture: config.get("model_type").and_then(Json::as_str).unwrap_or("unknown").into(),
            layers: number("num_hidden_layers")?,
            hidden,
            feed_forward: number("intermediate_size").unwrap_or(0),
            heads,
            kv_heads: number("num_key_value_heads").unwrap_or(heads),
            head_size: number("head_dim").or(hidden.checked_div(heads)).unwrap_or(0),
            vocabulary: number("vocab_size").unwrap_or(0),
            context: number("max_position_embeddings").unwrap_or(2048),
        }
    };
    Some(facts)
}

/// The tokenizer that lies with a model.
pub(super) fn tokenizer(source: &Source) -> Option<TokenizerFacts> {
    if let Some(directory) = source.directory() {
        let tokens = directory.texts("tokenizer.ggml.tokens")?.len();
        let kind = directory.text("tokenizer.ggml.model").unwrap_or("unknown").to_owned();
        return Some(TokenizerFacts { place: "metadata".into(), kind, tokens: Some(tokens) });
    }
    let folder = source.folder();
    let path = folder.join("tokenizer.json");
    if path.is_file() {
        let json: Json = crate::huggingface::read_json(&path).unwrap_or_default();
        let model = json.get("model");
        let kind = model.and_then(|m| m.get("type")?.as_str()).unwrap_or("unknown").to_owned();
        let tokens = model.and_then(|m| m.get("vocab")).and_then(|vocabulary| match vocabulary {
            Json::Object(map) => Some(map.len()),
            Json::Array(list) => Some(list.len()),
            _ => None,
        });
        return Some(TokenizerFacts { place: "tokenizer.json".into(), kind, tokens });
    }
    folder.join("tokenizer.model").is_file().then(|| TokenizerFacts {
        place: "tokenizer.model".into(),
        kind: "SentencePiece".into(),
        tokens: None,
    })
}
