//! A model as a GGUF file: names, order of rows, metadata, tokenizer.

use std::{collections::BTreeMap, f64::consts::TAU, path::Path};

use protocol::Sentence;
use serde::Deserialize;
use serde_json::Value;

use super::{
    ConvertError, Turn, Vocabulary, VocabularyError, eight_bit, from_gguf, llama, names, no_tokenizer, turned,
};
use crate::{
    BlockFormat, Element, HuggingFaceError, SentencePieceError, Source, Tensor,
    diff::Outcome,
    gptq::Kept,
    huggingface::{Config, read_json},
    source::{Kind, Numbers, order},
    write::{self, Meta, Planned, Progress, WriteOptions, copied_metadata},
};

/// What a GGUF file is made of beside the tensors.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    /// `config.json`.
    pub(crate) config: Value,
    pub(crate) vocabulary: Option<Vocabulary>,
}

impl Description {
    /// That of a model.
    pub(crate) fn of(source: &Source, notes: &mut Vec<Sentence>) -> Result<Self, ConvertError> {
        let folder = source.folder();
        match source.kind() {
            Kind::OriginalLlama => llama::description(source, notes),
            _ => {
                let vocabulary = match Vocabulary::from_folder(folder) {
                    // The weights can be converted all the same.
                    Err(
                        error @ (VocabularyError::Unsupported { .. }
                        | VocabularyError::SentencePiece(SentencePieceError::Unsupported { .. })),
                    ) => {
                        notes.push(Sentence::new(
                            format!("the tokenizer is left out: {error}"),
                            format!("未写入分词器：{error}"),
                        ));
                        None
                    }
                    vocabulary => vocabulary?,
                };
                Ok(Self { config: read_json(&folder.join("config.json"))?, vocabulary })
            }
        }
    }
}

/// The format of a name as it is given on the command line: `q4_k`.
pub fn file_format(name: &str) -> Option<BlockFormat> {
    BlockFormat::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
}

/// Writes a model as a GGUF file; matrices are stored in the format asked for, else as they are.
///
/// # Errors
/// The model cannot be read or is of a kind that is not converted, or the file cannot be written.
pub fn to_gguf(
    source: &Source,
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    write_source(source, None, out, format, options, progress)
}

/// Writes a model as a GGUF file, with matrices that were rounded before in the place of its own.
///
/// # Errors
/// See [`to_gguf`].
pub fn to_gguf_with(
    source: &Source,
    rounded: &Kept,
    out: &Path,
    format: BlockFormat,
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    write_source(source, Some(rounded), out, Some(format), options, progress)
}

fn write_source(
    source: &Source,
    rounded: Option<&Kept>,
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
) -> Result<Outcome, ConvertError> {
    let mut notes = Vec::new();
    let mut options = options.clone();
    options.reads(source);
    options.inputs.extend(rounded.map(Kept::fingerprint));
    if source.kind() == Kind::Gguf {
        super::no_part(source)?;
        super::all_read(source)?;
        return write_again(source, instead(source.tensors(), rounded), out, format, &options, progress, notes);
    }
    if source.is_adapter() {
        let reason =
            "it is an adapter; merge it into its base first (weights merge), or keep it beside the base".into();
        return Err(ConvertError::Unsupported { path: source.path().into(), reason });
    }
    let description = Description::of(source, &mut notes)?;
    let tensors = instead(super::as_huggingface(source)?, rounded);
    write_model(tensors, &description, source.path(), out, format, &options, progress, notes)
}

/// Writes a GGUF file's metadata with tensors that are its own, or like them.
fn write_again(
    source: &Source,
    tensors: Vec<Tensor<'_>>,
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
    mut notes: Vec<Sentence>,
) -> Result<Outcome, ConvertError> {
    let planned: Vec<Planned<'_>> = tensors.into_iter().map(|t| stored_as(t, format, &mut notes)).collect();
    // What is written is aligned to the usual 32 bytes, whatever the original was.
    let mut metadata = copied_metadata(source, &["general.file_type", "general.alignment"]);
    metadata.push(("general.file_type".into(), file_type(&planned)));
    let manifest = write::gguf(out, &metadata, &planned, options, progress)?;
    Ok(Outcome { manifest, notes })
}

