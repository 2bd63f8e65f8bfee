//! The order in which a model's tensors are written and summed.

/// What a name is sorted by: embeddings, the layers one after the other, the rest, the output. Within a layer the
/// order is that of the modules of the LLaMA models of 2023, whose published sums were added up in it.
pub fn place(name: &str) -> (u8, u64, usize, bool, &str) {
    const ROLES: [&str; 27] = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "rotary_emb",
        "attention.wq",
        "attention.wk",
        "attention.wv",
        "attention.wo",
        "attn_q.",
        "attn_k.",
        "attn_v.",
        "attn_output.",
        "gate_proj",
        "down_proj",
        "up_proj",
        "feed_forward.w1",
        "feed_forward.w2",
        "feed_forward.w3",
        "ffn_gate.",
        "ffn_down.",
        "ffn_up.",
        "input_layernorm",
        "attention_norm",
        "attn_norm.",
        "post_attention_layernorm",
        "ffn_norm",
    ];
    let role = ROLES.iter().position(|role| name.contains(role)).unwrap_or(ROLES.len());
    let is_bias = name.ends_with(".bias");
    let layer = ["layers.", "blk.", "h."].iter().find_map(|mark| {
        let at = name.find(mark).filter(|at| *at == 0 || name.as_bytes().get(at - 1) == Some(&b'.'))?;
        name[at + mark.len()..].split('.').next()?.parse::<u64>().ok()
    });
    let group = match layer {
        Some(_) => 1,
        None if ["embed_tokens", "tok_embeddings", "token_embd", "wte"].iter().any(|e| name.contains(e)) => 0,
        None if name.contains("lm_head") || name.starts_with("output.") => 3,
        None => 2,
    };
    (group, layer.unwrap_or(0), role, is_bias, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_in_the_order_of_the_model() {
        let order = [
            "model.embed_tokens.weight",
            "model.layers.2.self_attn.q_proj.weight",
            "model.layers.2.self_attn.q_proj.bias",
            "model.layers.2.self_attn.rotary_emb.inv_freq",
            "model.layers.2.mlp.gate_proj.weight",
            "model.layers.2.mlp.down_proj.weight",
            "model.layers.2.mlp.up_proj.weight",
            "model.layers.2.input_layernorm.weight",
            "model.layers.10.self_attn.q_proj.weight",
            "model.norm.weight",
            "lm_head.weight",
        ];
        let mut sorted = order;
        sorted.sort();
        assert_ne!(sorted, order);
        sorted.sort_by_key(|name| place(name));
        assert_eq!(sorted, order);
        let gguf = [
            "token_embd.weight",
            "blk.1.attn_q.weight",
            "blk.1.ffn_norm.weight",
            "output_norm.weight",
            "output.weight",
        ];
        assert!(gguf.is_sorted_by_key(|name| place(name)));
    }
}
