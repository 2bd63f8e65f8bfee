//! The original LLaMA's files: names, order of rows, `params.json`, `tokenizer.model`.

use std::path::{Path, PathBuf};

use protocol::Sentence;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ConvertError, Turn, Vocabulary, VocabularyError, to_gguf::Description, turned};
use crate::{
    Element, Source, Tensor, folder,
    huggingface::read_json,
    source::Kind,
    write::{Companion, Content},
};

/// `params.json`.
#[derive(Clone, Debug, Deserialize)]
struct Parameters {
    dim: usize,
    n_layers: usize,
    n_heads: usize,
    n_kv_heads: Option<usize>,
    #[serde(default = "usual_epsilon")]
    norm_eps: f64,
    rope_theta: Option<f64>,
    #[serde(default)]
    use_scaled_rope: bool,
}

fn usual_epsilon() -> f64 {
    1e-5
}

/// Size of the vocabulary of the third generation.
const THIRD: usize = 128_256;
/// The base of its angles.
const THIRD_BASE: f64 = 500_000.0;

fn parameters(source: &Source) -> Result<Parameters, ConvertError> {
    let path = source.folder().join("params.json");
    let parameters: Parameters = read_json(&path)?;
    let reason = if parameters.n_heads == 0 || !parameters.dim.is_multiple_of(parameters.n_heads) {
        format!("{} numbers are not divided by {} heads", parameters.dim, parameters.n_heads)
    } else if !parameters.n_heads.is_multiple_of(parameters.n_kv_heads.unwrap_or(1).max(1)) {
        format!("{} heads cannot share {:?} key/value heads", parameters.n_heads, parameters.n_kv_heads)
    } else {
        return Ok(parameters);
    };
    Err(ConvertError::Unsupported { path, reason })
}

/// The tensors by Hugging Face's names; the rotary buffer, which everyone computes, is left out.
pub(super) fn tensors(source: &Source) -> Result<Vec<Tensor<'_>>, ConvertError> {
    let parameters = parameters(source)?;
    let wrong = |reason| ConvertError::Unsupported { path: source.path().into(), reason };
    let head = parameters.dim / parameters.n_heads;
    let mut tensors = Vec::new();
    for tensor in source.tensors() {
        let name = tensor.info.name.clone();
        if name.ends_with("rope.freqs") || name.ends_with(".inv_freq") {
            continue;
        }
        let new =
            name_of(&name).ok_or_else(|| wrong(format!("it has a tensor {name}, which LLaMA models do not have")))?;
        let is_turned = new.ends_with("q_proj.weight") || new.ends_with("k_proj.weight");
        let tensor = if is_turned { turned(tensor, head, Turn::ToHalves).map_err(wrong)? } else { tensor };
        tensors.push(tensor.named(new));
    }
    Ok(tensors)
}

/// The rotary buffers of every layer, as conversions of 2023 wrote them: one angle for each pair of numbers of a head.
pub(super) fn rotary(source: &Source) -> Result<Vec<Tensor<'_>>, ConvertError> {
    if source.kind() != Kind::OriginalLlama {
        let reason =
            "rotary buffers are written of an original LLaMA only (consolidated.NN.pth with params.json)".into();
        return Err(ConvertError::Unsupported { path: source.path().into(), reason });
    }
    let p = parameters(source)?;
    let (head, base) = (p.dim / p.n_heads, p.rope_theta.unwrap_or(10000.0) as f32);
    let angle = |i: usize| 1.0 / base.powf((2 * i) as f32 / head as f32);
    let layers = (0..p.n_layers).filter(|layer| rows(source, &format!("layers.{layer}.attention.wq.weight")) > 0);
    let buffer = |layer: usize| {
        let name = format!("model.layers.{layer}.self_attn.{}", super::ROTARY);
        Tensor::computed(name, vec![head / 2], (0..head / 2).map(angle).collect())
    };
    Ok(layers.map(buffer).collect())
}

