//! From what a person entered to work that can be done: paths found, names checked. Only looks at what is there; files
//! are opened in the other process.

use std::path::{Path, PathBuf};

use checkpoint::{
    adapter, convert, find, gptq,
    known::{self, PublishedModel},
    write::SHARD_BYTES,
};
use protocol::{
    Sentence,
    job::{JobRequest, Operation, RefusedJob},
};
use serde::{Deserialize, Serialize};

use crate::weights::{bytes_of, calibrate, road::not_part, state::Plan};

/// What a folder's numbers can be stored as, and a GGUF file's.
const PLAIN: [&str; 3] = ["f32", "f16", "bf16"];
const ROUNDED: [&str; 5] = ["q4_k", "q4_0", "q4_1", "q6_k", "q8_0"];
/// The longest name of a result, in bytes.
const MAX_NAME: usize = 120;

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

/// A model, adapter or file that is there.
fn model(operation: Operation, data_dir: &Path, field: &'static str, given: &str) -> Result<PathBuf, RefusedJob> {
    if given.is_empty() {
        let (en, zh) = match (operation, field) {
            (Operation::Recover, "other") => ("Name the difference.", "请填写差分权重。"),
            (Operation::Diff, "other") => ("Name the tuned model.", "请填写微调后的模型。"),
            (Operation::Recover | Operation::Diff | Operation::Setup, _) => {
                ("Name the model that was tuned.", "请填写被微调的原始模型。")
            }
            (Operation::Merge, _) => ("Name the base.", "请填写基座模型。"),
            (Operation::Inspect | Operation::Verify, _) => ("Name a file or folder.", "请填写文件或文件夹。"),
            _ => ("Name a model.", "请填写模型。"),
        };
        return Err(refused(
            field,
            format!("{en} The list shows what is there; any path of this computer can be given."),
            format!("{zh}列表中是已有的文件；也可以填写服务器上的任意路径。"),
        ));
    }
    there(given, field, data_dir)
}

/// Finds what a person named: a whole path, or a name below `models` or `adapters`.
fn there(given: &str, field: &'static str, data_dir: &Path) -> Result<PathBuf, RefusedJob> {
    let exists = |path: &Path| match std::fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(refused(
            field,
            format!("{} cannot be read: {e}.", path.display()),
            format!("无法读取 {}：{e}。", path.display()),
        )),
    };
    let path = Path::new(given);
    if path.is_absolute() {
        if exists(path)? {
            return Ok(path.into());
        }
        return Err(refused(
            field,
            format!("There is nothing at {given} on the server's computer. Check the path for typing errors."),
            format!("服务器上没有 {given}，请检查路径是否有误。"),
        ));
    }
    let known = find::known_models().iter().find(|entry| entry.name.eq_ignore_ascii_case(given));
    let name = known.map_or(path, |entry| Path::new(&entry.file));
    for place in super::found::places(data_dir) {
        for kind in ["models", "adapters"] {
            let path = place.join(kind).join(name);
            if exists(&path)? {
                return Ok(path);
            }
        }
    }
    let looked = data_dir.join("models");
    Err(refused(
        field,
        format!(
            "There is no “{given}” in {} nor where else models and adapters are sought. Choose from the list, or give the whole path, beginning with /.",
            looked.display()
        ),
        format!(
            "{} 以及其他存放模型和适配器的位置都没有“{given}”。请从列表中选择，或填写以 / 开头的完整路径。",
            looked.display()
        ),
    ))
}

