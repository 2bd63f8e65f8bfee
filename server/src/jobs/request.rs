//! From what a person entered to work that can be done: paths found, names checked. Only looks at what is there; files
//! are opened in the other process.

mod fields;
mod paths;

use std::path::{Path, PathBuf};

use checkpoint::{convert, gptq, known};
use protocol::{
    Sentence,
    job::{JobRequest, Operation, RefusedJob},
};
use serde::{Deserialize, Serialize};

use crate::weights::{calibrate, state::Plan};
use fields::{ROUNDED, adapters, dtype, fetched, form, hub, shard};
use paths::{model, part, result, there};

/// Work with everything that it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Work {
    /// A model in another form.
    Convert { input: PathBuf, to: Form, dtype: Option<String>, shard: u64, out: PathBuf },
    /// A model in fewer bits.
    Quantize { input: PathBuf, dtype: String, rounding: Rounding, out: PathBuf, measure: Measure },
    /// A base and adapters, each with its weight.
    Merge { base: PathBuf, adapters: Vec<(PathBuf, f32)>, to: Form, dtype: Option<String>, shard: u64, out: PathBuf },
    /// A difference, or with `recover` what it makes of a model.
    Combine { recover: bool, raw: PathBuf, other: PathBuf, to: Form, dtype: Option<String>, shard: u64, out: PathBuf },
    /// Checksums.
    Verify { path: PathBuf, list: Option<PathBuf>, known: Option<String> },
    /// What is there.
    Inspect { path: PathBuf },
    /// From a hub, into the data folder.
    Download { name: String, part: Part, mirror: Option<String>, choice: Choice, data_dir: PathBuf },
    /// How well a model foretells a text.
    Perplexity { model: PathBuf, text: Option<PathBuf> },
    /// The whole road.
    Setup { plan: Plan, mirror: Option<String>, out: PathBuf },
}

/// How numbers are rounded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rounding {
    /// Each by itself.
    Plain,
    /// With a calibration text, the built-in one where none is named.
    Gptq(Option<PathBuf>),
    /// The same, into a folder as GPTQ models have it.
    Packed(Option<PathBuf>),
}

/// Whether perplexity is measured, and on which text; the built-in one where none is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Measure {
    /// It is not.
    Nothing,
    /// Before and after.
    Text(Option<PathBuf>),
}

/// Which files of which revision of a repository are fetched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Patterns of names.
    pub include: Vec<String>,
    /// Patterns of names that are not fetched.
    pub exclude: Vec<String>,
    /// Branch, tag or commit; the usual one where none is named.
    pub revision: Option<String>,
}

/// The form of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// A folder with safetensors.
    Hf,
    /// A folder with PyTorch's files.
    PyTorch,
    /// One file.
    Gguf,
}

/// What is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Everything.
    Both,
    /// No adapter.
    Base,
    /// The adapter alone.
    Adapter,
}

impl Work {
    /// What it writes. A download goes where it belongs, and leaves alone what is there.
    pub fn place(&self) -> Option<&Path> {
        match self {
            Self::Convert { out, .. }
            | Self::Quantize { out, .. }
            | Self::Merge { out, .. }
            | Self::Combine { out, .. }
            | Self::Setup { out, .. } => Some(out),
            Self::Verify { .. } | Self::Inspect { .. } | Self::Download { .. } | Self::Perplexity { .. } => None,
        }
    }
}

