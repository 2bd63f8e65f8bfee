//! SentencePiece models: the `tokenizer.model` of LLaMA 1 and 2, Mistral and their kin.
//!
//! The file is a protocol buffer message of which a few fields are read: the pieces with their scores and
//! kinds, how text is prepared, and which pieces begin and end a text. Source: the message's definition,
//! `sentencepiece_model.proto`.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::small;

/// The largest vocabularies make files of some 8 MB.
const MAX_FILE: u64 = 64 << 20;

/// What is wrong with a SentencePiece model.
#[derive(Debug, thiserror::Error)]
pub enum SentencePieceError {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not what its name says.
    #[error("{path} is no SentencePiece model, or damaged: {reason} (byte {at} of {size})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was read.
        reason: String,
        /// Where.
        at: usize,
        /// Size of the file.
        size: usize,
    },
    /// It is of a kind we do not apply.
    #[error("{path} cannot be used: {reason}. Save the tokenizer as tokenizer.json, which is read too")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// What a piece is for. The numbers are those of the file, and of `tokenizer.ggml.token_type` in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PieceKind {
    /// A part of text.
    Normal,
    /// What text without pieces becomes.
    Unknown,
    /// Never text: `<s>`.
    Control,
    /// Found in text before everything else.
    UserDefined,
    /// No text becomes it.
    Unused,
    /// One byte of a character that has no piece: `<0xE4>`.
    Byte,
}

impl PieceKind {
    /// The kind of a number.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => return None,
        })
    }
}

/// An entry of the vocabulary.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its text; `▁` is a space.
    pub text: String,
    /// How soon it is merged: the greatest first.
    pub score: f32,
    /// What it is for.
    pub kind: PieceKind,
}

/// A SentencePiece model of the kind that merges pairs (BPE).
#[derive(Clone, Debug, PartialEq)]
pub struct SentencePiece {
    /// The vocabulary; a piece's place is its token's number.
    pub pieces: Vec<Piece>,
    /// Whether a space is put before a text.
    pub space_before: bool,
    /// Whether spaces at the ends are dropped, and of several spaces all but one.
    pub trim_spaces: bool,
    /// The piece that begins a text.
    pub bos: Option<u32>,
    /// The piece that ends a text.
    pub eos: Option<u32>,
}

impl SentencePiece {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is damaged, or of a kind we do not apply.
    pub fn open(path: &Path) -> Result<Self, SentencePieceError> {
        let io = |source| SentencePieceError::Io { path: path.into(), source };
        let bytes = small::read(path, MAX_FILE).map_err(|source| match source.kind() {
            io::ErrorKind::FileTooLarge => {
                let reason = format!("it has more than {MAX_FILE} bytes, which no such model has");
                SentencePieceError::Unsupported { path: path.into(), reason }
            }
            _ => io(source),
        })?;
        Self::parse(&bytes, path)
    }

    /// Reads the bytes of a whole file; `path` is for the errors.
    ///
    /// # Errors
    /// See [`SentencePiece::open`].
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, SentencePieceError> {
        let wrong = |reason: String| SentencePieceError::Unsupported { path: path.into(), reason };
        let mut message = Message { bytes, at: 0, end: bytes.len(), path };
        let mut pieces = Vec::new();
        let (mut trainer, mut normalizer) = (Trainer::default(), Normalizer::default());
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Message(inner)) => pieces.push(piece(inner)?),
                (2, Value::Message(inner)) => trainer = Trainer::read(inner)?,
                (3, Value::Message(inner)) => normalizer = Normalizer::read(inner)?,
                _ => {}
            }
        }
        if pieces.is_empty() {
            return Err(message.damaged("it has no pieces"));
        }
        if trainer.kind != BPE {
            let kind = match trainer.kind {
                1 => "unigram",
                3 => "word",
                4 => "character",
                _ => "unknown",
            };
            return Err(wrong(format!("it is a {kind} model; only those that merge pairs (BPE) are applied")));
        }
        if normalizer.rules {
            return Err(wrong(format!(
                "it rewrites text by the rules \"{}\" before cutting it, which is not done here",
                normalizer.name
            )));
        }
        if trainer.space_after || !normalizer.escapes {
            return Err(wrong("it treats spaces in a way that is not done here".into()));
        }
        let control = |id: u64| {
            let is = |p: &&Piece| p.kind == PieceKind::Control;
            usize::try_from(id).ok().and_then(|i| pieces.get(i)).filter(is).map(|_| id as u32)
        };
        Ok(Self {
            space_before: normalizer.space_before,
            trim_spaces: normalizer.trim_spaces,
            bos: control(trainer.bos),
            eos: control(trainer.eos),
            pieces,
        })
    }
}

