//! What is meant by a name and a few options: which repositories, which of their files, into which folders.

use std::path::PathBuf;

use protocol::Sentence;

use super::{DownloadError, DownloadEvent, DownloadOptions, Only, hub::RemoteFile, names};
use crate::known::{self, PublishedModel};

/// One thing to fetch.
pub(super) enum Job {
    /// A known model's one file.
    Entry(&'static PublishedModel),
    /// Files of a repository.
    Repository {
        repository: String,
        folder: PathBuf,
        /// What is left to be told apart by the files' names.
        chosen: Only,
    },
}

/// What a name stands for: a known model's file, or files of one or two repositories.
///
/// # Errors
/// It stands for nothing, or not for the part that is wanted.
pub(super) fn jobs(options: &DownloadOptions) -> Result<Vec<Job>, DownloadError> {
    let place = |kind: &str, name: &str| options.data_dir.join(kind).join(name);
    let Some(model) = known::by_name(&options.name) else {
        if !names::is_repository(&options.name) {
            let fetched = known::published().models.iter().filter(|model| model.made_with.is_none());
            return Err(DownloadError::Unknown {
                name: options.name.clone(),
                names: fetched.map(|model| model.name.as_str()).collect(),
            });
        }
        // Models of two owners may have one name.
        let own = options.name.replace('/', "--");
        let kind = if options.only == Only::Adapter { "adapters" } else { "models" };
        let folder = options.out.clone().unwrap_or_else(|| place(kind, &own));
        return Ok(vec![Job::Repository { repository: options.name.clone(), folder, chosen: options.only }]);
    };
    let parts: Vec<&'static PublishedModel> = match model.parts.is_empty() {
        true => vec![model],
        false => model.parts.iter().filter_map(|part| known::by_name(part)).collect(),
    };
    let mut jobs = Vec::new();
    for part in &parts {
        let wanted = match options.only {
            Only::Both => true,
            Only::Base => !part.adapter,
            Only::Adapter => part.adapter,
        };
        if let Some(how) = &part.made_with {
            return Err(DownloadError::Made { name: part.name.clone(), how: how.clone() });
        }
        let Some(repository) = part.repository.clone().filter(|_| wanted) else { continue };
        if part.entry.is_some() {
            jobs.push(Job::Entry(part));
            continue;
        }
        let kind = if part.adapter { "adapters" } else { "models" };
        let folder = match &options.out {
            Some(out) if parts.len() > 1 => out.join(&part.name),
            Some(out) => out.clone(),
            None => place(kind, &part.name),
        };
        jobs.push(Job::Repository { repository, folder, chosen: Only::Both });
    }
    if jobs.is_empty() {
        let reason = "it has no such part; leave --base-only and --lora-only out".into();
        return Err(DownloadError::Nothing { name: model.name.clone(), reason });
    }
    Ok(jobs)
}

