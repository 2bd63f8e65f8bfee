//! Reading `tokenizer.json`, and the settings in the files beside it.

use std::{collections::HashMap, path::Path};

use serde_json::Value;

use super::{Cutting, Entry, MAX_UNUSED, Vocabulary, VocabularyError, pieces};
use crate::{huggingface::read_json, sentencepiece::PieceKind, small};

/// A template is a page of text.
const MAX_TEMPLATE: u64 = 1 << 20;

/// How texts are split before merging, by the names that GGUF files have; the expression, where there is one.
pub(super) const SPLITS: [(&str, Option<&str>); 4] = [
    ("gpt-2", None),
    ("smollm", None),
    (
        "llama-bpe",
        Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
    (
        "qwen2",
        Some(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
    ),
];

impl Vocabulary {
    /// The tokenizer of a `tokenizer.json`, without the settings in the files beside it.
    ///
    /// # Errors
    /// It cannot be read, or is of a kind that cannot be converted.
    pub fn from_tokenizer_json(path: &Path) -> Result<Self, VocabularyError> {
        let json: Value = read_json(path)?;
        parse(&json).map_err(|reason| VocabularyError::Unsupported { path: path.into(), reason })
    }

    /// What the other files of the folder say: which tokens begin and end a text, and how a conversation is written.
    pub(super) fn read_settings(&mut self, folder: &Path) -> Result<(), VocabularyError> {
        let read = |name: &str| -> Result<Value, VocabularyError> {
            let path = folder.join(name);
            Ok(if path.is_file() { read_json(&path)? } else { Value::Null })
        };
        let (settings, config) = (read("tokenizer_config.json")?, read("config.json")?);
        self.add_tokens(&read("added_tokens.json")?);
        let token = |name: &str| {
            let token = settings.get(format!("{name}_token"))?;
            let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
            self.find(text)
        };
        let number = |name: &str| {
            let id = config.get(format!("{name}_token_id"))?;
            let id = id.as_u64().or_else(|| id.get(0)?.as_u64())?;
            u32::try_from(id).ok().filter(|id| (*id as usize) < self.entries.len())
        };
        let either = |name: &str| token(name).or_else(|| number(name));
        let (bos, eos, padding) = (either("bos"), either("eos"), either("pad"));
        let unknown = token("unk");
        self.bos = bos.or(self.bos);
        self.eos = eos.or(self.eos);
        self.padding = padding.or(self.padding);
        self.unknown = unknown.or(self.unknown);
        let flag = |name: &str| settings.get(name).and_then(Value::as_bool);
        self.add_bos = flag("add_bos_token").unwrap_or(self.add_bos) && self.bos.is_some();
        self.add_eos = flag("add_eos_token").unwrap_or(self.add_eos) && self.eos.is_some();
        let template = settings.get("chat_template");
        let template = template.and_then(|t| t.as_str().or_else(|| t.get(0)?.get("template")?.as_str()));
        let beside = || String::from_utf8(small::read(&folder.join("chat_template.jinja"), MAX_TEMPLATE).ok()?).ok();
        self.chat_template = template.map(str::to_owned).or_else(beside);
        Ok(())
    }

    /// Tokens that were added to a SentencePiece model, `{"[PAD]": 32000}`.
    fn add_tokens(&mut self, added: &Value) {
        let mut added: Vec<(u64, &String)> =
            added.as_object().into_iter().flatten().filter_map(|(text, id)| Some((id.as_u64()?, text))).collect();
        added.sort_unstable();
        for (id, text) in added {
            if id == self.entries.len() as u64 {
                self.entries.push(Entry { text: text.clone(), score: 0.0, kind: PieceKind::Control });
            }
        }
    }
}

fn parse(json: &Value) -> Result<Vocabulary, String> {
    let model = &json["model"];
    match model["type"].as_str() {
        Some("BPE") | None if model["vocab"].is_object() => {}
        kind => return Err(format!("it is of the kind {}; only BPE is converted", kind.unwrap_or("(none)"))),
    }
    let mut texts: HashMap<usize, (&str, PieceKind)> = HashMap::new();
    for (text, id) in model["vocab"].as_object().into_iter().flatten() {
        texts.insert(place(id)?, (text, PieceKind::Normal));
    }
    let pieces = model["byte_fallback"].as_bool() == Some(true) || uses(&json["decoder"], "ByteFallback");
    let unknown = model["unk_token"].as_str();
    for added in json["added_tokens"].as_array().into_iter().flatten() {
        let (Some(text), special) = (added["content"].as_str(), added["special"].as_bool() == Some(true)) else {
            continue;
        };
        let kind = match special {
            true if pieces && unknown == Some(text) => PieceKind::Unknown,
            true => PieceKind::Control,
            false => PieceKind::UserDefined,
        };
        texts.insert(place(&added["id"])?, (text, kind));
    }
    let count = texts.keys().max().map_or(0, |most| most + 1);
    if count - texts.len() > MAX_UNUSED {
        let (last, there) = (count - 1, texts.len());
        return Err(format!("it has {there} entries, and one of them is number {last}: the others are missing"));
    }
    let mut entries = Vec::with_capacity(count);
    for id in 0..count {
        let entry = match texts.get(&id) {
            Some((text, PieceKind::Normal)) if pieces && is_byte(text) => ((*text).to_owned(), PieceKind::Byte),
            Some((text, kind)) => ((*text).to_owned(), *kind),
            None => (format!("[PAD{id}]"), PieceKind::Unused),
        };
        entries.push(Entry { text: entry.0, score: 0.0, kind: entry.1 });
    }
    let merges = merges(&model["merges"])?;
    let cutting = if pieces {
        let prepends = uses(&json["normalizer"], "Prepend")
            || steps(&json["pre_tokenizer"]).iter().any(|s| {
                s["type"] == "Metaspace" && (s["prepend_scheme"] != "never" && s["add_prefix_space"] != false)
            });
        pieces::scores(&mut entries, &merges);
        Cutting::Pieces { space_before: prepends }
    } else {
        Cutting::Bytes(splitting(&json["pre_tokenizer"])?)
    };
    let mut vocabulary = Vocabulary { merges, ..Vocabulary::new(entries, cutting) };
    vocabulary.unknown = unknown.and_then(|text| vocabulary.find(text));
    // What is put around a text.
    if let Some(template) = steps(&json["post_processor"]).iter().find(|s| s["type"] == "TemplateProcessing") {
        let single: Vec<&Value> = template["single"].as_array().into_iter().flatten().collect();
        let special = |v: Option<&&'_ Value>| -> Option<String> { Some(v?["SpecialToken"]["id"].as_str()?.to_owned()) };
        let (first, last) = (special(single.first()), special(single.last()));
        vocabulary.bos = first.and_then(|text| vocabulary.find(&text));
        vocabulary.eos = last.filter(|_| single.len() > 1).and_then(|text| vocabulary.find(&text));
        vocabulary.add_bos = vocabulary.bos.is_some();
        vocabulary.add_eos = vocabulary.eos.is_some();
    }
    Ok(vocabulary)
}

/// A token's number; no real vocabulary is larger than the limit.
fn place(id: &Value) -> Result<usize, String> {
    let id = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|id| *id < 1 << 22);
    id.ok_or_else(|| "a token of it has an impossible number".into())
}

fn is_byte(text: &str) -> bool {
    text.strip_prefix("<0x").and_then(|t| t.strip_suffix('>')).is_some_and(|hex| u8::from_str_radix(hex, 16).is_ok())
}

fn merges(list: &Value) -> Result<Vec<(String, String)>, String> {
    let merge = |merge: &Value| {
        let pair = match merge {
            Value::String(text) => text.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())),
            Value::Array(pair) => match pair.as_slice() {
                [Value::String(a), Value::String(b)] => Some((a.clone(), b.clone())),
                _ => None,
            },
            _ => None,
        };
        pair.ok_or_else(|| format!("its merge {merge} is not two entries"))
    };
    list.as_array().into_iter().flatten().map(merge).collect()
}