/// Writes a GGUF file again with some tensors changed; those have Hugging Face's names and order of rows.
///
/// # Errors
/// A changed tensor is none that such a file has, or the file cannot be written.
pub(crate) fn write_changed(
    source: &Source,
    changed: Vec<Tensor<'_>>,
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
    mut notes: Vec<Sentence>,
) -> Result<Outcome, ConvertError> {
    let wrong = |reason: String| ConvertError::Unsupported { path: source.path().into(), reason };
    let head = from_gguf::head(source)?;
    let turns = source.directory().and_then(|d| d.text("general.architecture")) == Some("llama");
    let mut tensors: BTreeMap<String, Tensor<'_>> =
        source.tensors().into_iter().map(|t| (t.info.name.clone(), t)).collect();
    let mut packed = 0;
    for tensor in changed {
        let name = tensor.info.name.clone();
        let new =
            names::to_gguf(&name).ok_or_else(|| wrong(format!("GGUF files have no name for the tensor {name}")))?;
        let tensor =
            if turns && is_turned(&name) { turned(tensor, head, Turn::ToPairs).map_err(wrong)? } else { tensor };
        packed += usize::from(tensor.info.element.block() > 1 && format.is_none());
        tensors.insert(new.clone(), again(tensor.named(new), &mut notes));
    }
    if packed > 0 {
        notes.push(Sentence::new(
            format!("{packed} of them were unpacked, changed, and rounded again to the few bits that they had"),
            format!("其中 {packed} 个已解包、修改并重新量化为原来的位数"),
        ));
    }
    let mut tensors: Vec<Tensor<'_>> = tensors.into_values().collect();
    tensors.sort_by(|a, b| order::place(&a.info.name).cmp(&order::place(&b.info.name)));
    write_again(source, tensors, out, format, options, progress, notes)
}

/// A changed tensor in a form that can be written: what is only read becomes the next finer one.
fn again<'a>(mut tensor: Tensor<'a>, notes: &mut Vec<Sentence>) -> Tensor<'a> {
    use BlockFormat::{F16, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let finer = match tensor.info.element.format() {
        Some(Q5K) => Q6K,
        Some(Q5_0 | Q5_1) => Q8_0,
        _ => return tensor,
    };
    let finer = if tensor.info.columns().is_multiple_of(finer.block()) { finer } else { F16 };
    let old = tensor.info.element.name();
    let note = Sentence::new(
        format!("{old} is only read; what was changed of it is stored as {}", finer.name()),
        format!("{old} 只能读取，其中修改过的张量改存为 {}", finer.name()),
    );
    if !notes.contains(&note) {
        notes.push(note);
    }
    tensor.info.element = Element::Block(finer);
    // What is read are numbers, whatever they were stored as.
    Tensor { info: tensor.info, numbers: Box::new(Read(tensor.numbers)) }
}

/// Numbers without a stored form.
struct Read<'a>(Box<dyn Numbers + 'a>);

impl Numbers for Read<'_> {
    fn read(&self, from: usize, out: &mut [f32]) {
        self.0.read(from, out);
    }

    fn done(&self) {
        self.0.done();
    }
}

/// Whether the rows of a tensor with Hugging Face's name lie in another order in GGUF files of LLaMA models.
fn is_turned(name: &str) -> bool {
    ["q_proj.weight", "k_proj.weight", "q_proj.bias", "k_proj.bias"].iter().any(|end| name.ends_with(end))
}

/// The tensors, with those that were rounded in their places.
fn instead<'a>(tensors: Vec<Tensor<'a>>, rounded: Option<&'a Kept>) -> Vec<Tensor<'a>> {
    match rounded {
        Some(rounded) => tensors.into_iter().map(|tensor| rounded.instead(tensor)).collect(),
        None => tensors,
    }
}

/// Writes tensors with Hugging Face's names as a GGUF file.
#[allow(clippy::too_many_arguments)]
pub(crate) fn write_model(
    tensors: Vec<Tensor<'_>>,
    description: &Description,
    path: &Path,
    out: &Path,
    format: Option<BlockFormat>,
    options: &WriteOptions,
    progress: Progress<'_>,
    mut notes: Vec<Sentence>,
) -> Result<Outcome, ConvertError> {
    let wrong = |reason: String| ConvertError::Unsupported { path: path.into(), reason };
    let damaged =
        |e: serde_json::Error| HuggingFaceError::Damaged { path: path.join("config.json"), reason: e.to_string() };
    let config = Config::deserialize(&description.config).map_err(damaged)?;
    let rows = tensors.iter().find(|t| t.info.name == "model.embed_tokens.weight");
    let rows = rows.and_then(|t| t.info.shape.first().copied()).ok_or_else(|| wrong("it has no embeddings".into()))?;
    let (mut metadata, head) = describe(&config, path, out, rows).map_err(wrong)?;
    if scaling_kind(&rope(&config)) == "dynamic" {
        let context = config.max_position_embeddings;
        notes.push(Sentence::new(
            format!("GGUF files cannot say that a model's rotary scaling is dynamic: it ends at its {context} tokens"),
            format!("GGUF 文件无法表示动态旋转位置缩放：模型的上下文止于 {context} 个词元"),
        ));
    }
    match &description.vocabulary {
        Some(vocabulary) => metadata.extend(
            vocabulary
                .metadata(rows)
                .map_err(|reason| super::VocabularyError::Unsupported { path: path.into(), reason })?,
        ),
        None => {
            metadata.push(("tokenizer.ggml.model".into(), Meta::text("no_vocab")));
            notes.push(no_tokenizer());
        }
    }
    eight_bit::note(tensors.iter().map(|t| &t.info), &mut notes);
    let turns = matches!(config.model_type.as_str(), "llama" | "mistral");
    let mut planned = Vec::new();
    for tensor in tensors {
        let name = tensor.info.name.clone();
        if name.ends_with("rotary_emb.inv_freq") {
            continue;
        }
        let new =
            names::to_gguf(&name).ok_or_else(|| wrong(format!("GGUF files have no name for its tensor {name}")))?;
        let tensor =
            if turns && is_turned(&name) { turned(tensor, head, Turn::ToPairs).map_err(wrong)? } else { tensor };
        planned.push(stored_as(tensor.named(new), format, &mut notes));
    }
    if let Some(factors) = stretched(&config, head).map_err(wrong)? {
        planned.insert(0, Planned::kept(Tensor::computed("rope_freqs.weight", vec![factors.len()], factors)));
    }
    metadata.push(("general.file_type".into(), file_type(&planned)));
    let manifest = write::gguf(out, &metadata, &planned, options, progress)?;
    Ok(Outcome { manifest, notes })
}

