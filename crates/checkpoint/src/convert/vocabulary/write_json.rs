//! Writing `tokenizer.json` and `tokenizer_config.json`.

use serde_json::{Map, Value, json};

use super::{Cutting, Vocabulary, read_json::SPLITS};
use crate::{
    sentencepiece::PieceKind,
    write::{Companion, Content},
};

impl Vocabulary {
    /// The tokenizer's files.
    pub fn companions(&self) -> Vec<Companion> {
        let file = |name: &str, json: &Value| Companion {
            name: name.into(),
            content: Content::Bytes(format!("{json:#}\n").into_bytes()),
        };
        vec![file("tokenizer.json", &self.json()), file("tokenizer_config.json", &self.settings())]
    }

    fn settings(&self) -> Value {
        let mut settings = Map::new();
        settings.insert("tokenizer_class".into(), "PreTrainedTokenizerFast".into());
        settings.insert("add_bos_token".into(), self.add_bos.into());
        settings.insert("add_eos_token".into(), self.add_eos.into());
        settings.insert("clean_up_tokenization_spaces".into(), false.into());
        for (name, id) in [("bos", self.bos), ("eos", self.eos), ("unk", self.unknown), ("pad", self.padding)] {
            if let Some(text) = self.text(id) {
                settings.insert(format!("{name}_token"), text.into());
            }
        }
        if let Some(template) = &self.chat_template {
            settings.insert("chat_template".into(), template.as_str().into());
        }
        Value::Object(settings)
    }

    fn json(&self) -> Value {
        let is_added = |kind| matches!(kind, PieceKind::Control | PieceKind::Unknown | PieceKind::UserDefined);
        let with_ids = || self.entries.iter().enumerate();
        let added: Vec<Value> = with_ids()
            .filter(|(_, e)| is_added(e.kind))
            .map(|(id, e)| {
                json!({"id": id, "content": e.text, "single_word": false, "lstrip": false, "rstrip": false,
                    "normalized": false, "special": e.kind != PieceKind::UserDefined})
            })
            .collect();
        let vocabulary: Map<String, Value> = with_ids()
            .filter(|(_, e)| e.kind != PieceKind::Unused)
            .map(|(id, e)| (e.text.clone(), id.into()))
            .collect();
        let merges: Vec<Value> = self.merges.iter().map(|(a, b)| json!([a, b])).collect();
        let is_pieces = matches!(self.cutting, Cutting::Pieces { .. });
        let model = json!({
            "type": "BPE", "dropout": null, "unk_token": self.text(self.unknown).filter(|_| is_pieces),
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": is_pieces,
            "byte_fallback": is_pieces, "ignore_merges": self.cutting == Cutting::Bytes("llama-bpe"),
            "vocab": vocabulary, "merges": merges,
        });
        let (normalizer, pre_tokenizer, decoder) = self.steps();
        json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer, "post_processor": self.around(), "decoder": decoder, "model": model,
        })
    }

    /// How text is prepared and split, and how it is put together again.
    fn steps(&self) -> (Value, Value, Value) {
        let byte_level = |regex: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex});
        match self.cutting {
            Cutting::Bytes(name) => {
                let regex = SPLITS.iter().find(|(split, _)| *split == name).and_then(|(_, regex)| *regex);
                let first = match regex {
                    Some(regex) => {
                        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
                    }
                    None if name == "smollm" => json!({"type": "Digits", "individual_digits": true}),
                    None => return (Value::Null, byte_level(true), byte_level(true)),
                };
                let steps = json!({"type": "Sequence", "pretokenizers": [first, byte_level(regex.is_none())]});
                let normalizer = if name == "qwen2" { json!({"type": "NFC"}) } else { Value::Null };
                (normalizer, steps, byte_level(true))
            }
            Cutting::Pieces { space_before } => {
                let replace =
                    |from: &str, to: &str| json!({"type": "Replace", "pattern": {"String": from}, "content": to});
                let (mut before, mut after) = (vec![], vec![replace("▁", " ")]);
                after.extend([json!({"type": "ByteFallback"}), json!({"type": "Fuse"})]);
                if space_before {
                    before.push(json!({"type": "Prepend", "prepend": "▁"}));
                    after.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
                }
                before.push(replace(" ", "▁"));
                let normalizer = json!({"type": "Sequence", "normalizers": before});
                (normalizer, Value::Null, json!({"type": "Sequence", "decoders": after}))
            }
        }
    }

    /// What is put around a text.
    fn around(&self) -> Value {
        let bos = self.text(self.bos).filter(|_| self.add_bos).zip(self.bos);
        let eos = self.text(self.eos).filter(|_| self.add_eos).zip(self.eos);
        let mut special = Map::new();
        for (text, id) in bos.iter().chain(&eos) {
            special.insert((*text).into(), json!({"id": text, "ids": [id], "tokens": [text]}));
        }
        if special.is_empty() {
            return Value::Null;
        }
        let text = |name: &str, kind: u8| {
            let token = |t: &(&str, u32)| json!({"SpecialToken": {"id": t.0, "type_id": kind}});
            let middle = json!({"Sequence": {"id": name, "type_id": kind}});
            bos.iter().map(token).chain([middle]).chain(eos.iter().map(token)).collect::<Vec<Value>>()
        };
        let pair = [text("A", 0), text("B", 1)].concat();
        json!({"type": "TemplateProcessing", "single": text("A", 0), "pair": pair, "special_tokens": special})
    }
}