/// The files that are meant.
///
/// # Errors
/// There are none.
pub(super) fn select(
    files: Vec<RemoteFile>,
    options: &DownloadOptions,
    chosen: Only,
    repository: &str,
    events: &(dyn Fn(DownloadEvent<'_>) + Sync),
) -> Result<Vec<RemoteFile>, DownloadError> {
    let listed = files.len();
    let any = |patterns: &[String], name: &str| patterns.iter().any(|pattern| names::fits(pattern, name));
    let is_adapter = |name: &str| names::fits("adapter_*", name);
    // An adapter's safetensors say nothing of the model's, nor do those in folders.
    let is_twice_if =
        |which: &dyn Fn(&str) -> bool| files.iter().any(|f| f.name.ends_with(".safetensors") && which(&f.name));
    let adapter_twice = is_twice_if(&is_adapter);
    let model_twice = is_twice_if(&|name| !is_adapter(name) && !name.contains('/'));
    // Files of other frameworks, and the same weights a second time.
    let of_no_use = |name: &str| {
        let others =
            ["*.h5", "*.msgpack", "*.ot", "*.onnx", "*.onnx_data", "*.tflite", "onnx/*", "openvino/*", "coreml/*"];
        let twice = ["*.bin", "*.pth", "*.pt", "original/*"];
        name.starts_with('.')
            || others.iter().any(|p| names::fits(p, name))
            || (if is_adapter(name) { adapter_twice } else { model_twice }
                && twice.iter().any(|p| names::fits(p, name)))
    };
    let mut skipped = 0;
    let selected: Vec<RemoteFile> = files
        .into_iter()
        .filter(|file| {
            let name = file.name.as_str();
            if options.include.is_empty() && of_no_use(name) {
                skipped += 1;
                return false;
            }
            let part = match chosen {
                Only::Both => true,
                Only::Base => !is_adapter(name),
                Only::Adapter => is_adapter(name) || name.starts_with("tokenizer") || name == "special_tokens_map.json",
            };
            part && (options.include.is_empty() || any(&options.include, name)) && !any(&options.exclude, name)
        })
        .collect();
    let has = selected.iter().any(|file| chosen != Only::Adapter || is_adapter(&file.name));
    if !has {
        let reason = format!("of its {listed} files none fits --include, --exclude, --base-only and --lora-only");
        return Err(DownloadError::Nothing { name: repository.into(), reason });
    }
    if skipped > 0 {
        events(DownloadEvent::Note(&Sentence::new(
            format!(
                "{skipped} files of other frameworks, or with the same weights again, are left out; the pattern * takes all (--include '*')"
            ),
            format!("已略过 {skipped} 个属于其他框架或权重重复的文件；文件名填 *（--include '*'）可全部下载"),
        )));
    }
    Ok(selected)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chosen(name: &str, only: Only) -> Result<Vec<String>, DownloadError> {
        let mut options = DownloadOptions::new(name, "/data");
        options.only = only;
        let shown = |job: Job| match job {
            Job::Entry(model) => model.name.clone(),
            Job::Repository { repository, folder, .. } => format!("{repository} {}", folder.display()),
        };
        jobs(&options).map(|jobs| jobs.into_iter().map(shown).collect())
    }

    #[test]
    fn a_name_stands_for_base_adapter_or_both() {
        let diff = "zjunlp/zhixi-13b-diff /data/models/zhixi-13b-diff";
        let lora = "zjunlp/zhixi-13b-lora /data/adapters/zhixi-13b-lora";
        assert_eq!(chosen("zhixi-13b", Only::Both).unwrap(), [diff, lora]);
        assert_eq!(chosen("ZhiXi-13B", Only::Base).unwrap(), [diff]);
        assert_eq!(chosen("zhixi-13b", Only::Adapter).unwrap(), [lora]);
        assert_eq!(chosen("smollm2", Only::Both).unwrap(), ["smollm2"]);
        assert_eq!(chosen("a/b", Only::Adapter).unwrap(), ["a/b /data/adapters/a--b"]);
        assert!(chosen("oneke", Only::Adapter).unwrap_err().to_string().contains("no such part"));
        assert!(chosen("zhixi-13b-base-fp32", Only::Both).unwrap_err().to_string().contains("weights recover"));
        let unknown = chosen("../x", Only::Both).unwrap_err().to_string();
        assert!(unknown.contains("zhixi-13b-lora") && unknown.contains("OWNER/REPO"), "{unknown}");
    }

    #[test]
    fn the_same_weights_are_not_fetched_twice() {
        let file = |name: &str| RemoteFile { name: name.into(), url: String::new(), size: None, sum: None };
        let names = [
            ".gitattributes",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "adapter_config.json",
            "adapter_model.safetensors",
            "tokenizer.json",
        ];
        let select = |tune: &dyn Fn(&mut DownloadOptions), chosen| {
            let mut options = DownloadOptions::new("a/b", "/data");
            tune(&mut options);
            let files = names.iter().map(|name| file(name)).collect();
            select(files, &options, chosen, "a/b", &|_| {}).map(|f| f.into_iter().map(|f| f.name).collect::<Vec<_>>())
        };
        assert_eq!(select(&|_| {}, Only::Base).unwrap(), ["config.json", "model.safetensors", "tokenizer.json"]);
        assert_eq!(
            select(&|_| {}, Only::Adapter).unwrap(),
            ["adapter_config.json", "adapter_model.safetensors", "tokenizer.json"]
        );
        assert_eq!(select(&|o| o.include = vec!["*.bin".into()], Only::Both).unwrap(), ["pytorch_model.bin"]);
        assert_eq!(select(&|o| o.include = vec!["*".into()], Only::Both).unwrap().len(), names.len());
        let both = |names: &[&str]| {
            let files = names.iter().map(|name| file(name)).collect();
            super::select(files, &DownloadOptions::new("a/b", "/data"), Only::Both, "a/b", &|_| {}).unwrap().len()
        };
        assert_eq!(both(&["pytorch_model.bin", "adapter_model.safetensors"]), 2, "an adapter's is not the model's");
        assert_eq!(both(&["pytorch_model.bin", "part/model.safetensors"]), 2, "another model's is not either");
        assert_eq!(both(&["adapter_model.bin", "adapter_model.safetensors"]), 1);
        assert!(!select(&|o| o.exclude = vec!["*.json".into()], Only::Both).unwrap().contains(&"config.json".into()));
        let nothing = select(&|o| o.include = vec!["*.gguf".into()], Only::Both).unwrap_err().to_string();
        assert!(nothing.contains("none fits"), "{nothing}");
    }
}
