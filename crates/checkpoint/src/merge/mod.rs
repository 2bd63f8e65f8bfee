//! A base and its adapters as one model.

mod lora;
mod numbers;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

pub use lora::Lora;
use protocol::Sentence;

use crate::{
    BlockFormat, Element, HuggingFaceError, Source, SourceError, Tensor,
    convert::{self, ConvertError, to_gguf::Description},
    diff::{ModelOptions, Outcome},
    folder,
    source::{Info, Kind, order},
    write::{self, Companion, Content, Planned, Progress, WriteError, WriteOptions},
};
use lora::{Change, Lie};
use numbers::{Instead, Lengthened, Merged};

/// Why nothing was merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A model or adapter cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A JSON file cannot be read.
    #[error(transparent)]
    Json(#[from] HuggingFaceError),
    /// The base cannot be brought into the form of Hugging Face's.
    #[error(transparent)]
    Convert(#[from] ConvertError),
    /// The result cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The adapter is of a kind that cannot be merged.
    #[error("{path} cannot be merged: {reason}")]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The adapter was made for another base.
    #[error("{path} does not fit the base: tensor {tensor} {reason}")]
    DoesNotFit {
        /// The adapter.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// How it does not fit.
        reason: String,
    },
}

const INPUT: &str = "model.embed_tokens.weight";
const OUTPUT: &str = "lm_head.weight";

/// The tensors of a merged model, and what follows of them.
struct Model<'a> {
    tensors: Vec<Tensor<'a>>,
    /// Whether the base had one matrix for input and output, and now there are two.
    untied: bool,
    /// Entries of the vocabulary, where the adapter brought other embeddings.
    rows: Option<usize>,
    /// The tensors that were changed, and whether as a whole: what is added to such a one by another adapter is lost.
    changed: BTreeMap<String, bool>,
}

/// Puts the changes of the adapters on the tensors of the base, in their order.
fn merged<'a>(base: &'a Source, adapters: &'a [Lora]) -> Result<Model<'a>, MergeError> {
    let mut tensors: BTreeMap<String, Tensor<'a>> =
        convert::as_huggingface(base)?.into_iter().map(|t| (t.info.name.clone(), t)).collect();
    let mut model = Model { tensors: vec![], untied: false, rows: None, changed: BTreeMap::new() };
    for adapter in adapters {
        let path = adapter.source().path();
        let wrong =
            |tensor: &str, reason: String| MergeError::DoesNotFit { path: path.into(), tensor: tensor.into(), reason };
        for (name, change) in adapter.changes()? {
            let as_a_whole = change.instead.is_some() || change.lengths.is_some();
            if model.changed.get(&name).is_some_and(|before| *before || as_a_whole) {
                let reason = "is changed by several of the adapters, and as a whole by one of them (modules_to_save or \
                              DoRA): what they make together is not defined; merge only one of them";
                return Err(wrong(&name, reason.into()));
            }
            let old = match tensors.remove(&name) {
                Some(old) => old,
                // A layer that was not stored, because the embeddings are its numbers too.
                None if name == OUTPUT && tensors.contains_key(INPUT) => {
                    model.untied = true;
                    let shared = convert::as_huggingface(base)?.into_iter().find(|t| t.info.name == INPUT);
                    match shared {
                        Some(shared) => shared.named(OUTPUT),
                        None => return Err(wrong(&name, "is changed by it, and the base does not have it".into())),
                    }
                }
                // A bias that the base does not have counts as nothing.
                None if name.ends_with(".bias") && change.instead.is_some() => {
                    return Err(wrong(&name, "is a bias that the base does not have".into()));
                }
                None => return Err(wrong(&name, "is changed by it, and the base does not have it".into())),
            };
            let new = changed(old, change).map_err(|(tensor, reason)| wrong(&tensor, reason))?;
            if name == INPUT {
                model.rows = new.info.shape.first().copied();
            }
            tensors.insert(name.clone(), new);
            model.changed.insert(name, as_a_whole);
        }
    }
    let mut tensors: Vec<Tensor<'a>> = tensors.into_values().collect();
    tensors.sort_by(|a, b| order::place(&a.info.name).cmp(&order::place(&b.info.name)));
    model.tensors = tensors;
    Ok(model)
}

