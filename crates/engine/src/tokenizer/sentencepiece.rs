//! SentencePiece models: text to tokens by merging pairs, the best score first.
//!
//! The same model comes from the `tokenizer.model` of a Hugging Face folder and from the metadata of a GGUF
//! file. Of equal scores the leftmost is merged first: vocabularies that were extended with words of another
//! language give all of them one score, so that order decides. This is why the merges are not turned into the
//! ranks of a `tokenizer.json`.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    path::Path,
};

use checkpoint::{
    SentencePiece,
    gguf::Directory,
    sentencepiece::{Piece, PieceKind},
};

use super::{Tokenizer, ids, pieces::sentence_piece, settings};

/// What a space is in pieces.
const SPACE: char = '▁';

/// A SentencePiece vocabulary, made for encoding.
pub(super) struct Encoder {
    ids: HashMap<Box<str>, u32>,
    /// The score of each piece as a number of the same order.
    scores: Vec<i32>,
    bytes: [Option<u32>; 256],
    unknown: Option<u32>,
    /// Words that stand for themselves inside a text.
    fixed: Words,
    /// Words that end one text and begin another: control tokens, and those added after training.
    separators: Words,
    space_before: bool,
    /// Whether every text between separators gets its space, or only the first.
    space_before_each: bool,
    trim_spaces: bool,
}

/// Words to be found in a text, by their first byte, the longest first.
#[derive(Default)]
struct Words(HashMap<u8, Vec<(Box<str>, u32)>>);

impl Words {
    fn add(&mut self, word: &str, id: u32) {
        let Some(first) = word.bytes().next() else { return };
        self.0.entry(first).or_default().push((word.into(), id));
    }

    /// To be called once, after the last word was added.
    fn sort(&mut self) {
        self.0.values_mut().for_each(|same| same.sort_by_key(|(word, _)| Reverse(word.len())));
    }

    /// The word that a text begins with.
    fn at(&self, text: &str) -> Option<(usize, u32)> {
        let same = self.0.get(text.as_bytes().first()?)?;
        same.iter().find(|(word, _)| text.starts_with(&**word)).map(|(word, id)| (word.len(), *id))
    }

    fn id(&self, word: &str) -> Option<u32> {
        self.at(word).filter(|(length, _)| *length == word.len()).map(|(_, id)| id)
    }
}

/// A part of the text: pairs of neighbours become one.
struct Symbol {
    from: usize,
    to: usize,
    before: Option<usize>,
    after: Option<usize>,
    /// The word it is, when it is a word that is not merged.
    fixed: Option<u32>,
}

/// Scores in the order of whole numbers.
fn order(score: f32) -> i32 {
    let bits = (score + 0.0).to_bits() as i32;
    bits ^ (((bits >> 31) as u32) >> 1) as i32
}

impl Encoder {
    fn new(model: &SentencePiece) -> Result<Self, String> {
        let mut encoder = Self {
            ids: HashMap::new(),
            scores: Vec::with_capacity(model.pieces.len()),
            bytes: [None; 256],
            unknown: None,
            fixed: Words::default(),
            separators: Words::default(),
            space_before: model.space_before,
            space_before_each: true,
            trim_spaces: model.trim_spaces,
        };
        for (id, piece) in model.pieces.iter().enumerate() {
            let id = u32::try_from(id).map_err(|_| "the vocabulary is too large")?;
            encoder.scores.push(order(piece.score));
            match piece.kind {
                PieceKind::Normal => {
                    // Where a piece is there twice, the first is meant.
                    encoder.ids.entry(piece.text.as_str().into()).or_insert(id);
                }
                PieceKind::UserDefined => encoder.fixed.add(&piece.text, id),
                PieceKind::Control => encoder.separators.add(&piece.text, id),
                PieceKind::Unknown => encoder.unknown = Some(id),
                PieceKind::Byte => match byte_of(&piece.text) {
                    Some(byte) => encoder.bytes[usize::from(byte)] = Some(id),
                    None => return Err(format!("its piece \"{}\" should be a byte, as <0x0A> is", piece.text)),
                },
                PieceKind::Unused => {}
            }
        }
        encoder.fixed.sort();
        encoder.separators.sort();
        Ok(encoder)
    }

