//! A GGUF file as a model of Hugging Face's form.

use protocol::Sentence;
use serde_json::{Value, json};

use super::{ConvertError, MAX_HEAD, Turn, Vocabulary, names, to_gguf::factors, turned};
use crate::{
    Element, Source, Tensor, folder,
    gguf::Directory,
    write::{Companion, Content},
};

fn wrong(source: &Source, reason: impl Into<String>) -> ConvertError {
    ConvertError::Unsupported { path: source.path().into(), reason: reason.into() }
}

/// The metadata and what they call the architecture.
fn described(source: &Source) -> Result<(&Directory, &str), ConvertError> {
    let directory = source.directory().ok_or_else(|| wrong(source, "it is no GGUF file"))?;
    super::no_part(source)?;
    match directory.text("general.architecture") {
        Some(name @ ("llama" | "qwen2" | "qwen3")) => Ok((directory, name)),
        other => {
            let other = other.unwrap_or("(none)");
            Err(wrong(source, format!("its architecture is \"{other}\"; llama, qwen2 and qwen3 are converted")))
        }
    }
}

fn size(source: &Source, key: &str) -> Result<usize, ConvertError> {
    let (directory, architecture) = described(source)?;
    let found = directory.integer(&format!("{architecture}.{key}")).and_then(|n| usize::try_from(n).ok());
    found.filter(|n| *n > 0).ok_or_else(|| wrong(source, format!("its metadata has no {architecture}.{key}")))
}

pub(super) fn head(source: &Source) -> Result<usize, ConvertError> {
    let head = match size(source, "attention.key_length") {
        Ok(head) => head,
        Err(_) => size(source, "embedding_length")? / size(source, "attention.head_count")?,
    };
    if head > MAX_HEAD {
        return Err(wrong(source, format!("its heads of {head} numbers are impossible")));
    }
    Ok(head)
}

/// The tensors by Hugging Face's names.
pub(super) fn tensors(source: &Source) -> Result<Vec<Tensor<'_>>, ConvertError> {
    let (_, architecture) = described(source)?;
    let head = head(source)?;
    let mut tensors = Vec::new();
    for tensor in source.tensors() {
        let name = tensor.info.name.clone();
        if name == "rope_freqs.weight" {
            continue;
        }
        let new = names::from_gguf(&name)
            .ok_or_else(|| wrong(source, format!("Hugging Face's models have no name for its tensor {name}")))?;
        let is_turned = architecture == "llama" && (name.contains(".attn_q.") || name.contains(".attn_k."));
        let tensor = match is_turned {
            true => turned(tensor, head, Turn::ToHalves).map_err(|reason| wrong(source, reason))?,
            false => tensor,
        };
        tensors.push(tensor.named(new));
    }
    Ok(tensors)
}

/// Configuration and tokenizer.
pub(super) fn companions(
    source: &Source,
    element: Option<Element>,
    notes: &mut Vec<Sentence>,
) -> Result<Vec<Companion>, ConvertError> {
    let (directory, _) = described(source)?;
    let config = configuration(source, notes)?;
    let mut companions = vec![folder::config(config, element)];
    match Vocabulary::from_gguf(directory) {
        Ok(Some(vocabulary)) => {
            let mut generation = serde_json::Map::new();
            for (name, id) in [("bos_token_id", vocabulary.bos), ("eos_token_id", vocabulary.eos)] {
                generation.extend(id.map(|id| (name.to_owned(), Value::from(id))));
            }
            let content = Content::Bytes(format!("{:#}\n", Value::Object(generation)).into_bytes());
            companions.push(Companion { name: "generation_config.json".into(), content });
            companions.extend(vocabulary.companions());
        }
        Ok(None) => {}
        Err(reason) => {
            notes.push(Sentence::new(format!("the tokenizer is left out: {reason}"), format!("未写入分词器：{reason}")))
        }
    }
    Ok(companions)
}