/// The steps of a part, one after the other.
fn steps(part: &Value) -> Vec<&Value> {
    let inner = ["normalizers", "pretokenizers", "decoders", "processors"].iter().find_map(|key| part[*key].as_array());
    match inner {
        Some(inner) => inner.iter().collect(),
        None if part.is_object() => vec![part],
        None => vec![],
    }
}

fn uses(part: &Value, kind: &str) -> bool {
    steps(part).iter().any(|step| step["type"] == kind)
}

/// The name of the way that text is split.
fn splitting(part: &Value) -> Result<&'static str, String> {
    let steps = steps(part);
    let kinds: Vec<&str> = steps.iter().filter_map(|s| s["type"].as_str()).collect();
    let found = match (kinds.as_slice(), steps.as_slice()) {
        (["ByteLevel"], [level]) if level["use_regex"] != false => Some("gpt-2"),
        (["Digits", "ByteLevel"], [digits, level])
            if digits["individual_digits"] == true && level["use_regex"] != false =>
        {
            Some("smollm")
        }
        (["Split", "ByteLevel"], [split, level]) if level["use_regex"] == false => {
            let pattern = split["pattern"]["Regex"].as_str();
            SPLITS.iter().find(|(_, regex)| regex.is_some() && *regex == pattern).map(|(name, _)| *name)
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let known = SPLITS.map(|(name, _)| name).join(", ");
        format!("it splits text in a way that GGUF files have no name for that is known here (known: {known})")
    })
}