    /// The number of a token, by its name.
    pub(super) fn id(&self, token: &str) -> Option<u32> {
        self.separators.id(token).or_else(|| self.fixed.id(token)).or_else(|| self.ids.get(token).copied())
    }

    /// The tokens of a text.
    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        let (mut from, mut at, mut first) = (0, 0, true);
        while at < text.len() {
            let rest = &text[at..];
            if let Some((length, id)) = self.separators.at(rest) {
                self.encode_part(&text[from..at], first, &mut tokens);
                tokens.push(id);
                at += length;
                (from, first) = (at, false);
            } else {
                at += rest.chars().next().map_or(1, char::len_utf8);
            }
        }
        self.encode_part(&text[from..], first, &mut tokens);
        tokens
    }

    fn encode_part(&self, text: &str, first: bool, tokens: &mut Vec<u32>) {
        let text = self.prepare(text, first);
        let mut symbols = self.split(&text);
        let mut queue = BinaryHeap::new();
        let push = |queue: &mut BinaryHeap<_>, symbols: &[Symbol], left: Option<usize>, right: Option<usize>| {
            let (Some(left), Some(right)) = (left, right) else { return };
            let (a, b) = (&symbols[left], &symbols[right]);
            if a.fixed.is_some() || b.fixed.is_some() {
                return;
            }
            if let Some(id) = self.ids.get(&text[a.from..b.to]) {
                queue.push((self.scores[*id as usize], Reverse(left), right, b.to - a.from));
            }
        };
        for i in 1..symbols.len() {
            push(&mut queue, &symbols, Some(i - 1), Some(i));
        }
        while let Some((_, Reverse(left), right, length)) = queue.pop() {
            // One of the two may have been merged with another since; an emptied symbol has no length.
            let stale = symbols[left].from == symbols[left].to
                || symbols[right].from == symbols[right].to
                || symbols[right].to - symbols[left].from != length;
            if stale {
                continue;
            }
            symbols[left].to = symbols[right].to;
            symbols[left].after = symbols[right].after;
            symbols[right].from = symbols[right].to;
            let (before, after) = (symbols[left].before, symbols[left].after);
            if let Some(after) = after {
                symbols[after].before = Some(left);
            }
            push(&mut queue, &symbols, before, Some(left));
            push(&mut queue, &symbols, Some(left), after);
        }
        let mut at = (!symbols.is_empty()).then_some(0);
        let mut after_unknown = false;
        while let Some(i) = at {
            let symbol = &symbols[i];
            at = symbol.after;
            let part = &text[symbol.from..symbol.to];
            if let Some(id) = symbol.fixed.or_else(|| self.ids.get(part).copied()) {
                tokens.push(id);
                after_unknown = false;
                continue;
            }
            let bytes: Option<Vec<u32>> = part.bytes().map(|b| self.bytes[usize::from(b)]).collect();
            match (bytes, self.unknown) {
                (Some(bytes), _) => tokens.extend(bytes),
                // Several unknown characters are one unknown token.
                (None, Some(unknown)) if !after_unknown => {
                    tokens.push(unknown);
                    after_unknown = true;
                }
                (None, _) => {}
            }
        }
    }

    /// The text with its spaces as pieces have them.
    fn prepare(&self, text: &str, first: bool) -> String {
        let mut out = String::with_capacity(text.len() + 8);
        let text = if self.trim_spaces { text.trim_matches(' ') } else { text };
        if text.is_empty() {
            return out;
        }
        if self.space_before && (first || self.space_before_each) {
            out.push(SPACE);
        }
        let mut last = 'x';
        for c in text.chars() {
            if !(self.trim_spaces && c == ' ' && last == ' ') {
                out.push(if c == ' ' { SPACE } else { c });
            }
            last = c;
        }
        out
    }

    /// Characters, and the words that stand for themselves.
    fn split(&self, text: &str) -> Vec<Symbol> {
        let mut symbols: Vec<Symbol> = Vec::with_capacity(text.len());
        let mut from = 0;
        while from < text.len() {
            let rest = &text[from..];
            let word = self.fixed.at(rest);
            let length = word.map_or_else(|| rest.chars().next().map_or(1, char::len_utf8), |w| w.0);
            let index = symbols.len();
            let to = from + length;
            symbols.push(Symbol {
                from,
                to,
                before: index.checked_sub(1),
                after: (to < text.len()).then_some(index + 1),
                fixed: word.map(|w| w.1),
            });
            from = to;
        }
        symbols
    }
}

