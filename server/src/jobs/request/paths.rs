//! Files and folders of a request: those that are there, and where a result goes.

use std::path::{Path, PathBuf};

use checkpoint::{find, known};
use protocol::job::{Operation, RefusedJob};

use super::{Form, refused};
use crate::{jobs::found, weights::road::not_part};

/// The longest name of a result, in bytes.
const MAX_NAME: usize = 120;

/// A model, adapter or file that is there.
pub fn model(operation: Operation, data_dir: &Path, field: &'static str, given: &str) -> Result<PathBuf, RefusedJob> {
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
pub fn there(given: &str, field: &'static str, data_dir: &Path) -> Result<PathBuf, RefusedJob> {
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
    for place in found::places(data_dir) {
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
pub fn part(field: &'static str, given: &str, data_dir: &Path) -> Result<String, RefusedJob> {
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

/// The place of a result: as named, else by what it is made of; never one that is taken.
pub fn result(
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
