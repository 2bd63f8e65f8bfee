//! The difference of two models, and a model from another and the difference.
//!
//! Tensor by tensor, in `f32`: a difference is `tuned - raw`, a recovered model is `difference + raw`. Either model may
//! be in any form; what a number is stored as is decided by the second of the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use protocol::Sentence;
use serde::Deserialize;

use crate::{
    BlockFormat, Element, HuggingFaceError, Source, SourceError, Tensor,
    convert::{self, ConvertError},
    folder,
    huggingface::read_json,
    quick::quick,
    source::{Info, Kind, Numbers, order},
    write::{self, Companion, Container, Manifest, Planned, Progress, WriteError, WriteOptions},
};

/// Why there is no difference, or no model.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// A model cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A model cannot be brought into the form of Hugging Face's.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// A file beside the weights cannot be read.
    #[error(transparent)]
    Json(#[from] HuggingFaceError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// They are not of the same kind.
    #[error("{} and {} do not belong together: {}", .raw.display(), .other.display(), Lines(.reasons))]
    Mismatch {
        /// The one.
        raw: PathBuf,
        /// The other.
        other: PathBuf,
        /// What does not fit.
        reasons: Vec<String>,
    },
}

/// The first few of many reasons.
struct Lines<'a>(&'a [String]);

impl fmt::Display for Lines<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        f.write_str(&self.0[..self.0.len().min(SHOWN)].join("; "))?;
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// What is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The second model less the first.
    Diff,
    /// The first model and the second, which is a difference.
    Recover,
}

/// How a result is written.
#[derive(Clone, Debug)]
pub struct ModelOptions {
    /// What numbers are stored as; `None` for as they were.
    pub element: Option<Element>,
    /// The form of the weights.
    pub container: Container,
    /// Whether a folder that is made of an original LLaMA gets the rotary buffers (`rotary_emb.inv_freq`) that conversions
    /// of 2023 wrote, and that everyone computes by now.
    pub rotary: bool,
    /// How to write.
    pub write: WriteOptions,
}

/// What was written, and what is to be known of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What was written.
    pub manifest: Manifest,
    /// What was not as usual.
    pub notes: Vec<Sentence>,
}

/// Writes the difference of two models, or the model that a difference makes of another.
///
/// # Errors
/// The models do not belong together, cannot be read, or the result cannot be written.
pub fn combine(
    direction: Direction,
    raw: &Source,
    other: &Source,
    out: &Path,
    options: &ModelOptions,
    progress: Progress<'_>,
) -> Result<Outcome, DiffError> {
    let mut notes = Vec::new();
    let planned = plan(direction, raw, other, options.element, &mut notes)?;
    let companions = companions([other, raw], convert::most(&planned), &mut notes)?;
    let mut write = options.write.clone();
    write.reads(raw);
    write.reads(other);
    let manifest = write::folder(out, options.container, &planned, &companions, &write, progress)?;
    Ok(Outcome { manifest, notes })
}

/// Configuration and tokenizer: each file of the first of the two models that has it, the tokenizer's files from one.
/// GGUF files have theirs in themselves, original LLaMA models in files of another form.
fn companions(
    models: [&Source; 2],
    element: Option<Element>,
    notes: &mut Vec<Sentence>,
) -> Result<Vec<Companion>, DiffError> {
    let mut all: Vec<Companion> = Vec::new();
    for model in models {
        let mut said = Vec::new();
        let found = match model.kind() {
            Kind::Gguf | Kind::OriginalLlama => convert::companions(model, element, &mut said)?,
            _ => folder::companions(&[model.folder()], element)?,
        };
        let has_tokenizer = all.iter().any(|c| folder::tells_tokenizer(&c.name));
        let is_new = |c: &Companion| {
            let is_there = all.iter().any(|other| other.name == c.name);
            !is_there && (!has_tokenizer || !folder::is_tokenizer(&c.name))
        };
        let found: Vec<Companion> = found.into_iter().filter(is_new).collect();
        if !found.is_empty() {
            notes.extend(said.into_iter().filter(|note| *note != convert::no_tokenizer()));
        }
        all.extend(found);
    }
    notes.extend(convert::no_config(&all));
    if !all.iter().any(|c| folder::tells_tokenizer(&c.name)) {
        notes.push(Sentence::new(
            "there is no tokenizer with either model: the result has none, and cannot be talked to",
            "两个模型都没有分词器：结果中也没有，无法用于对话",
        ));
    }
    Ok(all)
}