/// What a tensor is stored as: vectors as F32, the output and the embeddings of the four-bit formats in six or eight
/// bits as llama.cpp does, rows that are no whole blocks in a format with smaller blocks.
fn stored_as<'a>(tensor: Tensor<'a>, format: Option<BlockFormat>, notes: &mut Vec<Sentence>) -> Planned<'a> {
    use BlockFormat::{F16, F32, Q4_0, Q4_1, Q4K, Q6K, Q8_0};
    let info = &tensor.info;
    // What GGUF files have types for, and readers of them no arithmetic.
    let stored = match info.element {
        Element::F64 => F32,
        Element::I8 => F16,
        element => match element.format() {
            Some(format) => format,
            None => return Planned::kept(tensor),
        },
    };
    if info.shape.len() < 2 {
        return Planned { element: Element::Block(F32), tensor };
    }
    let Some(format) = format else { return Planned { element: Element::Block(stored), tensor } };
    let columns = info.columns();
    let is_output = info.name == "output.weight" || info.name == "token_embd.weight";
    let wanted = match format {
        Q4_0 | Q4_1 | Q4K if is_output => Q6K,
        format => format,
    };
    let fits = |format: BlockFormat| columns.is_multiple_of(format.block());
    let chosen = if fits(wanted) {
        wanted
    } else if fits(Q8_0) {
        Q8_0
    } else {
        F16
    };
    if chosen != wanted {
        let (wanted, chosen) = (wanted.name(), chosen.name());
        let note = Sentence::new(
            format!("rows of {columns} numbers are no whole {wanted} blocks; they are stored as {chosen}"),
            format!("每行 {columns} 个数不能分成整数个 {wanted} 块，改存为 {chosen}"),
        );
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    // Packing what is packed already loses more.
    let element = if stored.block() > 1 && stored == chosen { info.element } else { Element::Block(chosen) };
    Planned { element, tensor }
}