/// The byte of `<0x0A>`.
fn byte_of(piece: &str) -> Option<u8> {
    u8::from_str_radix(piece.strip_prefix("<0x")?.strip_suffix('>')?, 16).ok()
}

/// The bytes of every token.
fn bytes_of(model: &SentencePiece) -> Vec<Box<[u8]>> {
    let bytes = |p: &Piece| match p.kind {
        PieceKind::Unknown | PieceKind::Control | PieceKind::Unused => Box::default(),
        PieceKind::Byte => sentence_piece(&p.text),
        PieceKind::Normal | PieceKind::UserDefined => p.text.replace(SPACE, " ").into_bytes().into(),
    };
    model.pieces.iter().map(bytes).collect()
}

/// The tokenizer of a GGUF file of the kind "llama".
pub(super) fn from_gguf(d: &Directory) -> Result<Tokenizer, String> {
    let tokens = d.texts("tokenizer.ggml.tokens").ok_or("the file has no vocabulary")?;
    let scores = d.floats("tokenizer.ggml.scores").ok_or("the file has no scores of its vocabulary")?;
    let kinds = d.integers("tokenizer.ggml.token_type").unwrap_or(&[]);
    if scores.len() != tokens.len() {
        return Err(format!("it has {} tokens, but {} scores", tokens.len(), scores.len()));
    }
    let pieces = tokens.iter().zip(scores).enumerate().map(|(id, (text, score))| {
        let number = kinds.get(id).copied().unwrap_or(1);
        let kind = u64::try_from(number).ok().and_then(PieceKind::from_number);
        let kind = kind.ok_or_else(|| format!("its token \"{text}\" is of the unknown kind {number}"))?;
        if score.is_nan() {
            return Err(format!("the score of its token \"{text}\" is no number"));
        }
        Ok(Piece { text: text.clone(), score: *score as f32, kind })
    });
    let id = |name: &str| d.integer(&format!("tokenizer.ggml.{name}")).and_then(|id| u32::try_from(id).ok());
    let mut model = SentencePiece {
        pieces: pieces.collect::<Result<_, String>>()?,
        space_before: d.flag("tokenizer.ggml.add_space_prefix").unwrap_or(true),
        trim_spaces: d.flag("tokenizer.ggml.remove_extra_whitespaces").unwrap_or(false),
        bos: id("bos_token_id").or(Some(1)),
        eos: id("eos_token_id").or(Some(2)),
    };
    let mut encoder = Encoder::new(&model)?;
    // In GGUF files, tokens that were added after training are of this kind.
    encoder.separators.take(&mut encoder.fixed);
    let ends = [model.eos.take(), id("eot_token_id"), id("eom_token_id")].into_iter().flatten().collect();
    let add_bos = d.flag("tokenizer.ggml.add_bos_token").unwrap_or(true);
    Ok(Tokenizer::new(encoder.into(), bytes_of(&model), model.bos, add_bos, ends))
}

impl Words {
    fn take(&mut self, other: &mut Self) {
        for (word, id) in other.0.drain().flat_map(|(_, words)| words) {
            self.add(&word, id);
        }
        self.sort();
    }
}

