//! Whether the files of a model are whole by themselves: each can be read to its end, and together they are what their
//! index says.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read},
    path::Path,
};

use protocol::Sentence;
use serde::Deserialize;

use super::{Problem, Remedy};
use crate::{huggingface::read_json, source::Source};

/// How files begin that stand for a large file which was never fetched.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What was seen in a folder.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every file of weights that could be opened, with the names of its tensors.
    pub tensors: BTreeMap<String, BTreeSet<String>>,
    pub problems: Vec<Problem>,
    pub notes: Vec<Sentence>,
}

/// Whether a file holds weights, by its name.
pub(super) fn is_weights(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    match extension {
        "safetensors" | "gguf" | "pth" | "pt" => true,
        "bin" => {
            ["pytorch_model", "adapter_model", "model", "consolidated", "lora"].iter().any(|s| stem.starts_with(s))
        }
        _ => false,
    }
}

/// Opens every one of these files of weights, all in `folder`; `whole` when they are meant to be a whole model.
pub(super) fn look(folder: &Path, names: &[String], whole: bool, remedy: &Remedy<'_>) -> io::Result<Seen> {
    let mut seen = Seen::default();
    for name in names {
        match open(&folder.join(name)) {
            Ok(tensors) => {
                seen.tensors.insert(name.clone(), tensors);
            }
            Err(what) => {
                seen.problems.push(Problem { file: name.clone(), tensor: None, what, remedy: remedy.of(name) })
            }
        }
    }
    if !whole {
        return Ok(seen);
    }
    let present: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for missing in missing_of_series(&present) {
        seen.problems.push(Problem::missing(&missing, "its name is one of a series that is otherwise here", remedy));
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else { continue };
        if name.ends_with(".index.json") {
            index(&path, name, &mut seen, remedy);
        } else if name.ends_with(".part") {
            seen.notes.push(Sentence::new(
                format!("{name} is a download that did not end; the same command goes on with it"),
                format!("{name} 是未完成的下载，重新执行即可继续"),
            ));
        }
    }
    config(folder, &present, &mut seen, remedy);
    Ok(seen)
}

/// The names of the tensors of a file, all of whose bytes are there.
fn open(path: &Path) -> Result<BTreeSet<String>, String> {
    let unread = |e: io::Error| format!("it cannot be read: {e}");
    let mut start = Vec::new();
    fs::File::open(path).and_then(|file| file.take(POINTER.len() as u64).read_to_end(&mut start)).map_err(unread)?;
    if start.is_empty() {
        return Err("it is empty".into());
    }
    if start == POINTER {
        return Err("it only stands for the real file, which git fetches with `git lfs pull`".into());
    }
    let source = Source::open_only(path).map_err(|e| said(&e, path))?;
    Ok(source.infos().iter().map(|info| info.name.clone()).collect())
}

/// What an error says of a file, without its path.
fn said(error: &dyn std::fmt::Display, path: &Path) -> String {
    let text = error.to_string().replace(&path.display().to_string(), "it");
    text.replace("it: ", "").replace("; fetch the file again", "")
}