/// A tensor with one change.
fn changed<'a>(base: Tensor<'a>, change: Change<'a>) -> Result<Tensor<'a>, (String, String)> {
    let Change { instead, a, b, lie, lengths, scale, weight } = change;
    if base.info.element.format().is_none() {
        let reason = format!(
            "is stored as {} in the base, which nothing can be added to; convert the base to f16 first",
            base.info.element.name()
        );
        return Err((base.info.name, reason));
    }
    let mut base = base;
    if let Some(new) = instead {
        let (old, shape) = (&base.info.shape, &new.info.shape);
        let vocabulary = base.info.name == INPUT || base.info.name == OUTPUT;
        let fits = old == shape || vocabulary && old.len() == 2 && shape.len() == 2 && old[1] == shape[1];
        if !fits {
            return Err((new.info.name.clone(), format!("is {shape:?}, that of the base {old:?}")));
        }
        if weight != 1.0 && old != shape {
            let reason =
                format!("is {shape:?}, that of the base {old:?}: nothing lies between them; leave the weight out");
            return Err((new.info.name.clone(), reason));
        }
        let name = base.info.name.clone();
        // Stored as the base's tensors are, whatever the adapter was saved as.
        let info = Info { name, shape: shape.clone(), element: base.info.element };
        let same = new.info.element == info.element && weight == 1.0;
        base = Tensor { info, numbers: if same { new.numbers } else { Box::new(Instead { base, new, weight }) } };
    }
    let (a, b, lie) = match (a, b, lie) {
        (Some(a), Some(b), Some(lie)) => (a, b, lie),
        (None, None, _) => return Ok(base),
        (Some(one), None, _) | (None, Some(one), _) | (Some(one), Some(_), None) => {
            return Err((one.info.name, "has no counterpart: A and B must both be there".into()));
        }
    };
    let shape = base.info.shape.clone();
    let (a_shape, b_shape) = (&a.info.shape, &b.info.shape);
    let product = match lie {
        Lie::Straight => vec![b_shape[0], a_shape[1]],
        Lie::Across => vec![a_shape[1], b_shape[0]],
    };
    if product != shape || a_shape[0] != b_shape[1] {
        return Err((
            a.info.name.clone(),
            format!("is {a_shape:?} and its counterpart {b_shape:?}; that of the base is {shape:?}"),
        ));
    }
    let info = base.info.clone();
    let Some(lengths) = lengths else {
        let merged = Merged::new(base, a, b, lie, scale * weight);
        return Ok(Tensor { info, numbers: Box::new(merged) });
    };
    let merged = Merged::new(base, a, b, lie, scale);
    // The outputs: rows, or columns where the layer is stored the other way round.
    let outputs = if lie == Lie::Across { shape[1] } else { shape[0] };
    if lengths.info.count() != outputs {
        let reason = format!("has {} lengths for a matrix of {shape:?}", lengths.info.count());
        return Err((lengths.info.name, reason));
    }
    Ok(Tensor { info, numbers: Box::new(Lengthened::new(merged, lengths, weight)) })
}

/// Sums up what decides on the result.
fn reading(base: &Source, adapters: &[Lora], options: &WriteOptions) -> WriteOptions {
    let mut options = options.clone();
    options.reads(base);
    for adapter in adapters {
        options.reads(adapter.source());
        options.inputs.push(format!("weight {}", adapter.weight()));
        options.inputs.push(adapter.config_text());
    }
    options
}

/// Folders that configuration and tokenizer are taken from.
fn folders<'a>(base: &'a Source, adapters: &'a [Lora], resized: bool) -> Vec<&'a Path> {
    let others = adapters.iter().map(|a| a.source().folder());
    // Other embeddings come with another vocabulary.
    if resized {
        others.chain([base.folder()]).collect()
    } else {
        std::iter::once(base.folder()).chain(others).collect()
    }
}