/// Hugging Face's name of a tensor.
fn name_of(name: &str) -> Option<String> {
    let whole = match name {
        "tok_embeddings.weight" => "model.embed_tokens.weight",
        "norm.weight" => "model.norm.weight",
        "output.weight" => "lm_head.weight",
        _ => {
            let (layer, rest) = name.strip_prefix("layers.")?.split_once('.')?;
            layer.parse::<usize>().ok()?;
            let part = match rest.strip_suffix(".weight")? {
                "attention.wq" => "self_attn.q_proj",
                "attention.wk" => "self_attn.k_proj",
                "attention.wv" => "self_attn.v_proj",
                "attention.wo" => "self_attn.o_proj",
                "feed_forward.w1" => "mlp.gate_proj",
                "feed_forward.w2" => "mlp.down_proj",
                "feed_forward.w3" => "mlp.up_proj",
                "attention_norm" => "input_layernorm",
                "ffn_norm" => "post_attention_layernorm",
                _ => return None,
            };
            return Some(format!("model.layers.{layer}.{part}.weight"));
        }
    };
    Some(whole.into())
}

/// Configuration and tokenizer.
pub(super) fn companions(
    source: &Source,
    element: Option<Element>,
    notes: &mut Vec<Sentence>,
) -> Result<Vec<Companion>, ConvertError> {
    let path = tokenizer(source);
    let vocabulary = match path.as_deref().map(|path| vocabulary(source, path, notes)) {
        Some(Ok(vocabulary)) => Some(vocabulary),
        Some(Err(error)) => {
            notes.push(Sentence::new(
                format!("the tokenizer is only copied: {error}"),
                format!("分词器仅按原样复制：{error}"),
            ));
            None
        }
        None => None,
    };
    let config = assumed(source, vocabulary.as_ref(), notes)?;
    let generation = json!({"bos_token_id": config["bos_token_id"], "eos_token_id": config["eos_token_id"]});
    let mut companions = vec![
        folder::config(config, element),
        Companion {
            name: "generation_config.json".into(),
            content: Content::Bytes(format!("{generation:#}\n").into_bytes()),
        },
    ];
    companions.extend(vocabulary.iter().flat_map(Vocabulary::companions));
    companions.extend(path.map(|path| Companion { name: "tokenizer.model".into(), content: Content::CopyOf(path) }));
    Ok(companions)
}

/// What a GGUF file needs to know.
pub(super) fn description(source: &Source, notes: &mut Vec<Sentence>) -> Result<Description, ConvertError> {
    let vocabulary = tokenizer(source).map(|path| vocabulary(source, &path, notes)).transpose()?;
    Ok(Description { config: assumed(source, vocabulary.as_ref(), notes)?, vocabulary })
}

/// The tokenizer, with the way conversations are written where the model was tuned to them.
fn vocabulary(source: &Source, path: &Path, notes: &mut Vec<Sentence>) -> Result<Vocabulary, VocabularyError> {
    let mut vocabulary = Vocabulary::from_tokenizer_model(path)?;
    // Special tokens are numbered behind the others: those of a list that was cut short would be others.
    let (count, rows) = (vocabulary.entries.len(), rows(source, "tok_embeddings.weight"));
    if vocabulary.is_of_bytes() && count != rows {
        let reason = format!(
            "it has {count} entries with the special tokens, the model {rows}: it is of another model, or was cut short; \
             fetch it again"
        );
        return Err(VocabularyError::Unsupported { path: path.into(), reason });
    }
    if vocabulary.is_of_bytes() && is_instruct(source.folder()) {
        vocabulary.chat_template = Some(CHAT.into());
        vocabulary.eos = vocabulary.find("<|eot_id|>").or(vocabulary.eos);
        notes.push(Sentence::new(
            "the folder's name says that the model was tuned to conversations: the published form of them was written",
            "文件夹名称表明该模型已针对对话微调：已写入公开的对话格式",
        ));
    }
    Ok(vocabulary)
}

/// How LLaMA 3 was tuned to conversations.
const CHAT: &str = "{{- bos_token }}{% for message in messages %}{{- '<|start_header_id|>' + message['role'] + \
    '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}\
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}";

/// Whether the name of a folder, or of that which it is in, says so; no file does.
fn is_instruct(folder: &Path) -> bool {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
    let names = folder.iter().rev().take(2).map(|name| name.to_string_lossy().to_lowercase());
    names.into_iter().any(|name| name.contains("instruct"))
}