/// The number of the kind that merges pairs.
const BPE: u64 = 2;

/// The settings of training that say how the model is used.
struct Trainer {
    kind: u64,
    space_after: bool,
    bos: u64,
    eos: u64,
}

impl Default for Trainer {
    fn default() -> Self {
        Self { kind: 1, space_after: false, bos: 1, eos: 2 }
    }
}

impl Trainer {
    fn read(mut message: Message<'_>) -> Result<Self, SentencePieceError> {
        let mut trainer = Self::default();
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (3, Value::Number(n)) => trainer.kind = n,
                (24, Value::Number(n)) => trainer.space_after = n != 0,
                (41, Value::Number(n)) => trainer.bos = n,
                (42, Value::Number(n)) => trainer.eos = n,
                _ => {}
            }
        }
        Ok(trainer)
    }
}

/// How text is prepared.
struct Normalizer {
    name: String,
    rules: bool,
    space_before: bool,
    trim_spaces: bool,
    escapes: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { name: String::new(), rules: false, space_before: true, trim_spaces: true, escapes: true }
    }
}

impl Normalizer {
    fn read(mut message: Message<'_>) -> Result<Self, SentencePieceError> {
        let mut normalizer = Self::default();
        while let Some((field, value)) = message.next()? {
            match (field, value) {
                (1, Value::Message(name)) => normalizer.name = String::from_utf8_lossy(name.rest()).into_owned(),
                (2, Value::Message(rules)) => normalizer.rules = !rules.rest().is_empty(),
                (3, Value::Number(n)) => normalizer.space_before = n != 0,
                (4, Value::Number(n)) => normalizer.trim_spaces = n != 0,
                (5, Value::Number(n)) => normalizer.escapes = n != 0,
                _ => {}
            }
        }
        Ok(normalizer)
    }
}

fn piece(mut message: Message<'_>) -> Result<Piece, SentencePieceError> {
    let mut piece = Piece { text: String::new(), score: 0.0, kind: PieceKind::Normal };
    while let Some((field, value)) = message.next()? {
        match (field, value) {
            (1, Value::Message(text)) => {
                piece.text = std::str::from_utf8(text.rest()).map_err(|_| text.damaged("a piece is no text"))?.into();
            }
            (2, Value::Float(score)) if score.is_nan() => return Err(message.damaged("a score is no number")),
            (2, Value::Float(score)) => piece.score = score,
            (3, Value::Number(n)) => {
                piece.kind = PieceKind::from_number(n)
                    .ok_or_else(|| message.damaged(&format!("a piece is of the unknown kind {n}")))?;
            }
            _ => {}
        }
    }
    Ok(piece)
}

/// A field's value.
enum Value<'a> {
    Number(u64),
    Float(f32),
    /// Anything with a length: text, bytes, a message.
    Message(Message<'a>),
    Other,
}

/// A part of the file that holds fields.
struct Message<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
    path: &'a Path,
}