/// Writes a merged model as a folder of Hugging Face's form.
///
/// # Errors
/// The adapters do not fit the base, a file cannot be read, or the result cannot be written.
pub fn to_folder(
    base: &Source,
    adapters: &[Lora],
    out: &Path,
    options: &ModelOptions,
    progress: Progress<'_>,
) -> Result<Outcome, MergeError> {
    let mut notes = Vec::new();
    let Model { tensors, untied, rows, changed } = merged(base, adapters)?;
    // An output that was stored beside the embeddings may be one with them in config.json; it is no longer.
    let untied = untied || changed.contains_key(OUTPUT);
    notes.push(count(changed.len(), tensors.len()));
    let before = embeddings(base);
    let resized = rows.is_some() && rows != before;
    let planned: Vec<Planned<'_>> = tensors.into_iter().map(|t| convert::stored_as(t, options.element)).collect();
    let most = convert::most(&planned);
    let mut companions = match base.kind() {
        Kind::Gguf | Kind::OriginalLlama => convert::companions(base, most, &mut notes)?,
        _ => {
            let folders = folders(base, adapters, resized);
            if folder::tokenizer_folder(&folders).is_none() {
                notes.push(convert::no_tokenizer());
            }
            let companions = folder::companions(&folders, most)?;
            notes.extend(convert::no_config(&companions));
            companions
        }
    };
    companions.iter_mut().filter(|c| c.name == "config.json").for_each(|c| adjust(c, untied, rows.filter(|_| resized)));
    let write = reading(base, adapters, &options.write);
    let manifest = write::folder(out, options.container, &planned, &companions, &write, progress)?;
    Ok(Outcome { manifest, notes })
}

/// Writes a merged model as a GGUF file.
///
/// # Errors
/// See [`to_folder`].
pub fn to_gguf(
    base: &Source,
    adapters: &[Lora],
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Outcome, MergeError> {
    let mut notes = Vec::new();
    let Model { tensors, changed, rows, .. } = merged(base, adapters)?;
    notes.push(count(changed.len(), tensors.len()));
    if base.kind() == Kind::Gguf {
        if rows.is_some() && rows != embeddings(base) {
            let reason = "the adapter has another vocabulary than its metadata; merge into a folder (--to hf), then \
                          convert that"
                .into();
            return Err(MergeError::Unsupported { path: base.path().into(), reason });
        }
        let changed = tensors.into_iter().filter(|t| changed.contains_key(&t.info.name)).collect();
        let options = reading(base, adapters, options);
        return Ok(convert::to_gguf::write_changed(base, changed, out, format, &options, progress, notes)?);
    }
    let mut description = Description::of(base, &mut notes)?;
    if rows.is_some() && rows != embeddings(base) {
        let folder = folder::tokenizer_folder(&folders(base, adapters, true));
        description.vocabulary =
            folder.map(convert::Vocabulary::from_folder).transpose().map_err(ConvertError::from)?.flatten();
    }
    let options = reading(base, adapters, options);
    Ok(convert::to_gguf::write_model(tensors, &description, base.path(), out, format, &options, progress, notes)?)
}

/// How much the adapters change.
fn count(changed: usize, all: usize) -> Sentence {
    Sentence::new(
        format!("{changed} of {all} tensors were changed"),
        format!("共 {all} 个张量，其中 {changed} 个已改变"),
    )
}

fn embeddings(base: &Source) -> Option<usize> {
    let names = [INPUT, "tok_embeddings.weight", "token_embd.weight"];
    base.infos().iter().find(|t| names.contains(&t.name.as_str())).and_then(|t| t.shape.first().copied())
}

/// Says in the configuration what the adapter changed beside numbers.
fn adjust(config: &mut Companion, untied: bool, rows: Option<usize>) {
    let Content::Bytes(bytes) = &config.content else { return };
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    if untied {
        json["tie_word_embeddings"] = false.into();
    }
    if let Some(rows) = rows {
        json["vocab_size"] = rows.into();
    }
    config.content = Content::Bytes(format!("{json:#}\n").into_bytes());
}

/// What numbers are stored as, by name: `f16`.
pub fn element(name: &str) -> Option<Element> {
    let plain = [BlockFormat::F32, BlockFormat::F16, BlockFormat::Bf16];
    plain.into_iter().find(|format| format.name().eq_ignore_ascii_case(name)).map(Element::Block)
}