/// The tokenizer lies beside the folders of the sizes, or in each.
fn tokenizer(source: &Source) -> Option<PathBuf> {
    let places = [Some(source.folder()), source.folder().parent()];
    places.into_iter().flatten().map(|f| f.join("tokenizer.model")).find(|p| p.is_file())
}

/// Rows of a tensor.
fn rows(source: &Source, name: &str) -> usize {
    let info = source.infos().iter().find(|t| t.name == name);
    info.and_then(|t| t.shape.first().copied()).unwrap_or(0)
}

/// The configuration, and a note of what is assumed in it.
fn assumed(source: &Source, tokenizer: Option<&Vocabulary>, notes: &mut Vec<Sentence>) -> Result<Value, ConvertError> {
    let rows = |name| rows(source, name);
    let (vocabulary, feed_forward) = (rows("tok_embeddings.weight"), rows("layers.0.feed_forward.w1.weight"));
    let mut config = configuration(&parameters(source)?, vocabulary, feed_forward);
    for (key, id) in [("bos_token_id", tokenizer.and_then(|t| t.bos)), ("eos_token_id", tokenizer.and_then(|t| t.eos))]
    {
        if let Some(id) = id {
            config[key] = id.into();
        }
    }
    let most = &config["max_position_embeddings"];
    notes.push(Sentence::new(
        format!(
            "params.json does not say how long a text may be; {most} tokens were assumed (max_position_embeddings)"
        ),
        format!("params.json 未说明文本的最大长度，按 {most} 个词元处理（max_position_embeddings）"),
    ));
    Ok(config)
}

fn configuration(p: &Parameters, vocabulary: usize, feed_forward: usize) -> Value {
    let third = vocabulary >= THIRD;
    // Nothing in the files says it: this is what each generation was published with.
    let context = if p.use_scaled_rope {
        131_072
    } else if third || p.rope_theta == Some(THIRD_BASE) {
        8192
    } else if p.norm_eps < 5e-6 || p.dim == 8192 && p.n_kv_heads.is_none() {
        2048
    } else {
        4096
    };
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": p.dim,
        "intermediate_size": feed_forward,
        "num_hidden_layers": p.n_layers,
        "num_attention_heads": p.n_heads,
        "num_key_value_heads": p.n_kv_heads.unwrap_or(p.n_heads),
        "max_position_embeddings": context,
        "rms_norm_eps": p.norm_eps,
        "rope_theta": p.rope_theta.unwrap_or(10000.0),
        "vocab_size": vocabulary,
        "tie_word_embeddings": false,
        "attention_bias": false,
        "bos_token_id": if third { 128_000 } else { 1 },
        "eos_token_id": if third { 128_001 } else { 2 },
        "torch_dtype": "float16",
    });
    if p.use_scaled_rope {
        // The small models of the generation stretch farther.
        let factor = if p.dim < 4096 { 32.0 } else { 8.0 };
        config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        });
    }
    config
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hugging_face() {
        assert_eq!(name_of("layers.12.feed_forward.w2.weight").unwrap(), "model.layers.12.mlp.down_proj.weight");
        assert_eq!(name_of("output.weight").unwrap(), "lm_head.weight");
        assert_eq!(name_of("layers.x.attention.wq.weight"), None);
        assert_eq!(name_of("layers.1.attention.lora.weight"), None);
    }

    #[test]
    fn each_generation_has_its_context() {
        let context = |json: &str, vocabulary| {
            configuration(&serde_json::from_str(json).unwrap(), vocabulary, 8)["max_position_embeddings"].clone()
        };
        assert_eq!(context(r#"{"dim": 5120, "n_layers": 40, "n_heads": 40, "norm_eps": 1e-6}"#, 32000), 2048);
        assert_eq!(context(r#"{"dim": 8192, "n_layers": 80, "n_heads": 64, "norm_eps": 1e-5}"#, 32000), 2048);
        assert_eq!(context(r#"{"dim": 4096, "n_layers": 32, "n_heads": 32, "norm_eps": 1e-5}"#, 32000), 4096);
        assert_eq!(context(r#"{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8}"#, 128_256), 8192);
        let small = r#"{"dim": 256, "n_layers": 2, "n_heads": 8, "n_kv_heads": 2, "rope_theta": 500000.0}"#;
        assert_eq!(context(small, 640), 8192);
    }
}