/// A difference or adapter of the whole road: something published, by its name, or a folder that is there.
fn part(field: &'static str, given: &str, data_dir: &Path) -> Result<String, RefusedJob> {
    if given.is_empty() {
        return Err(refused(
            field,
            "Name the difference: a published one such as zhixi-13b-diff-fp16, or a folder.".into(),
            "请填写差分权重：已发布的名称（如 zhixi-13b-diff-fp16）或文件夹。".into(),
        ));
    }
    match known::by_name(given).filter(|model| model.made_with.is_none() && model.parts.is_empty()) {
        // The field is for the one or for the other.
        Some(model) => match not_part(model, field == "adapters") {
            None => Ok(model.name.clone()),
            Some(_) => {
                let title = &model.title;
                let (en, zh) = match field {
                    "adapters" => {
                        (format!("{given} is no adapter: {title}."), format!("{given} 不是适配器：{title}。"))
                    }
                    _ => (format!("{given} is no difference: {title}."), format!("{given} 不是差分权重：{title}。")),
                };
                Err(refused(field, en, zh))
            }
        },
        None => there(given, field, data_dir).map(|path| path.display().to_string()),
    }
}

/// The longest file of a folder.
fn shard(given: &str, to: Form) -> Result<u64, RefusedJob> {
    if given.is_empty() || to == Form::Gguf {
        return Ok(SHARD_BYTES);
    }
    bytes_of(given).map_err(|_| {
        refused(
            "shard",
            format!("“{given}” is no size: write one such as 5GB or 500MB."),
            format!("“{given}”不是大小：请填写 5GB 或 500MB 这样的值。"),
        )
    })
}

/// The adapters of a merge, each on a line of its own.
fn adapters(given: &str, data_dir: &Path) -> Result<Vec<(PathBuf, f32)>, RefusedJob> {
    const FIELD: &str = "adapters";
    let mut adapters = Vec::new();
    for line in given.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // A name that is there is never cut.
        let weighted = line.rsplit_once('=').filter(|_| there(line, FIELD, data_dir).is_err());
        let (name, weight) = match weighted {
            Some((name, weight)) => {
                let number = weight.trim().parse::<f32>().ok().filter(|w| w.is_finite());
                let number = number.ok_or_else(|| {
                    refused(
                        FIELD,
                        format!("“{}” is no weight: write a number such as 0.7 after the =.", weight.trim()),
                        format!("“{}”不是权重：请在 = 后填写 0.7 这样的数字。", weight.trim()),
                    )
                })?;
                (name.trim(), number)
            }
            None => (line, 1.0),
        };
        let folder = there(name, FIELD, data_dir)?;
        if !adapter::is_adapter(&folder) {
            return Err(refused(
                FIELD,
                format!(
                    "{} is no adapter: an adapter is a folder with adapter_config.json and adapter_model.safetensors or .bin.",
                    folder.display()
                ),
                format!(
                    "{} 不是适配器：适配器是含有 adapter_config.json 以及 adapter_model.safetensors 或 .bin 的文件夹。",
                    folder.display()
                ),
            ));
        }
        adapters.push((folder, weight));
    }
    if adapters.is_empty() {
        return Err(refused(FIELD, "Name at least one adapter.".into(), "请至少填写一个适配器。".into()));
    }
    Ok(adapters)
}

fn form(name: &str, file: bool) -> Result<Form, RefusedJob> {
    match name {
        "hf" | "" => Ok(Form::Hf),
        "pytorch" => Ok(Form::PyTorch),
        "gguf" if file => Ok(Form::Gguf),
        _ => Err(refused(
            "to",
            "This result is a folder: choose its form.".into(),
            "结果是文件夹，请选择其格式。".into(),
        )),
    }
}

fn dtype(name: &str, form: Form) -> Result<Option<String>, RefusedJob> {
    let name = name.to_lowercase();
    let has = |names: &[&str]| names.contains(&name.as_str());
    match form {
        _ if name.is_empty() => Ok(None),
        _ if has(&PLAIN) => Ok(Some(name)),
        Form::Gguf if has(&ROUNDED) => Ok(Some(name)),
        Form::Gguf => Err(refused("dtype", format!("There is no type “{name}”."), format!("没有“{name}”这种类型。"))),
        Form::Hf | Form::PyTorch => Err(refused(
            "dtype",
            format!("A folder cannot hold {name}: choose f32, f16 or bf16, or a GGUF file."),
            format!("文件夹格式不能存放 {name}：请选择 f32、f16 或 bf16，或改用 GGUF 文件。"),
        )),
    }
}