/// The tokenizer of a Hugging Face folder that has a `tokenizer.model`. `ends` are the end tokens that the
/// model's configuration names.
pub(super) fn from_folder(folder: &Path, mut ends: Vec<u32>) -> Result<Tokenizer, String> {
    let model = SentencePiece::open(&folder.join("tokenizer.model")).map_err(|e| e.to_string())?;
    let mut encoder = Encoder::new(&model)?;
    let mut pieces = bytes_of(&model);
    let settings_of = settings(&folder.join("tokenizer_config.json"));
    encoder.space_before_each = settings_of.get("legacy").and_then(serde_json::Value::as_bool).unwrap_or(true);
    for (word, id, special) in added_tokens(folder, &settings_of) {
        let index = id as usize;
        // Far beyond the vocabulary there is no row of the model to look up.
        if index > model.pieces.len() + (1 << 16) {
            return Err(format!("the added token \"{word}\" has the number {id}, far beyond the vocabulary"));
        }
        if index >= pieces.len() {
            pieces.resize(index + 1, Box::default());
        }
        if index >= model.pieces.len() && !special {
            pieces[index] = word.as_bytes().into();
        }
        if model.pieces.get(index).is_none_or(|p| p.kind != PieceKind::Normal) {
            encoder.separators.add(&word, id);
        }
    }
    encoder.separators.sort();
    // Some old exports name the padding and unknown tokens here; only a control token can be an end.
    ends.retain(|id| model.pieces.get(*id as usize).is_none_or(|p| p.kind == PieceKind::Control));
    ends.retain(|id| Some(*id) != model.bos);
    ends.extend(model.eos);
    let add_bos = settings_of.get("add_bos_token").and_then(serde_json::Value::as_bool).unwrap_or(true);
    Ok(Tokenizer::new(encoder.into(), pieces, model.bos, add_bos, ends))
}