impl<'a> Message<'a> {
    fn damaged(&self, reason: &str) -> SentencePieceError {
        SentencePieceError::Damaged {
            path: self.path.into(),
            reason: reason.into(),
            at: self.at,
            size: self.bytes.len(),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..self.end).unwrap_or_default()
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], SentencePieceError> {
        let rest = self.rest();
        let taken = usize::try_from(length).ok().and_then(|n| rest.get(..n));
        let taken = taken.ok_or_else(|| self.damaged("a field is longer than what it lies in"))?;
        self.at += taken.len();
        Ok(taken)
    }

    /// A number of seven bits a byte, the lowest first.
    fn varint(&mut self) -> Result<u64, SentencePieceError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?.first().copied().unwrap_or(0);
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(self.damaged("a number does not end"))
    }

    fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, SentencePieceError> {
        if self.at >= self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Other
            }
            2 => {
                let length = self.varint()?;
                let at = self.at;
                self.take(length)?;
                Value::Message(Message { bytes: self.bytes, at, end: self.at, path: self.path })
            }
            5 => {
                let bytes = self.take(4)?;
                Value::Float(bytes.try_into().map_or(f32::NAN, f32::from_le_bytes))
            }
            kind => return Err(self.damaged(&format!("a field is of the unknown kind {kind}"))),
        };
        Ok(Some((key >> 3, value)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn entry(text: &str, score: f32, kind: u8) -> Vec<u8> {
        let score = [&[2 << 3 | 5], &score.to_le_bytes()[..]].concat();
        field(1, &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat())
    }

    fn sample() -> Vec<u8> {
        let pieces = [entry("<unk>", 0.0, 2), entry("<s>", 0.0, 3), entry("</s>", 0.0, 3), entry("▁a", -1.0, 1)];
        let trainer = field(2, &[3 << 3, 2]);
        let normalizer = field(3, &[field(1, b"identity"), vec![4 << 3, 0]].concat());
        [pieces.concat(), trainer, normalizer].concat()
    }

    fn error(bytes: &[u8]) -> String {
        SentencePiece::parse(bytes, Path::new("tokenizer.model")).unwrap_err().to_string()
    }

    #[test]
    fn pieces_and_settings_are_read() {
        let model = SentencePiece::parse(&sample(), Path::new("m")).unwrap();
        assert_eq!(model.pieces[3], Piece { text: "▁a".into(), score: -1.0, kind: PieceKind::Normal });
        assert_eq!((model.space_before, model.trim_spaces, model.bos, model.eos), (true, false, Some(1), Some(2)));
    }

    #[test]
    fn what_is_not_applied_or_damaged_is_named() {
        let unigram = [sample(), field(2, &[3 << 3, 1])].concat();
        assert_eq!(
            error(&unigram),
            "tokenizer.model cannot be used: it is a unigram model; only those that merge pairs (BPE) are applied. Save the tokenizer as tokenizer.json, which is read too"
        );
        let rules = [sample(), field(3, &[field(1, b"nmt_nfkc"), field(2, b"xx")].concat())].concat();
        assert!(error(&rules).contains("by the rules \"nmt_nfkc\""));
        assert!(error(b"").contains("it has no pieces"));
        // The length of the first piece is beyond the file, then beyond all files.
        assert!(error(b"\x0a\x7f\x0a").contains("a field is longer than what it lies in (byte 2 of 3)"));
        assert!(error(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01").contains("a field is longer"));
        // The vocabulary of other models of the same name is a list of words in base64.
        assert!(error(b"IQ== 0\nIg== 1\n").contains("is no SentencePiece model"));
    }

    proptest! {
        #[test]
        fn no_cut_or_garbled_file_panics(cut in 0usize..200, flips in prop::collection::vec((0usize..200, any::<u8>()), 0..8)) {
            let mut bytes = sample();
            for (at, value) in flips {
                let at = at % bytes.len();
                bytes[at] = value;
            }
            bytes.truncate(cut);
            let _ = SentencePiece::parse(&bytes, Path::new("m"));
        }
    }
}
