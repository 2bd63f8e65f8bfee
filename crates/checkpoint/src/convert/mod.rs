//! Models from one form into another.
//!
//! Between forms, tensors have other names, and the rows of the query and key matrices another order: Hugging Face's
//! models turn number `i` of a head together with number `i + d/2`, the original ones and GGUF files number `2i`
//! together with `2i + 1`.

pub(crate) mod eight_bit;
mod from_gguf;
mod llama;
mod names;
mod packed;
pub(crate) mod to_gguf;
mod to_packed;
mod vocabulary;

use std::path::{Path, PathBuf};

use protocol::Sentence;
pub use to_gguf::{file_format, to_gguf, to_gguf_with};
pub use to_packed::to_packed;
pub use vocabulary::{Vocabulary, VocabularyError};

use crate::{
    BlockFormat, Element, GgufError, HuggingFaceError, Source, SourceError, Tensor,
    diff::{ModelOptions, Outcome},
    folder,
    source::{Kind, Numbers, order, rows},
    write::{self, Companion, Container, Planned, Progress, WriteError},
};

/// Why a model was not converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file beside the weights cannot be used.
    #[error(transparent)]
    Json(#[from] HuggingFaceError),
    /// A GGUF file has not what is needed.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The tokenizer cannot be converted.
    #[error(transparent)]
    Vocabulary(#[from] VocabularyError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It is of a kind that is not converted.
    #[error("{path} cannot be converted: {reason}")]
    Unsupported {
        /// The model.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// A model's tensors by the names, and in the order of rows, that Hugging Face's models have.
///
/// # Errors
/// The model is of a form whose tensors have no such names.
pub fn as_huggingface(source: &Source) -> Result<Vec<Tensor<'_>>, ConvertError> {
    all_read(source)?;
    match source.kind() {
        Kind::OriginalLlama => llama::tensors(source),
        Kind::Gguf => from_gguf::tensors(source),
        // By these names the rows would be taken to be in another order than they are.
        _ if source.infos().iter().any(|t| t.name == "tok_embeddings.weight") => {
            let reason =
                "its tensors have the names of the original LLaMA: call its files consolidated.00.pth and so on, \
                          put the params.json that belongs to them beside them, and name the folder"
                    .into();
            Err(ConvertError::Unsupported { path: source.path().into(), reason })
        }
        Kind::Safetensors | Kind::PyTorch | Kind::Numpy => eight_bit::weights(source)
            .and_then(|tensors| packed::weights(source, tensors))
            .map_err(|reason| ConvertError::Unsupported { path: source.path().into(), reason }),
    }
}

/// Configuration and tokenizer of a model, for a folder of Hugging Face's form.
///
/// # Errors
/// They are needed and cannot be read.
pub fn companions(
    source: &Source,
    element: Option<Element>,
    notes: &mut Vec<Sentence>,
) -> Result<Vec<Companion>, ConvertError> {
    let companions = match source.kind() {
        Kind::OriginalLlama => llama::companions(source, element, notes)?,
        Kind::Gguf => from_gguf::companions(source, element, notes)?,
        Kind::Safetensors | Kind::PyTorch | Kind::Numpy => folder::companions(&[source.folder()], element)?,
    };
    notes.extend(no_config(&companions));
    if !companions.iter().any(|c| folder::tells_tokenizer(&c.name)) {
        notes.push(no_tokenizer());
    }
    Ok(companions)
}

/// That no tensor is in a form that is only listed.
///
/// # Errors
/// One is; the message names it.
pub(crate) fn all_read(source: &Source) -> Result<(), ConvertError> {
    let Some(info) = source.unread() else { return Ok(()) };
    let known = BlockFormat::ALL.map(BlockFormat::name).join(", ");
    let (name, element) = (&info.name, info.element.name());
    let reason = format!("its tensor {name} is stored as {element}, which is not read; weights are read as {known}");
    Err(ConvertError::Unsupported { path: source.path().into(), reason })
}

/// One of several GGUF files has a part of the tensors.
///
/// # Errors
/// It is one.
fn no_part(source: &Source) -> Result<(), ConvertError> {
    let parts = source.directory().and_then(|directory| directory.integer("split.count")).unwrap_or(1);
    if parts <= 1 {
        return Ok(());
    }
    let reason = "it is one part of several; join them with llama-gguf-split --merge first".into();
    Err(ConvertError::Unsupported { path: source.path().into(), reason })
}

/// Heads beyond this are in no model.
const MAX_HEAD: usize = 65536;

/// What is said of a model without one.
pub(crate) fn no_tokenizer() -> Sentence {
    Sentence::new(
        "there is no tokenizer beside the weights: the result has none, and cannot be talked to",
        "权重旁没有分词器：结果中也没有，无法用于对话",
    )
}

/// What is said of a folder without a configuration.
pub(crate) fn no_config(companions: &[Companion]) -> Option<Sentence> {
    let is_there = companions.iter().any(|c| c.name == "config.json");
    (!is_there).then(|| {
        Sentence::new(
            "there is no config.json beside the weights: the result has none, and cannot be loaded as a model until the \
             one that belongs to it is put there",
            "权重旁没有 config.json：结果中也没有，放入对应的 config.json 之前无法作为模型加载",
        )
    })
}

/// Writes a model as a folder of Hugging Face's form; an adapter stays one.
///
/// # Errors
/// The model cannot be read or is of a kind that is not converted, or the result cannot be written.
pub fn to_folder(
    source: &Source,
    out: &Path,
    options: &ModelOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    if source.is_adapter() {
        return adapter(source, out, options, progress);
    }
    let mut notes = Vec::new();
    let mut tensors = as_huggingface(source)?;
    if options.rotary {
        tensors.extend(llama::rotary(source)?);
        tensors.sort_by(|a, b| order::place(&a.info.name).cmp(&order::place(&b.info.name)));
    }
    if options.element.is_some() {
        eight_bit::note(tensors.iter().map(|t| &t.info), &mut notes);
    }
    let planned: Vec<Planned<'_>> = tensors.into_iter().map(|t| stored_as(t, options.element)).collect();
    let companions = companions(source, most(&planned), &mut notes)?;
    let mut write = options.write.clone();
    write.reads(source);
    let manifest = write::folder(out, options.container, &planned, &companions, &write, progress)?;
    Ok(Outcome { manifest, notes })
}

/// Writes an adapter of PEFT's form with its configuration and what else lies beside it.
fn adapter(
    source: &Source,
    out: &Path,
    options: &ModelOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    let container = match options.container {
        Container::PyTorch => Container::PyTorchAdapter,
        _ => Container::Adapter,
    };
    let planned: Vec<Planned<'_>> = source.tensors().into_iter().map(|t| stored_as(t, options.element)).collect();
    let companions = folder::of_adapter(source.folder());
    let mut write = options.write.clone();
    write.reads(source);
    let manifest = write::folder(out, container, &planned, &companions, &write, progress)?;
    Ok(Outcome { manifest, notes: vec![] })
}

/// How the names of buffers end that models of 2023 carried along.
pub(crate) const ROTARY: &str = "rotary_emb.inv_freq";

/// How a tensor goes into a folder: as asked for, else as it is, but for quantized numbers, which become F16, and for
/// rotary buffers, which stay as they are.
pub(crate) fn stored_as(tensor: Tensor<'_>, element: Option<Element>) -> Planned<'_> {
    if tensor.info.name.ends_with(ROTARY) {
        return Planned::kept(tensor);
    }
    match tensor.info.element.format() {
        // Numbers of 64 bits, and matrices of 8, may be weights; they become what is asked for.
        None if tensor.info.element == Element::F64 || eight_bit::is_matrix(&tensor.info) => {
            Planned { element: element.unwrap_or(tensor.info.element), tensor }
        }
        None => Planned::kept(tensor),
        Some(format) if format.block() > 1 => {
            Planned { element: element.unwrap_or(Element::Block(crate::BlockFormat::F16)), tensor }
        }
        Some(_) => Planned { element: element.unwrap_or(tensor.info.element), tensor },
    }
}

/// What the largest tensor is stored as.
pub(crate) fn most(planned: &[Planned<'_>]) -> Option<Element> {
    planned.iter().max_by_key(|p| p.tensor.info.count()).map(|p| p.element)
}

/// Which way the rows of a head are put into another order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// From neighbours to halves: to Hugging Face's order.
    ToHalves,
    /// From halves to neighbours: to that of GGUF files.
    ToPairs,
}

/// A query or key matrix with the rows of each head in another order.
struct Turned<'a> {
    inner: Tensor<'a>,
    head: usize,
    columns: usize,
    turn: Turn,
}

/// The same tensor with its rows in another order; `head` is the number of rows of a head.
///
/// # Errors
/// The rows are not those of whole heads; the message says so.
fn turned(tensor: Tensor<'_>, head: usize, turn: Turn) -> Result<Tensor<'_>, String> {
    let info = tensor.info.clone();
    // A bias has one number for a row.
    let columns = if info.shape.len() < 2 { 1 } else { info.columns() };
    let rows = info.shape.first().copied().unwrap_or(0);
    if head == 0 || !head.is_multiple_of(2) || !rows.is_multiple_of(head) {
        return Err(format!("tensor {} has {rows} rows, which are no whole heads of {head}", info.name));
    }
    Ok(Tensor { info, numbers: Box::new(Turned { inner: tensor, head, columns, turn }) })
}

impl Turned<'_> {
    /// Where a row comes from.
    fn origin(&self, row: usize) -> usize {
        let (first, half, place) = (row / self.head * self.head, self.head / 2, row % self.head);
        first
            + match self.turn {
                Turn::ToHalves => place % half * 2 + place / half,
                Turn::ToPairs => place % 2 * half + place / 2,
            }
    }
}

impl Numbers for Turned<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        for (row, columns, place) in rows(from, out.len(), self.columns) {
            self.inner.numbers.read(self.origin(row) * self.columns + columns.start, &mut out[place]);
        }
    }

    fn copy(&self, from: usize, out: &mut [u8]) -> bool {
        let element = self.inner.info.element;
        let count = out.len() / element.block_bytes() * element.block();
        let mut all = true;
        for (row, columns, place) in rows(from, count, self.columns) {
            let (Some(a), Some(b)) = (element.bytes(place.start), element.bytes(place.end)) else { return false };
            all &= self.inner.numbers.copy(self.origin(row) * self.columns + columns.start, &mut out[a..b]);
        }
        all
    }

    fn done(&self) {
        self.inner.numbers.done();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::source::Info;

    #[test]
    fn rows_are_turned_and_turned_back() {
        let bytes: Vec<u8> = (0..16).collect();
        let info = Info { name: "q".into(), shape: vec![8, 2], element: Element::U8 };
        let stored = || Tensor::stored(info.clone(), &bytes);
        let halves = turned(stored(), 4, Turn::ToHalves).unwrap();
        // Two heads of four rows: 0 2 1 3, then 4 6 5 7.
        assert_eq!(halves.to_vec()[..8], [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        let mut part = [0; 3];
        assert!(halves.numbers.copy(3, &mut part));
        assert_eq!(part, [5, 2, 3]);
        let back = turned(halves, 4, Turn::ToPairs).unwrap();
        assert_eq!(back.to_vec(), stored().to_vec());
        assert!(turned(stored(), 3, Turn::ToPairs).unwrap_err().contains("no whole heads of 3"));
        let heads_of_eight = turned(stored(), 8, Turn::ToPairs).unwrap();
        assert_eq!(turned(heads_of_eight, 8, Turn::ToHalves).unwrap().to_vec(), stored().to_vec());
    }
}