/// Tokens added after training: word, number, and whether it is never text.
fn added_tokens(folder: &Path, settings_of: &serde_json::Value) -> Vec<(String, u32, bool)> {
    let mut added = Vec::new();
    let words = settings(&folder.join("added_tokens.json"));
    for (word, id) in words.as_object().into_iter().flatten() {
        added.extend(ids(Some(id)).into_iter().map(|id| (word.clone(), id, true)));
    }
    let decoder = settings_of.get("added_tokens_decoder").and_then(serde_json::Value::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        let special = token.get("special").and_then(serde_json::Value::as_bool).unwrap_or(false);
        let word = token.get("content").and_then(serde_json::Value::as_str);
        if let (Ok(id), Some(word)) = (id.parse(), word) {
            added.retain(|known| known.1 != id);
            added.push((word.to_owned(), id, special));
        }
    }
    added
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use checkpoint::gguf::Value;
    use std::{fs, path::PathBuf};

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sentencepiece")
    }

    fn expected() -> serde_json::Value {
        serde_json::from_slice(&fs::read(fixtures().join("expected.json")).unwrap()).unwrap()
    }

    fn cases(value: &serde_json::Value) -> Vec<(String, Vec<u32>)> {
        let all = value.as_array().unwrap().iter();
        all.map(|case| (case["text"].as_str().unwrap().to_owned(), ids(case.get("tokens")))).collect()
    }

    fn folder() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(fixtures().join("tokenizer.model"), dir.path().join("tokenizer.model")).unwrap();
        dir
    }

    /// What a converter writes into a GGUF file.
    fn metadata(model: &SentencePiece) -> Directory {
        let mut d = Directory::default();
        let mut set = |key: &str, value| d.metadata.insert(format!("tokenizer.ggml.{key}"), value);
        set("model", Value::Text("llama".into()));
        set("tokens", Value::Texts(model.pieces.iter().map(|p| p.text.clone()).collect()));
        set("scores", Value::Floats(model.pieces.iter().map(|p| f64::from(p.score)).collect()));
        set("token_type", Value::Integers(model.pieces.iter().map(|p| p.kind as i64 + 1).collect()));
        d
    }

    #[test]
    fn tokens_are_those_of_the_reference_from_either_file() {
        let dir = folder();
        let folder = from_folder(dir.path(), vec![]).unwrap();
        let model = SentencePiece::open(&dir.path().join("tokenizer.model")).unwrap();
        let gguf = from_gguf(&metadata(&model)).unwrap();
        let cases = cases(&expected()["plain"]);
        assert!(cases.len() > 20);
        for (text, want) in cases {
            assert_eq!(folder.encode(&text).unwrap(), want, "{text:?}");
            assert_eq!(gguf.encode(&text).unwrap(), want, "{text:?}");
            let bytes: Vec<u8> = want.iter().flat_map(|t| folder.piece(*t).to_vec()).collect();
            let spoken = String::from_utf8(bytes).unwrap();
            let text = text.replace(SPACE, " ");
            assert_eq!(spoken.strip_prefix(' ').unwrap_or(&spoken), text, "the bytes are the text");
        }
        assert_eq!(gguf.prompt("", None).unwrap(), [1], "prompts begin with <s>");
        assert!(gguf.is_end(2) && folder.is_end(2));
    }

    /// LLaMA vocabularies that were extended with Chinese words have one score for all of these.
    #[test]
    fn of_equal_scores_the_leftmost_is_merged_first() {
        let mut model = SentencePiece::open(&fixtures().join("tokenizer.model")).unwrap();
        for text in expected()["extension"].as_array().unwrap() {
            let text = text.as_str().unwrap().to_owned();
            model.pieces.push(Piece { text, score: 0.0, kind: PieceKind::Normal });
        }
        let tokenizer = from_gguf(&metadata(&model)).unwrap();
        for (text, want) in cases(&expected()["extended"]) {
            assert_eq!(tokenizer.encode(&text).unwrap(), want, "{text:?}");
        }
    }

    #[test]
    fn control_and_added_tokens_are_found_in_text_and_never_shown() {
        let dir = folder();
        let last = SentencePiece::open(&fixtures().join("tokenizer.model")).unwrap().pieces.len() as u32;
        fs::write(dir.path().join("added_tokens.json"), format!(r#"{{"[PAD]": {last}}}"#)).unwrap();
        let t = from_folder(dir.path(), vec![1, last]).unwrap();
        let (a, b) = (t.encode("king").unwrap(), t.encode(" queen").unwrap());
        let both = t.encode("king</s>[PAD] queen").unwrap();
        assert_eq!(both, [a, vec![2, last], b].concat(), "each part begins as a text does");
        assert!(t.piece(last).is_empty() && t.piece(2).is_empty());
        assert_eq!((t.id("[PAD]"), t.id("</s>"), t.id("[PAD")), (Some(last), Some(2), None));
        assert!(!t.is_end(1) && t.is_end(last), "the beginning is no end, whatever the configuration says");

        fs::write(dir.path().join("tokenizer_config.json"), r#"{"legacy": false, "add_bos_token": false}"#).unwrap();
        let t = from_folder(dir.path(), vec![]).unwrap();
        let tokens = t.prompt("king</s>queen", None).unwrap();
        assert!(!t.piece(*tokens.last().unwrap()).starts_with(b" ") && tokens[0] != 1, "only the first has a space");
    }

    #[test]
    fn characters_without_pieces_and_bytes_are_one_unknown_token() {
        let mut model = SentencePiece::open(&fixtures().join("tokenizer.model")).unwrap();
        model.pieces.iter_mut().filter(|p| p.kind == PieceKind::Byte).for_each(|p| p.kind = PieceKind::Unused);
        let t = from_gguf(&metadata(&model)).unwrap();
        assert_eq!(t.encode("a🙂🙂").unwrap(), [t.encode("a").unwrap(), vec![0]].concat());
    }

    #[test]
    fn metadata_that_makes_no_sense_is_refused() {
        let model = SentencePiece::open(&fixtures().join("tokenizer.model")).unwrap();
        let mut d = metadata(&model);
        d.metadata.insert("tokenizer.ggml.scores".into(), Value::Floats(vec![0.0]));
        let error = from_gguf(&d).err().unwrap();
        assert_eq!(error, format!("it has {} tokens, but 1 scores", model.pieces.len()));
    }
}
