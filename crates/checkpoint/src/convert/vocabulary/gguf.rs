//! The tokenizer as metadata of a GGUF file, to and fro.

use super::{Cutting, Entry, MAX_UNUSED, Vocabulary, pieces, read_json::SPLITS};
use crate::{gguf::Directory, sentencepiece::PieceKind, write::Meta};

impl Vocabulary {
    /// The metadata; the vocabulary is filled up to `rows` entries, as many as the model has.
    ///
    /// # Errors
    /// It has more entries than the model; the message says so.
    pub fn metadata(&self, rows: usize) -> Result<Vec<(String, Meta)>, String> {
        if self.entries.len() > rows {
            let count = self.entries.len();
            return Err(format!("it has {count} entries, the model {rows}: they do not belong together"));
        }
        if rows - self.entries.len() > MAX_UNUSED {
            let count = self.entries.len();
            return Err(format!("it has {count} entries, the model {rows}, far more: they do not belong together"));
        }
        let padded = (self.entries.len()..rows).map(|id| (format!("[PAD{id}]"), 0.0, PieceKind::Unused));
        let entries = self.entries.iter().map(|e| (e.text.clone(), e.score, e.kind)).chain(padded);
        let (mut texts, mut scores, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for (text, score, kind) in entries {
            texts.push(text);
            scores.push(score);
            kinds.push(number(kind));
        }
        let mut out: Vec<(String, Meta)> = Vec::new();
        let mut put = |key: &str, value: Meta| out.push((format!("tokenizer.{key}"), value));
        match self.cutting {
            Cutting::Bytes(split) => {
                put("ggml.model", Meta::text("gpt2"));
                put("ggml.pre", Meta::text(split));
                let merges: Vec<String> = self.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
                put("ggml.merges", Meta::texts(&merges));
            }
            Cutting::Pieces { space_before } => {
                put("ggml.model", Meta::text("llama"));
                put("ggml.pre", Meta::text("default"));
                put("ggml.scores", Meta::f32s(&scores));
                put("ggml.add_space_prefix", Meta::bool(space_before));
            }
        }
        put("ggml.tokens", Meta::texts(&texts));
        put("ggml.token_type", Meta::i32s(&kinds));
        // Where a turn of a conversation ends, if that is not where the text does.
        let turn = ["<|im_end|>", "<|eot_id|>"].iter().find_map(|text| self.find(text));
        for (name, id) in [
            ("bos", self.bos),
            ("eos", self.eos),
            ("unknown", self.unknown),
            ("padding", self.padding),
            ("eot", turn.filter(|id| Some(*id) != self.eos)),
        ] {
            if let Some(id) = id {
                put(&format!("ggml.{name}_token_id"), Meta::u32(id));
            }
        }
        put("ggml.add_bos_token", Meta::bool(self.add_bos));
        put("ggml.add_eos_token", Meta::bool(self.add_eos));
        if let Some(template) = &self.chat_template {
            put("chat_template", Meta::text(template));
        }
        Ok(out)
    }

    /// The tokenizer of a GGUF file; `None` when it has none.
    ///
    /// # Errors
    /// It is of a kind that cannot be converted; the message says which.
    pub fn from_gguf(d: &Directory) -> Result<Option<Self>, String> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        let Some(texts) = d.texts(&key("tokens")) else { return Ok(None) };
        let (kinds, scores) = (d.integers(&key("token_type")), d.floats(&key("scores")));
        let entries = texts.iter().enumerate().map(|(id, text)| {
            let kind = kinds.and_then(|k| u64::try_from(*k.get(id)?).ok()).and_then(PieceKind::from_number);
            let score = scores.and_then(|s| s.get(id)).copied().unwrap_or(0.0) as f32;
            Entry { text: text.clone(), score, kind: kind.unwrap_or(PieceKind::Normal) }
        });
        let entries: Vec<Entry> = entries.collect();
        let (cutting, add_bos) = match d.text(&key("model")).unwrap_or_default() {
            "llama" => (Cutting::Pieces { space_before: d.flag(&key("add_space_prefix")).unwrap_or(true) }, true),
            "gpt2" => {
                let name = d.text(&key("pre")).unwrap_or("default");
                let name = match name {
                    "default" => "gpt-2",
                    "starcoder" | "refact" | "command-r" => "smollm",
                    name => name,
                };
                let split = SPLITS.iter().find(|(split, _)| *split == name);
                let split = split.ok_or_else(|| format!("its text splitting \"{name}\" is not known"))?.0;
                (Cutting::Bytes(split), split == "llama-bpe")
            }
            other => return Err(format!("it is of the kind \"{other}\"; gpt2 and llama are converted")),
        };
        let merges = d.texts(&key("merges")).unwrap_or_default().iter().filter_map(|merge| {
            let (a, b) = merge.split_once(' ')?;
            Some((a.to_owned(), b.to_owned()))
        });
        let merges: Vec<(String, String)> = match cutting {
            Cutting::Pieces { .. } => pieces::merges(&entries)?,
            Cutting::Bytes(_) => merges.collect(),
        };
        let id = |name: &str| {
            let id = d.integer(&key(&format!("{name}_token_id"))).and_then(|id| u32::try_from(id).ok());
            id.filter(|id| (*id as usize) < texts.len())
        };
        Ok(Some(Self {
            merges,
            bos: id("bos"),
            eos: id("eos"),
            unknown: id("unknown"),
            padding: id("padding"),
            add_bos: d.flag(&key("add_bos_token")).unwrap_or(add_bos) && id("bos").is_some(),
            add_eos: d.flag(&key("add_eos_token")).unwrap_or(false) && id("eos").is_some(),
            chat_template: d.text("tokenizer.chat_template").map(str::to_owned),
            ..Self::new(entries, cutting)
        }))
    }
}

/// The number of a kind, in both SentencePiece's and GGUF files.
fn number(kind: PieceKind) -> i32 {
    match kind {
        PieceKind::Normal => 1,
        PieceKind::Unknown => 2,
        PieceKind::Control => 3,
        PieceKind::UserDefined => 4,
        PieceKind::Unused => 5,
        PieceKind::Byte => 6,
    }
}