/// Files that are missing from a series such as `model-00001-of-00003.safetensors` or `consolidated.00.pth`.
fn missing_of_series(present: &BTreeSet<&str>) -> Vec<String> {
    let mut missing = Vec::new();
    let mut series: BTreeSet<(&str, &str, usize)> = BTreeSet::new();
    for name in present {
        let Some((before, after)) = name.split_once("-of-") else { continue };
        let (Some((stem, number)), Some((count, extension))) = (before.rsplit_once('-'), after.split_once('.')) else {
            continue;
        };
        let digits = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
        // No model is cut into more files; a name must not make a list of any length.
        if let (true, true, Ok(count @ 1..=1000)) = (digits(number), digits(count), count.parse()) {
            series.insert((stem, extension, count));
        }
    }
    for (stem, extension, count) in series {
        let names = (1..=count).map(|n| format!("{stem}-{n:05}-of-{count:05}.{extension}"));
        missing.extend(names.filter(|name| !present.contains(name.as_str())));
    }
    // The original layout does not say how many there are; a gap can be told.
    let number = |name: &&str| name.strip_prefix("consolidated.")?.strip_suffix(".pth")?.parse::<usize>().ok();
    if let Some(last) = present.iter().filter_map(number).max().filter(|last| *last < 1000) {
        let names = (0..last).map(|n| format!("consolidated.{n:02}.pth"));
        missing.extend(names.filter(|name| !present.contains(name.as_str())));
    }
    missing
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Holds the files against what an index says of them.
fn index(path: &Path, name: &str, seen: &mut Seen, remedy: &Remedy<'_>) {
    let index: Index = match read_json(path) {
        Ok(index) => index,
        Err(error) => {
            let what = said(&error, path);
            seen.problems.push(Problem { file: name.into(), tensor: None, what, remedy: remedy.of(name) });
            return;
        }
    };
    // Said of the files themselves already.
    let mut told: BTreeSet<String> = seen.problems.iter().map(|problem| problem.file.clone()).collect();
    for (tensor, file) in &index.weight_map {
        let reason = match seen.tensors.get(file) {
            Some(tensors) if tensors.contains(tensor) => continue,
            Some(_) => match seen.tensors.iter().find(|(_, tensors)| tensors.contains(tensor)) {
                Some((other, _)) => format!("{name} says that it has this tensor, which is in {other}"),
                None => format!("{name} says that it has this tensor, which is in none of the files"),
            },
            None if !told.insert(file.clone()) => continue,
            None => {
                seen.problems.push(Problem::missing(file, &format!("{name} names it"), remedy));
                continue;
            }
        };
        let problem =
            Problem { file: file.clone(), tensor: Some(tensor.clone()), what: reason, remedy: remedy.of(file) };
        seen.problems.push(problem);
    }
    let indexed: BTreeSet<&String> = index.weight_map.values().collect();
    let unnamed: usize = indexed
        .into_iter()
        .filter_map(|file| seen.tensors.get(file))
        .flatten()
        .filter(|tensor| !index.weight_map.contains_key(*tensor))
        .count();
    if unnamed > 0 {
        seen.notes.push(Sentence::new(
            format!("{unnamed} tensors of the files are not named in {name}"),
            format!("文件中有 {unnamed} 个张量未列入 {name}"),
        ));
    }
}

/// What else belongs into a folder with such weights.
fn config(folder: &Path, present: &BTreeSet<&str>, seen: &mut Seen, remedy: &Remedy<'_>) {
    let begins = |start: &str, end: &str| present.iter().any(|n| n.starts_with(start) && n.ends_with(end));
    let wants = if begins("adapter_model", "") {
        "adapter_config.json"
    } else if begins("consolidated.", ".pth") {
        "params.json"
    } else if begins("model", ".safetensors") || begins("pytorch_model", ".bin") {
        "config.json"
    } else {
        return;
    };
    let path = folder.join(wants);
    if !path.exists() {
        let what = "it is missing: without it the weights cannot be used".into();
        seen.problems.push(Problem { file: wants.into(), tensor: None, what, remedy: remedy.of(wants) });
    } else if let Err(error) = read_json::<serde_json::Value>(&path) {
        let what = said(&error, &path);
        seen.problems.push(Problem { file: wants.into(), tensor: None, what, remedy: remedy.of(wants) });
    }
    let tokenizers = ["tokenizer.json", "tokenizer.model"];
    if wants == "config.json" && !tokenizers.iter().any(|name| folder.join(name).is_file()) {
        seen.notes.push(Sentence::new(
            "there is no tokenizer.json or tokenizer.model: the model can be converted, but not used",
            "没有 tokenizer.json 或 tokenizer.model：模型可以转换，但无法使用",
        ));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_a_series_is_found() {
        let missing = |names: &[&str]| missing_of_series(&names.iter().copied().collect());
        assert_eq!(
            missing(&["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"]),
            ["model-00002-of-00003.safetensors"]
        );
        assert_eq!(missing(&["pytorch_model-00002-of-00002.bin"]), ["pytorch_model-00001-of-00002.bin"]);
        assert_eq!(missing(&["consolidated.00.pth", "consolidated.02.pth"]), ["consolidated.01.pth"]);
        assert!(missing(&["model.safetensors", "a-b-of-c.bin", "x-of-.bin", "consolidated.00.pth"]).is_empty());
    }

    #[test]
    fn weights_are_told_from_other_files() {
        for name in ["model.safetensors", "a.gguf", "consolidated.00.pth", "pytorch_model-00001-of-00002.bin"] {
            assert!(is_weights(name), "{name}");
        }
        for name in ["config.json", "tokenizer.bin", "training_args.bin", "README", "model.safetensors.index.json"] {
            assert!(!is_weights(name), "{name}");
        }
    }
}