/// The number that GGUF files have for what most of their numbers are stored as.
fn file_type(planned: &[Planned<'_>]) -> Meta {
    let mut counts: Vec<(Element, usize)> = Vec::new();
    for p in planned {
        match counts.iter_mut().find(|(element, _)| *element == p.element) {
            Some((_, count)) => *count += p.tensor.info.count(),
            None => counts.push((p.element, p.tensor.info.count())),
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(element, _)| element.format());
    Meta::u32(match most {
        Some(BlockFormat::F16) => 1,
        Some(BlockFormat::Q4_0) => 2,
        Some(BlockFormat::Q4_1) => 3,
        Some(BlockFormat::Q8_0) => 7,
        Some(BlockFormat::Q5_0) => 8,
        Some(BlockFormat::Q5_1) => 9,
        Some(BlockFormat::Q4K) => 14,
        Some(BlockFormat::Q5K) => 16,
        Some(BlockFormat::Q6K) => 18,
        Some(BlockFormat::Bf16) => 32,
        Some(BlockFormat::F32) | None => 0,
    })
}

type Described = (Vec<(String, Meta)>, usize);

/// The metadata that describe the model, and the size of its heads.
fn describe(c: &Config, path: &Path, out: &Path, rows: usize) -> Result<Described, String> {
    let architecture = match c.model_type.as_str() {
        "llama" | "mistral" => "llama",
        "qwen2" => "qwen2",
        "qwen3" => "qwen3",
        other => return Err(format!("its model_type is \"{other}\"; llama, mistral, qwen2 and qwen3 are converted")),
    };
    if c.num_attention_heads == 0 || c.hidden_size == 0 || c.num_hidden_layers == 0 {
        return Err("its config.json has no hidden_size, num_hidden_layers or num_attention_heads".into());
    }
    let head = c.head_dim.unwrap_or(c.hidden_size / c.num_attention_heads);
    if head > super::MAX_HEAD {
        return Err(format!("its heads of {head} numbers are impossible"));
    }
    let mut out_metadata: Vec<(String, Meta)> = vec![("general.architecture".into(), Meta::text(architecture))];
    let name = c.name_or_path.as_deref().filter(|n| !n.is_empty()).and_then(|n| Path::new(n).file_name());
    let name = name.or(path.file_name().filter(|_| path.is_dir())).or(out.file_stem()).unwrap_or_default();
    out_metadata.push(("general.name".into(), Meta::text(&name.to_string_lossy())));
    out_metadata.push(("general.quantization_version".into(), Meta::u32(2)));
    let mut put = |key: &str, value: Meta| out_metadata.push((format!("{architecture}.{key}"), value));
    let number = |n: usize| u32::try_from(n).map(Meta::u32).map_err(|_| format!("its size {n} is impossible"));
    put("block_count", number(c.num_hidden_layers)?);
    put("context_length", number(c.max_position_embeddings.max(1))?);
    put("embedding_length", number(c.hidden_size)?);
    put("feed_forward_length", number(c.intermediate_size)?);
    put("attention.head_count", number(c.num_attention_heads)?);
    put("attention.head_count_kv", number(c.num_key_value_heads.unwrap_or(c.num_attention_heads))?);
    let epsilon = if c.rms_norm_eps > 0.0 { c.rms_norm_eps } else { 1e-6 };
    put("attention.layer_norm_rms_epsilon", Meta::f32(epsilon as f32));
    put("attention.key_length", number(head)?);
    put("attention.value_length", number(head)?);
    put("rope.dimension_count", number(head)?);
    put("rope.freq_base", Meta::f32(rope_base(c) as f32));
    put("vocab_size", number(rows)?);
    let windows = c.windows()?;
    if let Some(window) = windows.iter().flatten().next() {
        put("attention.sliding_window", number(*window)?);
        let slides: Vec<bool> = windows.iter().map(Option::is_some).collect();
        if slides.contains(&false) {
            put("attention.sliding_window_pattern", Meta::bools(&slides));
        }
    }
    let rope = rope(c);
    let given = |name: &str| rope.get(name).and_then(Value::as_f64);
    match scaling_kind(&rope) {
        "default" | "none" | "llama3" | "dynamic" => {}
        kind @ ("linear" | "yarn") => {
            put("rope.scaling.type", Meta::text(kind));
            put("rope.scaling.factor", Meta::f32(given("factor").unwrap_or(1.0) as f32));
            if let Some(original) = given("original_max_position_embeddings").filter(|n| *n >= 1.0) {
                put("rope.scaling.original_context_length", number(original as usize)?);
            }
        }
        other => return Err(format!("its rotary scaling is \"{other}\"; linear, yarn and llama3 are converted")),
    }
    Ok((out_metadata, head))
}

fn rope(c: &Config) -> Value {
    c.rope_parameters.clone().or(c.rope_scaling.clone()).unwrap_or(Value::Null)
}

fn rope_base(c: &Config) -> f64 {
    c.rope_theta.or_else(|| rope(c).get("rope_theta")?.as_f64()).unwrap_or(10000.0)
}

fn scaling_kind(rope: &Value) -> &str {
    rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("default")
}

/// What each angle is divided by, in models of LLaMA 3.1 and later.
fn stretched(c: &Config, head: usize) -> Result<Option<Vec<f32>>, String> {
    let rope = rope(c);
    if scaling_kind(&rope) != "llama3" {
        return Ok(None);
    }
    let given = |name: &str, usual: f64| rope.get(name).and_then(Value::as_f64).unwrap_or(usual);
    let factor = rope.get("factor").and_then(Value::as_f64).ok_or("its rotary scaling has no factor")?;
    let original = given("original_max_position_embeddings", 8192.0);
    Ok(Some(factors(
        head,
        rope_base(c),
        [factor, given("low_freq_factor", 1.0), given("high_freq_factor", 4.0), original],
    )))
}

/// The rule of LLaMA 3.1: short waves stay, long ones are stretched, those between partly.
pub(super) fn factors(head: usize, base: f64, [factor, low, high, original]: [f64; 4]) -> Vec<f32> {
    let each = (0..head / 2).map(|i| {
        let wave = TAU * base.powf(2.0 * i as f64 / head as f64);
        if wave < original / high {
            1.0
        } else if wave > original / low {
            factor as f32
        } else {
            let part = (original / wave - low) / (high - low);
            (1.0 / ((1.0 - part) / factor + part)) as f32
        }
    });
    each.collect()
}