fn configuration(source: &Source, notes: &mut Vec<Sentence>) -> Result<Value, ConvertError> {
    let (d, architecture) = described(source)?;
    let class = match architecture {
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => "LlamaForCausalLM",
    };
    let number = |key: &str| d.number(&format!("{architecture}.{key}"));
    let info = |name: &str| source.infos().iter().find(|t| t.name == name);
    let heads = size(source, "attention.head_count")?;
    let head = head(source)?;
    let base = number("rope.freq_base").unwrap_or(10000.0);
    let rows = info("token_embd.weight").and_then(|t| t.shape.first().copied());
    let layers = size(source, "block_count")?;
    let mut config = json!({
        "architectures": [class],
        "model_type": architecture,
        "hidden_act": "silu",
        "hidden_size": size(source, "embedding_length")?,
        "intermediate_size": size(source, "feed_forward_length")?,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": size(source, "attention.head_count_kv").unwrap_or(heads),
        "head_dim": head,
        "max_position_embeddings": size(source, "context_length")?,
        "rms_norm_eps": shortest(number("attention.layer_norm_rms_epsilon").unwrap_or(1e-5)),
        "rope_theta": base,
        "vocab_size": rows.ok_or_else(|| wrong(source, "it has no embeddings"))?,
        "tie_word_embeddings": info("output.weight").is_none(),
        "torch_dtype": "float16",
    });
    let has_bias = |part: &str| source.infos().iter().any(|t| t.name.ends_with(&format!("{part}.bias")));
    if architecture == "llama" {
        config["attention_bias"] = has_bias("attn_q").into();
        config["mlp_bias"] = has_bias("ffn_gate").into();
    }
    for (name, key) in [("bos_token_id", "bos"), ("eos_token_id", "eos")] {
        if let Some(id) = d.integer(&format!("tokenizer.ggml.{key}_token_id")) {
            config[name] = id.into();
        }
    }
    match d.text(&format!("{architecture}.rope.scaling.type")) {
        Some(kind @ ("linear" | "yarn")) => {
            config["rope_scaling"] = json!({"rope_type": kind, "factor": number("rope.scaling.factor").unwrap_or(1.0)});
            if let Some(original) = number("rope.scaling.original_context_length") {
                config["rope_scaling"]["original_max_position_embeddings"] = (original as u64).into();
            }
        }
        Some("none") | None => {}
        Some(other) => return Err(wrong(source, format!("its rotary scaling is \"{other}\", which is not converted"))),
    }
    let windows = d.windows(architecture, layers).map_err(|reason| wrong(source, reason))?;
    if let Some(width) = windows.iter().flatten().next() {
        config["sliding_window"] = (*width).into();
        if matches!(architecture, "qwen2" | "qwen3") {
            config["use_sliding_window"] = true.into();
            let types = windows.iter().map(|w| if w.is_some() { "sliding_attention" } else { "full_attention" });
            config["layer_types"] = types.collect();
        } else if windows.iter().all(Option::is_some) {
            config["model_type"] = "mistral".into();
            config["architectures"] = json!(["MistralForCausalLM"]);
        } else {
            let reason = "some of its layers look at a window only, which no folder of its kind can say";
            return Err(wrong(source, reason));
        }
    }
    if let Some(stretched) = source.tensor("rope_freqs.weight") {
        let stored = stretched.to_vec();
        let factor = stored.iter().fold(1.0f32, |most, x| most.max(*x));
        let known = [f64::from(factor), 1.0, 4.0, 8192.0];
        let close = |a: &f32, b: &f32| (a - b).abs() <= 1e-3 * b.abs();
        let agrees = factors(head, base, known).iter().zip(&stored).all(|(a, b)| close(a, b));
        if !agrees {
            notes.push(Sentence::new(
                "its rotary scaling is not the published one of LLaMA 3; config.json says it only roughly",
                "其旋转位置缩放与 LLaMA 3 公布的不同，config.json 只能近似表示",
            ));
        }
        config["rope_scaling"] = json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        });
    }
    Ok(config)
}

/// A number that was stored in 32 bits, as it was meant: 0.00001, not 0.0000099999997.
fn shortest(n: f64) -> f64 {
    (n as f32).to_string().parse().unwrap_or(n)
}
