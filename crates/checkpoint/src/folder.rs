//! What lies beside the weights of a model folder: configuration, tokenizer, settings of generation.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{
    BlockFormat, Element, HuggingFaceError,
    huggingface::read_json,
    write::{Companion, Content},
};

/// The files of a tokenizer that is told by any one of the first three.
const TOKENIZER: [&str; 8] = [
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Whether a folder has a tokenizer.
pub fn has_tokenizer(folder: &Path) -> bool {
    TOKENIZER[..3].iter().any(|name| folder.join(name).is_file())
}

/// Whether a file of this name belongs to a tokenizer.
pub(crate) fn is_tokenizer(name: &str) -> bool {
    TOKENIZER.contains(&name)
}

/// Whether a file of this name is a tokenizer by itself.
pub(crate) fn tells_tokenizer(name: &str) -> bool {
    TOKENIZER[..3].contains(&name)
}

/// The first of the folders that has a tokenizer.
pub fn tokenizer_folder<'a>(folders: &[&'a Path]) -> Option<&'a Path> {
    folders.iter().copied().find(|folder| has_tokenizer(folder))
}

/// What is copied along with weights of the given type: each file of the first folder that has it, the tokenizer's
/// files from one folder, and in `config.json` the type set right.
///
/// # Errors
/// `config.json` is there and cannot be read.
pub fn companions(folders: &[&Path], element: Option<Element>) -> Result<Vec<Companion>, HuggingFaceError> {
    let mut companions = Vec::new();
    if let Some(path) = first(folders, "config.json") {
        companions.push(config(read_json(&path)?, element));
    }
    let mut copies: Vec<PathBuf> = first(folders, "generation_config.json").into_iter().collect();
    if let Some(folder) = tokenizer_folder(folders) {
        copies.extend(TOKENIZER.iter().map(|name| folder.join(name)).filter(|path| path.is_file()));
    }
    for path in copies {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        companions.push(Companion { name, content: Content::CopyOf(path) });
    }
    Ok(companions)
}

/// The files that go along with an adapter.
pub(crate) fn of_adapter(folder: &Path) -> Vec<Companion> {
    let names = ["adapter_config.json", "manifest.json", "README.md"].iter().chain(&TOKENIZER);
    let there = names.filter(|name| folder.join(name).is_file());
    there.map(|name| Companion { name: (*name).into(), content: Content::CopyOf(folder.join(name)) }).collect()
}

/// A configuration that says of what type the weights are.
pub fn config(mut config: Value, element: Option<Element>) -> Companion {
    if let (Some(name), Some(fields)) = (element.and_then(torch_name), config.as_object_mut()) {
        let key = if fields.contains_key("dtype") { "dtype" } else { "torch_dtype" };
        fields.insert(key.into(), name.into());
        // How weights were packed that are plain now.
        fields.remove("quantization_config");
    }
    Companion { name: "config.json".into(), content: Content::Bytes(format!("{config:#}\n").into_bytes()) }
}

fn first(folders: &[&Path], name: &str) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// PyTorch's name of a type.
fn torch_name(element: Element) -> Option<&'static str> {
    match element {
        Element::Block(BlockFormat::F32) => Some("float32"),
        Element::Block(BlockFormat::F16) => Some("float16"),
        Element::Block(BlockFormat::Bf16) => Some("bfloat16"),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_come_from_the_first_folder_that_has_them_and_a_tokenizer_from_one() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(a.path().join("config.json"), r#"{"hidden_size": 8, "torch_dtype": "float32"}"#).unwrap();
        fs::write(a.path().join("tokenizer_config.json"), "{}").unwrap();
        fs::write(b.path().join("tokenizer.model"), "x").unwrap();
        fs::write(b.path().join("config.json"), "{}").unwrap();
        let found = companions(&[a.path(), b.path()], Some(Element::Block(BlockFormat::F16))).unwrap();
        let names: Vec<&str> = found.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["config.json", "tokenizer.model"]);
        let Content::Bytes(config) = &found[0].content else { panic!() };
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config, serde_json::json!({"hidden_size": 8, "torch_dtype": "float16"}));
    }
}