/// Where a result goes.
pub enum Place<'a> {
    /// Where it went before: the job goes on.
    Known(&'a Path),
    /// Somewhere new, which none of these places is.
    New(&'a [String]),
}

/// Makes work of a request.
///
/// # Errors
/// A field that cannot be meant as it is.
pub fn plan(request: &JobRequest, data_dir: &Path, place: &Place<'_>) -> Result<Work, RefusedJob> {
    let field = |name: &'static str| request.field(name).trim();
    let input = || model(request.operation, data_dir, "input", field("input"));
    let other = || model(request.operation, data_dir, "other", field("other"));
    let text = |name: &'static str| match field(name) {
        "" => Ok(None),
        given => there(given, name, data_dir).map(Some),
    };
    let shard = |to: Form| shard(field("shard"), to);
    let out = |named_after: &Path, ending: &str, form: Form| match place {
        Place::Known(path) => Ok(path.to_path_buf()),
        Place::New(taken) => result(field("out"), named_after, ending, form, &data_dir.join("models"), taken),
    };
    Ok(match request.operation {
        Operation::Convert => {
            let (input, to) = (input()?, form(field("to"), true)?);
            let dtype = dtype(field("dtype"), to)?;
            let ending = match (to, &dtype) {
                (Form::Hf, _) => "-hf".into(),
                (Form::PyTorch, _) => "-pytorch".into(),
                (Form::Gguf, Some(dtype)) => format!(".{dtype}"),
                (Form::Gguf, None) => String::new(),
            };
            Work::Convert { out: out(&input, &ending, to)?, input, to, dtype, shard: shard(to)? }
        }
        Operation::Quantize => {
            let (input, dtype) = (input()?, field("dtype").to_lowercase());
            let packed = field("to") == "gptq";
            if !packed && field("gptq").is_empty() && !field("calibration").is_empty() {
                return Err(refused(
                    "calibration",
                    "This text is one that only GPTQ reads, and GPTQ is not chosen: choose it, or empty this field."
                        .into(),
                    "只有 GPTQ 会阅读此文本，但未选择 GPTQ：请选择 GPTQ，或清空此项。".into(),
                ));
            }
            if !field("quick").is_empty() && !field("text").is_empty() {
                return Err(refused(
                    "text",
                    "With “Measure no perplexity” chosen there is no perplexity of this text: take that back, or empty this field."
                        .into(),
                    "已选择“不测量困惑度”，因此不会测量此文本：请取消该选项，或清空此项。".into(),
                ));
            }
            let measure = if field("quick").is_empty() { Measure::Text(text("text")?) } else { Measure::Nothing };
            if packed {
                if !input.is_dir() {
                    return Err(refused(
                        "to",
                        "A GPTQ folder is made of a Hugging Face folder: convert the model to one first.".into(),
                        "GPTQ 文件夹须由 Hugging Face 文件夹生成：请先转换模型。".into(),
                    ));
                }
                let (out, rounding) = (out(&input, "-gptq", Form::Hf)?, Rounding::Packed(text("calibration")?));
                return Ok(Work::Quantize { out, input, dtype: calibrate::DTYPE.into(), rounding, measure });
            }
            let rounding =
                if field("gptq").is_empty() { Rounding::Plain } else { Rounding::Gptq(text("calibration")?) };
            if rounding != Rounding::Plain && convert::file_format(&dtype).is_none_or(|format| !gptq::rounds_to(format))
            {
                return Err(refused(
                    "dtype",
                    "With a calibration text, numbers are rounded to q4_0, q4_1 or q4_k.".into(),
                    "使用校准文本时，数值只能量化为 q4_0、q4_1 或 q4_k。".into(),
                ));
            }
            if !ROUNDED.contains(&dtype.as_str()) {
                return Err(refused(
                    "dtype",
                    "Choose what the numbers are rounded to.".into(),
                    "请选择量化后的数值格式。".into(),
                ));
            }
            let ending = if rounding == Rounding::Plain { format!(".{dtype}") } else { format!(".gptq.{dtype}") };
            Work::Quantize { out: out(&input, &ending, Form::Gguf)?, input, dtype, rounding, measure }
        }
        Operation::Merge => {
            let (base, to) = (input()?, form(field("to"), true)?);
            let (adapters, dtype) = (adapters(&request.adapters, data_dir)?, dtype(field("dtype"), to)?);
            Work::Merge { out: out(&base, "-merged", to)?, base, adapters, to, dtype, shard: shard(to)? }
        }
        Operation::Recover | Operation::Diff => {
            let recover = request.operation == Operation::Recover;
            let (raw, other, to) = (input()?, other()?, form(field("to"), false)?);
            let dtype = dtype(field("dtype"), to)?;
            let out = out(&other, if recover { "-recovered" } else { "-diff" }, to)?;
            Work::Combine { out, recover, raw, other, to, dtype, shard: shard(to)? }
        }
        Operation::Verify => {
            let list = field("other");
            let list = if list.is_empty() { None } else { Some(there(list, "other", data_dir)?) };
            let known = Some(field("known").to_owned()).filter(|name| !name.is_empty());
            if known.as_deref().is_some_and(|name| known::by_name(name).is_none()) {
                return Err(refused(
                    "known",
                    "No checksums were published under this name. Choose one of the list.".into(),
                    "没有以此名称发布的校验和，请从列表中选择。".into(),
                ));
            }
            Work::Verify { path: input()?, list, known }
        }
        Operation::Inspect => Work::Inspect { path: input()? },
        Operation::Download => Work::Download {
            name: fetched(field("input"))?,
            part: match field("part") {
                "base" => Part::Base,
                "adapter" => Part::Adapter,
                _ => Part::Both,
            },
            mirror: hub(field("mirror"))?,
            choice: Choice {
                include: field("include").split_whitespace().map(str::to_owned).collect(),
                exclude: field("exclude").split_whitespace().map(str::to_owned).collect(),
                revision: Some(field("revision").to_owned()).filter(|name| !name.is_empty()),
            },
            data_dir: data_dir.into(),
        },
        Operation::Perplexity => Work::Perplexity { model: input()?, text: text("text")? },
        Operation::Setup => {
            let raw = input()?;
            let (diff, adapter) = (part("other", field("other"), data_dir)?, field("adapters"));
            let adapter = if adapter.is_empty() { "none".into() } else { part("adapters", adapter, data_dir)? };
            let merge = !field("merged").is_empty();
            if merge && adapter == "none" {
                return Err(refused("adapters", "Name the adapter to merge.".into(), "请填写要合并的适配器。".into()));
            }
            let gguf = dtype(field("dtype"), Form::Gguf)?;
            let plan = Plan { raw: raw.display().to_string(), diff, adapter, merge, gguf };
            Work::Setup { out: out(&raw, "-ready", Form::Hf)?, plan, mirror: hub(field("mirror"))? }
        }
    })
}

fn refused(field: &'static str, en: String, zh: String) -> RefusedJob {
    RefusedJob { field: field.into(), sentence: Sentence::new(en, zh) }
}
