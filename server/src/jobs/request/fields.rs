//! The other fields of a request: what each can be.

use std::path::{Path, PathBuf};

use checkpoint::{
    adapter,
    known::{self, PublishedModel},
    write::SHARD_BYTES,
};
use protocol::job::RefusedJob;

use super::{Form, paths::there, refused};
use crate::{jobs::found, weights::bytes_of};

/// What a folder's numbers can be stored as, and a GGUF file's.
const PLAIN: [&str; 3] = ["f32", "f16", "bf16"];
pub const ROUNDED: [&str; 5] = ["q4_k", "q4_0", "q4_1", "q6_k", "q8_0"];

/// The longest file of a folder.
pub fn shard(given: &str, to: Form) -> Result<u64, RefusedJob> {
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
pub fn adapters(given: &str, data_dir: &Path) -> Result<Vec<(PathBuf, f32)>, RefusedJob> {
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

/// The form of a result; `file`: it may be a single file.
pub fn form(name: &str, file: bool) -> Result<Form, RefusedJob> {
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

/// What numbers are stored as; as they are where none is named.
pub fn dtype(name: &str, form: Form) -> Result<Option<String>, RefusedJob> {
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

/// What is fetched: something published by its name, or a repository.
pub fn fetched(name: &str) -> Result<String, RefusedJob> {
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
    let names: Vec<&str> = found::published().map(|model| model.name.as_str()).collect();
    let names = names.join(", ");
    Err(refused(
        "input",
        format!("“{name}” is neither one of {names} nor OWNER/REPOSITORY on the hub."),
        format!("“{name}”既不是 {names} 之一，也不是模型站上的“所有者/仓库”。"),
    ))
}

/// Another hub.
pub fn hub(address: &str) -> Result<Option<String>, RefusedJob> {
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