/// Pairs the tensors up.
fn plan<'a>(
    direction: Direction,
    raw: &'a Source,
    other: &'a Source,
    element: Option<Element>,
    notes: &mut Vec<Sentence>,
) -> Result<Vec<Planned<'a>>, DiffError> {
    let sign = if direction == Direction::Diff { -1.0 } else { 1.0 };
    let mut raws = named(convert::as_huggingface(raw)?);
    let others = convert::as_huggingface(other)?;
    let there: BTreeSet<&str> = others.iter().map(|t| t.info.name.as_str()).collect();
    let mut reasons = Vec::new();
    let only_in_raw: Vec<String> = raws.keys().filter(|name| !there.contains(name.as_str())).cloned().collect();
    for name in only_in_raw {
        if is_rotary(&name) || name == OUTPUT && is_tied(other.folder()) {
            let name = if is_rotary(&name) { ROTARY } else { OUTPUT };
            let path = raw.path().display();
            let zh = format!("{name} 只在 {path} 中，已略去");
            note(notes, Sentence::new(format!("{name} is only in {path}; it is left out"), zh));
        } else {
            reasons.push(format!("{name} is only in the first"));
        }
    }
    let mut planned = Vec::with_capacity(others.len());
    for tensor in others {
        let name = tensor.info.name.clone();
        let base = match raws.remove(&name) {
            Some(base) => base,
            None if is_rotary(&name) => {
                let path = raw.path().display();
                let zh = format!("{path} 中没有 {ROTARY}，已重新计算");
                note(notes, Sentence::new(format!("{ROTARY} is not in {path}; it is computed"), zh));
                rotary(&name, raw, &tensor)?
            }
            None if name == OUTPUT && is_tied(raw.folder()) => {
                match convert::as_huggingface(raw)?.into_iter().find(|t| t.info.name == INPUT) {
                    Some(shared) => shared.named(OUTPUT),
                    None => {
                        reasons.push(format!("{name} is only in the second"));
                        continue;
                    }
                }
            }
            None => {
                reasons.push(format!("{name} is only in the second"));
                continue;
            }
        };
        let (first, second) = (&base.info.shape, &tensor.info.shape);
        if first != second {
            let vocabulary = name == INPUT || name == OUTPUT;
            if !(vocabulary && first.len() == 2 && second.len() == 2 && first[1] == second[1]) {
                reasons.push(format!("{name} is {first:?} in the first and {second:?} in the second"));
                continue;
            }
            let (a, b) = (first[0], second[0]);
            let (here, there) = (raw.path().display(), other.path().display());
            notes.push(if a < b {
                Sentence::new(
                    format!("{name} has {b} rows, {a} of them also in {here}; the others are as in {there}"),
                    format!("{name} 有 {b} 行，其中 {a} 行也在 {here} 中，其余与 {there} 相同"),
                )
            } else {
                let more = a - b;
                Sentence::new(
                    format!("{name} has {a} rows in {here}; the {more} behind the first {b} are left out"),
                    format!("{name} 在 {here} 中有 {a} 行，已略去前 {b} 行之后的 {more} 行"),
                )
            });
        }
        // Numbers of 64 bits are weights too; like all others they are computed in 32.
        let format = match tensor.info.element {
            Element::F64 => Some(BlockFormat::F32),
            // Differences of whole numbers of eight bits are whole, and fit into sixteen.
            Element::I8 if convert::eight_bit::is_matrix(&tensor.info) => Some(BlockFormat::F16),
            element => element.format(),
        };
        let Some(format) = format else {
            // Positions and the like are no weights.
            planned.push(Planned::kept(tensor));
            continue;
        };
        let quantized = format.block() > 1;
        let stored = element.unwrap_or(Element::Block(if quantized { BlockFormat::F16 } else { format }));
        // It is computed, so it has no stored form of its own.
        let info = Info { element: Element::F32, ..tensor.info.clone() };
        let numbers = Box::new(Combined { base, other: tensor, sign });
        planned.push(Planned { tensor: Tensor { info, numbers }, element: stored });
    }
    if !reasons.is_empty() {
        return Err(DiffError::Mismatch { raw: raw.path().into(), other: other.path().into(), reasons });
    }
    planned.sort_by(|a, b| order::place(&a.tensor.info.name).cmp(&order::place(&b.tensor.info.name)));
    Ok(planned)
}

const INPUT: &str = "model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// What stands for those buffers in a note.
const ROTARY: &str = "rotary_emb.inv_freq of the layers";

fn note(notes: &mut Vec<Sentence>, note: Sentence) {
    if !notes.contains(&note) {
        notes.push(note);
    }
}

fn named(tensors: Vec<Tensor<'_>>) -> BTreeMap<String, Tensor<'_>> {
    tensors.into_iter().map(|t| (t.info.name.clone(), t)).collect()
}

/// Buffers that models of 2023 carried along, and that everyone computes anew.
pub(crate) fn is_rotary(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    tie_word_embeddings: bool,
    rope_theta: Option<f64>,
}

/// Whether a folder's model has one matrix for its input and its output.
fn is_tied(folder: &Path) -> bool {
    read_json::<Config>(&folder.join("config.json")).is_ok_and(|c| c.tie_word_embeddings)
}

/// What the buffer would be in the raw model: one angle for each pair of numbers of a head.
fn rotary<'a>(name: &str, raw: &Source, like: &Tensor<'_>) -> Result<Tensor<'a>, DiffError> {
    let path = raw.folder().join("config.json");
    let base = if path.is_file() { read_json::<Config>(&path)?.rope_theta } else { None }.unwrap_or(10000.0);
    let half = like.info.count();
    let angles: Vec<f32> = (0..half).map(|i| 1.0 / (base as f32).powf((2 * i) as f32 / (2 * half) as f32)).collect();
    Ok(Tensor::computed(name, like.info.shape.clone(), angles))
}

/// `other + sign * base`, where the base may have fewer rows.
struct Combined<'a> {
    base: Tensor<'a>,
    other: Tensor<'a>,
    sign: f32,
}

/// Numbers that are worked on at a time; a multiple of every block.
const PART: usize = 1 << 15;

impl Numbers for Combined<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        let there = self.base.info.count().saturating_sub(from).min(out.len());
        let mut base = vec![0.0; PART.min(there)];
        for (at, out) in (0..).step_by(PART).zip(out.chunks_mut(PART)) {
            self.other.numbers.read(from + at, out);
            let count = there.saturating_sub(at).min(out.len());
            if count == 0 {
                continue;
            }
            let base = &mut base[..count];
            self.base.numbers.read(from + at, base);
            let sign = self.sign;
            quick(
                #[inline(always)]
                || out.iter_mut().zip(base).for_each(|(o, x)| *o += sign * *x),
            );
        }
    }

    fn done(&self) {
        self.other.numbers.done();
        self.base.numbers.done();
    }
}