fn fetched(name: &str) -> Result<String, RefusedJob> {
    let known = known::by_name(name);
    if let Some(PublishedModel { made_with: Some(_), .. }) = known {
        return Err(refused(
            "input",
            format!("{name} cannot be fetched: it is recovered from the original LLaMA and a difference, see Recover."),
            format!("{name} 无法下载：它由原始 LLaMA 与差分权重恢复而来，请使用“恢复”。"),
        ));
    }
    let parts: Vec<&str> = name.split('/').collect();
    let is_part = |part: &&str| {
        part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')) && !part.starts_with('.')
    };
    let is_repository = parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && is_part(part));
    if known.is_some() || is_repository {
        return Ok(name.into());
    }
    let names: Vec<&str> = super::found::published().map(|model| model.name.as_str()).collect();
    let names = names.join(", ");
    Err(refused(
        "input",
        format!("“{name}” is neither one of {names} nor OWNER/REPOSITORY on the hub."),
        format!("“{name}”既不是 {names} 之一，也不是模型站上的“所有者/仓库”。"),
    ))
}

fn hub(address: &str) -> Result<Option<String>, RefusedJob> {
    if address.is_empty() {
        return Ok(None);
    }
    let uri: Option<axum::http::Uri> = address.parse().ok();
    match uri.filter(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some()) {
        Some(_) => Ok(Some(address.into())),
        None => Err(refused(
            "mirror",
            format!("“{address}” is no address such as https://hub.example.org."),
            format!("“{address}”不是 https://hub.example.org 这样的地址。"),
        )),
    }
}

/// The place of a result: as named, else by what it is made of; never one that is taken.
fn result(
    name: &str,
    named_after: &Path,
    ending: &str,
    form: Form,
    models: &Path,
    taken: &[String],
) -> Result<PathBuf, RefusedJob> {
    let file = |name: &str| match form {
        Form::Gguf if !name.to_lowercase().ends_with(".gguf") => format!("{name}.gguf"),
        _ => name.to_owned(),
    };
    let is_taken = |path: &Path| {
        path.symlink_metadata().is_ok()
            || checkpoint::write::manifest_path(path).symlink_metadata().is_ok()
            || taken.iter().any(|place| Path::new(place) == path)
    };
    if name.is_empty() {
        let stem = named_after.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = [".gguf", ".safetensors", ".bin", ".pth"].iter().find_map(|e| stem.strip_suffix(e)).unwrap_or(&stem);
        let stem = stem.strip_suffix("-diff").filter(|_| ending == "-recovered").unwrap_or(stem);
        let stem: String = stem.chars().filter(|c| is_plain(*c)).take(60).collect();
        let stem = stem.trim_start_matches('.');
        let base = format!("{}{ending}", if stem.is_empty() { "model" } else { stem });
        let mut names = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
        return Ok(names.find_map(|n| Some(models.join(file(&n))).filter(|p| !is_taken(p))).unwrap_or_default());
    }
    let plain = name.chars().all(is_plain) && !name.starts_with('.') && !name.ends_with(['.', ' ']);
    if !plain || name.len() > MAX_NAME {
        return Err(refused(
            "out",
            format!(
                "“{name}” cannot be the name of a result: letters, digits, spaces and - _ . without slashes, not beginning with a dot, at most {MAX_NAME} bytes. It is written to {}.",
                models.display()
            ),
            format!(
                "“{name}”不能作为结果的名称：可用字母、数字、空格和 - _ .，不含斜杠，不以点开头，最多 {MAX_NAME} 字节。结果写入 {}。",
                models.display()
            ),
        ));
    }
    let path = models.join(file(name));
    if is_taken(&path) {
        return Err(refused(
            "out",
            format!("{} is there already, and nothing is ever replaced. Choose another name.", path.display()),
            format!("{} 已存在，且不会被覆盖。请换一个名称。", path.display()),
        ));
    }
    Ok(path)
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ' | '+')
}
