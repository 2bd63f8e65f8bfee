//! The names of tensors in Hugging Face's models and in GGUF files.

/// Parts of a layer.
const PARTS: [(&str, &str); 11] = [
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.down_proj", "ffn_down"),
    ("mlp.up_proj", "ffn_up"),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
];

/// What is in no layer.
const WHOLE: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// The name in a GGUF file.
pub(super) fn to_gguf(name: &str) -> Option<String> {
    translate(name, ("model.layers.", "blk."), |(from, to)| (from, to))
}

/// Hugging Face's name.
pub(super) fn from_gguf(name: &str) -> Option<String> {
    translate(name, ("blk.", "model.layers."), |(to, from)| (from, to))
}

type Pair = (&'static str, &'static str);

fn translate(name: &str, layers: (&str, &str), direction: impl Fn(Pair) -> Pair) -> Option<String> {
    if let Some((_, to)) = WHOLE.map(&direction).into_iter().find(|(from, _)| *from == name) {
        return Some(to.into());
    }
    let (layer, rest) = name.strip_prefix(layers.0)?.split_once('.')?;
    layer.parse::<usize>().ok()?;
    let (part, ending) = rest.rsplit_once('.').filter(|(_, ending)| ["weight", "bias"].contains(ending))?;
    let (_, to) = PARTS.map(&direction).into_iter().find(|(from, _)| *from == part)?;
    Some(format!("{}{layer}.{to}.{ending}", layers.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_translated_there_and_back() {
        for (a, b) in [
            ("model.layers.3.self_attn.q_proj.bias", "blk.3.attn_q.bias"),
            ("model.layers.3.post_attention_layernorm.weight", "blk.3.ffn_norm.weight"),
            ("lm_head.weight", "output.weight"),
        ] {
            assert_eq!((to_gguf(a).as_deref(), from_gguf(b).as_deref()), (Some(b), Some(a)));
        }
        assert_eq!(to_gguf("model.layers.3.self_attn.rotary_emb.inv_freq"), None);
        assert_eq!(from_gguf("rope_freqs.weight"), None);
    }
}
